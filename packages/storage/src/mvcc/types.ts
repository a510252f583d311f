/** What the server sees of the MVCC store: ranges, transactions, watch batches. */

import type { EtcdError } from "@etcd-ts/base";
import type { Event, KeyValue, RangeChunks } from "@etcd-ts/api";

/**
 * The part of a lessor the store needs. Keys are latin-1 strings, one character a byte; lease 0n
 * means none.
 */
export interface LeaseBook {
  /** Ties `key` to the lease; an unknown lease is the book's to report. */
  attach(leaseID: bigint, key: string): void;
  detach(leaseID: bigint, key: string): void;
  /** Whether no key is attached to any lease. */
  readonly isEmpty: boolean;
  /** The lease `key` is attached to, 0n if none. */
  leaseOf(key: string): bigint;
}

export interface RangeOptions {
  /** Read as of this revision; 0 or less reads the newest. */
  readonly revision: number;
  /** At most this many pairs; 0 or less for all. */
  readonly limit: number;
  /** Only `count`; no pairs. */
  readonly countOnly: boolean;
  /** Pairs come with an empty value and without `encoded`. */
  readonly keysOnly?: boolean;
}

export interface RangeResult {
  /** In key order. Each carries `encoded`, its stored bytes, unless `keysOnly`. */
  readonly kvs: KeyValue[];
  /** Keys in the range at that revision, whatever the limit. */
  readonly count: number;
  /** The store's revision when it was read: what goes into the response header. */
  readonly revision: number;
}

/** What the index knows of a key that exists. */
export interface KeyState {
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

export interface EncodedRangeOptions {
  /** Read as of this revision; 0 or less reads the newest. */
  readonly revision: number;
  /** At most this many pairs; 0 or less for all. */
  readonly limit: number;
  /** Pairs come without their value. */
  readonly keysOnly: boolean;
}

export interface EncodedRangeResult {
  /** In key order. */
  readonly pairs: RangeChunks;
  /** Whether the limit left pairs out. */
  readonly more: boolean;
  /** Keys in the range at that revision, whatever the limit. */
  readonly count: number;
  /** The store's revision when it was read: what goes into the response header. */
  readonly revision: number;
}

/**
 * Reads at one instant. `rangeEnd` as on the wire: empty for one key, a single zero byte for all
 * keys at or after `key`, otherwise exclusive.
 */
export interface ReadTxn {
  /** The store's revision when the transaction began. */
  readonly revision: number;
  readonly compactRevision: number;
  /**
   * @throws {ServerError} `SERVER_ERRORS.compacted` below the compact revision,
   *   `SERVER_ERRORS.futureRevision` above the newest
   */
  range(key: Uint8Array, rangeEnd: Uint8Array, options: RangeOptions): RangeResult;
  /** A range of one key without its value and lease, and without reading its record. */
  stateOf(key: Uint8Array): KeyState | undefined;
  /** Gives up the revision: a compaction may now delete it. Idempotent. */
  end(): void;
}

/**
 * The one writer. All its changes share one revision and become visible together at `end`; its
 * own ranges see them at once. It must begin and end in one turn of the event loop.
 */
export interface WriteTxn extends ReadTxn {
  /** Whether it has changed anything; an unchanged transaction makes no revision. */
  readonly changed: boolean;
  /**
   * @param key - not empty
   * @param value - copied, as the key is
   * @param leaseID - 0n for none; a key leaves its old lease
   * @returns the revision of the change
   */
  put(key: Uint8Array, value: Uint8Array, leaseID: bigint): number;
  /** @returns how many keys went, and the revision it stands at afterwards */
  deleteRange(key: Uint8Array, rangeEnd: Uint8Array): { deleted: number; revision: number };
  /** The events so far, in order. */
  changes(): readonly Event[];
}

/** What a compaction request gives back once it is recorded. */
export interface Compaction {
  /** Resolves when the revisions are physically gone (`physical = true` waits for it). */
  readonly finished: Promise<void>;
}

/** Maintenance.HashKV: checksum of the key bucket up to `hashRevision`. */
export interface KeyValueHash {
  readonly hash: number;
  readonly hashRevision: number;
  readonly compactRevision: number;
}

export interface KeyValueHashResult extends KeyValueHash {
  readonly currentRevision: number;
}

/** Id of a batch that answers `requestProgressAll`: it belongs to no single watch. */
export const WATCH_ID_NONE = -1;

/** What one watcher gets at once: all its events of one or more whole revisions. */
export interface WatchBatch {
  readonly watchID: number;
  /** Empty for progress and for a cancel. */
  readonly events: readonly Event[];
  /** The store's revision when the batch was made: what goes into the response header. */
  readonly revision: number;
  /** Above 0: the watcher is cancelled, because it would need revisions below this one. */
  readonly compactRevision: number;
}

export interface WatchOptions {
  /** 0 for the next free id, counted up from 0. */
  readonly watchID?: number;
  readonly key: Uint8Array;
  /** As on the wire: empty for one key, a single zero byte for all keys at or after `key`. */
  readonly rangeEnd: Uint8Array;
  /** First revision to deliver; 0 for what comes next; may lie in the future. */
  readonly startRevision: number;
  readonly noPut?: boolean;
  readonly noDelete?: boolean;
}

/** Why a watch was refused; the text is etcd's cancel reason. */
export type WatchRefusal = EtcdError;
