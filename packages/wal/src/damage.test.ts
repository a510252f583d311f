/** What the log does with bytes that are not what was written. */

import {
  CorruptionError,
  MemoryDisk,
  bytesFromHex,
  crc32c,
  equalBytes,
  hexFromBytes,
} from "@etcd-ts/base";
import type { Entry } from "@etcd-ts/raft";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WalError } from "./errors.ts";
import type { WalContents } from "./replay.ts";
import {
  CONF_STATE,
  DIRECTORY,
  METADATA,
  START,
  entries,
  entry,
  hardState,
  options,
  segmentNames,
} from "./sample-log.ts";
import { WriteAheadLog } from "./write-ahead-log.ts";

const FIRST = `${DIRECTORY}/0000000000000000-0000000000000000.wal`;

function textOf(contents: WalContents): string {
  const list = contents.entries.map((e) => `${e.type} ${e.term} ${e.index} ${crc32c(0, e.data)}`);
  const { term, vote, commit } = contents.hardState ?? { term: 0, vote: 0n, commit: 0 };
  return [hexFromBytes(contents.metadata), `${term} ${vote} ${commit}`, ...list].join("\n");
}

function read(disk: MemoryDisk): Promise<WalContents> {
  return WriteAheadLog.readAll(disk, DIRECTORY, START, options());
}

async function overwrite(disk: MemoryDisk, path: string, at: number, bytes: Uint8Array) {
  const file = await disk.open(path, { mode: "readWrite" });
  await file.write([bytes], at);
  await file.close();
}

/** A log of two segments, saved in several writes. */
async function sampleLog(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options(1024));
  await wal.save(hardState(0), []);
  await wal.save(undefined, entries(1, 3, 1, 40));
  await wal.save(hardState(2), [entry(4, 1, 0), entry(5, 1, 100)]);
  const change: Entry = { ...entry(6, 1, 30), type: "EntryConfChange" };
  await wal.save(hardState(5), [change, ...entries(7, 2, 1, 300)]);
  await wal.saveSnapshot({ index: 5, term: 1, confState: CONF_STATE });
  await wal.save(hardState(8, 2), entries(9, 2, 2, 64));
  await wal.save(hardState(9, 2), entries(11, 1, 2, 7));
  await wal.close();
  return disk;
}

/** Runs the reader; a clean refusal is undefined. */
async function readOrRefuse(disk: MemoryDisk): Promise<string | undefined> {
  try {
    return textOf(await read(disk));
  } catch (error) {
    if (error instanceof CorruptionError || error instanceof WalError) return undefined;
    throw error;
  }
}

