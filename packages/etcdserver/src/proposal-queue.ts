/**
 * Proposals of one turn, handed to raft together; while there is no leader they wait here.
 *
 * Invariants:
 * - They reach raft in the order they came.
 * - A proposal is handed on only while somebody waits for it.
 */

import type { ConfChange, ProposeResult } from "@etcd-ts/raft";

import { PendingProposal } from "./pending-proposals.ts";

/** A write, or a change of the configuration. */
export type Queued = PendingProposal | ConfChange;

/** Where proposals go. */
export interface ProposalTarget {
  proposeBatch(batch: readonly Uint8Array[]): ProposeResult;
  proposeConfChange(change: ConfChange): ProposeResult;
}

export class ProposalQueue {
  readonly #target: ProposalTarget;
  readonly #isAwaited: (change: ConfChange) => boolean;
  readonly #dropped: (queued: Queued) => void;
  #queue: Queued[] = [];
  #hasWaited = false;

  /** @param dropped - told of each proposal that raft would not take */
  constructor(
    target: ProposalTarget,
    isAwaited: (change: ConfChange) => boolean,
    dropped: (queued: Queued) => void,
  ) {
    this.#target = target;
    this.#isAwaited = isAwaited;
    this.#dropped = dropped;
  }

  get size(): number {
    return this.#queue.length;
  }

  add(queued: Queued): void {
    this.#queue.push(queued);
  }

  /** There is nobody to take proposals; some may have given up by the time there is. */
  wait(): void {
    if (this.#queue.length > 0) this.#hasWaited = true;
  }

  clear(): void {
    this.#queue = [];
    this.#hasWaited = false;
  }

  /** Hands everything to raft. */
  flush(): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    const hasWaited = this.#hasWaited;
    this.clear();
    let writes: PendingProposal[] = [];
    for (const queued of queue) {
      if (queued instanceof PendingProposal) {
        if (!hasWaited || !queued.isSettled) writes.push(queued);
        continue;
      }
      if (hasWaited && !this.#isAwaited(queued)) continue;
      this.#propose(writes);
      writes = [];
      if (this.#target.proposeConfChange(queued) === "dropped") this.#dropped(queued);
    }
    this.#propose(writes);
  }

  #propose(writes: readonly PendingProposal[]): void {
    if (writes.length === 0) return;
    const result = this.#target.proposeBatch(writes.map(({ data }) => data));
    if (result === "dropped") writes.forEach(this.#dropped);
  }
}
