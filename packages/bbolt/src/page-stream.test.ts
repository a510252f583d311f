/** Runs of new entries, whose pages are written while the commit goes on and are not kept. */

import { MemoryDisk, VirtualClock, equalBytes, utf8FromString } from "@etcd-ts/base";
import { expect, test } from "vitest";
import { type Bucket, Database, type SortedRun, check } from "./index.ts";

const PATH = "/db";
const NAME = utf8FromString("b");
const keyOf = (i: number): Uint8Array => utf8FromString(`key ${String(i).padStart(8, "0")}`);

class Run implements SortedRun {
  readonly count: number;
  readonly #first: number;
  readonly #bytes: number;
  readonly #fill: number;

  constructor(first: number, count: number, bytes: number, fill: number) {
    this.#first = first;
    this.count = count;
    this.#bytes = bytes;
    this.#fill = fill;
  }

  key(i: number): Uint8Array {
    return keyOf(this.#first + i);
  }

  value(i: number): Uint8Array {
    return new Uint8Array(this.valueBytes(i)).fill(this.#fill + i);
  }

  keyBytes(): number {
    return keyOf(0).length;
  }

  /** Now and then one that takes a page of its own, or more. */
  valueBytes(i: number): number {
    return i % 97 === 0 ? 20 * this.#bytes : this.#bytes;
  }

  copyEntries(from: number, to: number, target: Uint8Array, start: number): void {
    for (let i = from, at = start; i < to; i++) {
      target.set(this.key(i), at);
      target.set(this.value(i), at + this.keyBytes());
      at += this.keyBytes() + this.valueBytes(i);
    }
  }
}

async function append(db: Database, run: Run): Promise<void> {
  const tx = db.beginWrite();
  const bucket = tx.createBucketIfNotExists(NAME);
  bucket.fillPercent = 0.9;
  bucket.append(run);
  await tx.commit();
}

/** Holds the run as a reader sees it, which takes its pages into the cache. */
function expectRun(db: Database, first: number, run: Run): void {
  const tx = db.beginRead();
  const bucket = tx.bucket(NAME)!;
  for (let i = 0; i < run.count; i++) {
    const value = bucket.get(keyOf(first + i));
    if (value === undefined || !equalBytes(value, run.value(i))) {
      throw new Error(`entry ${first + i} is not what was appended`);
    }
  }
  expect([...check(tx)]).toEqual([]);
  tx.close();
}

test("a run of many blocks is all there, now and after a start, and costs few writes", async () => {
  const disk = new MemoryDisk();
  const db = await Database.open(disk, PATH);
  const run = new Run(0, 12_000, 250, 1);
  disk.resetCounts();
  await append(db, run);
  expect(disk.counts.write).toBeLessThan(20);
  expect(disk.counts.dataSync).toBe(2);
  expect(db.stats().cachedBytes).toBeLessThan(100_000);
  expectRun(db, 0, run);
  await db.close();
  expectRun(await Database.open(disk, PATH), 0, run);
});

test("pages that are used again are not taken for what was on them", async () => {
  const db = await Database.open(new MemoryDisk(), PATH);
  let first = 0;
  for (let round = 0; round < 8; round++) {
    const run = new Run(first, 700, 200 + 30 * round, round);
    await append(db, run);
    // Every page is in the cache now.
    expectRun(db, first, run);
    const tx = db.beginWrite();
    const bucket = tx.bucket(NAME)!;
    for (let i = 0; i < run.count - 1; i++) bucket.delete(keyOf(first + i));
    await tx.commit();
    first += run.count;
  }
  expect(db.sizeBytes()).toBeLessThan(4 * 700 * 500);
});

test("a write that fails fails the commit, once nothing is written any more", async () => {
  for (const after of [0, 1, 3]) {
    const clock = new VirtualClock();
    const disk = new MemoryDisk({ clock });
    const db = await clock.runUntil(Database.open(disk, PATH));
    const before = new Run(0, 500, 250, 1);
    await clock.runUntil(append(db, before));
    disk.fail({ operation: "write", code: "IO", after });
    const failing = append(db, new Run(500, 12_000, 250, 2));
    await expect(clock.runUntil(failing)).rejects.toThrow("write");
    disk.resetCounts();
    await clock.runUntil(new Promise((resolve) => clock.setTimer(1000, () => resolve(undefined))));
    expect(disk.counts.write).toBe(0);
    // The state before is untouched, and the next commit makes a whole one.
    expectRun(db, 0, before);
    const next = new Run(500, 3000, 250, 3);
    await clock.runUntil(append(db, next));
    expectRun(db, 0, before);
    expectRun(db, 500, next);
  }
});

test("entries that fill a page badly share pages in a row", async () => {
  const db = await Database.open(new MemoryDisk(), PATH);
  const run = new Run(0, 1400, 2150, 1);
  await append(db, run);
  expectRun(db, 0, run);
  // Seven to four pages, where one to a page would take 1,400 pages.
  expect(db.sizeBytes() / 4096).toBeLessThan(1100);
});

test("pages in a row do not make the file grow while single ones are free", async () => {
  const db = await Database.open(new MemoryDisk(), PATH);
  const other = utf8FromString("c");
  await change(db, other, (bucket) => {
    for (let i = 0; i < 2000; i++) bucket.put(keyOf(i), new Uint8Array(3500));
  });
  await change(db, other, (bucket) => {
    for (let i = 0; i < 2000; i += 2) bucket.delete(keyOf(i));
  });
  const size = db.sizeBytes();
  const run = new Run(0, 300, 2150, 1);
  await append(db, run);
  expectRun(db, 0, run);
  expect(db.sizeBytes()).toBeLessThan(size + 40 * 4096);
});

async function change(
  db: Database,
  name: Uint8Array,
  make: (bucket: Bucket) => void,
): Promise<void> {
  const tx = db.beginWrite();
  make(tx.createBucketIfNotExists(name));
  await tx.commit();
}
