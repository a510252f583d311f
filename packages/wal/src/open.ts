/** Finding, locking, reading and mending the segments of a log. */

import { EtcdError } from "@etcd-ts/base";
import type { Disk, DiskFile } from "@etcd-ts/base";
import { WalError } from "./errors.ts";
import { LogReader } from "./log-reader.ts";
import { FRAME_HEADER_BYTES, writeFrameSize } from "./record.ts";
import { copyBroken, zeroFrom } from "./repair.ts";
import { Replay, replayAll } from "./replay.ts";
import type { WalContents } from "./replay.ts";
import { SegmentBytes } from "./segment-bytes.ts";
import { segmentsOf } from "./segment-name.ts";
import type { SegmentName } from "./segment-name.ts";
import type { WalSnapshot } from "./walpb.ts";
import type { WalOptions } from "./write-ahead-log.ts";

/** Size of a segment, from etcd's file format. */
export const SEGMENT_BYTES = 64_000_000;

/** A segment this log has open. */
export interface HeldSegment {
  readonly name: SegmentName;
  readonly path: string;
  readonly file: DiskFile;
}

export interface OpenedLog {
  readonly contents: WalContents;
  readonly held: HeldSegment[];
  /** Where records end in the last segment. */
  readonly offsetBytes: number;
  readonly crc: number;
  readonly lastIndex: number;
}

/** See `WriteAheadLog.open`. */
export async function openLog(
  disk: Disk,
  directory: string,
  start: WalSnapshot,
  options: WalOptions,
): Promise<OpenedLog> {
  const held = await holdSegments(disk, directory, start.index, true);
  try {
    const reader = readerOf(held);
    const replay = new Replay(start, { keepEntries: true });
    const torn = await replayAll(reader, replay, options.clock);
    const last = held.at(-1)!;
    const contents = replay.contents(last.path);
    await mend(disk, last, reader, torn, options);
    const { offsetBytes, crc } = reader;
    return { contents, held, offsetBytes, crc, lastIndex: replay.lastIndex };
  } catch (error) {
    await releaseAll(held);
    throw error;
  }
}

export interface ReadLog extends WalContents {
  /** Why what is behind the last whole record counts as a write cut short; undefined if nothing is. */
  readonly torn: string | undefined;
}

/** See `WriteAheadLog.readAll`. */
export async function readLog(
  disk: Disk,
  directory: string,
  start: WalSnapshot,
  options: WalOptions,
): Promise<ReadLog> {
  const held = await holdSegments(disk, directory, start.index, false);
  try {
    const replay = new Replay(start, { keepEntries: true });
    const torn = await replayAll(readerOf(held), replay, options.clock);
    return { ...replay.contents(held.at(-1)!.path), torn };
  } finally {
    await releaseAll(held);
  }
}

/** See `WriteAheadLog.validSnapshots`. */
export async function readValidSnapshots(
  disk: Disk,
  directory: string,
  options: WalOptions,
): Promise<WalSnapshot[]> {
  const held = await holdSegments(disk, directory, undefined, false);
  try {
    const start: WalSnapshot = { index: 0, term: 0, confState: undefined };
    const replay = new Replay(start, { keepEntries: false });
    await replayAll(readerOf(held), replay, options.clock);
    const committed = replay.hardState?.commit ?? 0;
    return replay.snapshots.filter((snapshot) => snapshot.index <= committed);
  } finally {
    await releaseAll(held);
  }
}

function readerOf(held: readonly HeldSegment[]): LogReader {
  return new LogReader(held.map(({ file, path }) => new SegmentBytes(file, path)));
}

/**
 * Opens the segments from the last one that starts at or below `index` to the end.
 *
 * @param index - undefined for all of them
 * @throws {WalError} `WAL_FILE_NOT_FOUND` if there is none, or one in between is missing
 */
async function holdSegments(
  disk: Disk,
  directory: string,
  index: number | undefined,
  isWriter: boolean,
): Promise<HeldSegment[]> {
  const segments = segmentsOf(await listLog(disk, directory));
  const first =
    index === undefined ? 0 : segments.findLastIndex((segment) => segment.firstIndex <= index);
  if (first < 0 || segments.length === 0) throw fileNotFound(directory);
  const held: HeldSegment[] = [];
  try {
    for (const name of segments.slice(first)) {
      const before = held.at(-1);
      if (before !== undefined && before.name.sequence + 1 !== name.sequence) {
        throw fileNotFound(`${directory}: no segment between ${before.name.name} and ${name.name}`);
      }
      const path = `${directory}/${name.name}`;
      const file = isWriter
        ? await disk.open(path, { mode: "readWrite", lock: "exclusive", lockFor: "segment" })
        : await disk.open(path, { mode: "read" });
      held.push({ name, path, file });
    }
  } catch (error) {
    await releaseAll(held);
    throw error;
  }
  return held;
}

async function listLog(disk: Disk, directory: string): Promise<string[]> {
  try {
    return await disk.list(directory);
  } catch (error) {
    if (error instanceof EtcdError && error.code === "NOT_FOUND") throw fileNotFound(directory);
    throw error;
  }
}

function fileNotFound(where: string): WalError {
  return new WalError("WAL_FILE_NOT_FOUND", `wal: file not found (${where})`);
}

async function releaseAll(held: readonly HeldSegment[]): Promise<void> {
  for (const segment of held) await segment.file.close();
}

/** Leaves the last segment with nothing but zeros behind its last whole record. */
async function mend(
  disk: Disk,
  last: HeldSegment,
  reader: LogReader,
  torn: string | undefined,
  options: WalOptions,
): Promise<void> {
  const { path, file } = last;
  const segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
  if (torn === undefined && reader.lostLengths.length === 0) {
    if (file.sizeBytes() < segmentBytes) await file.preallocate(segmentBytes);
    return;
  }
  options.logger.warn("repairing", { path, offset: reader.offsetBytes, reason: torn });
  await copyBroken(disk, file, path);
  await disk.syncDirectory(path.slice(0, path.lastIndexOf("/")));
  for (const { offsetBytes, recordBytes } of reader.lostLengths) {
    const header = new Uint8Array(FRAME_HEADER_BYTES);
    writeFrameSize(header, recordBytes);
    await file.write([header], offsetBytes);
  }
  await zeroFrom(file, reader.offsetBytes, segmentBytes);
  options.logger.info("repaired", { path, error: torn });
}
