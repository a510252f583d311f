/**
 * Buffered batch transactions over the bbolt file.
 *
 * Changes gather in a memory buffer and are visible to reads at once. Every 100 ms, or after
 * 10,000 changes, the buffer is frozen and written as one bbolt transaction in the background,
 * while new changes gather in the next buffer. A read looks at the new buffer, the frozen one, and
 * then the file as last committed, so nobody waits for a commit.
 *
 * Invariants:
 * - A buffer is frozen between two synchronous stretches of the caller, never inside one. What a
 *   caller changes without an `await` is in one bbolt transaction, together with what the
 *   pre-commit hooks add (consistent index, conf state).
 * - At most one job of {commit, begin snapshot, defragment} runs at a time, in order of request.
 * - The file may lag behind; the write-ahead log holds what it lacks. A commit that fails is final:
 *   nothing more is written, `onFatal` is told once, and every `commit()` rejects.
 *
 * Over 500 lines because the buffers, the job queue and the file in use change together.
 */

import { compareBytes, EtcdError, invariant } from "@etcd-ts/base";
import type { Clock, Disk, Logger, Metrics, Timer } from "@etcd-ts/base";
import { Database } from "@etcd-ts/bbolt";
import type { Bucket, Cursor, ReadTransaction } from "@etcd-ts/bbolt";
import { BUCKETS } from "./bucket.ts";
import type { BucketName } from "./bucket.ts";
import { fillTransaction } from "./commit.ts";
import { defragmentInto, removeStaleFiles, splitPath, temporaryPath } from "./defragment.ts";
import { hashTransaction } from "./hash.ts";
import type { HashSkip } from "./hash.ts";
import { backendMetrics } from "./metrics.ts";
import type { BackendMetrics } from "./metrics.ts";
import { BackendSnapshot } from "./snapshot.ts";
import { REVISION_BYTES, writeRevision } from "../mvcc/revision.ts";
import { RecordPlaces } from "./record-places.ts";
import { ChangeCursor, WriteBuffer } from "./write-buffer.ts";
import type { ChangeLayer } from "./write-buffer.ts";
import type { RevisionLog } from "./revision-log.ts";

/** etcd's `--backend-batch-interval` when it is not set. */
export const BATCH_INTERVAL_MS = 100;
/** etcd's `--backend-batch-limit` when it is not set. */
export const BATCH_LIMIT = 10_000;
/** A batch is also closed at this size, so that large values do not pile up. */
export const BATCH_BYTES_MAX = 32 * 1024 * 1024;
/** Pages of the file kept in memory when nothing else is asked for. */
export const CACHE_BYTES_MAX = 256 * 1024 * 1024;
/** `isOverloaded` from this many batches' worth of changes waiting for a commit. */
export const OVERLOAD_BATCHES = 10;

/** The file could not be written; the member must stop. */
export class BackendFailedError extends EtcdError {
  readonly code = "BACKEND_FAILED";
}

export interface BackendOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  /** The bbolt file; made if it is missing. */
  readonly path: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly batchIntervalMs?: number;
  readonly batchLimit?: number;
  /** `--unsafe-no-fsync`. */
  readonly noSync?: boolean;
  /** Bound of the page cache; default 256 MiB. */
  readonly cacheBytesMax?: number;
  /** Told once, when a commit has failed. */
  readonly onFatal?: (error: BackendFailedError) => void;
}

export interface KeyValuePair {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** One open file and who still reads it; closed when it is replaced and the last reader is gone. */
interface FileInUse {
  readonly database: Database;
  readers: number;
  isRetired: boolean;
}

export class Backend {
  readonly #options: BackendOptions;
  readonly #metrics: BackendMetrics;
  readonly #batchIntervalMs: number;
  readonly #batchLimit: number;
  readonly #hooks: (() => void)[] = [];
  #file: FileInUse;
  #read: ReadTransaction;
  readonly #readBuckets = new Map<BucketName, Bucket | undefined>();
  #keyBucket: Bucket | undefined;
  /** Of the state that `#read` sees. */
  readonly #places = new RecordPlaces();
  /** Where the key of a look-up is written; nobody keeps it. */
  readonly #recordKey = new Uint8Array(REVISION_BYTES);
  #buffer = new WriteBuffer();
  #frozen: WriteBuffer | undefined;
  #sizeBytes = 0;
  #sizeInUseBytes = 0;
  #timer: Timer | undefined;
  #jobs: Promise<unknown> = Promise.resolve();
  #queuedCommit: Promise<void> | undefined;
  #fatal: BackendFailedError | undefined;
  #closing: Promise<void> | undefined;
  #isInHooks = false;
  #defragments = 0;
  #drainWaiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  /**
   * Opens the file, making it if it is missing, and removes what an interrupted defragmentation
   * left beside it.
   *
   * @throws {CorruptionError} if it is no bbolt file
   * @throws {DiskError} `LOCKED` if another process has it
   */
  static async open(options: BackendOptions): Promise<Backend> {
    await removeStaleFiles(options.disk, options.path, options.logger);
    const database = await openDatabase(options, options.path);
    // A file that was just made must not vanish with what will be committed to it.
    await options.disk.syncDirectory(splitPath(options.path).directory);
    return new Backend(options, database);
  }

