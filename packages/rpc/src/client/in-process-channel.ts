/**
 * Calls a `ServiceTable` without sockets or encoding.
 *
 * Requests and responses cross by reference: neither side may change a message it handed over. A
 * reader that pauses costs its own queue, whose size the handler sees as `bufferedBytes`.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { GrpcCode, MethodDescriptor } from "@etcd-ts/api";
import { WireWriter } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";

import type { AnyMethod, Peer } from "../call.ts";
import { Metadata } from "../metadata.ts";
import type { CallSink, ServerCall } from "../server-call.ts";
import type { ServiceTable } from "../service-table.ts";
import { ClientStream, bindCallOptions, unaryOutcome } from "./channel.ts";
import type { CallOptions, ClientExchange, RpcChannel } from "./channel.ts";

/** Queued bytes above which a handler's `send` returns false. */
const HIGH_WATER_BYTES = 64 * 1024;

export interface InProcessChannelOptions {
  readonly table: ServiceTable;
  readonly clock: Clock;
  /** As handlers see it. */
  readonly peer?: Peer;
  /** The member calls itself: interceptors do not run. Default false. */
  readonly isInternal?: boolean;
}

export class InProcessChannel implements RpcChannel {
  readonly #options: InProcessChannelOptions;
  readonly #open = new Set<ClientStream<unknown, unknown>>();
  #closed = false;

  constructor(options: InProcessChannelOptions) {
    this.#options = options;
  }

  unary<I, O>(method: MethodDescriptor<I, O>, request: I, options: CallOptions = {}): Promise<O> {
    return unaryOutcome(this.stream(method, options), request);
  }

  stream<I, O>(
    method: MethodDescriptor<I, O>,
    options: CallOptions & { readonly peer?: Peer } = {},
  ): ClientStream<I, O> {
    const stream = new ClientStream<I, O>();
    const { table, clock, isInternal } = this.#options;
    const { timeoutMs } = options;
    const isLate = timeoutMs !== undefined && timeoutMs < EXPIRED_MS;
    const route = this.#closed ? CLOSED : isLate ? DEADLINE_EXCEEDED : table.find(method.path);
    if (route instanceof RpcError) {
      stream.finish(route.grpcCode, route.message, new Metadata());
      return stream;
    }
    const untyped = stream as ClientStream<unknown, unknown>;
    const unbind = bindCallOptions(untyped, options);
    const requests = new RequestQueue();
    const onClose = (): void => {
      unbind();
      this.#open.delete(untyped);
    };
    const responses = new ResponseQueue(method as AnyMethod, untyped, requests, onClose);
    const startMs = clock.monotonicMs();
    const start = {
      metadata: options.metadata ?? new Metadata(),
      peer: options.peer ?? this.#options.peer ?? { address: "in-process", commonName: undefined },
      startMs,
      deadlineMs: timeoutMs === undefined ? undefined : startMs + timeoutMs,
    };
    const call = table.start(route, start, responses, isInternal);
    requests.call = call;
    requests.responses = responses;
    requests.onDrain = () => stream.drained();
    requests.onCancel = onClose;
    this.#open.add(untyped);
    stream.attach(requests as ClientExchange<I>);
    call.begin();
    return stream;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stream of this.#open) stream.abort(CLOSED);
  }
}

const CLOSED = new RpcError(
  "UNAVAILABLE",
  GRPC_CODES.UNAVAILABLE,
  "the client connection is closing",
);

const CANCELED = new RpcError("CANCELED", GRPC_CODES.CANCELED, "context canceled");
const DEADLINE_EXCEEDED = new RpcError(
  "DEADLINE_EXCEEDED",
  GRPC_CODES.DEADLINE_EXCEEDED,
  "context deadline exceeded",
);
/** Time-outs shorter than the clock can tell have passed when they are read. */
const EXPIRED_MS = 0.001;
/** Queued requests above which a caller's `send` returns false. */
const REQUEST_QUEUE_MAX = 64;

const measure = new WireWriter(1024);

/** What a handler has sent and its caller has not taken. */
class ResponseQueue implements CallSink<unknown> {
  readonly #method: AnyMethod;
  readonly #stream: ClientStream<unknown, unknown>;
  readonly #requests: RequestQueue;
  readonly #onClose: () => void;
  #paused = false;
  #queue: { readonly message: unknown; readonly bytes: number }[] = [];
  #queuedBytes = 0;
  #wasHigh = false;
  #status: { readonly code: GrpcCode; readonly message: string } | undefined;

  constructor(
    method: AnyMethod,
    stream: ClientStream<unknown, unknown>,
    requests: RequestQueue,
    onClose: () => void,
  ) {
    this.#method = method;
    this.#stream = stream;
    this.#requests = requests;
    this.#onClose = onClose;
  }

  sendHeaders(metadata: Metadata): void {
    this.#stream.receiveHeaders(metadata);
  }

  get bufferedBytes(): number {
    return this.#queuedBytes;
  }

  sendMessage(message: unknown): boolean {
    if (!this.#paused && this.#queue.length === 0) {
      this.#stream.receive(message);
      return true;
    }
    measure.reset();
    this.#method.response.encode(message, measure);
    this.#queue.push({ message, bytes: measure.length });
    this.#queuedBytes += measure.length;
    this.#wasHigh = this.#queuedBytes >= HIGH_WATER_BYTES;
    return !this.#wasHigh;
  }

  finish(code: GrpcCode, message: string): void {
    this.#status = { code, message };
    this.#flush();
  }

  setPaused(paused: boolean): void {
    this.#requests.setHandlerPaused(paused);
  }

  /** The caller stopped or resumed reading. */
  setReaderPaused(paused: boolean): void {
    this.#paused = paused;
    if (!paused) this.#flush();
  }

  #flush(): void {
    while (this.#queue.length > 0 && !this.#paused) {
      const { message, bytes } = this.#queue.shift()!;
      this.#queuedBytes -= bytes;
      this.#stream.receive(message);
    }
    if (this.#queue.length > 0) return;
    if (this.#status !== undefined) {
      this.#onClose();
      this.#stream.finish(this.#status.code, this.#status.message, new Metadata());
    } else if (this.#wasHigh) {
      this.#wasHigh = false;
      this.#requests.call?.drained();
    }
  }
}

/** What a caller has sent and the handler has not taken. */
class RequestQueue implements ClientExchange<unknown> {
  call: ServerCall | undefined;
  responses: ResponseQueue | undefined;
  #handlerPaused = false;
  #queue: unknown[] = [];
  #ended = false;

  sendMessage(message: unknown): boolean {
    if (this.#handlerPaused || this.#queue.length > 0) this.#queue.push(message);
    else this.call?.receive(message);
    return this.#queue.length < REQUEST_QUEUE_MAX;
  }

  endMessages(): void {
    this.#ended = true;
    if (this.#queue.length === 0) this.call?.receiveEnd();
  }

  cancel(): void {
    this.call?.cancel(CANCELED);
    this.onCancel?.();
  }

  setPaused(paused: boolean): void {
    this.responses?.setReaderPaused(paused);
  }

  setHandlerPaused(paused: boolean): void {
    this.#handlerPaused = paused;
    if (paused) return;
    const wasFull = this.#queue.length >= REQUEST_QUEUE_MAX;
    while (this.#queue.length > 0 && !this.#handlerPaused) this.call?.receive(this.#queue.shift());
    if (this.#queue.length > 0) return;
    if (this.#ended) this.call?.receiveEnd();
    if (wasFull) this.onDrain?.();
  }

  onDrain: (() => void) | undefined;
  onCancel: (() => void) | undefined;
}
