/**
 * The multi-version store: every change makes a revision, and reads see any revision that is not
 * compacted away.
 *
 * One writer at a time, within one turn of the event loop; readers and background work run
 * between turns and are consistent at the revision they began with.
 */

import { invariant } from "@etcd-ts/base";
import type { Clock, Logger, Metrics, WireWriter } from "@etcd-ts/base";
import type { KeyValue } from "@etcd-ts/api";
import type { Backend } from "../backend/backend.ts";
import { WatchHub } from "../watch/watch-hub.ts";
import { WatchStream } from "../watch/watch-stream.ts";
import { Compactor, COMPACTION_BATCH_LIMIT, COMPACTION_SLEEP_MS } from "./compaction.ts";
import { MvccCore } from "./core.ts";
import { hashByRevision } from "./hash.ts";
import type { HashKey } from "./key-hash.ts";
import { mvccMetrics, registerReadings } from "./metrics.ts";
import { rangeEncoded } from "./range-encoded.ts";
import { MvccReadTxn } from "./read-txn.ts";
import { restoreCore } from "./restore.ts";
import type {
  Compaction,
  EncodedRangeOptions,
  EncodedRangeResult,
  KeyValueHash,
  KeyValueHashResult,
  LeaseBook,
  RangeOptions,
  RangeResult,
  ReadTxn,
  WriteTxn,
} from "./types.ts";
import { MvccWriteTxn } from "./write-txn.ts";

export interface MvccStoreOptions {
  readonly backend: Backend;
  readonly leases: LeaseBook;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Records a compaction looks at between two pauses; default 1000. */
  readonly compactionBatchLimit?: number;
  /** Length of such a pause; default 10. */
  readonly compactionSleepMs?: number;
  /** Secret of the hash table of keys; without it a fixed one, so that a simulation repeats. */
  readonly hashKey?: HashKey | undefined;
  /** Told when background work met a damaged record: the member must stop. */
  readonly onFatal?: (error: Error) => void;
}

export class MvccStore {
  readonly #core: MvccCore;
  readonly #compactor: Compactor;
  readonly #hub: WatchHub;
  #writer: MvccWriteTxn | undefined;
  #isRestoring = false;
  #isClosed = false;

  /**
   * Reads the whole key bucket to rebuild the index, in slices, and goes on with a compaction that
   * was interrupted.
   *
   * @throws {CorruptionError}
   */
  static async open(options: MvccStoreOptions): Promise<MvccStore> {
    const store = new MvccStore(options);
    await store.#load();
    return store;
  }

