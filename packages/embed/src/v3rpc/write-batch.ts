/**
 * Writes, a batch at a time: requests go to the log from where they were read, and are answered
 * where the answer is sent from. No call is made for any of them.
 *
 * What is refused, fails, is slow, or has a long answer takes the way of ordinary calls.
 *
 * Invariant: a write is proposed once. A call that is handed over after that is given what became
 * of it, and not to the method's handler, which would write again.
 */

import type { MethodDescriptor } from "@etcd-ts/api";
import { WireFormatError, WireReader } from "@etcd-ts/base";
import type { Clock, EtcdError } from "@etcd-ts/base";
import type { Completion } from "@etcd-ts/etcdserver";
import type { BatchHandler, CallBatch, Metadata, Peer, UnaryCall } from "@etcd-ts/rpc";

import { claimOf } from "./headers.ts";

export interface WriteBatchParts<I, O> {
  readonly method: MethodDescriptor<I, O>;
  readonly clock: Clock;
  /** Writes that took longer than this are slow: the request log tells of them. */
  readonly slowMs: number;
  /** Why the request cannot be a write that is made at once; the ordinary way finds the words. */
  readonly isUnusual: (request: I) => boolean;
  /** Completes in a later turn. */
  readonly write: (request: I, done: Completion<O>) => void;
  /** Whether it takes more than the bytes of a few numbers. */
  readonly isLong: (response: O) => boolean;
  /** Answers an ordinary call. */
  readonly answer: (call: UnaryCall<O>) => Completion<O>;
}

export class WriteBatch<I, O> implements BatchHandler {
  readonly #parts: WriteBatchParts<I, O>;

  constructor(parts: WriteBatchParts<I, O>) {
    this.#parts = parts;
  }

  accepts(metadata: Metadata, peer: Peer): boolean {
    return claimOf({ metadata, peer }) === undefined;
  }

  run(batch: CallBatch): void {
    const { write, isUnusual } = this.#parts;
    for (let i = 0; i < batch.count; i++) {
      if (!batch.isOpen(i)) continue;
      const request = this.#decode(batch, i);
      if (request === undefined || isUnusual(request)) batch.handOver(i);
      else write(request, (error, response) => this.#answer(batch, i, error, response));
    }
  }

  /** Undefined if it is no such message. */
  #decode({ bytes, starts, ends }: CallBatch, i: number): I | undefined {
    try {
      return this.#parts.method.request.decode(new WireReader(bytes, starts[i]!, ends[i]!));
    } catch (error) {
      if (error instanceof WireFormatError) return undefined;
      throw error;
    }
  }

  #answer(
    batch: CallBatch,
    i: number,
    error: EtcdError | undefined,
    response: O | undefined,
  ): void {
    // The client may have reset the call.
    if (!batch.isOpen(i)) return;
    const { method, clock, slowMs, isLong, answer } = this.#parts;
    const isSlow = clock.monotonicMs() - batch.startMs > slowMs;
    if (response === undefined || isSlow || isLong(response)) {
      batch.handOver(i, (_, call) => answer(call as UnaryCall<O>)(error, response));
      return;
    }
    method.response.encode(response, batch.begin(i));
    batch.respond(i);
  }
}
