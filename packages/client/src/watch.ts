/**
 * Watching keys, across failures of the connection.
 *
 * Invariants:
 * - Events come in the order of their revisions, each once: after a reconnection the watch begins
 *   at the revision after the last one delivered.
 * - A response that the server sent in fragments is delivered as one.
 * - The server is not read faster than the reader takes responses.
 */

import {
  FilterType,
  GRPC_CODES,
  RPC_ERRORS,
  RpcError,
  Watch,
  WatchCreateRequestCodec,
} from "@etcd-ts/api";
import type { Event, ResponseHeader, WatchRequest, WatchResponse } from "@etcd-ts/api";
import { EMPTY_BYTES } from "@etcd-ts/base";
import type { ClientStream } from "@etcd-ts/rpc";

import { keyRange } from "./bytes.ts";
import type { Bytes, KeyRange, RangeOptions } from "./bytes.ts";
import type { Caller } from "./caller.ts";
import { canceled, mayWorkElsewhere, typedError } from "./errors.ts";
import { prefixedRange, strippedKV } from "./namespace.ts";
import { pause } from "./waiting.ts";

export interface WatchOptions extends RangeOptions {
  /** Of the first event wanted. Default: the one after now. */
  readonly startRevision?: number;
  readonly prevKV?: boolean;
  /** Empty responses from time to time, that tell how far the watch has come. */
  readonly progressNotify?: boolean;
  /** Lets the server split large responses; the reader does not notice. Default true. */
  readonly fragment?: boolean;
  readonly noPut?: boolean;
  readonly noDelete?: boolean;
  readonly requireLeader?: boolean;
  readonly signal?: AbortSignal;
}

/** The server ended a watch. Its code is `COMPACTED` if the events wanted are gone. */
export class WatchCanceledError extends RpcError {
  readonly response: WatchResponse;

  constructor(response: WatchResponse) {
    const known = response.compactRevision > 0 ? RPC_ERRORS.compacted : reasonOf(response);
    super(known.code, known.grpcCode, known.message);
    this.response = response;
  }

  /** The first revision that can still be watched, if the reason is a compaction; else 0. */
  get compactRevision(): number {
    return this.response.compactRevision;
  }
}

function reasonOf(response: WatchResponse): RpcError {
  if (response.cancelReason === "") return RPC_ERRORS.futureRevision;
  const text = response.cancelReason.replace(/^rpc error: code = \w+ desc = /, "");
  const known = typedError(
    Object.values(RPC_ERRORS).find((error) => error.message === text) ??
      new RpcError("FAILED_PRECONDITION", GRPC_CODES.FAILED_PRECONDITION, response.cancelReason),
  );
  return known;
}

const RECONNECT_PAUSE_MS = 100;
/** Responses held for a reader that does not take them, before the server is stopped. */
const HELD_RESPONSES_MAX = 16;

/** One watch. Read it with `for await`; leaving the loop ends it. */
export class Watcher implements AsyncIterable<WatchResponse> {
  /** Settles when the server has taken the watch for the first time. */
  readonly created: Promise<ResponseHeader | undefined>;
  /** Settles when the watch has ended, for whatever reason. */
  readonly ended: Promise<void>;
  readonly #caller: Caller;
  readonly #range: KeyRange;
  readonly #keyPrefix: Uint8Array;
  readonly #options: WatchOptions;
  readonly #abort = new AbortController();
  readonly #held: WatchResponse[] = [];
  #nextRevision: number;
  #stream: ClientStream<WatchRequest, WatchResponse> | undefined;
  #wake: (() => void) | undefined;
  #end: { readonly error: RpcError | undefined } | undefined;
  #resolveCreated: (header: ResponseHeader | undefined) => void = () => undefined;
  #rejectCreated: (error: Error) => void = () => undefined;
  #onProgressWanted: (() => void) | undefined;

  /** @param keyPrefix - put before the keys watched, and taken from those of events */
  constructor(
    caller: Caller,
    key: Bytes,
    options: WatchOptions,
    keyPrefix: Uint8Array = EMPTY_BYTES,
  ) {
    this.#caller = caller;
    this.#keyPrefix = keyPrefix;
    const range = keyRange(key, options);
    this.#range = keyPrefix.length === 0 ? range : prefixedRange(keyPrefix, range);
    this.#options = options;
    this.#nextRevision = options.startRevision ?? 0;
    this.created = new Promise((resolve, reject) => {
      this.#resolveCreated = resolve;
      this.#rejectCreated = reject;
    });
    this.created.catch(() => undefined);
    options.signal?.addEventListener("abort", () => this.cancel(), { once: true });
    if (options.signal?.aborted === true) this.cancel();
    this.ended = this.#run();
  }

