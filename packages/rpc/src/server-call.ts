/**
 * One call in progress, between a transport (or an in-process caller) and a handler.
 *
 * The transport feeds it through `receive`, `receiveEnd`, `cancel` and `drained`, and takes what the
 * handler sends through a `CallSink`; the handler sees it as a `UnaryCall` or a `StreamCall`.
 *
 * Invariants:
 * - `sink.finish` is called at most once, last, and never after `cancel`.
 * - The status is reported to the interceptors exactly once, whichever side ended the call.
 * - While paused, at most what the transport had already read is held in `#waiting`.
 */

import { GRPC_CODES, rpcErrorFrom } from "@etcd-ts/api";
import type { EncodedChunks, GrpcCode, RpcError } from "@etcd-ts/api";
import { concatBytes, decodeMessage, invariant } from "@etcd-ts/base";

import type { AnyMethod, Peer, StreamCall, UnaryCall } from "./call.ts";
import type { Metadata } from "./metadata.ts";
import type { CallInterceptor, Route } from "./service-table.ts";

/** What the transport knows when a call begins. */
export interface CallStart {
  readonly metadata: Metadata;
  readonly peer: Peer;
  /** On the clock of deadlines. */
  readonly startMs: number;
  readonly deadlineMs: number | undefined;
}

/** Where a call's output goes. */
export interface CallSink<O> {
  sendHeaders(metadata: Metadata): void;
  /** @returns false above the high-water mark; `ServerCall.drained` tells when it is low again */
  sendMessage(message: O): boolean;
  /**
   * Sends a message that is encoded already, its chunks one by one as the connection takes them: a
   * message may be far longer than what a connection may queue. `finish` comes right behind it and
   * waits for it. Without this method the message is decoded for `sendMessage`.
   */
  sendEncoded?(message: EncodedChunks): boolean;
  readonly bufferedBytes: number;
  /** The status; after it the sink is not used any more. */
  finish(code: GrpcCode, message: string): void;
  /** Whether `receive` should stop coming. */
  setPaused(paused: boolean): void;
}

const NOTHING: unknown[] = [];

const OK_STATUS: { readonly code: GrpcCode; readonly message: string } = {
  code: GRPC_CODES.OK,
  message: "",
};

/** grpc-go's text for a server stream whose client sent nothing. */
const NO_REQUEST =
  "cardinality violation: received no request message from non-client-streaming RPC";

export class ServerCall implements UnaryCall<unknown>, StreamCall<unknown, unknown> {
  readonly method: AnyMethod;
  readonly metadata: Metadata;
  readonly peer: Peer;
  readonly startMs: number;
  readonly deadlineMs: number | undefined;
  request: unknown = undefined;
  response: unknown = undefined;
  readonly #route: Route;
  readonly #sink: CallSink<unknown>;
  readonly #interceptors: readonly CallInterceptor[];
  /** How many interceptors have seen the start, and so must see the finish. */
  #intercepted = 0;
  #finished = false;
  #cancelReason: RpcError | undefined;
  /** Lists are made when they are needed: most calls are unary and need none. */
  #cancelHooks: (() => void)[] | undefined;
  #messageHook: ((message: unknown) => void) | undefined;
  #endHook: (() => void) | undefined;
  #drainHook: (() => void) | undefined;
  #waiting: unknown[] | undefined;
  #received = 0;
  #remoteEnded = false;
  #endDelivered = false;
  #paused = false;
  #delivering = false;

  constructor(
    route: Route,
    start: CallStart,
    sink: CallSink<unknown>,
    interceptors: readonly CallInterceptor[],
  ) {
    this.method = route.method;
    this.metadata = start.metadata;
    this.peer = start.peer;
    this.startMs = start.startMs;
    this.deadlineMs = start.deadlineMs;
    this.#route = route;
    this.#sink = sink;
    this.#interceptors = interceptors;
  }

  // For the transport

  /** The call is over for this side: nothing more will be sent. */
  get isFinished(): boolean {
    return this.#finished;
  }

