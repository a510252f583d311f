/**
 * Proposals of one turn, handed to raft together; while there is no leader they wait here.
 *
 * Invariants:
 * - They reach raft in the order they came.
 * - A proposal is handed on only while somebody waits for it.
 */

import type { ConfChange, ProposeResult } from "@etcd-ts/raft";

/** Where proposals go. */
export interface ProposalTarget {
  proposeBatch(batch: readonly Uint8Array[]): ProposeResult;
  proposeConfChange(change: ConfChange): ProposeResult;
}

export class ProposalQueue {
  readonly #target: ProposalTarget;
  readonly #isAwaited: (id: bigint) => boolean;
  readonly #dropped: (id: bigint) => void;
  #ids: bigint[] = [];
  #entries: (Uint8Array | ConfChange)[] = [];
  #hasWaited = false;

  /** @param dropped - told of each proposal that raft would not take */
  constructor(
    target: ProposalTarget,
    isAwaited: (id: bigint) => boolean,
    dropped: (id: bigint) => void,
  ) {
    this.#target = target;
    this.#isAwaited = isAwaited;
    this.#dropped = dropped;
  }

  get size(): number {
    return this.#ids.length;
  }

  add(id: bigint, entry: Uint8Array | ConfChange): void {
    this.#ids.push(id);
    this.#entries.push(entry);
  }

  /** There is nobody to take proposals; some may have given up by the time there is. */
  wait(): void {
    if (this.#ids.length > 0) this.#hasWaited = true;
  }

  clear(): void {
    this.#ids = [];
    this.#entries = [];
    this.#hasWaited = false;
  }

  /** Hands everything to raft. */
  flush(): void {
    if (this.#ids.length === 0) return;
    const ids = this.#ids;
    const entries = this.#entries;
    const hasWaited = this.#hasWaited;
    this.clear();
    let batchIDs: bigint[] = [];
    let batch: Uint8Array[] = [];
    const flushBatch = (): void => {
      if (batch.length === 0) return;
      if (this.#target.proposeBatch(batch) === "dropped") batchIDs.forEach(this.#dropped);
      batchIDs = [];
      batch = [];
    };
    ids.forEach((id, i) => {
      const entry = entries[i]!;
      if (hasWaited && !this.#isAwaited(id)) return;
      if (entry instanceof Uint8Array) {
        batchIDs.push(id);
        batch.push(entry);
        return;
      }
      flushBatch();
      if (this.#target.proposeConfChange(entry) === "dropped") this.#dropped(id);
    });
    flushBatch();
  }
}