describe("damage", () => {
  test("no changed bit of a synced log is read as something else", async () => {
    const disk = await sampleLog();
    const whole = textOf(await read(disk));
    const names = await segmentNames(disk);
    expect(names.length).toBe(2);
    let refused = 0;
    for (const name of names) {
      const path = `${DIRECTORY}/${name}`;
      const bytes = disk.fileBytes(path);
      const used = bytes.findLastIndex((byte) => byte !== 0) + 9;
      for (let at = 0; at < Math.min(used, bytes.length); at++) {
        for (let bit = 0; bit < 8; bit++) {
          disk.flipBit(path, at, bit);
          const got = await readOrRefuse(disk);
          if (got === undefined) refused++;
          else if (got !== whole) expect.fail(`${name} byte ${at} bit ${bit} reads ${got}`);
          disk.flipBit(path, at, bit);
        }
      }
    }
    expect(refused).toBeGreaterThan(5_000);
  });

  test("an error names the segment and the offset of the record", async () => {
    const disk = await sampleLog();
    const bytes = disk.fileBytes(FIRST);
    disk.flipBit(FIRST, 200);
    const failure = await read(disk).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CorruptionError);
    const { path, offsetBytes } = failure as CorruptionError;
    expect(path).toBe(FIRST);
    expect(offsetBytes).toBeLessThanOrEqual(200);
    expect(offsetBytes).toBeGreaterThan(0);
    expect(bytes.length).toBeGreaterThan(200);
    await expect(WriteAheadLog.open(disk, DIRECTORY, START, options())).rejects.toThrow(FIRST);
  });

  test("arbitrary bytes anywhere never hang it nor pass as another log", async () => {
    const disk = await sampleLog();
    const whole = (await read(disk)).entries.map((e) => `${e.index} ${crc32c(0, e.data)}`);
    const last = `${DIRECTORY}/${(await segmentNames(disk)).at(-1)}`;
    const original = disk.fileBytes(last);
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 24 }),
      fc.constant(bytesFromHex("ffffffffffffffff")!),
      fc.constant(bytesFromHex("ffffffffffffff7f")!),
      fc.constant(bytesFromHex("f0ffffffffffff00")!),
      fc.constant(bytesFromHex("0000000100000000")!),
    );
    const property = fc.asyncProperty(fc.nat(original.length - 24), bytes, async (at, garbage) => {
      await overwrite(disk, last, at - (at % 8), garbage);
      const got = await read(disk).catch((error: unknown) => error);
      await overwrite(disk, last, 0, original);
      if (got instanceof CorruptionError || got instanceof WalError) return;
      const texts = (got as WalContents).entries.map((e) => `${e.index} ${crc32c(0, e.data)}`);
      expect(texts).toEqual(whole.slice(0, texts.length));
    });
    await fc.assert(property, { numRuns: 500 });
  });

  test("an index of 2^53 or a gap is refused", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    await wal.save(undefined, [entry(1)]);
    await wal.save(undefined, [{ ...entry(1), index: Number.MAX_SAFE_INTEGER }]);
    await wal.close();
    await expect(read(disk)).rejects.toThrow("slice bounds out of range");
  });
});

/** A log whose last write spans several sectors, and where that write starts. */
async function logWithLongTail(): Promise<{ disk: MemoryDisk; tailStart: number; end: number }> {
  const disk = new MemoryDisk();
  const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options(8192));
  await wal.save(hardState(0), entries(1, 3, 1, 60));
  await wal.save(hardState(3), entries(4, 1, 1, 200));
  const before = disk.fileBytes(FIRST);
  await wal.save(hardState(4), [...entries(5, 3, 1, 400), ...entries(8, 10, 1, 33)]);
  const after = disk.fileBytes(FIRST);
  await wal.close();
  return { disk, tailStart: lastByte(before), end: lastByte(after) };
}

const LONG_TAIL_ENTRIES = [
  ...entries(1, 3, 1, 60),
  ...entries(4, 1, 1, 200),
  ...entries(5, 3, 1, 400),
  ...entries(8, 10, 1, 33),
];

function lastByte(bytes: Uint8Array): number {
  return bytes.findLastIndex((byte) => byte !== 0) + 1;
}

/** Zeros what is at or behind `start` in the sectors chosen by the bits of `mask`. */
function withoutSectors(bytes: Uint8Array, start: number, mask: number): Uint8Array {
  const torn = bytes.slice();
  const first = Math.floor(start / 512);
  for (let i = 0; i < 8; i++) {
    if ((mask & (1 << i)) === 0) continue;
    const from = Math.max(start, (first + i) * 512);
    const to = Math.min(torn.length, (first + i + 1) * 512);
    if (from < to) torn.fill(0, from, to);
  }
  return torn;
}

