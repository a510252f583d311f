/**
 * The log of a member: what raft was promised to be durable, in segments on disk.
 *
 * Invariants:
 * - A promise from `save` or `saveSnapshot` settles after the bytes of it and of all calls before it
 *   were written and synced.
 * - Bytes that are not synced are always those of one write: entries, then at most one hard state,
 *   then at most one snapshot record. The reader tells a torn tail from damage by it. A hard state
 *   that needs no sync (only `commit` moved) therefore waits in memory for the next write.
 * - Each segment from the first that is still needed to the last is locked while the log is open.
 * - After a failed write, sync or cut nothing is written any more: what reached the disk is unknown.
 */

import { EtcdError, allDone, invariant } from "@etcd-ts/base";
import type { Clock, Disk, DiskFile, Logger, Metrics } from "@etcd-ts/base";
import { HardStateCodec } from "@etcd-ts/raft";
import type { Entry, HardState } from "@etcd-ts/raft";
import { WalError } from "./errors.ts";
import { RECORD_METADATA, RECORD_SNAPSHOT, RECORD_STATE, RecordEncoder } from "./record.ts";
import { SEGMENT_BYTES, openLog, readLog, readValidSnapshots } from "./open.ts";
import type { HeldSegment, OpenedLog, ReadLog } from "./open.ts";
import type { WalContents } from "./replay.ts";
import { segmentName, segmentsOf } from "./segment-name.ts";
import { SegmentPipeline } from "./segment-pipeline.ts";
import { WalInstruments } from "./wal-metrics.ts";
import { WalSnapshotCodec } from "./walpb.ts";
import type { WalSnapshot } from "./walpb.ts";

/** A write buffer above this is not kept for the next write. */
const BUFFER_KEPT_BYTES = 4 << 20;

export interface WalOptions {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Leaves out all syncs of records: a crash of the machine may then lose or damage the log. */
  readonly noSync?: boolean;
  /** A segment that reached this size is followed by a new one. Default 64,000,000. */
  readonly segmentBytes?: number;
}

interface PendingWork {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot: WalSnapshot | undefined;
  /** Whether a hard state that could wait is to be written too. */
  readonly isSync: boolean;
  /** Whether the disk may block: nobody has anything else to do. */
  readonly mayBlock: boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class WriteAheadLog {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #metadata: Uint8Array;
  readonly #logger: Logger;
  readonly #instruments: WalInstruments;
  readonly #noSync: boolean;
  readonly #segmentBytes: number;
  readonly #pipeline: SegmentPipeline;
  /** In order of sequence; the last one is written to. */
  #held: HeldSegment[];
  /** Where the next record goes in the last segment. */
  #offset: number;
  #encoder: RecordEncoder;
  #lastIndex: number;
  /** As on disk or about to be. */
  #hardState: HardState | undefined;
  #isHardStateWritten = true;
  #pending: PendingWork[] = [];
  #running: Promise<void> | undefined;
  #failure: WalError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(disk: Disk, directory: string, opened: OpenedLog, options: WalOptions) {
    this.#disk = disk;
    this.#directory = directory;
    this.#metadata = opened.contents.metadata;
    this.#logger = options.logger;
    this.#instruments = new WalInstruments(options.metrics, options.clock, options.logger);
    this.#noSync = options.noSync ?? false;
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
    this.#held = opened.held;
    this.#offset = opened.offsetBytes;
    this.#encoder = new RecordEncoder(opened.crc);
    this.#lastIndex = opened.lastIndex;
    this.#hardState = opened.contents.hardState;
    this.#pipeline = new SegmentPipeline(disk, directory, this.#segmentBytes, this.#noSync);
  }

  /** Whether `directory` holds a log. */
  static async exists(disk: Disk, directory: string): Promise<boolean> {
    const stat = await disk.stat(directory);
    if (stat?.kind !== "directory") return false;
    return (await disk.list(directory)).some((name) => name.endsWith(".wal"));
  }

