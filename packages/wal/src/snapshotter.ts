/**
 * Raft snapshots as files: `<term>-<index>.snap`, and `<index>.snap.db` for databases received from
 * a leader.
 *
 * A `.snap` file is `snappb.snapshot`: 1 crc, 2 data; data is a `raftpb.Snapshot` and crc its CRC-32C.
 *
 * Invariants:
 * - A file that does not read back is never used: it is renamed to `<name>.broken` and an older one
 *   is tried.
 * - A file under its final name, and its name, are durable when the call that made it settles.
 */

import {
  CorruptionError,
  EtcdError,
  WireReader,
  WireWriter,
  crc32c,
  decodeMessage,
  encodeMessage,
  exponentialBuckets,
} from "@etcd-ts/base";
import type { Clock, Disk, DiskFile, Histogram, Logger, Metrics } from "@etcd-ts/base";
import { SnapshotCodec } from "@etcd-ts/raft";
import type { Snapshot } from "@etcd-ts/raft";
import { hex16 } from "./segment-name.ts";
import { removeIfUnlocked } from "./write-ahead-log.ts";
import type { WalSnapshot } from "./walpb.ts";

const SNAP_SUFFIX = ".snap";
const DATABASE_SUFFIX = ".snap.db";

export interface SnapshotterOptions {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

interface SnapInstruments {
  readonly marshalSeconds: Histogram;
  readonly saveSeconds: Histogram;
  readonly syncSeconds: Histogram;
  readonly databaseSaveSeconds: Histogram;
  readonly databaseSyncSeconds: Histogram;
}

export class Snapshotter {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #instruments: SnapInstruments;

  /** @param directory - `member/snap`; must exist */
  constructor(disk: Disk, directory: string, options: SnapshotterOptions) {
    this.#disk = disk;
    this.#directory = directory;
    this.#logger = options.logger;
    this.#clock = options.clock;
    this.#instruments = declareInstruments(options.metrics);
  }

  /** Writes a snapshot; one at index 0 is nothing and is passed over. */
  async save(snapshot: Snapshot): Promise<void> {
    const { index, term } = snapshot.metadata;
    if (index === 0) return;
    const startMs = this.#clock.monotonicMs();
    const bytes = encodeSnapFile(snapshot);
    this.#observe(this.#instruments.marshalSeconds, startMs);
    const path = `${this.#directory}/${hex16(term)}-${hex16(index)}${SNAP_SUFFIX}`;
    await this.#writeFile(path, [bytes], this.#instruments.syncSeconds);
    await this.#disk.syncDirectory(this.#directory);
    this.#observe(this.#instruments.saveSeconds, startMs);
  }

  /** The newest readable snapshot; undefined if there is none. */
  load(): Promise<Snapshot | undefined> {
    return this.#loadMatching(() => true);
  }

  /** The newest readable snapshot the log knows as valid; undefined if there is none. */
  loadNewestAvailable(valid: readonly WalSnapshot[]): Promise<Snapshot | undefined> {
    const known = new Set(valid.map(({ term, index }) => `${term}-${index}`));
    return this.#loadMatching(({ metadata }) => known.has(`${metadata.term}-${metadata.index}`));
  }

  /** Whether there is any file to load from. */
  async hasSnapshots(): Promise<boolean> {
    return (await this.#names()).length > 0;
  }

  /** Where the database received with the snapshot at `index` is kept. */
  databasePath(index: number): string {
    return `${this.#directory}/${hex16(index)}${DATABASE_SUFFIX}`;
  }

  async hasDatabase(index: number): Promise<boolean> {
    return (await this.#disk.stat(this.databasePath(index)))?.kind === "file";
  }

  /**
   * Keeps a database received with the snapshot at `index`; one already kept stays.
   *
   * @returns the bytes received
   */
  async saveDatabase(chunks: AsyncIterable<Uint8Array>, index: number): Promise<number> {
    const startMs = this.#clock.monotonicMs();
    const temporary = `${this.#directory}/tmp${hex16(index)}`;
    const bytes = await this.#writeFile(temporary, chunks, this.#instruments.databaseSyncSeconds);
    if (await this.hasDatabase(index)) await this.#disk.remove(temporary);
    else await this.#disk.rename(temporary, this.databasePath(index));
    await this.#disk.syncDirectory(this.#directory);
    this.#observe(this.#instruments.databaseSaveSeconds, startMs);
    this.#logger.info("saved database snapshot to disk", {
      path: this.databasePath(index),
      bytes,
    });
    return bytes;
  }

  /** Removes databases received with snapshots below `index`. */
  async releaseDatabasesBefore(index: number): Promise<void> {
    for (const name of await this.#disk.list(this.#directory)) {
      const match = /^([0-9a-f]{16})\.snap\.db$/.exec(name);
      if (match === null || parseInt(match[1]!, 16) >= index) continue;
      const path = `${this.#directory}/${name}`;
      await this.#disk.remove(path);
      this.#logger.info("found orphaned .snap.db file; deleting", { path });
    }
  }