  /** Asks how far the watch has come: a response without events follows. */
  requestProgress(): void {
    if (this.#stream === undefined) this.#onProgressWanted = () => this.requestProgress();
    else this.#stream.send({ kind: "progress" });
  }

  /** Ends the watch; the loop that reads it ends. */
  cancel(): void {
    this.#abort.abort();
    this.#stream?.cancel();
    this.#finish(undefined);
  }

  /** @throws {WatchCanceledError} if the server ended the watch */
  async *[Symbol.asyncIterator](): AsyncIterator<WatchResponse> {
    try {
      for (;;) {
        const response = this.#held.shift();
        if (response !== undefined) {
          yield response;
          continue;
        }
        this.#stream?.resume();
        if (this.#held.length > 0) continue;
        if (this.#end !== undefined) break;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      if (this.#end.error !== undefined) throw this.#end.error;
    } finally {
      this.cancel();
    }
  }

  async #run(): Promise<void> {
    try {
      while (this.#end === undefined) {
        const failure = await this.#runOnce();
        if (this.#end !== undefined) return;
        if (failure !== undefined && !this.#isPassing(failure)) throw failure;
        const report = failure ?? canceled();
        this.#caller.options.onRetry?.({ endpoint: undefined, method: "watch", error: report });
        await pause(RECONNECT_PAUSE_MS, Number.POSITIVE_INFINITY, this.#abort.signal, failure);
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) this.#finish(typedError(error));
    }
  }

  /** Watches on one stream until that ends. @returns why it ended */
  async #runOnce(): Promise<RpcError | undefined> {
    const { stream, connection } = await this.#caller.stream(Watch.Watch, {
      signal: this.#abort.signal,
      timeoutMs: Number.POSITIVE_INFINITY,
      ...(this.#options.requireLeader === undefined
        ? {}
        : { requireLeader: this.#options.requireLeader }),
    });
    let fragments: Event[] = [];
    let refusal: RpcError | undefined;
    return new Promise((resolve) => {
      stream.onMessage((response) => {
        if (response.fragment) {
          fragments.push(...response.events);
          return;
        }
        if (response.canceled) {
          refusal = this.#tokenRefusal(response);
          if (refusal !== undefined) {
            stream.cancel();
            return;
          }
        }
        if (fragments.length === 0) this.#receive(response, stream);
        else this.#receive({ ...response, events: [...fragments, ...response.events] }, stream);
        fragments = [];
      });
      stream.onEnd((error) => {
        this.#stream = undefined;
        const failure = refusal ?? (error === undefined ? undefined : typedError(error));
        if (failure !== undefined && this.#caller.isTokenRefused(failure)) {
          this.#caller.forgetToken();
        } else if (failure !== undefined) {
          this.#caller.noteFailure(connection, failure);
        }
        resolve(failure);
      });
      stream.send(this.#createRequest());
    });
  }

  /** A watch that was refused for its token is begun again with a new one. */
  #tokenRefusal(response: WatchResponse): RpcError | undefined {
    if (response.compactRevision > 0) return undefined;
    const reason = reasonOf(response);
    return this.#caller.isTokenRefused(reason) ? reason : undefined;
  }

  /** Failures after which the watch goes on elsewhere. */
  #isPassing(error: RpcError): boolean {
    return mayWorkElsewhere(error) || this.#caller.isTokenRefused(error);
  }

  #createRequest(): WatchRequest {
    const options = this.#options;
    const filters: number[] = [];
    if (options.noPut === true) filters.push(FilterType.NOPUT);
    if (options.noDelete === true) filters.push(FilterType.NODELETE);
    return {
      kind: "create",
      create: WatchCreateRequestCodec.create({
        ...this.#range,
        startRevision: this.#nextRevision,
        progressNotify: options.progressNotify ?? false,
        prevKV: options.prevKV ?? false,
        fragment: options.fragment ?? true,
        filters,
      }),
    };
  }

  #receive(response: WatchResponse, stream: ClientStream<WatchRequest, WatchResponse>): void {
    if (response.canceled) {
      this.#finish(new WatchCanceledError(response));
      stream.cancel();
      return;
    }
    const revision = response.header?.revision ?? 0;
    if (response.created) {
      if (this.#nextRevision === 0) this.#nextRevision = revision + 1;
      this.#stream = stream;
      this.#resolveCreated(response.header);
      this.#onProgressWanted?.();
      this.#onProgressWanted = undefined;
      return;
    }
    const events = response.events.filter((event) => revisionOf(event) >= this.#nextRevision);
    if (response.events.length > 0 && events.length === 0) return;
    const last = events.at(-1);
    const reached = last === undefined ? revision : revisionOf(last);
    this.#nextRevision = Math.max(this.#nextRevision, reached + 1);
    this.#held.push(this.#answer(response, events));
    if (this.#held.length >= HELD_RESPONSES_MAX) stream.pause();
    this.#wake?.();
  }

  /** The response with the events that are wanted; itself where nothing has to be changed. */
  #answer(response: WatchResponse, events: Event[]): WatchResponse {
    if (this.#keyPrefix.length > 0) {
      return { ...response, events: events.map((event) => this.#strip(event)) };
    }
    return events.length === response.events.length ? response : { ...response, events };
  }

  #strip(event: Event): Event {
    const prefix = this.#keyPrefix;
    return {
      ...event,
      kv: event.kv === undefined ? undefined : strippedKV(prefix, event.kv),
      prevKV: event.prevKV === undefined ? undefined : strippedKV(prefix, event.prevKV),
    };
  }

  #finish(error: RpcError | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#rejectCreated(error ?? canceled());
    this.#wake?.();
  }
}

function revisionOf(event: Event): number {
  return event.kv?.modRevision ?? 0;
}
