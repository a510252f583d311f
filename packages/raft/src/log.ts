/**
 * The whole log of a member: what is on disk, what is not yet, and how far it is decided.
 *
 * Invariants:
 * - `applied <= applying <= committed <= lastIndex()`.
 * - An entry at or below `committed` is never replaced.
 * - Terms never fall from one entry to the next.
 */

import type { Logger } from "@etcd-ts/base";
import { InvariantError } from "@etcd-ts/base";
import { Unstable } from "./log-unstable.ts";
import type { Entry, Snapshot } from "./raftpb/types.ts";
import type { Storage } from "./storage.ts";
import { CompactedError, entriesSizeBytes, limitEntries, UnavailableError } from "./storage.ts";

const NO_ENTRIES: readonly Entry[] = [];

/** Where an entry lies and which leader made it; two logs that share one share all before it. */
export interface EntryID {
  readonly term: number;
  readonly index: number;
}

export class RaftLog {
  readonly #storage: Storage;
  readonly #unstable: Unstable;
  readonly #logger: Logger;
  readonly #maxApplyingBytes: number;
  #committed: number;
  #applying: number;
  #applied: number;
  /** Entries handed out to be applied and not yet acknowledged. */
  #applyingBytes = 0;
  #applyingPaused = false;

  /** @param maxApplyingBytes - size of the entries being applied at a time */
  constructor(storage: Storage, logger: Logger, maxApplyingBytes: number) {
    this.#storage = storage;
    this.#logger = logger;
    this.#maxApplyingBytes = maxApplyingBytes;
    this.#unstable = new Unstable(storage.lastIndex() + 1, logger);
    this.#committed = storage.firstIndex() - 1;
    this.#applying = this.#committed;
    this.#applied = this.#committed;
  }

  /** Highest index known to be on the disks of a quorum. */
  get committed(): number {
    return this.#committed;
  }

  /** Highest index the application has been told to apply. */
  get applying(): number {
    return this.#applying;
  }

  /** Highest index the application has applied. */
  get applied(): number {
    return this.#applied;
  }

  get maxApplyingBytes(): number {
    return this.#maxApplyingBytes;
  }

  firstIndex(): number {
    return this.#unstable.maybeFirstIndex() ?? this.#storage.firstIndex();
  }

  lastIndex(): number {
    return this.#unstable.maybeLastIndex() ?? this.#storage.lastIndex();
  }

  lastEntryID(): EntryID {
    const index = this.lastIndex();
    const term = this.term(index);
    if (term === undefined)
      return this.#panic(`unexpected error when getting the last term at ${index}`);
    return { term, index };
  }

  /** Term of the entry at `index`; undefined if it is compacted away or not there. */
  term(index: number): number | undefined {
    const unstable = this.#unstable.maybeTerm(index);
    if (unstable !== undefined) return unstable;
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    try {
      return this.#storage.term(index);
    } catch (error) {
      if (error instanceof CompactedError || error instanceof UnavailableError) return undefined;
      throw error;
    }
  }

  matchesTerm(id: EntryID): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends in `their` holds at least as much as this one (Raft, section 5.4.1). */
  isUpToDate(their: EntryID): boolean {
    const our = this.lastEntryID();
    return their.term > our.term || (their.term === our.term && their.index >= our.index);
  }

