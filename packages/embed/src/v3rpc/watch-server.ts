/**
 * The Watch service: one call carries the watches of one storage `WatchStream`.
 *
 * Invariants:
 * - A watch's `created` response is sent before anything else of it, and nothing of it after its
 *   `canceled` response.
 * - While what was sent is above the call's high-water mark, nothing is taken from the stream and
 *   no request is read; so a slow client costs the bounded queues of call and stream, and no more.
 * - Therefore a request finds the stream's queue empty: no batch of a cancelled watch is left to be
 *   taken for one of a new watch with its id.
 * - The progress timer runs only while a watch of the call asked for it.
 */

import {
  EventType,
  FilterType,
  rpcErrorFrom,
  RPC_ERRORS,
  SERVER_ERRORS,
  Watch,
} from "@etcd-ts/api";
import type { Event, WatchCreateRequest, WatchRequest, WatchResponse } from "@etcd-ts/api";
import type { EtcdError, Timer } from "@etcd-ts/base";
import { randomBelow } from "@etcd-ts/base";
import type { WatchPermit } from "@etcd-ts/etcdserver";
import type { StreamCall } from "@etcd-ts/rpc";
import { WATCH_ID_NONE } from "@etcd-ts/storage";
import type { WatchBatch, WatchStream } from "@etcd-ts/storage";

import { contextOf } from "./headers.ts";
import { REQUEST_OVERHEAD_BYTES } from "./parts.ts";
import type { ServiceParts } from "./parts.ts";
import { StreamFailures } from "./stream-failures.ts";
import { fragments } from "./watch-fragment.ts";

type WatchCall = StreamCall<WatchRequest, WatchResponse>;

/** The first key there is; an empty key means it. */
const FIRST_KEY = new Uint8Array([0]);

export function registerWatch(parts: ServiceParts): void {
  const failures = new StreamFailures(parts.metrics, "watch");
  parts.table.stream(Watch.Watch, (call) => {
    failures.observe(call);
    new WatchSession(parts, call).start();
  });
}

/** What one watch wants beyond its events. */
interface WatchWishes {
  readonly prevKV: boolean;
  readonly fragment: boolean;
  readonly progressNotify: boolean;
  readonly permit: WatchPermit | undefined;
  /** Nothing was sent since the last tick of the progress timer. */
  isIdle: boolean;
}

class WatchSession {
  readonly #parts: ServiceParts;
  readonly #call: WatchCall;
  readonly #stream: WatchStream;
  readonly #watches = new Map<number, WatchWishes>();
  readonly #messageBytesMax: number;
  #progressWatches = 0;
  #progressTimer: Timer | undefined;
  #isBlocked = false;
  /** The permission of a new watch is being looked into. */
  #isAsking = false;
  #isSending = false;
  #isClosed = false;

  constructor(parts: ServiceParts, call: WatchCall) {
    this.#parts = parts;
    this.#call = call;
    this.#stream = parts.server.store.newWatchStream();
    this.#messageBytesMax = parts.config.requestBytesMax + REQUEST_OVERHEAD_BYTES;
  }

  start(): void {
    this.#parts.openCalls.add(this.#call, () => this.#close());
    if (this.#isClosed) return;
    this.#call.onDrain(() => this.#onDrain());
    this.#stream.onReady(() => this.#sendBatches());
    // A client that has sent its last request goes on watching: only cancelling ends the call.
    this.#call.onMessage((request) => this.#onRequest(request));
  }

  #onRequest(request: WatchRequest): void {
    switch (request.kind) {
      case "create":
        this.#create(request.create);
        return;
      case "cancel":
        this.#cancel(request.cancel.watchID);
        return;
      case "progress":
        this.#stream.requestProgressAll();
        return;
      default:
        // Not worth the other watches of the stream.
        this.#parts.logger.info("invalid watch request type <nil> received in gRPC stream");
    }
  }

