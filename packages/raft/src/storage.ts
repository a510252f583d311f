/**
 * What the core reads of the member's stable storage. It never writes there: it hands out work
 * and is told when the work is done.
 *
 * Invariants an implementation keeps:
 * - The log is `firstIndex()..lastIndex()` without gaps; `firstIndex() - 1` is the last entry a
 *   snapshot replaced, and its term is still known.
 * - Entries, once returned, never change.
 */

import { EtcdError } from "@etcd-ts/base";
import { entrySizeBytes } from "./raftpb/codec.ts";
import type { ConfState, Entry, HardState, Snapshot } from "./raftpb/types.ts";

/** The entry asked for has been replaced by a snapshot. */
export class CompactedError extends EtcdError {
  readonly code = "RAFT_COMPACTED";
  constructor() {
    super("requested index is unavailable due to compaction");
  }
}

/** The entry asked for is not in the log. */
export class UnavailableError extends EtcdError {
  readonly code = "RAFT_UNAVAILABLE";
  constructor() {
    super("requested entry at index is unavailable");
  }
}

/** The snapshot offered is older than the one at hand. */
export class SnapshotOutOfDateError extends EtcdError {
  readonly code = "RAFT_SNAPSHOT_OUT_OF_DATE";
  constructor() {
    super("requested index is older than the existing snapshot");
  }
}

/** The snapshot is still being made; the core asks again later. */
export class SnapshotTemporarilyUnavailableError extends EtcdError {
  readonly code = "RAFT_SNAPSHOT_TEMPORARILY_UNAVAILABLE";
  constructor() {
    super("snapshot is temporarily unavailable");
  }
}

export interface Storage {
  /** What was saved before the last stop; empty values for a new member. */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /**
   * Entries in [lo, hi), as many as fit in `bytesMax` but at least one.
   *
   * @throws {CompactedError} if `lo` is below `firstIndex()`
   * @throws {UnavailableError} if an entry of the range is missing
   */
  entries(lo: number, hi: number, bytesMax: number): readonly Entry[];
  /**
   * Term of the entry at `index`, in [firstIndex() - 1, lastIndex()].
   *
   * @throws {CompactedError} below the range
   * @throws {UnavailableError} above it
   */
  term(index: number): number;
  firstIndex(): number;
  lastIndex(): number;
  /** The newest snapshot. @throws {SnapshotTemporarilyUnavailableError} */
  snapshot(): Snapshot;
}

/** Bytes of a field of an entry that etcd's raft of 3.7 leaves out where 3.6 writes a zero. */
const UNSET_FIELD_BYTES = 2;

/**
 * What an entry counts for against a bound: its size as etcd's raft of 3.7 encodes it, without the
 * type of a normal entry or the unset id of a single change; so pages end where they end there.
 */
export function countedSizeBytes(entry: Entry): number {
  const bytes = entrySizeBytes(entry);
  return entry.type === "EntryConfChangeV2" ? bytes : bytes - UNSET_FIELD_BYTES;
}

/** What `entries` count for against a bound. */
export function entriesSizeBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += countedSizeBytes(entry);
  return bytes;
}

/** The longest prefix within `bytesMax`, yet at least one entry if there is any. */
export function limitEntries(entries: readonly Entry[], bytesMax: number): readonly Entry[] {
  if (bytesMax === Number.POSITIVE_INFINITY) return entries;
  let bytes = 0;
  for (let i = 0; i < entries.length; i++) {
    bytes += countedSizeBytes(entries[i]!);
    if (bytes > bytesMax && i > 0) return entries.slice(0, i);
  }
  return entries;
}