  /**
   * Takes a leader's entries, if this log holds the one before them.
   *
   * @returns the index up to which the two logs agree now; undefined if they do not agree at
   * `previous`, and nothing was done
   */
  maybeAppend(previous: EntryID, entries: readonly Entry[], committed: number): number | undefined {
    if (!this.matchesTerm(previous)) return undefined;
    const lastNewIndex = previous.index + entries.length;
    const conflict = this.#findConflict(entries);
    if (conflict !== undefined) {
      if (conflict <= this.#committed) {
        this.#panic(
          `entry ${conflict} conflict with committed entry [committed(${this.#committed})]`,
        );
      }
      const skip = conflict - previous.index - 1;
      this.append(skip === 0 ? entries : entries.slice(skip));
    }
    this.commitTo(Math.min(committed, lastNewIndex));
    return lastNewIndex;
  }

  /** Adds entries, replacing what is there from their first index on. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    if (first.index <= this.#committed) {
      this.#panic(`after(${first.index - 1}) is out of range [committed(${this.#committed})]`);
    }
    this.#unstable.truncateAndAppend(entries);
  }

  /** Index of the first entry that this log does not hold as it is. */
  #findConflict(entries: readonly Entry[]): number | undefined {
    for (const entry of entries) {
      const term = this.term(entry.index);
      if (term === entry.term) continue;
      if (entry.index <= this.lastIndex()) {
        this.#logger.info(
          `found conflict at index ${entry.index} ` +
            `[existing term: ${term ?? 0}, conflicting term: ${entry.term}]`,
        );
      }
      return entry.index;
    }
    return undefined;
  }

  /**
   * The last entry at or below `index` whose term is at most `term`: the highest place at which
   * this log can agree with one whose entry at `index` has that term. Where the term is not
   * known, agreement is assumed and the term is 0.
   */
  findConflictByTerm(index: number, term: number): EntryID {
    for (let at = index; at > 0; at--) {
      const ours = this.term(at);
      if (ours === undefined) return { index: at, term: 0 };
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  /** Commits up to `index` if the entry there is of `term`: a leader's rule (Raft, section 5.4.2). */
  maybeCommit(id: EntryID): boolean {
    if (id.term === 0 || id.index <= this.#committed || !this.matchesTerm(id)) return false;
    this.commitTo(id.index);
    return true;
  }

  /** Commits up to `index`; what is committed stays so. */
  commitTo(index: number): void {
    if (index <= this.#committed) return;
    if (index > this.lastIndex()) {
      this.#panic(
        `tocommit(${index}) is out of range [lastIndex(${this.lastIndex()})]. ` +
          "Was the raft log corrupted, truncated, or lost?",
      );
    }
    this.#committed = index;
  }

  /** Sets the commit index a restart found. */
  loadCommitted(index: number, describeMember: string): void {
    if (index < this.#committed || index > this.lastIndex()) {
      this.#panic(
        `${describeMember} state.commit ${index} is out of range ` +
          `[${this.#committed}, ${this.lastIndex()}]`,
      );
    }
    this.#committed = index;
  }

  /** Notes what the application has applied: entries of `bytes` in all, up to `index`. */
  appliedTo(index: number, bytes: number): void {
    if (index > this.#committed || index < this.#applied) {
      this.#panic(
        `applied(${index}) is out of range ` +
          `[prevApplied(${this.#applied}), committed(${this.#committed})]`,
      );
    }
    this.#applied = index;
    this.#applying = Math.max(this.#applying, index);
    this.#applyingBytes = Math.max(0, this.#applyingBytes - bytes);
    this.#applyingPaused = this.#applyingBytes >= this.#maxApplyingBytes;
  }

  /** Notes that entries of `bytes` in all, up to `index`, were handed out to be applied. */
  acceptApplying(index: number, bytes: number, allowUnstable: boolean): void {
    if (index > this.#committed) {
      this.#panic(
        `applying(${index}) is out of range ` +
          `[prevApplying(${this.#applying}), committed(${this.#committed})]`,
      );
    }
    this.#applying = index;
    this.#applyingBytes += bytes;
    // Stop at the bound, and also when the next entry would have crossed it.
    this.#applyingPaused =
      this.#applyingBytes >= this.#maxApplyingBytes ||
      index < this.#maxAppliableIndex(allowUnstable);
  }

  /** @param allowUnstable - whether entries not yet on this member's disk may be applied */
  #maxAppliableIndex(allowUnstable: boolean): number {
    return allowUnstable ? this.#committed : Math.min(this.#committed, this.#unstable.offset - 1);
  }

  hasNextCommittedEntries(allowUnstable: boolean): boolean {
    // A snapshot goes first: it replaces the state the entries would be applied to.
    if (this.#applyingPaused || this.hasNextOrInProgressSnapshot()) return false;
    return this.#applying < this.#maxAppliableIndex(allowUnstable);
  }

  /** Committed entries to be applied next, within the bound on their size. */
  nextCommittedEntries(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommittedEntries(allowUnstable)) return NO_ENTRIES;
    const lo = this.#applying + 1;
    const hi = this.#maxAppliableIndex(allowUnstable) + 1;
    const entries = this.slice(lo, hi, this.#maxApplyingBytes - this.#applyingBytes);
    if (entries === undefined) {
      return this.#panic(`unexpected error when getting unapplied entries [${lo},${hi})`);
    }
    return entries;
  }

  nextUnstableEntries(): readonly Entry[] {
    return this.#unstable.nextEntries();
  }

  hasNextUnstableEntries(): boolean {
    return this.#unstable.hasNextEntries();
  }

  hasNextOrInProgressUnstableEntries(): boolean {
    return this.#unstable.length > 0;
  }

  nextUnstableSnapshot(): Snapshot | undefined {
    return this.#unstable.nextSnapshot();
  }

  hasNextOrInProgressSnapshot(): boolean {
    return this.#unstable.snapshot !== undefined;
  }

  acceptUnstable(): void {
    this.#unstable.acceptInProgress();
  }

  stableTo(id: EntryID): void {
    this.#unstable.stableTo(id.index, id.term);
  }

  stableSnapshotTo(index: number): void {
    this.#unstable.stableSnapshotTo(index);
  }

  /** @throws {SnapshotTemporarilyUnavailableError} */
  snapshot(): Snapshot {
    return this.#unstable.snapshot ?? this.#storage.snapshot();
  }

  /** Replaces the log by a snapshot. */
  restore(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    this.#logger.info(
      `log [${this.toString()}] starts to restore snapshot [index: ${index}, term: ${term}]`,
    );
    this.#committed = index;
    this.#unstable.restore(snapshot);
  }

  /** Entries from `index` on, within `bytesMax` but at least one; undefined if compacted away. */
  entriesFrom(index: number, bytesMax: number): readonly Entry[] | undefined {
    const end = this.lastIndex() + 1;
    return index >= end ? NO_ENTRIES : this.slice(index, end, bytesMax);
  }

  /** Entries in [lo, hi), within `bytesMax` but at least one; undefined if compacted away. */
  slice(lo: number, hi: number, bytesMax: number): readonly Entry[] | undefined {
    if (lo > hi) return this.#panic(`invalid slice ${lo} > ${hi}`);
    const first = this.firstIndex();
    if (lo < first) return undefined;
    if (hi > this.lastIndex() + 1) {
      return this.#panic(`slice[${lo},${hi}) out of bound [${first},${this.lastIndex()}]`);
    }
    if (lo === hi) return NO_ENTRIES;
    const offset = this.#unstable.offset;
    if (lo >= offset) return limitEntries(this.#unstable.slice(lo, hi), bytesMax);
    const cut = Math.min(hi, offset);
    const stored = this.#storedEntries(lo, cut, bytesMax);
    if (stored === undefined || hi <= offset || stored.length < cut - lo) return stored;
    if (bytesMax === Number.POSITIVE_INFINITY) {
      return [...stored, ...this.#unstable.slice(offset, hi)];
    }
    const rest = bytesMax - entriesSizeBytes(stored);
    if (rest <= 0) return stored;
    const tail = limitEntries(this.#unstable.slice(offset, hi), rest);
    // The tail always has one entry, even one that is too large.
    if (tail.length === 1 && entriesSizeBytes(tail) > rest) return stored;
    return [...stored, ...tail];
  }

  #storedEntries(lo: number, hi: number, bytesMax: number): readonly Entry[] | undefined {
    try {
      return this.#storage.entries(lo, hi, bytesMax);
    } catch (error) {
      if (error instanceof CompactedError) return undefined;
      if (error instanceof UnavailableError) {
        return this.#panic(`entries[${lo}:${hi}) is unavailable from storage`);
      }
      throw error;
    }
  }

  /** Whether a committed entry that is not yet applied changes the configuration. */
  hasUnappliedConfChange(): boolean {
    const end = this.#committed + 1;
    for (let lo = this.#applied + 1; lo < end;) {
      const entries = this.slice(lo, end, this.#maxApplyingBytes);
      if (entries === undefined || entries.length === 0) {
        return this.#panic(`error scanning unapplied entries [${lo}, ${end})`);
      }
      if (entries.some((entry) => entry.type !== "EntryNormal")) return true;
      lo += entries.length;
    }
    return false;
  }

  toString(): string {
    const unstable = this.#unstable;
    return (
      `committed=${this.#committed}, applied=${this.#applied}, applying=${this.#applying}, ` +
      `unstable.offset=${unstable.offset}, ` +
      `unstable.offsetInProgress=${unstable.offsetInProgress}, ` +
      `len(unstable.Entries)=${unstable.length}`
    );
  }

  /** The log cannot be trusted: says so in etcd's words and stops the member. */
  #panic(message: string): never {
    this.#logger.log("panic", message);
    throw new InvariantError(message);
  }
}