  private constructor(options: MvccStoreOptions) {
    const { backend, leases, clock, logger, metrics } = options;
    const fatal = options.onFatal;
    const onFatal = (error: Error) => {
      logger.error("background work on the store failed", { error: error.message });
      // Without an owner to tell, an unhandled error has to end the process.
      if (fatal === undefined) throw error;
      fatal(error);
    };
    const readings = mvccMetrics(metrics);
    const { hashKey } = options;
    this.#core = new MvccCore(backend, leases, clock, logger, readings, onFatal, hashKey);
    this.#compactor = new Compactor(
      this.#core,
      options.compactionBatchLimit ?? COMPACTION_BATCH_LIMIT,
      options.compactionSleepMs ?? COMPACTION_SLEEP_MS,
    );
    this.#hub = new WatchHub(this.#core);
    const core = this.#core;
    registerReadings(metrics, {
      keys: () => core.index.live,
      currentRevision: () => core.currentRevision,
      compactRevision: () => core.compactRevision,
      sizeBytes: () => core.backend.sizeBytes(),
      sizeInUseBytes: () => core.backend.sizeInUseBytes(),
      openReadTransactions: () => core.backend.openReadTransactions(),
    });
  }

  /** 1 for a store nothing was ever written to. */
  get currentRevision(): number {
    return this.#core.currentRevision;
  }

  /** Reads below it fail; -1 if nothing was ever compacted. */
  get compactRevision(): number {
    return this.#core.compactRevision;
  }

  get backend(): Backend {
    return this.#core.backend;
  }

  /** Keys that exist now. */
  get keyCount(): number {
    return this.#core.index.live;
  }

  /**
   * Reads a range in one go; for what may be long, use `rangeSliced`.
   *
   * @param rangeEnd - empty for one key, a single zero byte for all keys at or after `key`
   * @throws {ServerError} `SERVER_ERRORS.compacted` or `SERVER_ERRORS.futureRevision`
   */
  range(key: Uint8Array, rangeEnd: Uint8Array, options: RangeOptions): RangeResult {
    return this.#core.range(key, rangeEnd, options, this.#core.currentRevision);
  }

  /**
   * Appends what a RangeResponse has of the key `bytes[start, end)` at the current revision: its
   * pair and the count; nothing if it does not exist.
   *
   * @throws {CorruptionError}
   */
  writeOne(writer: WireWriter, bytes: Uint8Array, start: number, end: number): void {
    this.#core.writeOne(writer, bytes, start, end);
  }

  /** The same, letting other work run every few milliseconds; consistent at one revision. */
  rangeSliced(key: Uint8Array, rangeEnd: Uint8Array, options: RangeOptions): Promise<RangeResult> {
    return this.#core.rangeSliced(key, rangeEnd, options);
  }

  /** As `rangeSliced`, straight into the wire form of the response: for lists of pairs. */
  rangeEncoded(
    key: Uint8Array,
    rangeEnd: Uint8Array,
    options: EncodedRangeOptions,
  ): Promise<EncodedRangeResult> {
    return rangeEncoded(this.#core, key, rangeEnd, options);
  }

  /** What `key` was before `modRevision`; undefined if it was not, or that is compacted away. */
  previous(key: Uint8Array, modRevision: number): KeyValue | undefined {
    const revision = modRevision - 1;
    if (revision < Math.max(this.#core.compactRevision, 1)) return undefined;
    const options = { revision, limit: 0, countOnly: false };
    return this.range(key, new Uint8Array(0), options).kvs[0];
  }

  /** Begins the write transaction; it must end in the same turn of the event loop. */
  write(): WriteTxn {
    invariant(!this.#isClosed && !this.#isRestoring, () => "MvccStore.write: not open");
    invariant(this.#writer === undefined, () => "MvccStore.write: another writer has not ended");
    this.#writer = new MvccWriteTxn(this.#core, (txn) => this.#endWrite(txn));
    return this.#writer;
  }

  /** Reads at the current revision, which stays readable until `end`. */
  readTxn(): ReadTxn {
    return new MvccReadTxn(this.#core);
  }

  /**
   * Forgets what no read at or above `revision` can see. Reads below it fail from now on.
   *
   * @throws {ServerError} `SERVER_ERRORS.compacted` or `SERVER_ERRORS.futureRevision`
   */
  compact(revision: number): Compaction {
    invariant(!this.#isClosed && !this.#isRestoring, () => "MvccStore.compact: not open");
    return this.#compactor.compact(revision);
  }

  /** Maintenance.Hash: a checksum of all buckets. */
  async hash(): Promise<{ hash: number; revision: number }> {
    const { clock, metrics, backend } = this.#core;
    const startMs = clock.monotonicMs();
    const revision = this.#core.currentRevision;
    const hash = await backend.hash();
    metrics.hashSeconds.observe((clock.monotonicMs() - startMs) / 1000);
    return { hash, revision };
  }

  /**
   * Maintenance.HashKV: a checksum of the key bucket up to `revision`, 0 for the current one. A
   * compaction's own hash is given where one is known for exactly that revision.
   *
   * @throws {ServerError} `SERVER_ERRORS.compacted` or `SERVER_ERRORS.futureRevision`
   */
  async hashByRevision(revision: number): Promise<KeyValueHashResult> {
    // A compaction at 0 is possible, and its hash is not the one of the current revision.
    const known = revision === 0 ? undefined : this.#compactor.hashes.find(revision);
    if (known !== undefined) return { ...known, currentRevision: this.#core.currentRevision };
    return hashByRevision(this.#core, revision);
  }

  /** Hashes of the last compactions, by revision; at most ten. */
  compactionHashes(): readonly KeyValueHash[] {
    return this.#compactor.hashes.all;
  }

  newWatchStream(): WatchStream {
    this.#hub.onStreamOpened();
    return new WatchStream(this.#hub);
  }

  /** Watchers by state. */
  watcherCounts(): { synced: number; unsynced: number; victims: number } {
    return this.#hub.counts();
  }

  /**
   * Takes over the contents of another backend, as after a snapshot from the leader; watchers go
   * on from where they were. The old backend is the caller's to close, the lease book the caller's
   * to empty of old attachments. It waits for reads that have begun; nothing may begin meanwhile.
   */
  async restore(backend: Backend): Promise<void> {
    invariant(this.#writer === undefined, () => "MvccStore.restore: a writer has not ended");
    this.#isRestoring = true;
    await this.#compactor.interrupt();
    // Reads in slices that have begun still see the old contents.
    await this.#core.pins.whenNoneBelow(Infinity);
    const previousRevision = this.#core.currentRevision;
    this.#core.backend = backend;
    await this.#load();
    this.#isRestoring = false;
    this.#hub.onRestored(previousRevision);
  }

  /** Stops background work; the backend is the caller's to close. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#hub.stop();
    await this.#compactor.interrupt();
  }

  /** Checks the index against its invariants and the backend; O(n), for tests. */
  verify(): void {
    this.#core.index.verify();
  }

  async #load(): Promise<void> {
    const { backend, logger } = this.#core;
    backend.createBucket("key");
    backend.createBucket("meta");
    backend.onPreCommit(() => {
      invariant(this.#writer === undefined, () => "a commit fell into a write transaction");
    });
    const unfinished = await restoreCore(this.#core);
    if (unfinished === undefined) return;
    logger.info("resume scheduled compaction", { "scheduled-compact-revision": unfinished });
    this.#compactor.compact(unfinished);
  }

  #endWrite(txn: WriteTxn): void {
    this.#writer = undefined;
    if (txn.changed) this.#hub.notify(this.#core.currentRevision, txn);
  }
}
