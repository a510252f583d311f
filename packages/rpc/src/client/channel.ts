/**
 * How calls are made, over a socket or inside the process.
 *
 * A channel opens a `ClientStream` on an exchange, which is the channel's side of one call; unary
 * calls are streams with one message each way.
 */

import { GRPC_CODES, RpcError, grpcCodeName } from "@etcd-ts/api";
import type { GrpcCode, MethodDescriptor } from "@etcd-ts/api";

import type { Metadata } from "../metadata.ts";

export interface CallOptions {
  readonly metadata?: Metadata;
  /** From now; the call fails with DeadlineExceeded after it. */
  readonly timeoutMs?: number;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
}

export interface RpcChannel {
  /** @throws {RpcError} the call's status, when it is not OK */
  unary<I, O>(method: MethodDescriptor<I, O>, request: I, options?: CallOptions): Promise<O>;
  stream<I, O>(method: MethodDescriptor<I, O>, options?: CallOptions): ClientStream<I, O>;
  /** Ends the channel; calls in progress fail with Unavailable. */
  close(): Promise<void>;
}

/** What a channel does for one call. */
export interface ClientExchange<I> {
  /** @returns false above the high-water mark */
  sendMessage(message: I): boolean;
  /** No more messages will be sent. */
  endMessages(): void;
  /** Gives the call up; the channel need not report a status any more. */
  cancel(): void;
  setPaused(paused: boolean): void;
}

/** Messages an iterating reader lets pile up before it stops the sender. */
const ITERATOR_QUEUE_MAX = 64;

/** A call in progress as its caller sees it. Read it by callbacks or by iteration, not both. */
export class ClientStream<I, O> implements AsyncIterable<O> {
  #exchange: ClientExchange<I> | undefined;
  #messageHook: ((message: O) => void) | undefined;
  #endHook: ((error: RpcError | undefined) => void) | undefined;
  #headersHook: ((headers: Metadata) => void) | undefined;
  #drainHook: (() => void) | undefined;
  #waiting: O[] = [];
  #headers: Metadata | undefined;
  #trailers: Metadata | undefined;
  #ended = false;
  #endDelivered = false;
  #error: RpcError | undefined;
  #paused = false;

  // For the caller

  /** @returns false above the high-water mark; `onDrain` tells when it is low again */
  send(message: I): boolean {
    return this.#ended || this.#exchange === undefined
      ? false
      : this.#exchange.sendMessage(message);
  }

  /** Half-closes: no more messages will be sent. */
  end(): void {
    if (!this.#ended) this.#exchange?.endMessages();
  }

  cancel(): void {
    this.#abort(new RpcError("CANCELED", GRPC_CODES.CANCELED, "context canceled"));
  }

  /** Response metadata, once it has come. */
  get headers(): Metadata | undefined {
    return this.#headers;
  }

  /** Trailing metadata, once the call has ended. */
  get trailers(): Metadata | undefined {
    return this.#trailers;
  }

  get isEnded(): boolean {
    return this.#ended;
  }

  onHeaders(run: (headers: Metadata) => void): void {
    this.#headersHook = run;
    if (this.#headers !== undefined) run(this.#headers);
  }

  /** Messages that came before are handed over at once. */
  onMessage(run: (message: O) => void): void {
    this.#messageHook = run;
    this.#deliver();
  }

  /** Called once, after the last message; with an error unless the status is OK. */
  onEnd(run: (error: RpcError | undefined) => void): void {
    this.#endHook = run;
    this.#deliver();
  }

  onDrain(run: () => void): void {
    this.#drainHook = run;
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#exchange?.setPaused(true);
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#exchange?.setPaused(false);
    this.#deliver();
  }

  /** Leaving the loop early cancels the call. @throws {RpcError} */
  async *[Symbol.asyncIterator](): AsyncIterator<O> {
    const queue: O[] = [];
    let wake: (() => void) | undefined;
    let finished = false;
    let error: RpcError | undefined;
    this.onMessage((message) => {
      queue.push(message);
      if (queue.length >= ITERATOR_QUEUE_MAX) this.pause();
      wake?.();
    });
    this.onEnd((cause) => {
      finished = true;
      error = cause;
      wake?.();
    });
    try {
      for (;;) {
        while (queue.length > 0) yield queue.shift()!;
        this.resume();
        if (queue.length > 0) continue;
        if (finished) break;
        await new Promise<void>((resolve) => (wake = resolve));
      }
      if (error !== undefined) throw error;
    } finally {
      if (!finished) this.cancel();
    }
  }

  // For the channel

  attach(exchange: ClientExchange<I>): void {
    this.#exchange = exchange;
  }

  receiveHeaders(headers: Metadata): void {
    if (this.#ended || this.#headers !== undefined) return;
    this.#headers = headers;
    this.#headersHook?.(headers);
  }

  receive(message: O): void {
    if (this.#ended) return;
    this.#waiting.push(message);
    this.#deliver();
  }

  /** Ends the call with a status from the other side. */
  finish(code: GrpcCode, message: string, trailers: Metadata): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#trailers = trailers;
    if (code !== GRPC_CODES.OK) {
      const name = grpcCodeName(code);
      const upperSnake = name.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
      this.#error = new RpcError(upperSnake, code, message);
    }
    this.#deliver();
  }

  /** Ends the call from this side and tells the other. */
  abort(error: RpcError): void {
    this.#abort(error);
  }

  drained(): void {
    if (!this.#ended) this.#drainHook?.();
  }

  #abort(error: RpcError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#waiting = [];
    this.#exchange?.cancel();
    this.#deliver();
  }

  #deliver(): void {
    while (this.#waiting.length > 0 && !this.#paused && this.#messageHook !== undefined) {
      this.#messageHook(this.#waiting.shift()!);
    }
    if (!this.#ended || this.#endDelivered || this.#endHook === undefined) return;
    if (this.#waiting.length > 0) return;
    this.#endDelivered = true;
    this.#endHook(this.#error);
  }
}

/** The outcome of a stream that carries one message each way. */
export function unaryOutcome<I, O>(stream: ClientStream<I, O>, request: I): Promise<O> {
  return new Promise((resolve, reject) => {
    let response: { readonly message: O } | undefined;
    stream.onMessage((message) => {
      response ??= { message };
    });
    stream.onEnd((error) => {
      if (error !== undefined) reject(error);
      else if (response !== undefined) resolve(response.message);
      else
        reject(new RpcError("INTERNAL", GRPC_CODES.INTERNAL, "the call ended without a message"));
    });
    stream.send(request);
    stream.end();
  });
}

/** Ties `signal` and `timeoutMs` to a stream. @returns lets go of both */
export function bindCallOptions(
  stream: ClientStream<unknown, unknown>,
  options: CallOptions,
): () => void {
  const { signal, timeoutMs } = options;
  const onAbort = (): void => stream.cancel();
  if (signal?.aborted === true) queueMicrotask(onAbort);
  else signal?.addEventListener("abort", onAbort);
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(
          () =>
            stream.abort(
              new RpcError(
                "DEADLINE_EXCEEDED",
                GRPC_CODES.DEADLINE_EXCEEDED,
                "context deadline exceeded",
              ),
            ),
          Math.min(timeoutMs, 2 ** 31 - 1),
        );
  return () => {
    signal?.removeEventListener("abort", onAbort);
    clearTimeout(timer);
  };
}