  #create(request: WatchCreateRequest): void {
    if (request.startRevision < 0) {
      this.#answerCreate(request, RPC_ERRORS.compacted.message, undefined);
      return;
    }
    // Permission is for the range as it was asked for; what it means is settled afterwards.
    const { key, rangeEnd } = request;
    const range = { key: key.length === 0 ? FIRST_KEY : key, rangeEnd };
    const context = contextOf(this.#call);
    this.#isAsking = true;
    let isLater = false;
    this.#parts.server.watchPermit(range, context, (error, permit) => {
      this.#isAsking = false;
      if (this.#isClosed) return;
      if (error === undefined) this.#answerCreate(request, this.#begin(request), permit);
      else this.#answerCreate(request, refusalText(error), undefined);
      if (isLater && !this.#isBlocked) this.#call.resume();
    });
    isLater = true;
    // Requests are answered in their order, also while a token is looked into.
    if (this.#isAsking) this.#call.pause();
  }

  #answerCreate(
    request: WatchCreateRequest,
    id: number | string,
    permit: WatchPermit | undefined,
  ): void {
    if (typeof id !== "number") {
      this.#send({
        ...this.#response(WATCH_ID_NONE, this.#stream.revision()),
        created: true,
        canceled: true,
        cancelReason: id,
      });
      return;
    }
    this.#watches.set(id, {
      prevKV: request.prevKV,
      fragment: request.fragment,
      progressNotify: request.progressNotify,
      permit,
      isIdle: true,
    });
    if (request.progressNotify) {
      this.#progressWatches++;
      this.#startProgress();
    }
    this.#send({ ...this.#response(id, this.#stream.revision()), created: true });
    // What came about between the watch and its response waited for it.
    this.#sendBatches();
  }

  /** @returns the id of the new watch, or the reason why there is none */
  #begin(request: WatchCreateRequest): number | string {
    const begun: number | EtcdError = this.#stream.watch({
      watchID: request.watchID,
      key: request.key.length === 0 ? FIRST_KEY : request.key,
      rangeEnd: request.rangeEnd,
      startRevision: request.startRevision,
      noPut: request.filters.includes(FilterType.NOPUT),
      noDelete: request.filters.includes(FilterType.NODELETE),
    });
    return typeof begun === "number" ? begun : begun.message;
  }

  #cancel(id: number): void {
    if (!this.#stream.cancel(id)) return;
    this.#forget(id);
    this.#send({ ...this.#response(id, this.#stream.revision()), canceled: true });
  }

  /** Whoever lost the permission gets no more events. */
  #revoke(id: number, cancelReason: string): void {
    this.#stream.cancel(id);
    this.#forget(id);
    const response = this.#response(id, this.#stream.revision());
    this.#send({ ...response, canceled: true, cancelReason });
  }

  #forget(id: number): void {
    const watch = this.#watches.get(id);
    if (watch === undefined) return;
    this.#watches.delete(id);
    if (!watch.progressNotify || --this.#progressWatches > 0) return;
    this.#progressTimer?.cancel();
    this.#progressTimer = undefined;
  }

  /** Sends what the stream has, one batch after another, until the call has enough. */
  #sendBatches(): void {
    if (this.#isSending) return;
    this.#isSending = true;
    while (!this.#isBlocked && !this.#isClosed) {
      const batch = this.#stream.takeOne();
      if (batch === undefined) break;
      this.#sendBatch(batch);
    }
    this.#isSending = false;
  }

  #sendBatch(batch: WatchBatch): void {
    const { watchID, compactRevision, revision } = batch;
    const watch = this.#watches.get(watchID);
    if (watch === undefined && watchID !== WATCH_ID_NONE) return;
    const refusal = batch.events.length > 0 ? watch?.permit?.refusal() : undefined;
    if (refusal !== undefined) {
      this.#revoke(watchID, refusalText(refusal));
      return;
    }
    const events = watch?.prevKV === true ? this.#withPrevious(batch.events) : batch.events;
    const isCompacted = compactRevision > 0;
    const response: WatchResponse = {
      // A watch that lost its place is told no revision, as in etcd.
      header: this.#parts.server.responseHeader(isCompacted ? 0 : revision),
      watchID,
      created: false,
      canceled: isCompacted,
      compactRevision,
      cancelReason: "",
      fragment: false,
      events,
    };
    if (watch !== undefined && events.length > 0) watch.isIdle = false;
    if (watch?.fragment === true) {
      for (const piece of fragments(response, this.#messageBytesMax)) this.#send(piece);
    } else this.#send(response);
    if (compactRevision > 0) this.#forget(watchID);
  }

  /** With what each key was before; left out where it was not, or is compacted away. */
  #withPrevious(events: readonly Event[]): readonly Event[] {
    const { store } = this.#parts.server;
    return events.map((event) => {
      const { kv, type } = event;
      if (kv === undefined) return event;
      if (type === EventType.PUT && kv.createRevision === kv.modRevision) return event;
      return { ...event, prevKV: store.previous(kv.key, kv.modRevision) };
    });
  }

  #response(watchID: number, revision: number): WatchResponse {
    return {
      header: this.#parts.server.responseHeader(revision),
      watchID,
      created: false,
      canceled: false,
      compactRevision: 0,
      cancelReason: "",
      fragment: false,
      events: [],
    };
  }

  #send(response: WatchResponse): void {
    if (this.#call.send(response) || this.#isBlocked || this.#isClosed) return;
    this.#isBlocked = true;
    this.#call.pause();
  }

  #onDrain(): void {
    if (!this.#isBlocked || this.#isClosed) return;
    this.#isBlocked = false;
    this.#sendBatches();
    if (!this.#isBlocked && !this.#isAsking) this.#call.resume();
  }

  #startProgress(): void {
    if (this.#progressTimer !== undefined) return;
    const { config, random } = this.#parts;
    const intervalMs = config.watchProgressNotifyIntervalMs;
    const jitterMs = randomBelow(random, Math.max(Math.floor(intervalMs / 10), 1));
    this.#armProgress(intervalMs + jitterMs);
  }

  #armProgress(intervalMs: number): void {
    this.#progressTimer = this.#parts.clock.setTimer(intervalMs, () => {
      this.#armProgress(intervalMs);
      for (const [id, watch] of this.#watches) {
        if (!watch.progressNotify) continue;
        if (watch.isIdle) this.#stream.requestProgress(id);
        watch.isIdle = true;
      }
    });
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#progressTimer?.cancel();
    this.#progressTimer = undefined;
    this.#stream.close();
    this.#watches.clear();
  }
}

/** What a watch is told that may not be: etcd has four reasons, and gives them as Go prints them. */
function refusalText(error: EtcdError): string {
  const known = WATCH_REFUSALS.get(error) === undefined ? SERVER_ERRORS.permissionDenied : error;
  return `rpc error: code = ${WATCH_REFUSALS.get(known)} desc = ${rpcErrorFrom(known).message}`;
}

const WATCH_REFUSALS: ReadonlyMap<EtcdError, string> = new Map([
  [SERVER_ERRORS.invalidAuthToken, "Unauthenticated"],
  [SERVER_ERRORS.authOldRevision, "InvalidArgument"],
  [SERVER_ERRORS.userEmpty, "InvalidArgument"],
  [SERVER_ERRORS.permissionDenied, "PermissionDenied"],
]);
