import { MemoryDisk, utf8FromString } from "@etcd-ts/base";
import { expect, test } from "vitest";
import { Database } from "./index.ts";

const bytes = utf8FromString;
const keyOf = (i: number): Uint8Array => bytes(`key ${String(i).padStart(8, "0")}`);

async function filled(cacheBytesMax: number): Promise<{ disk: MemoryDisk; db: Database }> {
  const disk = new MemoryDisk();
  const db = await Database.open(disk, "/db");
  for (let i = 0; i < 20; i++) {
    const tx = db.beginWrite();
    const bucket = tx.createBucketIfNotExists(bytes("b"));
    for (let k = i * 1000; k < (i + 1) * 1000; k++) bucket.put(keyOf(k), new Uint8Array(200));
    await tx.commit();
  }
  await db.close();
  return { disk, db: await Database.open(disk, "/db", { cacheBytesMax }) };
}

test("the cache keeps within its bound", async () => {
  const { db } = await filled(100_000);
  const bucket = db.beginRead().bucket(bytes("b"))!;
  for (let i = 0; i < 20_000; i += 7) {
    expect(bucket.get(keyOf((i * 7919) % 20_000))).toHaveLength(200);
    expect(db.stats().cachedBytes).toBeLessThanOrEqual(100_000);
  }
});

test("hot pages survive a scan of the whole file", async () => {
  const { db } = await filled(400_000);
  const bucket = db.beginRead().bucket(bytes("b"))!;
  for (let round = 0; round < 3; round++) bucket.get(keyOf(5));
  const cursor = bucket.cursor();
  for (let i = 0, entry = cursor.first(); entry !== undefined; entry = cursor.next(), i++) {
    if (i % 100 === 0) bucket.get(keyOf(5));
  }
  const { cacheMisses } = db.stats();
  bucket.get(keyOf(5));
  expect(db.stats().cacheMisses).toBe(cacheMisses);
});

test("a scan and opening read ahead", async () => {
  const { disk, db } = await filled(10_000_000);
  const pages = db.sizeBytes() / 4096;
  disk.resetCounts();
  const cursor = db.beginRead().bucket(bytes("b"))!.cursor();
  let keys = 0;
  for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) keys++;
  expect(keys).toBe(20_000);
  expect(disk.counts.read).toBeLessThan(pages / 10);
  await db.close();
  disk.resetCounts();
  await Database.open(disk, "/db");
  expect(disk.counts.read).toBeLessThan(pages / 10);
});
