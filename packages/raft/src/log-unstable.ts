/**
 * The tail of the log that is not yet on disk, and a snapshot that is not yet installed.
 *
 * Invariants:
 * - `entries[i].index === offset + i`: the tail has no gaps.
 * - `offset <= offsetInProgress <= offset + entries.length`: entries below `offsetInProgress`
 *   have been handed to the disk and may be changed only by truncation.
 * - `offset` may lie below the end of the stored log: the next write then cuts the stored log.
 * - Arrays handed out are copies or are never changed again.
 */

import type { Logger } from "@etcd-ts/base";
import { invariant } from "@etcd-ts/base";
import type { Entry, Snapshot } from "./raftpb/types.ts";

export class Unstable {
  #snapshot: Snapshot | undefined;
  #snapshotInProgress = false;
  #entries: Entry[] = [];
  #offset: number;
  #offsetInProgress: number;
  readonly #logger: Logger;

  /** @param offset - index of the first entry that is not on disk */
  constructor(offset: number, logger: Logger) {
    this.#offset = offset;
    this.#offsetInProgress = offset;
    this.#logger = logger;
  }

  get offset(): number {
    return this.#offset;
  }

  get offsetInProgress(): number {
    return this.#offsetInProgress;
  }

  /** Entries in the tail, those being written included. */
  get length(): number {
    return this.#entries.length;
  }

  /** The snapshot to be installed, being written or not. */
  get snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /** First index of the log, if a snapshot decides it. */
  maybeFirstIndex(): number | undefined {
    return this.#snapshot === undefined ? undefined : this.#snapshot.metadata.index + 1;
  }

  /** Last index of the log, if the tail decides it. */
  maybeLastIndex(): number | undefined {
    if (this.#entries.length > 0) return this.#offset + this.#entries.length - 1;
    return this.#snapshot?.metadata.index;
  }

  maybeTerm(index: number): number | undefined {
    if (index >= this.#offset) return this.#entries[index - this.#offset]?.term;
    const metadata = this.#snapshot?.metadata;
    return metadata?.index === index ? metadata.term : undefined;
  }

  /** Entries nobody has been told to write yet. */
  nextEntries(): readonly Entry[] {
    return this.#entries.slice(this.#offsetInProgress - this.#offset);
  }

  hasNextEntries(): boolean {
    return this.#offsetInProgress - this.#offset < this.#entries.length;
  }

  /** The snapshot, unless somebody has been told to write it. */
  nextSnapshot(): Snapshot | undefined {
    return this.#snapshotInProgress ? undefined : this.#snapshot;
  }

  /** Notes that all there is has been handed to the disk. */
  acceptInProgress(): void {
    this.#offsetInProgress = this.#offset + this.#entries.length;
    if (this.#snapshot !== undefined) this.#snapshotInProgress = true;
  }

  /**
   * Drops the entries up to `index` from the tail: they are on disk.
   *
   * The caller attests that no write under way can replace them again. An entry whose term is
   * another by now is still to be written, and nothing is dropped.
   */
  stableTo(index: number, term: number): void {
    const known = this.maybeTerm(index);
    if (known === undefined) {
      this.#logger.info(`entry at index ${index} missing from unstable log; ignoring`);
      return;
    }
    if (index < this.#offset) {
      this.#logger.info(`entry at index ${index} matched unstable snapshot; ignoring`);
      return;
    }
    if (known !== term) {
      this.#logger.info(
        `entry at (index,term)=(${index},${term}) mismatched with ` +
          `entry at (${index},${known}) in unstable log; ignoring`,
      );
      return;
    }
    this.#entries = this.#entries.slice(index + 1 - this.#offset);
    this.#offset = index + 1;
    this.#offsetInProgress = Math.max(this.#offsetInProgress, this.#offset);
  }

  /** Drops the snapshot at `index`: it is installed. */
  stableSnapshotTo(index: number): void {
    if (this.#snapshot?.metadata.index !== index) return;
    this.#snapshot = undefined;
    this.#snapshotInProgress = false;
  }

  /** Replaces everything by a snapshot. */
  restore(snapshot: Snapshot): void {
    this.#offset = snapshot.metadata.index + 1;
    this.#offsetInProgress = this.#offset;
    this.#entries = [];
    this.#snapshot = snapshot;
    this.#snapshotInProgress = false;
  }

  /** Adds entries; what the tail holds from their first index on is replaced. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const first = entries[0];
    invariant(first !== undefined, () => "truncateAndAppend: no entries");
    const fromIndex = first.index;
    const end = this.#offset + this.#entries.length;
    invariant(fromIndex <= end, () => `truncateAndAppend: gap before ${fromIndex}`);
    if (fromIndex < end || fromIndex < this.#offset) this.#truncate(fromIndex);
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      invariant(
        entry.index === fromIndex + i,
        () => `truncateAndAppend: ${entry.index} at the place of ${fromIndex + i}`,
      );
      this.#entries.push(entry);
    }
  }

  #truncate(fromIndex: number): void {
    if (fromIndex <= this.#offset) {
      this.#logger.info(`replace the unstable entries from index ${fromIndex}`);
      this.#entries = [];
      this.#offset = fromIndex;
      this.#offsetInProgress = fromIndex;
      return;
    }
    this.#logger.info(`truncate the unstable entries before index ${fromIndex}`);
    this.#entries.length = fromIndex - this.#offset;
    this.#offsetInProgress = Math.min(this.#offsetInProgress, fromIndex);
  }

  /** Entries in [lo, hi), which must all lie in the tail. */
  slice(lo: number, hi: number): readonly Entry[] {
    const end = this.#offset + this.#entries.length;
    invariant(
      this.#offset <= lo && lo <= hi && hi <= end,
      () => `unstable.slice[${lo},${hi}) out of bound [${this.#offset},${end}]`,
    );
    return this.#entries.slice(lo - this.#offset, hi - this.#offset);
  }
}
