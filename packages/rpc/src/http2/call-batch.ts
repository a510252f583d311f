/**
 * Small unary calls that came in one read of one connection with the same header block, as numbers:
 * no object is made for any of them.
 *
 * A handler gets the whole batch and ends each of its calls once, in this turn or a later one: with
 * `begin`, the message written into what that returns, and `respond`; or with `handOver`, which
 * makes an ordinary call of it. Whatever is not a quick OK takes that way, so that what interceptors
 * have to say about such calls is said in one place. It passes over calls that are not open any
 * more, because the client reset them, and lets go of the batch when it has ended the last one.
 *
 * Invariants:
 * - A call is ended once: `respond` and `handOver` of one that is not open do nothing.
 * - Between `begin` and `respond` or `drop` nothing else is written to the connection.
 * - Only calls that `respond` ended are counted here; the others are counted as ordinary calls.
 */

import { EMPTY_BYTES, invariant } from "@etcd-ts/base";
import type { WireWriter } from "@etcd-ts/base";

import type { AnyMethod, Peer, UnaryHandler } from "../call.ts";
import type { Metadata } from "../metadata.ts";
import type { Route } from "../service-table.ts";
import type { RequestHead } from "./request-head.ts";

/** Answers a call that was handed over. */
export type BatchFallback = UnaryHandler<unknown, unknown>;

/** What all calls of a batch have in common. */
export interface BatchHead {
  readonly route: Route;
  readonly metadata: Metadata;
  readonly request: RequestHead;
}

/** What a batch needs of its connection. */
export interface BatchHost {
  readonly peer: Peer;
  beginAnswer(): WireWriter;
  dropAnswer(): void;
  /** @returns the length of the message */
  finishAnswer(streamID: number): number;
  beginOrdinary(batch: CallBatch, i: number, streamID: number, run: BatchFallback): void;
  /** All calls have ended. */
  ended(batch: CallBatch, wasReset: boolean): void;
}

export class CallBatch {
  /** Holds the messages: call `i` has `bytes[starts[i], ends[i])`. */
  bytes: Uint8Array = EMPTY_BYTES;
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  /** Two numbers a call for the handler's own use. */
  readonly firsts: number[] = [];
  readonly seconds: number[] = [];
  /** When they came in, on the server's `Clock.monotonicMs`. */
  startMs = 0;
  /** How many were taken, ended or not. */
  count = 0;
  /** Of the calls that `respond` ended: how many, and bytes of messages in and out. */
  answered = 0;
  receivedBytes = 0;
  sentBytes = 0;
  readonly #host: BatchHost;
  /** Stream ids; 0 once a call has ended. */
  readonly #ids: number[] = [];
  #head: BatchHead | undefined;
  #open = 0;
  #isFilling = false;
  #wasReset = false;

  constructor(host: BatchHost) {
    this.#host = host;
  }

  get head(): BatchHead {
    invariant(this.#head !== undefined, () => "CallBatch: not begun");
    return this.#head;
  }

  get method(): AnyMethod {
    return this.head.route.method;
  }

  get metadata(): Metadata {
    return this.head.metadata;
  }

  get peer(): Peer {
    return this.#host.peer;
  }

  // For the connection

  fill(head: BatchHead, bytes: Uint8Array, startMs: number): void {
    invariant(this.#open === 0, () => "CallBatch.fill: still in use");
    this.#head = head;
    this.bytes = bytes;
    this.startMs = startMs;
    this.count = 0;
    this.answered = 0;
    this.receivedBytes = 0;
    this.sentBytes = 0;
    this.#isFilling = true;
  }

  add(streamID: number, start: number, end: number): void {
    const i = this.count++;
    this.#ids[i] = streamID;
    this.starts[i] = start;
    this.ends[i] = end;
    this.#open++;
  }

  /** No more calls come: the batch ends with the last one of them. */
  filled(): void {
    this.#isFilling = false;
    if (this.#open === 0) this.#end();
  }

  /** Which of the calls has the stream; -1 if none that is open. */
  indexOf(streamID: number): number {
    for (let i = 0; i < this.count; i++) if (this.#ids[i] === streamID) return i;
    return -1;
  }

  /** Makes an ordinary call of one that the client resets; the handler is still at work on it. */
  giveUp(i: number, run: BatchFallback): void {
    this.#wasReset = true;
    this.handOver(i, run);
  }

  // For the handler

  isOpen(i: number): boolean {
    return this.#ids[i] !== 0;
  }

  /** @returns where the message that answers call `i` is to be written, behind what is there */
  begin(i: number): WireWriter {
    invariant(this.#ids[i] !== 0, () => `CallBatch.begin: call ${i} has ended`);
    return this.#host.beginAnswer();
  }

  /** Takes back what was written since `begin`. */
  drop(): void {
    this.#host.dropAnswer();
  }

  /** Answers call `i` with what was written since `begin`. */
  respond(i: number): void {
    const streamID = this.#ids[i]!;
    this.#ids[i] = 0;
    this.answered++;
    this.receivedBytes += this.ends[i]! - this.starts[i]!;
    this.sentBytes += this.#host.finishAnswer(streamID);
    this.#endOne();
  }

  /**
   * Makes an ordinary call of call `i`, as if it had come as one.
   *
   * @param run - what it is answered by; the method's own handler if it is left out, which then
   *   runs as if nothing had been done for the call yet
   */
  handOver(i: number, run?: BatchFallback): void {
    const streamID = this.#ids[i]!;
    if (streamID === 0) return;
    const { handler } = this.head.route;
    invariant(handler.kind === "unary", () => "CallBatch: not a unary method");
    this.#ids[i] = 0;
    this.#host.beginOrdinary(this, i, streamID, run ?? handler.run);
    this.#endOne();
  }

  handOverAll(run?: BatchFallback): void {
    for (let i = 0; i < this.count; i++) this.handOver(i, run);
  }

  #endOne(): void {
    if (--this.#open === 0 && !this.#isFilling) this.#end();
  }

  #end(): void {
    this.#host.ended(this, this.#wasReset);
  }
}