  /**
   * Makes a log that holds nothing but `metadata` and the empty snapshot, and opens it.
   *
   * It is built in `<directory>.tmp` and renamed, so there is never half a log.
   *
   * @throws {WalError} `WAL_EXISTS`
   */
  static async create(
    disk: Disk,
    directory: string,
    metadata: Uint8Array,
    options: WalOptions,
  ): Promise<WriteAheadLog> {
    if (await WriteAheadLog.exists(disk, directory)) {
      throw new WalError("WAL_EXISTS", "file already exists");
    }
    const temporary = `${directory}.tmp`;
    await disk.removeTree(temporary);
    await disk.makeDirectory(temporary);
    const encoder = new RecordEncoder(0);
    encoder.checksum();
    encoder.data(RECORD_METADATA, metadata);
    const start: WalSnapshot = { index: 0, term: 0, confState: undefined };
    encoder.message(RECORD_SNAPSHOT, WalSnapshotCodec, start);
    const first = segmentName(0, 0);
    const file = await disk.open(`${temporary}/${first.name}`, { mode: "createNew" });
    try {
      await file.preallocate(options.segmentBytes ?? SEGMENT_BYTES);
      await file.write([encoder.view()], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await disk.syncDirectory(temporary);
    await disk.removeTree(directory);
    await disk.rename(temporary, directory);
    await syncAncestors(disk, directory);
    const { wal } = await WriteAheadLog.open(disk, directory, start, options);
    return wal;
  }

  /**
   * Opens a log for writing at a snapshot it holds, cutting off a torn tail.
   *
   * @returns the entries after `start`, and what else the log says
   * @throws {CorruptionError} if anything but the tail of the last segment does not read back
   * @throws {WalError} `WAL_FILE_NOT_FOUND`, `WAL_SNAPSHOT_NOT_FOUND`, `WAL_SNAPSHOT_MISMATCH`
   * @throws {DiskError} `LOCKED` if another process has the log open
   */
  static async open(
    disk: Disk,
    directory: string,
    start: WalSnapshot,
    options: WalOptions,
  ): Promise<{ wal: WriteAheadLog } & WalContents> {
    const opened = await openLog(disk, directory, start, options);
    return { wal: new WriteAheadLog(disk, directory, opened, options), ...opened.contents };
  }

  /** As `open`, without locks and without changing anything; a torn tail is passed over. */
  static readAll(
    disk: Disk,
    directory: string,
    start: WalSnapshot,
    options: WalOptions,
  ): Promise<ReadLog> {
    return readLog(disk, directory, start, options);
  }

  /** The snapshot records at or below the committed index, oldest first. */
  static validSnapshots(
    disk: Disk,
    directory: string,
    options: WalOptions,
  ): Promise<WalSnapshot[]> {
    return readValidSnapshots(disk, directory, options);
  }

  /**
   * Appends entries and then the hard state.
   *
   * Calls made while a sync is under way share the next one. `entries` must not change afterwards.
   *
   * @param mayBlock - as of `DiskFile.writeDurably`
   * @returns settles when both are durable; a hard state of which only `commit` changed may be
   * written later
   * @throws {WalError} `WAL_FAILED` after any earlier failure, `WAL_CLOSED`
   */
  save(
    hardState: HardState | undefined,
    entries: readonly Entry[],
    mayBlock = false,
  ): Promise<void> {
    return this.#enqueue({ hardState, entries, mayBlock });
  }

  /** Records that a snapshot was taken; durable when it settles. */
  saveSnapshot(snapshot: WalSnapshot): Promise<void> {
    invariant(
      snapshot.index === 0 || snapshot.confState !== undefined,
      () => `saveSnapshot: no conf state at ${snapshot.index}`,
    );
    return this.#enqueue({ snapshot });
  }

  /** Makes everything durable that was handed over, a hard state that waits in memory included. */
  sync(): Promise<void> {
    return this.#enqueue({ isSync: true });
  }

  /** Gives up the locks of segments that no start at or after `index` reads. */
  async releaseTo(index: number): Promise<void> {
    await this.#running;
    const later = this.#held.findIndex((segment) => segment.name.firstIndex >= index);
    const keepFrom = (later === -1 ? this.#held.length : later) - 1;
    if (keepFrom <= 0) return;
    const released = this.#held.splice(0, keepFrom);
    for (const segment of released) await segment.file.close();
  }

  /**
   * Removes the oldest segments until `filesMax` are left or one is still locked.
   *
   * @param filesMax - 0 for no bound
   * @returns the names removed
   */
  async purge(filesMax: number): Promise<string[]> {
    const removed: string[] = [];
    if (filesMax <= 0) return removed;
    const segments = segmentsOf(await this.#disk.list(this.#directory));
    for (const segment of segments.slice(0, Math.max(0, segments.length - filesMax))) {
      if (this.#held.some((held) => held.name.name === segment.name)) break;
      const path = `${this.#directory}/${segment.name}`;
      if (!(await removeIfUnlocked(this.#disk, path))) break;
      this.#logger.info("purged", { path });
      removed.push(segment.name);
    }
    if (removed.length > 0) await this.#disk.syncDirectory(this.#directory);
    return removed;
  }

  /** Writes out what waits and gives up the locks; idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#running;
    try {
      if (this.#failure === undefined && !this.#isHardStateWritten) {
        this.#encodeHardState();
        await this.#writeOut();
      }
    } finally {
      await this.#pipeline.close();
      for (const segment of this.#held) await segment.file.close();
    }
  }

  #enqueue(work: Partial<Omit<PendingWork, "resolve" | "reject">>): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closing !== undefined) {
      return Promise.reject(new WalError("WAL_CLOSED", "wal: closed"));
    }
    return new Promise((resolve, reject) => {
      const { hardState, entries = [], snapshot, isSync = false, mayBlock = false } = work;
      this.#pending.push({ hardState, entries, snapshot, isSync, mayBlock, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    while (this.#pending.length > 0) {
      const batch = this.#takeBatch();
      try {
        if (this.#failure !== undefined) throw this.#failure;
        await this.#flush(batch);
        for (const work of batch) work.resolve();
        this.#pipeline.reached(this.#offset);
        if (this.#offset >= this.#segmentBytes) await this.#cut();
      } catch (error) {
        this.#fail(error);
        for (const work of batch) work.reject(this.#failure);
      }
    }
    this.#running = undefined;
  }

  /** The calls of one write: a snapshot record ends it. */
  #takeBatch(): PendingWork[] {
    const last = this.#pending.findIndex((work) => work.snapshot !== undefined);
    return this.#pending.splice(0, last === -1 ? this.#pending.length : last + 1);
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    const reason = error instanceof Error ? error.message : String(error);
    this.#failure = new WalError("WAL_FAILED", `wal: failed: ${reason}`, { cause: error });
    this.#logger.error("failed to write WAL", {
      error: reason,
      code: error instanceof EtcdError ? error.code : undefined,
    });
  }

  async #flush(batch: readonly PendingWork[]): Promise<void> {
    let mustWrite = false;
    for (const { entries, hardState, snapshot } of batch) {
      if (entries.length > 0 || snapshot !== undefined) mustWrite = true;
      for (const entry of entries) {
        this.#encoder.entry(entry);
        this.#lastIndex = entry.index;
      }
      if (hardState !== undefined && this.#adoptHardState(hardState)) mustWrite = true;
    }
    const isSync = batch.some((work) => work.isSync);
    if (!mustWrite && !(isSync && !this.#isHardStateWritten)) return;
    if (!this.#isHardStateWritten) this.#encodeHardState();
    const snapshot = batch.at(-1)?.snapshot;
    if (snapshot !== undefined) {
      this.#encoder.message(RECORD_SNAPSHOT, WalSnapshotCodec, snapshot);
      this.#lastIndex = Math.max(this.#lastIndex, snapshot.index);
    }
    await this.#writeOut(batch.every((work) => work.mayBlock));
  }

  /** Returns whether the state must be durable before the member goes on. */
  #adoptHardState(next: HardState): boolean {
    if (next.term === 0 && next.vote === 0n && next.commit === 0) return false;
    const before = this.#hardState;
    this.#hardState = next;
    this.#isHardStateWritten = false;
    return before === undefined || before.term !== next.term || before.vote !== next.vote;
  }

  #encodeHardState(): void {
    if (this.#hardState !== undefined) {
      this.#encoder.message(RECORD_STATE, HardStateCodec, this.#hardState);
    }
    this.#isHardStateWritten = true;
  }

  async #writeOut(mayBlock = false): Promise<void> {
    const { file } = this.#held.at(-1)!;
    const bytes = this.#encoder.view();
    const startMs = this.#instruments.start();
    if (this.#noSync) await file.write([bytes], this.#offset);
    else await file.writeDurably([bytes], this.#offset, mayBlock);
    this.#instruments.wrote(bytes.length, startMs, !this.#noSync);
    this.#offset += bytes.length;
    this.#resetEncoder();
  }

  #resetEncoder(): void {
    if (this.#encoder.length > BUFFER_KEPT_BYTES) {
      this.#encoder = new RecordEncoder(this.#encoder.crc);
    } else this.#encoder.reset();
  }

  /** Ends the last segment where its records end and goes on in a new one. */
  async #cut(): Promise<void> {
    const before = this.#held.at(-1)!;
    const prepared = await this.#pipeline.take();
    this.#encoder.checksum();
    this.#encoder.data(RECORD_METADATA, this.#metadata);
    this.#encodeHardState();
    const head = this.#encoder.view();
    const name = segmentName(before.name.sequence + 1, this.#lastIndex + 1);
    const path = `${this.#directory}/${name.name}`;
    const { file } = prepared;
    try {
      await allDone([this.#end(before.file, this.#offset), this.#begin(file, head)]);
      await this.#disk.rename(prepared.path, path);
      await this.#disk.syncDirectory(this.#directory);
    } catch (error) {
      await file.close();
      throw error;
    }
    this.#offset = head.length;
    this.#resetEncoder();
    this.#held.push({ name, path, file });
    this.#logger.info("created a new WAL segment", { path });
  }

  /** Cuts a segment to the length of its records. */
  async #end(file: DiskFile, offsetBytes: number): Promise<void> {
    await file.truncate(offsetBytes);
    if (!this.#noSync) await file.sync();
  }

  async #begin(file: DiskFile, head: Uint8Array): Promise<void> {
    await file.write([head], 0);
    if (!this.#noSync) await file.sync();
  }
}

/**
 * Makes the names above a new directory durable: any of them may have been made just before. Those
 * that cannot be opened were not made by this process.
 */
async function syncAncestors(disk: Disk, directory: string): Promise<void> {
  await disk.syncDirectory(parentOf(directory));
  for (let path = parentOf(directory); path !== "." && path !== "/";) {
    path = parentOf(path);
    try {
      await disk.syncDirectory(path);
    } catch (error) {
      if (error instanceof EtcdError && error.code === "ACCESS_DENIED") return;
      throw error;
    }
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
}

/** Returns false if somebody holds a lock on the file. */
export async function removeIfUnlocked(disk: Disk, path: string): Promise<boolean> {
  let file: DiskFile;
  try {
    file = await disk.open(path, { mode: "readWrite", lock: "exclusive", lockFor: "segment" });
  } catch (error) {
    if (error instanceof EtcdError && error.code === "LOCKED") return false;
    throw error;
  }
  try {
    await disk.remove(path);
  } finally {
    await file.close();
  }
  return true;
}