  private constructor(options: BackendOptions, database: Database) {
    this.#options = options;
    this.#metrics = backendMetrics(options.metrics);
    this.#batchIntervalMs = options.batchIntervalMs ?? BATCH_INTERVAL_MS;
    this.#batchLimit = options.batchLimit ?? BATCH_LIMIT;
    invariant(this.#batchLimit > 0, () => `Backend: batchLimit ${this.#batchLimit}`);
    this.#file = { database, readers: 0, isRetired: false };
    this.#read = database.beginRead();
    this.#measure();
  }

  get path(): string {
    return this.#options.path;
  }

  /** Why the backend no longer writes, if it failed. */
  get failure(): BackendFailedError | undefined {
    return this.#fatal;
  }

  /** Makes sure the bucket exists from the next commit on. */
  createBucket(bucket: BucketName): void {
    if (this.#committedBucket(bucket) !== undefined) return;
    this.#beforeChange();
    this.#buffer.createBucket(bucket);
  }

  /**
   * Visible to reads at once, durable after the next commit. Both byte strings are kept and must
   * not change.
   */
  put(bucket: BucketName, key: Uint8Array, value: Uint8Array): void {
    invariant(key.length > 0, () => `Backend.put: empty key in ${bucket}`);
    this.#change(bucket, key, value);
  }

  /**
   * As `put` for the next record of the `key` bucket: its revision is above all there are. The
   * caller writes the record's `bytes` bytes to the `block` of the result, from its `offset` on,
   * before anything else happens.
   */
  appendRecord(main: number, sub: number, isTombstone: boolean, bytes: number): RevisionLog {
    this.#beforeChange();
    const records = this.#buffer.appendRecord(main, sub, isTombstone, bytes);
    this.#commitIfFull();
    return records;
  }

  /** Fine if the key is missing. */
  delete(bucket: BucketName, key: Uint8Array): void {
    this.#change(bucket, key, undefined);
  }

  /** The value, which must not be modified; undefined if the key is missing. */
  get(bucket: BucketName, key: Uint8Array): Uint8Array | undefined {
    const change = this.#buffer.get(bucket, key) ?? this.#frozen?.get(bucket, key);
    return change === undefined ? this.#committedBucket(bucket)?.get(key) : change.value;
  }

  /**
   * The record of a revision that is no tombstone; undefined if there is none.
   *
   * @param slot - names the key, below 2^32: of keys that are read again the place is known
   */
  record(slot: number, main: number, sub: number): Uint8Array | undefined {
    const key = this.#recordKey;
    if (this.#buffer.mayHold(main) || this.#frozen?.mayHold(main) === true) {
      writeRevision(key, 0, main, sub, false);
      return this.get("key", key);
    }
    const places = this.#places;
    const bucket = (this.#keyBucket ??= this.#committedBucket("key"));
    if (bucket === undefined) return undefined;
    if (places.find(slot, main, sub)) return bucket.valueAt(places.pageID, places.position);
    writeRevision(key, 0, main, sub, false);
    const value = bucket.get(key);
    if (value !== undefined && bucket.foundPageID !== 0) {
      places.note(slot, main, sub, bucket.foundPageID, bucket.foundPosition);
    }
    return value;
  }

  /**
   * Reads of single keys, each cheap if it is near the one before: for many keys in order.
   *
   * @param isPassing - values are good only until the next read, and pages are not kept: for keys
   *   by the thousand
   * @returns as `get`; good until the bucket changes or the turn ends. It keeps no key
   */
  finder(bucket: BucketName, isPassing: boolean): (key: Uint8Array) => Uint8Array | undefined {
    const layers = this.#layers(bucket);
    const committed = this.#committedBucket(bucket);
    const cursor = isPassing ? committed?.passingCursor() : committed?.cursor();
    return (key) => {
      for (const layer of layers) {
        const change = layer.get(key);
        if (change !== undefined) return change.value;
      }
      return cursor?.find(key);
    };
  }

  /**
   * Pairs of [begin, end) in key order.
   *
   * @param end - undefined for no upper bound
   * @param limit - 0 or less for all
   */
  range(
    bucket: BucketName,
    begin: Uint8Array,
    end: Uint8Array | undefined,
    limit = 0,
  ): KeyValuePair[] {
    const pairs: KeyValuePair[] = [];
    this.scan(bucket, begin, end, (key, value) => {
      pairs.push({ key, value });
      return limit <= 0 || pairs.length < limit;
    });
    return pairs;
  }

  forEach(bucket: BucketName, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    this.scan(bucket, new Uint8Array(0), undefined, (key, value) => {
      visit(key, value);
      return true;
    });
  }

  /** Visits [begin, end) in key order until `visit` returns false; it may not change the bucket. */
  scan(
    bucket: BucketName,
    begin: Uint8Array,
    end: Uint8Array | undefined,
    visit: (key: Uint8Array, value: Uint8Array) => boolean,
  ): void {
    const cursor = this.#committedBucket(bucket)?.cursor();
    mergeScan(cursor, this.#layers(bucket), begin, end, visit);
  }

  /**
   * As `scan` for long walks: pages are not kept, what `visit` is given is good only while it runs,
   * and nothing is made for a record that is in the file. `visit` may not read from the backend.
   */
  scanPassing(
    bucket: BucketName,
    begin: Uint8Array,
    end: Uint8Array | undefined,
    visit: PassingVisit,
  ): void {
    const cursor = this.#committedBucket(bucket)?.passingCursor();
    const layers = this.#layers(bucket);
    if (layers.length === 0) {
      cursor?.walk(begin, end, (bytes, keyStart, valueStart, valueEnd) =>
        visit(bytes, keyStart, valueStart, bytes, valueStart, valueEnd),
      );
      return;
    }
    mergeScan(cursor, layers, begin, end, (key, value) =>
      visit(key, 0, key.length, value, 0, value.length),
    );
  }

  /** Changes that are not in the file yet, the newest first. */
  #layers(bucket: BucketName): ChangeLayer[] {
    const layers: ChangeLayer[] = [];
    this.#buffer.addLayers(bucket, layers);
    this.#frozen?.addLayers(bucket, layers);
    return layers;
  }

  /**
   * `hook` runs before each commit and may put more into the same bbolt transaction. If it throws,
   * the backend has failed: nothing is committed any more.
   */
  onPreCommit(hook: () => void): void {
    this.#hooks.push(hook);
  }

  /**
   * Writes what has gathered, without waiting for the interval.
   *
   * @returns resolves when everything put before the call is durable
   */
  commit(): Promise<void> {
    if (this.#queuedCommit === undefined) {
      this.#queuedCommit = this.#enqueue(() => {
        this.#queuedCommit = undefined;
        return this.#commitNow();
      });
      // A failure is told to `onFatal`; callers that need to know await the result.
      this.#queuedCommit.catch(() => undefined);
    }
    return this.#queuedCommit;
  }

  /** Size of the file, without the free space that was only reserved. */
  sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The part of `sizeBytes` that holds data. */
  sizeInUseBytes(): number {
    return this.#sizeInUseBytes;
  }

  openReadTransactions(): number {
    return this.#file.database.stats().openReaders;
  }

  /**
   * Whether changes come faster than they are committed. Past this point memory grows with each
   * change, so the caller should stop applying until `whenDrained` resolves.
   */
  get isOverloaded(): boolean {
    return (
      this.#buffer.changes >= OVERLOAD_BATCHES * this.#batchLimit ||
      this.#buffer.bytes >= OVERLOAD_BATCHES * BATCH_BYTES_MAX
    );
  }

  /** Resolves once the backend is not overloaded; rejects if it has failed. */
  whenDrained(): Promise<void> {
    if (this.#fatal !== undefined) return Promise.reject(this.#fatal);
    if (!this.isOverloaded) return Promise.resolve();
    return new Promise((resolve, reject) => this.#drainWaiters.push({ resolve, reject }));
  }

  /** A consistent image of everything put before the call; the caller closes it. */
  async snapshot(): Promise<BackendSnapshot> {
    const { file, transaction } = await this.#beginRead();
    return new BackendSnapshot(transaction, this.#options.clock, this.#options.logger, {
      observeSeconds: (seconds) => this.#metrics.snapshotSeconds.observe(seconds),
      release: () => this.#endRead(file, transaction),
    });
  }

  /**
   * CRC-32C over every bucket (Maintenance.Hash), in slices.
   *
   * @param skip - leaves records out; by default those that differ between equal members
   */
  async hash(skip?: HashSkip): Promise<number> {
    const { file, transaction } = await this.#beginRead();
    try {
      return await hashTransaction(transaction, this.#options.clock, skip);
    } finally {
      this.#endRead(file, transaction);
    }
  }

  /**
   * Rewrites the file without its free pages.
   *
   * Reads and changes go on meanwhile; changes stay in memory until the new file has taken the
   * old one's place, so the caller must heed `isOverloaded`. A crash leaves the old file or the
   * new one, with the same contents. If the copy fails, the old file stays in use.
   */
  defragment(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#commitNow();
      this.#metrics.defragInflight.set(1);
      try {
        await this.#defragmentNow();
      } finally {
        this.#metrics.defragInflight.set(0);
      }
    });
  }

  /** Commits, then closes the file; idempotent. After a failure it only closes. */
  close(): Promise<void> {
    this.#closing ??= this.#enqueue(async () => {
      this.#timer?.cancel();
      try {
        if (this.#fatal === undefined) await this.#commitNow();
      } finally {
        this.#read.close();
        await this.#retire(this.#file);
      }
    });
    return this.#closing;
  }