  /** Runs a stream's handler; a unary handler runs when its request arrives. */
  begin(): void {
    const handler = this.#route.handler;
    if (handler.kind === "unary") return;
    this.#guard(() => {
      if (this.#intercept(undefined)) handler.run(this);
    });
  }

  /** Takes one decoded message. */
  receive(message: unknown): void {
    if (this.#finished) return;
    this.#received++;
    const handler = this.#route.handler;
    if (handler.kind === "unary") {
      this.#receiveRequest(message, handler.run);
      return;
    }
    if (this.#received > 1 && this.method.kind === "serverStream") return;
    for (let i = 0; i < this.#intercepted; i++) this.#interceptors[i]!.onMessageReceived?.(this);
    (this.#waiting ??= []).push(message);
    this.#deliver();
  }

  /** The client will send no more messages. */
  receiveEnd(): void {
    if (this.#remoteEnded) return;
    this.#remoteEnded = true;
    if (this.#received === 0 && this.method.kind === "unary") {
      this.#finish(GRPC_CODES.UNKNOWN, "EOF");
      return;
    }
    if (this.#received === 0 && this.method.kind === "serverStream") {
      this.#finish(GRPC_CODES.INTERNAL, NO_REQUEST);
      return;
    }
    this.#deliver();
  }

  /** Ends the call from outside; the handler learns through `onCancel`. Idempotent. */
  cancel(reason: RpcError): void {
    if (this.#finished) return;
    this.#cancelReason = reason;
    this.#close(reason.grpcCode, reason.message);
    const hooks = this.#cancelHooks;
    this.#cancelHooks = undefined;
    if (hooks !== undefined) for (const run of hooks) run();
  }

  /** What was queued in the sink has gone out. */
  drained(): void {
    if (!this.#finished && this.#drainHook !== undefined) this.#guard(this.#drainHook);
  }

  // For the handler

  get isCancelled(): boolean {
    return this.#cancelReason !== undefined;
  }

  get cancelReason(): RpcError | undefined {
    return this.#cancelReason;
  }

  get bufferedBytes(): number {
    return this.#finished ? 0 : this.#sink.bufferedBytes;
  }

  onCancel(run: () => void): void {
    if (this.#cancelReason !== undefined) run();
    else if (!this.#finished) (this.#cancelHooks ??= []).push(run);
  }

  sendHeaders(metadata: Metadata): void {
    if (!this.#finished) this.#sink.sendHeaders(metadata);
  }

  respond(response: unknown): void {
    if (this.#finished) return;
    this.response = response;
    this.#sendMessage(response);
    this.#finish(OK_STATUS.code, OK_STATUS.message);
  }

  respondEncoded(response: EncodedChunks): void {
    if (this.#finished) return;
    if (this.#sink.sendEncoded === undefined) {
      this.respond(decodeMessage(this.method.response, concatBytes(response.chunks)));
      return;
    }
    this.#sink.sendEncoded(response);
    this.#noteSent();
    this.#finish(OK_STATUS.code, OK_STATUS.message);
  }

  send(message: unknown): boolean {
    return this.#finished ? false : this.#sendMessage(message);
  }

  end(): void {
    this.#finish(OK_STATUS.code, OK_STATUS.message);
  }

  fail(error: RpcError): void {
    this.#finish(error.grpcCode, error.message);
  }

  onDrain(run: () => void): void {
    this.#drainHook = run;
  }

  onMessage(run: (message: unknown) => void): void {
    this.#messageHook = run;
    this.#deliver();
  }

  onEnd(run: () => void): void {
    this.#endHook = run;
    this.#deliver();
  }

  pause(): void {
    if (this.#paused || this.#finished) return;
    this.#paused = true;
    this.#sink.setPaused(true);
  }

  resume(): void {
    if (!this.#paused || this.#finished) return;
    this.#paused = false;
    this.#sink.setPaused(false);
    this.#deliver();
  }

  #receiveRequest(
    request: unknown,
    run: (request: unknown, call: UnaryCall<unknown>) => void,
  ): void {
    if (this.#received > 1) return;
    this.request = request;
    try {
      if (!this.#intercept(request)) return;
      for (const interceptor of this.#interceptors) interceptor.onMessageReceived?.(this);
      run(request, this);
    } catch (error) {
      this.fail(rpcErrorFrom(error));
    }
  }

  /** @returns whether the handler may run */
  #intercept(request: unknown): boolean {
    for (const interceptor of this.#interceptors) {
      this.#intercepted++;
      const error = interceptor.onStart?.(this, request);
      if (error !== undefined) {
        this.fail(error);
        return false;
      }
    }
    return !this.#finished;
  }

  #sendMessage(message: unknown): boolean {
    const below = this.#sink.sendMessage(message);
    this.#noteSent();
    return below;
  }

  #noteSent(): void {
    for (let i = 0; i < this.#intercepted; i++) this.#interceptors[i]!.onMessageSent?.(this);
  }

  /** Hands waiting messages, then the end, to the handler; re-entered by `resume` without harm. */
  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    this.#guard(() => this.#deliverAll());
    this.#delivering = false;
  }

  #deliverAll(): void {
    const waiting = this.#waiting ?? NOTHING;
    let next = 0;
    while (next < waiting.length && this.#mayDeliver() && this.#messageHook !== undefined) {
      this.#messageHook(waiting[next++]);
    }
    if (next > 0) waiting.splice(0, next);
    const end = this.#endHook;
    if (end === undefined || !this.#remoteEnded || this.#endDelivered) return;
    if (waiting.length > 0 || !this.#mayDeliver()) return;
    this.#endDelivered = true;
    end();
  }

  #mayDeliver(): boolean {
    return !this.#paused && !this.#finished;
  }

  /** Runs handler code; what it throws becomes the call's status, except broken invariants. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#delivering = false;
      this.fail(rpcErrorFrom(error));
    }
  }

  #finish(code: GrpcCode, message: string): void {
    if (this.#finished) return;
    this.#close(code, message);
    this.#sink.finish(code, message);
  }

  #close(code: GrpcCode, message: string): void {
    invariant(!this.#finished, () => `ServerCall: ${this.method.path} finished twice`);
    this.#finished = true;
    this.#waiting = undefined;
    for (let i = this.#intercepted - 1; i >= 0; i--) {
      this.#interceptors[i]!.onFinish?.(this, code, message);
    }
  }
}
