/**
 * Linearizable reads that wait for a quorum to confirm who leads.
 *
 * Reads are numbered as they come. A heartbeat carries the number of the newest one, its answer
 * acknowledges all reads up to that number, and what a quorum has acknowledged is confirmed. So
 * one round of heartbeats serves any number of reads, and a later round also confirms earlier
 * reads whose own round was lost. (Raft thesis, section 6.4.)
 *
 * Invariants:
 * - `#unconfirmed[i]` is read number `#confirmed + 1 + i`.
 * - Numbers mean something within one term of one leader only; the queue is made anew with it.
 */

import type { JointVoters } from "./quorum/joint.ts";
import { jointCommittedIndex } from "./quorum/joint.ts";
import { EMPTY_BYTES } from "@etcd-ts/base";
import type { Message } from "./raftpb/types.ts";

/** The context of a heartbeat is a read's number, as 8 bytes, little-endian. */
const CONTEXT_BYTES = 8;

export interface PendingRead {
  /** The MsgReadIndex that asked for it. */
  readonly request: Message;
  /** What was committed when it came: the read must see all of it. */
  readonly index: number;
}

export class ReadQueue {
  #confirmed = 0;
  #unconfirmed: PendingRead[] = [];
  readonly #acked = new Map<bigint, number>();

  /** Number of the newest read. */
  get last(): number {
    return this.#confirmed + this.#unconfirmed.length;
  }

  add(read: PendingRead): void {
    this.#unconfirmed.push(read);
  }

  /** What a heartbeat must carry to confirm all reads; empty if none waits. */
  heartbeatContext(): Uint8Array {
    if (this.#unconfirmed.length === 0) return EMPTY_BYTES;
    const context = new Uint8Array(CONTEXT_BYTES);
    let rest = this.last;
    for (let i = 0; rest > 0; i++) {
      context[i] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    return context;
  }

  /** Takes the context a heartbeat response brought back; one nobody sent is ignored. */
  acknowledgeContext(from: bigint, context: Uint8Array): void {
    if (context.length !== CONTEXT_BYTES) return;
    let number = 0;
    for (let i = CONTEXT_BYTES - 1; i >= 0; i--) number = number * 256 + context[i]!;
    if (number <= this.last) this.acknowledge(from, number);
  }

  /** Notes that `from` knew this leader when read `number` had come. */
  acknowledge(from: bigint, number: number): void {
    if (number > (this.#acked.get(from) ?? 0)) this.#acked.set(from, number);
  }

  /** Takes out the reads a quorum of `voters` has confirmed, in the order they came. */
  takeConfirmed(voters: JointVoters): readonly PendingRead[] {
    const confirmed = Math.min(
      this.last,
      jointCommittedIndex(voters, (id) => this.#acked.get(id)),
    );
    if (confirmed <= this.#confirmed) return [];
    const reads = this.#unconfirmed.slice(0, confirmed - this.#confirmed);
    this.#unconfirmed = this.#unconfirmed.slice(reads.length);
    this.#confirmed = confirmed;
    return reads;
  }
}
