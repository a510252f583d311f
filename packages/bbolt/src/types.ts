/**
 * The shapes callers of the database see.
 *
 * Bytes handed in (`put`, `createBucket`) belong to the database from then on and must not change.
 * Bytes handed out are immutable views. They stay valid for ever, also after the transaction; a
 * view keeps its whole page in memory, so copy what is kept for long.
 */

import type { Clock } from "@etcd-ts/base";

export interface DatabaseOptions {
  /** Page size of a new file: a power of two, 512 to 65536. Default 4096. */
  readonly pageBytes?: number;
  /** Bound of the page cache. Default 64 MiB. */
  readonly cacheBytesMax?: number;
  /** The file must exist; takes a shared lock. */
  readonly readOnly?: boolean;
  /** Commits do not wait for the disk: a crash may lose or damage the file. */
  readonly noSync?: boolean;
  /** Do not store the freelist; it is rebuilt by a scan when the file is opened. Default true. */
  readonly noFreelistSync?: boolean;
  /** Size the file at least so once it has to grow; saves later growth. */
  readonly initialBytes?: number;
  /** Lets other work run between slices of long work; without it, long work runs in one go. */
  readonly clock?: Clock;
}

export interface DatabaseStats {
  /** Pages a writer may take. */
  readonly freePages: number;
  /** Pages that become free once no reader needs them. */
  readonly pendingPages: number;
  readonly openReaders: number;
  /** Transaction id of the last committed state. */
  readonly txid: number;
  /** Size of the file on disk. */
  readonly fileBytes: number;
  readonly cachedBytes: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
}

/** `value` is undefined for a nested bucket. */
export interface CursorEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/**
 * A place in the key order of one bucket. Changes to the bucket, also the cursor's own `delete`,
 * leave it between keys: `next` gives the first key above the one it stood on.
 */
export interface Cursor {
  first(): CursorEntry | undefined;
  last(): CursorEntry | undefined;
  /** Undefined past the last key, where it stays; before any other call it is `first`. */
  next(): CursorEntry | undefined;
  /** Undefined before the first key; before any other call it is `last`. */
  previous(): CursorEntry | undefined;
  /** The first key at or after `key`. */
  seek(key: Uint8Array): CursorEntry | undefined;
  /**
   * The value of exactly `key`, as `Bucket.get`; cheap for keys near the one before. It leaves the
   * cursor as it was made: `next` is `first`.
   */
  find(key: Uint8Array): Uint8Array | undefined;
  /** Removes the entry last returned; a nested bucket is refused ("incompatible value"). */
  delete(): void;
}

/** Takes an entry by where it is; the bytes are good only during the call. False ends the walk. */
export type EntryVisit = (
  bytes: Uint8Array,
  keyStart: number,
  valueStart: number,
  valueEnd: number,
) => boolean;

export interface PassingCursor extends Cursor {
  /**
   * Visits the keys of [begin, end) that are no nested buckets, without making anything for an
   * entry. `visit` may not read from the database. The cursor is left as it was made.
   *
   * @param end - undefined for no upper bound
   */
  walk(begin: Uint8Array, end: Uint8Array | undefined, visit: EntryVisit): void;
}

/**
 * Entries in key order that their owner keeps in a form of its own. They must not change until the
 * transaction has ended.
 */
export interface SortedRun {
  readonly count: number;
  key(i: number): Uint8Array;
  value(i: number): Uint8Array;
  keyBytes(i: number): number;
  valueBytes(i: number): number;
  /** Copies entries [from, to), each its key and then its value, one behind the other. */
  copyEntries(from: number, to: number, target: Uint8Array, at: number): void;
}

/** A sorted map from keys (1 to 32768 bytes) to values, or to buckets nested in it. */
export interface Bucket {
  /** Undefined if there is no such key or it is a nested bucket. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Where `get` found its last key; page 0 if the place will not do for `valueAt`. */
  readonly foundPageID: number;
  readonly foundPosition: number;
  /** Of a reader: the value `get` found at a place, without a search. */
  valueAt(pageID: number, position: number): Uint8Array;
  /** @throws {DatabaseError} KEY_REQUIRED, KEY_TOO_LARGE, VALUE_TOO_LARGE, INCOMPATIBLE_VALUE */
  put(key: Uint8Array, value: Uint8Array): void;
  /**
   * As `put` for each entry of a run; made for runs above all keys of the bucket, which then cost
   * nothing but their copies into pages.
   */
  append(run: SortedRun): void;
  /** Fine if there is no such key. @throws {DatabaseError} INCOMPATIBLE_VALUE for a bucket */
  delete(key: Uint8Array): void;
  cursor(): Cursor;
  /**
   * Of a reader: a cursor for long walks forward, which leaves the cache alone. Keys and values are
   * good only until its next step or any other read of the database; `next` refuses to go on after
   * one.
   */
  passingCursor(): PassingCursor;
  bucket(name: Uint8Array): Bucket | undefined;
  /** @throws {DatabaseError} BUCKET_NAME_REQUIRED, BUCKET_EXISTS, INCOMPATIBLE_VALUE */
  createBucket(name: Uint8Array): Bucket;
  createBucketIfNotExists(name: Uint8Array): Bucket;
  /** @throws {DatabaseError} BUCKET_NOT_FOUND, INCOMPATIBLE_VALUE */
  deleteBucket(name: Uint8Array): void;
  /** Names of the nested buckets, in byte order. */
  bucketNames(): Uint8Array[];
  /** A counter stored with the bucket; the database never changes it. */
  sequence(): number;
  setSequence(value: number): void;
  /**
   * How full pages are left when a node is split: 0.1 to 1.0, default 0.5; 0.9 suits keys that
   * arrive in order. Not stored: it holds for this transaction.
   */
  fillPercent: number;
}

export interface Transaction {
  /** A reader: of the state it sees. A writer: of the state it makes. */
  readonly txid: number;
  /** Pages in use and free below the high-water mark, times the page size. */
  readonly sizeBytes: number;
  bucket(name: Uint8Array): Bucket | undefined;
  /** Names of the top-level buckets, in byte order. */
  bucketNames(): Uint8Array[];
  /** Over the top level, where every value is a bucket. */
  cursor(): Cursor;
}

/** One committed state, unchanged until `close`. */
export interface ReadTransaction extends Transaction {
  /** Lets the pages only this state needs be reused; idempotent. */
  close(): void;
  /** Bytes `copyPages` yields in all. */
  readonly imageBytes: number;
  /**
   * A full image of the file in this state, in order, that opens anywhere. Reads are made as the
   * iteration goes on; the transaction must stay open.
   */
  copyPages(chunkBytes: number): Iterable<Uint8Array>;
}

/** Changes that become one new state. */
export interface WriteTransaction extends Transaction {
  createBucket(name: Uint8Array): Bucket;
  createBucketIfNotExists(name: Uint8Array): Bucket;
  deleteBucket(name: Uint8Array): void;
  /**
   * Makes the changes durable and visible to readers that begin after it settles. The
   * transaction is over either way; after a failed write or sync nothing of it is visible.
   *
   * @throws {DiskError} a write failed: the database goes on without the changes; a sync failed:
   *   what is on the disk is unknown and the database takes no more writes
   */
  commit(): Promise<void>;
  /** Forgets the changes. Fine after the end of the transaction. */
  rollback(): void;
}