  #change(bucket: BucketName, key: Uint8Array, value: Uint8Array | undefined): void {
    this.#beforeChange();
    this.#buffer.set(bucket, key, value);
    this.#commitIfFull();
  }

  #commitIfFull(): void {
    if (this.#buffer.changes >= this.#batchLimit || this.#buffer.bytes >= BATCH_BYTES_MAX) {
      void this.commit();
    }
  }

  #beforeChange(): void {
    invariant(this.#closing === undefined || this.#isInHooks, () => "Backend: changed after close");
    if (this.#timer !== undefined || this.#fatal !== undefined) return;
    this.#timer = this.#options.clock.setTimer(this.#batchIntervalMs, () => {
      this.#timer = undefined;
      void this.commit();
    });
  }

  /** Runs `job` after those before it, and never in the caller's synchronous stretch. */
  #enqueue<T>(job: () => Promise<T>): Promise<T> {
    const result = this.#jobs.then(job);
    this.#jobs = result.catch(() => undefined);
    return result;
  }

  async #commitNow(): Promise<void> {
    if (this.#fatal !== undefined) throw this.#fatal;
    this.#runHooks();
    if (this.#buffer.isEmpty) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    const frozen = this.#buffer;
    this.#frozen = frozen;
    this.#buffer = new WriteBuffer();
    const { clock } = this.#options;
    const startMs = clock.monotonicMs();
    try {
      const transaction = this.#file.database.beginWrite();
      await fillTransaction(transaction, frozen, clock);
      const filledMs = clock.monotonicMs();
      await transaction.commit();
      const endMs = clock.monotonicMs();
      this.#metrics.rebalanceSeconds.observe(0);
      this.#metrics.spillSeconds.observe((filledMs - startMs) / 1000);
      this.#metrics.writeSeconds.observe((endMs - filledMs) / 1000);
      this.#metrics.commitSeconds.observe((endMs - startMs) / 1000);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#swapRead(this.#file);
    this.#frozen = undefined;
    this.#wakeDrained();
  }

  /** A hook that throws forbids the commit, and with it all later ones. */
  #runHooks(): void {
    this.#isInHooks = true;
    try {
      for (const hook of this.#hooks) hook();
    } catch (error) {
      throw this.#fail(error);
    } finally {
      this.#isInHooks = false;
    }
  }

  /** Reads from `file` as it is committed now. */
  #swapRead(file: FileInUse): void {
    const transaction = file.database.beginRead();
    this.#read.close();
    this.#read = transaction;
    this.#readBuckets.clear();
    this.#keyBucket = undefined;
    this.#places.forget();
    this.#measure();
  }

  #wakeDrained(): void {
    if (this.isOverloaded) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const waiter of waiters) waiter.resolve();
  }

  #fail(cause: unknown): BackendFailedError {
    const text = cause instanceof Error ? cause.message : String(cause);
    const error = new BackendFailedError(`backend: failed to commit: ${text}`, { cause });
    this.#fatal = error;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#options.logger.error("failed to commit tx", { path: this.path, error: text });
    for (const waiter of this.#drainWaiters) waiter.reject(error);
    this.#drainWaiters = [];
    this.#options.onFatal?.(error);
    return error;
  }

  #measure(): void {
    const { database } = this.#file;
    this.#sizeBytes = this.#read.sizeBytes;
    this.#sizeInUseBytes = this.#sizeBytes - database.stats().freePages * database.pageBytes;
  }

  #committedBucket(name: BucketName): Bucket | undefined {
    const known = this.#readBuckets.get(name);
    if (known !== undefined) return known;
    const bucket = this.#read.bucket(BUCKETS.get(name)!);
    if (bucket !== undefined) this.#readBuckets.set(name, bucket);
    return bucket;
  }

  /** A read transaction of its own on everything put before the call. */
  #beginRead(): Promise<{ file: FileInUse; transaction: ReadTransaction }> {
    return this.#enqueue(async () => {
      await this.#commitNow();
      const file = this.#file;
      file.readers++;
      return { file, transaction: file.database.beginRead() };
    });
  }

  #endRead(file: FileInUse, transaction: ReadTransaction): void {
    transaction.close();
    file.readers--;
    if (file.isRetired) void this.#retire(file);
  }

  /** Closes `file` once nobody reads it. */
  async #retire(file: FileInUse): Promise<void> {
    file.isRetired = true;
    if (file.readers > 0) return;
    try {
      await file.database.close();
    } catch (error) {
      this.#options.logger.warn("failed to close database", { error: String(error) });
    }
  }

  async #defragmentNow(): Promise<void> {
    const { disk, clock, logger } = this.#options;
    const startMs = clock.monotonicMs();
    const sizeBefore = this.#sizeBytes;
    const inUseBefore = this.#sizeInUseBytes;
    const temporary = temporaryPath(this.path, ++this.#defragments);
    logger.info("defragmenting", {
      path: this.path,
      "current-db-size-bytes": sizeBefore,
      "current-db-size-in-use-bytes": inUseBefore,
    });
    const database = await defragmentInto({
      disk,
      clock,
      source: this.#read,
      path: this.path,
      temporary,
      open: (path) => openDatabase(this.#options, path),
      // Once the rename has been tried, only the new file may be written.
      onSwapFailed: (error) => this.#fail(error),
    });
    const old = this.#file;
    this.#file = { database, readers: 0, isRetired: false };
    this.#swapRead(this.#file);
    await this.#retire(old);
    const tookMs = clock.monotonicMs() - startMs;
    this.#metrics.defragSeconds.observe(tookMs / 1000);
    logger.info("finished defragmenting directory", {
      path: this.path,
      "current-db-size-bytes-diff": this.#sizeBytes - sizeBefore,
      "current-db-size-bytes": this.#sizeBytes,
      "current-db-size-in-use-bytes-diff": this.#sizeInUseBytes - inUseBefore,
      "current-db-size-in-use-bytes": this.#sizeInUseBytes,
      took: `${(tookMs / 1000).toFixed(3)}s`,
    });
  }
}