  /**
   * Removes the oldest `.snap` and the oldest `.snap.db` files until `filesMax` of each are left.
   *
   * @param filesMax - 0 for no bound
   * @returns the names removed
   */
  async purge(filesMax: number): Promise<string[]> {
    const removed: string[] = [];
    if (filesMax <= 0) return removed;
    const names = await this.#disk.list(this.#directory);
    for (const suffix of [DATABASE_SUFFIX, SNAP_SUFFIX]) {
      const files = names.filter((name) => name.endsWith(suffix));
      for (const name of files.slice(0, Math.max(0, files.length - filesMax))) {
        const path = `${this.#directory}/${name}`;
        if (!(await removeIfUnlocked(this.#disk, path))) break;
        this.#logger.info("purged", { path });
        removed.push(name);
      }
    }
    return removed;
  }

  /** Removes what an interrupted receive or defragmentation left behind. */
  async removeTemporaryFiles(): Promise<void> {
    for (const name of await this.#disk.list(this.#directory)) {
      if (!name.startsWith("tmp") && !name.startsWith("db.tmp")) continue;
      const path = `${this.#directory}/${name}`;
      this.#logger.info("found orphaned defragmentation file; deleting", { path });
      await this.#disk.remove(path);
    }
  }

  /** In order of term and index. */
  async #names(): Promise<string[]> {
    const names = await this.#disk.list(this.#directory);
    return names.filter((name) => /^[0-9a-f]{16}-[0-9a-f]{16}\.snap$/.test(name));
  }

  async #loadMatching(isWanted: (snapshot: Snapshot) => boolean): Promise<Snapshot | undefined> {
    for (const name of (await this.#names()).reverse()) {
      const snapshot = await this.#readOrSetAside(`${this.#directory}/${name}`);
      if (snapshot !== undefined && isWanted(snapshot)) return snapshot;
    }
    return undefined;
  }

  async #readOrSetAside(path: string): Promise<Snapshot | undefined> {
    try {
      return decodeSnapFile(await this.#readFile(path), path);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#logger.warn("failed to read a snap file", { path, error: error.message });
      await this.#disk.rename(path, `${path}.broken`);
      return undefined;
    }
  }

  async #readFile(path: string): Promise<Uint8Array> {
    const file = await this.#disk.open(path, { mode: "read" });
    try {
      const bytes = new Uint8Array(file.sizeBytes());
      return bytes.subarray(0, file.read(bytes, 0));
    } finally {
      await file.close();
    }
  }

  async #writeFile(
    path: string,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    syncSeconds: Histogram,
  ): Promise<number> {
    const file = await this.#disk.open(path, { mode: "truncate" });
    let bytes = 0;
    try {
      for await (const chunk of chunks) {
        await file.write([chunk], bytes);
        bytes += chunk.length;
      }
      const startMs = this.#clock.monotonicMs();
      await file.sync();
      this.#observe(syncSeconds, startMs);
    } catch (error) {
      await this.#discard(file, path);
      throw error;
    }
    await file.close();
    return bytes;
  }

  async #discard(file: DiskFile, path: string): Promise<void> {
    await file.close();
    try {
      await this.#disk.remove(path);
    } catch (error) {
      const reason = error instanceof EtcdError ? error.message : String(error);
      this.#logger.warn("failed to remove a broken snap file", { path, error: reason });
    }
  }

  #observe(histogram: Histogram, startMs: number): void {
    histogram.observe((this.#clock.monotonicMs() - startMs) / 1000);
  }
}

function encodeSnapFile(snapshot: Snapshot): Uint8Array {
  const data = encodeMessage(SnapshotCodec, snapshot);
  const writer = new WireWriter(data.length + 16);
  writer.varintField(1, crc32c(0, data));
  writer.bytesField(2, data);
  return writer.view();
}

/** @throws {CorruptionError} */
function decodeSnapFile(bytes: Uint8Array, path: string): Snapshot {
  try {
    let crc = 0;
    let data: Uint8Array | undefined;
    const reader = new WireReader(bytes);
    while (reader.next()) {
      if (reader.field === 1) crc = reader.uint64Number();
      else if (reader.field === 2) data = reader.view();
      else reader.skip();
    }
    if (data === undefined || data.length === 0 || crc === 0) {
      throw new CorruptionError("snap: empty snapshot", path, 0);
    }
    if (crc32c(0, data) !== crc) throw new CorruptionError("snap: crc mismatch", path, 0);
    return decodeMessage(SnapshotCodec, data);
  } catch (error) {
    if (error instanceof CorruptionError) throw error;
    throw new CorruptionError("snap: file does not decode", path, 0, { cause: error });
  }
}

function declareInstruments(metrics: Metrics): SnapInstruments {
  const buckets = exponentialBuckets(0.001, 2, 14);
  return {
    marshalSeconds: metrics.histogram({
      name: "etcd_debugging_snap_save_marshalling_duration_seconds",
      help: "The marshalling cost distributions of save called by snapshot.",
      buckets,
    }),
    saveSeconds: metrics.histogram({
      name: "etcd_debugging_snap_save_total_duration_seconds",
      help: "The total latency distributions of save called by snapshot.",
      buckets,
    }),
    syncSeconds: metrics.histogram({
      name: "etcd_snap_fsync_duration_seconds",
      help: "The latency distributions of fsync called by snap.",
      buckets,
    }),
    databaseSaveSeconds: metrics.histogram({
      name: "etcd_snap_db_save_total_duration_seconds",
      help: "The total latency distributions of v3 snapshot save",
      buckets: exponentialBuckets(0.1, 2, 10),
    }),
    databaseSyncSeconds: metrics.histogram({
      name: "etcd_snap_db_fsync_duration_seconds",
      help: "The latency distributions of fsyncing .snap.db file",
      buckets,
    }),
  };
}