describe("torn tails", () => {
  test("open() keeps what was synced before the write whose sectors are missing", async () => {
    const { disk, tailStart, end } = await logWithLongTail();
    const bytes = disk.fileBytes(FIRST);
    const sectors = Math.floor((end - 1) / 512) - Math.floor(tailStart / 512) + 1;
    expect(sectors).toBeGreaterThan(3);
    const start = tailStart + ((8 - (tailStart % 8)) % 8);
    let copies = 0;
    for (let mask = 1; mask < 1 << sectors; mask++) {
      await overwrite(disk, FIRST, 0, withoutSectors(bytes, start, mask));
      const opened = await WriteAheadLog.open(disk, DIRECTORY, START, options(8192));
      expect(opened.entries.length).toBeGreaterThanOrEqual(4);
      expect(opened.entries.length).toBeLessThan(18);
      expect(opened.entries).toEqual(LONG_TAIL_ENTRIES.slice(0, opened.entries.length));
      await opened.wal.close();
      // Where nothing but zeros is left behind the last whole record there is nothing to set aside.
      if ((await disk.stat(`${FIRST}.broken`)) === undefined) continue;
      const broken = disk.fileBytes(`${FIRST}.broken`);
      expect(equalBytes(broken, withoutSectors(bytes, start, mask))).toBe(true);
      await disk.remove(`${FIRST}.broken`);
      copies++;
    }
    expect(copies).toBeGreaterThan(sectors);
  });

  test("open() keeps the whole records of a file that was cut short", async () => {
    const { disk, end } = await logWithLongTail();
    const bytes = disk.fileBytes(FIRST).slice(0, end);
    for (let size = 300; size < end; size += 37) {
      const file = await disk.open(FIRST, { mode: "truncate" });
      await file.write([bytes.subarray(0, size)], 0);
      await file.close();
      const opened = await WriteAheadLog.open(disk, DIRECTORY, START, options(8192));
      expect(opened.entries).toEqual(LONG_TAIL_ENTRIES.slice(0, opened.entries.length));
      await opened.wal.close();
    }
  });

  test("a missing sector with later writes behind it is damage", async () => {
    const { disk, tailStart } = await logWithLongTail();
    const wal = (await WriteAheadLog.open(disk, DIRECTORY, START, options(8192))).wal;
    await wal.save(hardState(17), entries(18, 2, 1, 50));
    await wal.close();
    const bytes = disk.fileBytes(FIRST);
    const sector = Math.floor(tailStart / 512) + 1;
    const torn = bytes.slice();
    torn.fill(0, sector * 512, (sector + 1) * 512);
    await overwrite(disk, FIRST, 0, torn);
    await expect(WriteAheadLog.open(disk, DIRECTORY, START, options(8192))).rejects.toThrow(
      CorruptionError,
    );
    expect(await disk.stat(`${FIRST}.broken`)).toBeUndefined();
  });

  test("a missing sector in any but the last segment is damage", async () => {
    const disk = await sampleLog();
    const bytes = disk.fileBytes(FIRST);
    await overwrite(disk, FIRST, 512, new Uint8Array(Math.min(512, bytes.length - 512)));
    await expect(read(disk)).rejects.toThrow(CorruptionError);
  });

  test("a length alone in a lost sector is restored", async () => {
    for (let filler = 0; filler < 512; filler += 8) {
      const disk = new MemoryDisk();
      const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
      await wal.save(hardState(0), [entry(1, 1, 200 + filler)]);
      const at = lastByte(disk.fileBytes(FIRST));
      const frame = at + ((8 - (at % 8)) % 8);
      if (frame % 512 !== 504) {
        await wal.close();
        continue;
      }
      await wal.save(hardState(1), entries(2, 2, 1, 100));
      await wal.close();
      await overwrite(disk, FIRST, frame, new Uint8Array(8));
      const opened = await WriteAheadLog.open(disk, DIRECTORY, START, options());
      const expected = [entry(1, 1, 200 + filler), ...entries(2, 2, 1, 100)];
      expect(opened.entries).toEqual(expected);
      await opened.wal.close();
      expect((await read(disk)).entries).toEqual(expected);
      return;
    }
    expect.fail("no filler puts a length at the end of a sector");
  });
});

describe("format", () => {
  /** The head of the first segment as etcd 3.6.14 writes it. */
  test("create() writes the records etcd writes", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    await wal.close();
    const bytes = disk.fileBytes(FIRST);
    expect(bytes.length).toBe(4096);
    expect(hexFromBytes(bytes.subarray(0, 16))).toBe("04000000000000840804100000000000");
    const metadataCrc = crc32c(0, METADATA);
    expect(hexFromBytes(bytes.subarray(16, 26))).toBe("0e000000000000820801");
    expect(metadataCrc).toBeGreaterThan(0);
    expect(hexFromBytes(bytes.subarray(32, 38))).toBe("1a0408011002");
  });
});
