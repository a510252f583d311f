/**
 * A log held in memory: what etcd keeps beside its WAL, and what tests stand on.
 *
 * Invariants:
 * - `#entries[i].index === #previousIndex + 1 + i`: no gaps.
 * - Arrays handed out are slices: what is changed here was handed out to nobody. Entries themselves
 *   are values.
 */

import { EMPTY_BYTES, invariant } from "@etcd-ts/base";
import type { ConfState, Entry, HardState, Snapshot } from "./raftpb/types.ts";
import { EMPTY_HARD_STATE, EMPTY_SNAPSHOT } from "./raftpb/types.ts";
import type { Storage } from "./storage.ts";
import {
  CompactedError,
  limitEntries,
  SnapshotOutOfDateError,
  UnavailableError,
} from "./storage.ts";

export class MemoryStorage implements Storage {
  #hardState: HardState = EMPTY_HARD_STATE;
  #snapshot: Snapshot = EMPTY_SNAPSHOT;
  /** The entry before the first: compacted away, but its term is still known. */
  #previousIndex = 0;
  #previousTerm = 0;
  #entries: Entry[] = [];

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.metadata.confState };
  }

  setHardState(state: HardState): void {
    this.#hardState = state;
  }

  entries(lo: number, hi: number, bytesMax: number): readonly Entry[] {
    if (lo <= this.#previousIndex) throw new CompactedError();
    invariant(
      hi <= this.lastIndex() + 1,
      () => `entries' hi(${hi}) is out of bound lastindex(${this.lastIndex()})`,
    );
    if (this.#entries.length === 0) throw new UnavailableError();
    const start = lo - this.#previousIndex - 1;
    return limitEntries(this.#entries.slice(start, hi - this.#previousIndex - 1), bytesMax);
  }

  term(index: number): number {
    if (index < this.#previousIndex) throw new CompactedError();
    if (index === this.#previousIndex) return this.#previousTerm;
    const entry = this.#entries[index - this.#previousIndex - 1];
    if (entry === undefined) throw new UnavailableError();
    return entry.term;
  }

  firstIndex(): number {
    return this.#previousIndex + 1;
  }

  lastIndex(): number {
    return this.#previousIndex + this.#entries.length;
  }

  snapshot(): Snapshot {
    return this.#snapshot;
  }

  /**
   * Adds entries to the log; those that reach back replace what is there from their first on,
   * and those already compacted are passed over.
   */
  append(entries: readonly Entry[]): void {
    const skip = Math.max(0, this.firstIndex() - (entries[0]?.index ?? 0));
    const first = entries[skip];
    if (first === undefined) return;
    const keep = first.index - this.firstIndex();
    invariant(
      keep <= this.#entries.length,
      () => `missing log entry [last: ${this.lastIndex()}, append at: ${first.index}]`,
    );
    // Arrays handed out are slices, so this one may be cut in place.
    this.#entries.length = keep;
    for (let i = skip; i < entries.length; i++) {
      const entry = entries[i]!;
      invariant(
        entry.index === first.index + i - skip,
        () => `append: gap before ${entry.index}, after ${first.index + i - skip - 1}`,
      );
      this.#entries.push(entry);
    }
  }

  /**
   * Makes the snapshot at `index`, to be had from `snapshot()` from now on.
   *
   * @param confState - the configuration at `index`; undefined if unchanged since the last one
   * @throws {SnapshotOutOfDateError} if there is one at `index` or above
   */
  createSnapshot(
    index: number,
    confState: ConfState | undefined,
    data: Uint8Array = EMPTY_BYTES,
  ): Snapshot {
    if (index <= this.#snapshot.metadata.index) throw new SnapshotOutOfDateError();
    invariant(
      index <= this.lastIndex(),
      () => `snapshot ${index} is out of bound lastindex(${this.lastIndex()})`,
    );
    this.#snapshot = {
      data,
      metadata: {
        confState: confState ?? this.#snapshot.metadata.confState,
        index,
        term: this.term(index),
      },
    };
    return this.#snapshot;
  }

  /**
   * Forgets the entries up to and with `index`; it must have been applied.
   *
   * @throws {CompactedError} if that has been done before
   */
  compact(index: number): void {
    if (index <= this.#previousIndex) throw new CompactedError();
    invariant(
      index <= this.lastIndex(),
      () => `compact ${index} is out of bound lastindex(${this.lastIndex()})`,
    );
    const term = this.term(index);
    // In place: a new array of what stays, thousands of entries, would be made for every hundred
    // that go, and grow again with the next that comes.
    this.#entries.splice(0, index - this.#previousIndex);
    this.#previousIndex = index;
    this.#previousTerm = term;
  }

  /**
   * Replaces everything by `snapshot`.
   *
   * @throws {SnapshotOutOfDateError} if there is one at its index or above
   */
  applySnapshot(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    if (this.#snapshot.metadata.index >= index) throw new SnapshotOutOfDateError();
    this.#snapshot = snapshot;
    this.#entries = [];
    this.#previousIndex = index;
    this.#previousTerm = term;
  }
}