function openDatabase(options: BackendOptions, path: string): Promise<Database> {
  const { noSync, clock, cacheBytesMax = CACHE_BYTES_MAX } = options;
  return Database.open(options.disk, path, {
    clock,
    ...(noSync === undefined ? {} : { noSync }),
    cacheBytesMax,
  });
}

/** Takes a record by where its key and its value are; false ends the walk. */
export type PassingVisit = (
  key: Uint8Array,
  keyStart: number,
  keyEnd: number,
  value: Uint8Array,
  valueStart: number,
  valueEnd: number,
) => boolean;

/** Walks the file and the buffers above it together; a buffer's change hides the file's record. */
function mergeScan(
  cursor: Cursor | undefined,
  layers: readonly ChangeLayer[],
  begin: Uint8Array,
  end: Uint8Array | undefined,
  visit: (key: Uint8Array, value: Uint8Array) => boolean,
): void {
  const changes = layers.length === 0 ? undefined : new ChangeCursor(layers, begin);
  let entry = cursor?.seek(begin);
  let change = changes?.peek();
  for (;;) {
    const order =
      entry === undefined ? 1 : change === undefined ? -1 : compareBytes(entry.key, change.key);
    if (order < 0) {
      if (!isBelow(entry!.key, end)) return;
      if (entry!.value !== undefined && !visit(entry!.key, entry!.value)) return;
      entry = cursor!.next();
      continue;
    }
    if (change === undefined || !isBelow(change.key, end)) return;
    if (order === 0) entry = cursor!.next();
    if (change.value !== undefined && !visit(change.key, change.value)) return;
    changes!.pass(change.key);
    change = changes!.peek();
  }
}

function isBelow(key: Uint8Array, end: Uint8Array | undefined): boolean {
  return end === undefined || compareBytes(key, end) < 0;
}
