/**
 * A call as a service sees it: messages and a status, never HTTP/2.
 *
 * Rules for handlers:
 * - A unary handler answers exactly once, with `respond` or `fail`, in this turn or a later one.
 * - A stream handler ends with `end` or `fail`. What it does after that, or after the call was
 *   cancelled, has no effect: cancellation may always come first.
 * - Nothing here makes a promise per request; a handler that throws fails its call.
 */

import type { EncodedChunks, MethodDescriptor, RpcError } from "@etcd-ts/api";

import type { Metadata } from "./metadata.ts";

/** A method whose message types do not matter. */
export type AnyMethod = MethodDescriptor<unknown, unknown>;

/** Who is at the other end of the connection. */
export interface Peer {
  /** `host:port`; `@` for a unix socket; `in-process`. */
  readonly address: string;
  /** Subject common name of a verified client certificate. */
  readonly commonName: string | undefined;
}

export interface CallContext {
  readonly method: AnyMethod;
  readonly metadata: Metadata;
  readonly peer: Peer;
  /** When it came in, on the server's `Clock.monotonicMs`. */
  readonly startMs: number;
  /** On the server's `Clock.monotonicMs`. */
  readonly deadlineMs: number | undefined;
  /** Of a unary call whose handler has begun: what was asked. */
  readonly request: unknown;
  /**
   * Of a unary call: what it is answered with. A handler that answers with an encoded message sets
   * what interceptors are to see instead.
   */
  response: unknown;
  /** The caller went away, the deadline passed, or the transport closed. */
  readonly isCancelled: boolean;
  /** Why; set together with `isCancelled`. */
  readonly cancelReason: RpcError | undefined;
  /** Calls `run` once when the call is cancelled, at once if it already is; never after its end. */
  onCancel(run: () => void): void;
  /** Sends response metadata; once, before the first message. Later calls have no effect. */
  sendHeaders(metadata: Metadata): void;
}

export interface UnaryCall<O> extends CallContext {
  respond(response: O): void;
  /**
   * As `respond` with a message that is encoded already: for answers too long to be encoded in one
   * turn. The chunks belong to the call from then on and leave as the client takes them.
   */
  respondEncoded(response: EncodedChunks): void;
  fail(error: RpcError): void;
}

export interface StreamCall<I, O> extends CallContext {
  /**
   * Queues a message.
   *
   * @returns false above the high-water mark: the message is queued all the same, but the handler
   *   should wait for `onDrain`
   */
  send(message: O): boolean;
  /** Calls `run` each time the queue empties after `send` returned false. */
  onDrain(run: () => void): void;
  /** Bytes queued and not yet taken by the connection. */
  readonly bufferedBytes: number;
  /** Ends the call with status OK. */
  end(): void;
  fail(error: RpcError): void;
  /**
   * Calls `run` for each message, in order. Messages that came before are handed over first. A
   * serverStream call gets exactly one.
   */
  onMessage(run: (message: I) => void): void;
  /** Calls `run` once after the last message, when the client has half-closed. */
  onEnd(run: () => void): void;
  /** Stops `onMessage` and, through flow control, the sender. */
  pause(): void;
  resume(): void;
}

export type UnaryHandler<I, O> = (request: I, call: UnaryCall<O>) => void;
export type StreamHandler<I, O> = (call: StreamCall<I, O>) => void;
