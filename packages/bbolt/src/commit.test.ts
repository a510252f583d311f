/** What a commit does to the file: writes, syncs, growth, slices, failures, page layout. */

import { type Clock, MemoryDisk, type Timer, equalBytes, utf8FromString } from "@etcd-ts/base";
import { describe, expect, test } from "vitest";
import { type Bucket, Database, check, compact } from "./index.ts";

const PATH = "/db";
const bytes = utf8FromString;
const keyOf = (i: number): Uint8Array => bytes(`key ${String(i).padStart(8, "0")}`);

/** Each look at the time finds a millisecond gone. */
class HastyClock implements Clock {
  turns = 0;
  #nowMs = 0;

  wallMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs++;
  }

  setTimer(_delayMs: number, run: () => void): Timer {
    return this.nextTurn(run);
  }

  nextTurn(run: () => void): Timer {
    this.turns++;
    queueMicrotask(run);
    return { cancel: () => undefined };
  }
}

function fill(bucket: Bucket, from: number, to: number, valueBytes = 256): void {
  for (let i = from; i < to; i++) bucket.put(keyOf(i), new Uint8Array(valueBytes).fill(i));
}

function expectSound(db: Database): void {
  const tx = db.beginRead();
  expect([...check(tx)]).toEqual([]);
  tx.close();
}

describe("commit()", () => {
  test("writes neighbours together and syncs twice", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH);
    const tx = db.beginWrite();
    fill(tx.createBucket(bytes("b")), 0, 1000);
    disk.resetCounts();
    await tx.commit();
    expect(disk.counts).toMatchObject({ write: 2, dataSync: 2, sync: 0, truncate: 1 });
  });

  test("does not sync with noSync", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH, { noSync: true });
    const tx = db.beginWrite();
    tx.createBucket(bytes("b"));
    await tx.commit();
    await db.close();
    expect(disk.counts).toMatchObject({ dataSync: 0, sync: 0, syncDirectory: 0 });
  });

  test("grows the file in steps", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH);
    const sizes = new Set<number>();
    for (let i = 0; i < 60; i++) {
      const tx = db.beginWrite();
      fill(tx.createBucketIfNotExists(bytes("b")), i * 100, (i + 1) * 100);
      await tx.commit();
      sizes.add(db.stats().fileBytes);
      expect(db.stats().fileBytes).toBeGreaterThanOrEqual(db.sizeBytes());
    }
    expect(sizes.size).toBeLessThan(10);
    await db.close();
    const large = await Database.open(disk, "/large", { initialBytes: 1 << 20 });
    const tx = large.beginWrite();
    fill(tx.createBucket(bytes("b")), 0, 100);
    await tx.commit();
    expect(large.stats().fileBytes).toBe(1 << 20);
  });

  test("uses the pages of the state before last again", async () => {
    const db = await Database.open(new MemoryDisk(), PATH);
    const sizes: number[] = [];
    for (let i = 0; i < 30; i++) {
      const tx = db.beginWrite();
      fill(tx.createBucketIfNotExists(bytes("b")), 0, 300);
      await tx.commit();
      sizes.push(db.sizeBytes());
    }
    expect(new Set(sizes.slice(3)).size).toBe(1);
    const { freePages, pendingPages } = db.stats();
    expect(freePages + pendingPages).toBeGreaterThan(10);
  });

  test("lets others run between slices, which see the state before", async () => {
    const clock = new HastyClock();
    const db = await Database.open(new MemoryDisk(), PATH, { clock });
    const tx = db.beginWrite();
    fill(tx.createBucket(bytes("b")), 0, 10_000);
    const committing = tx.commit();
    const reader = db.beginRead();
    expect(() => db.beginWrite()).toThrow("a writer is open");
    expect(() => tx.bucket(bytes("b"))).toThrow("tx closed");
    expect(reader.bucketNames()).toEqual([]);
    await committing;
    expect(clock.turns).toBeGreaterThan(100);
    expect(reader.bucketNames()).toEqual([]);
    expectSound(db);
  });

  test("is waited for by close()", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH, { clock: new HastyClock() });
    const tx = db.beginWrite();
    fill(tx.createBucket(bytes("b")), 0, 1000);
    const committing = tx.commit();
    await db.close();
    await committing;
    const reopened = await Database.open(disk, PATH);
    expect(reopened.beginRead().bucketNames()).toEqual([bytes("b")]);
  });

  test("is undone by a failed write, and the database goes on", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH);
    for (const operation of ["truncate", "write"] as const) {
      const tx = db.beginWrite();
      fill(tx.createBucketIfNotExists(bytes("b")), 0, 1000);
      disk.fail({ operation, code: "NO_SPACE" });
      await expect(tx.commit()).rejects.toMatchObject({ code: "NO_SPACE" });
      expectSound(db);
      expect(db.beginRead().bucketNames()).toEqual([]);
    }
    const tx = db.beginWrite();
    fill(tx.createBucket(bytes("b")), 0, 1000);
    await tx.commit();
    expectSound(db);
  });

  test("stops all writes after a failed sync", async () => {
    for (const after of [0, 1]) {
      const disk = new MemoryDisk();
      const db = await Database.open(disk, PATH);
      const tx = db.beginWrite();
      tx.createBucket(bytes("b"));
      disk.fail({ operation: "dataSync", code: "IO", after });
      await expect(tx.commit()).rejects.toMatchObject({ code: "IO" });
      expect(() => db.beginWrite()).toThrow("takes no more writes");
      expect(db.beginRead().bucketNames()).toEqual([]);
    }
  });

  test("stores large values on pages in a row", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH, { pageBytes: 512 });
    const tx = db.beginWrite();
    const bucket = tx.createBucket(bytes("b"));
    const large = new Uint8Array(1_500_000).map((_, i) => i);
    bucket.put(bytes("large"), large);
    bucket.put(new Uint8Array(32_768), bytes("long key"));
    fill(bucket, 0, 50);
    await tx.commit();
    await db.close();
    const reopened = await Database.open(disk, PATH);
    expectSound(reopened);
    const found = reopened.beginRead().bucket(bytes("b"))!;
    expect(equalBytes(found.get(bytes("large"))!, large)).toBe(true);
    expect(found.get(new Uint8Array(32_768))).toEqual(bytes("long key"));
  });

  test("fills pages as asked", async () => {
    const sizes: number[] = [];
    for (const fillPercent of [0.5, 0.9]) {
      const db = await Database.open(new MemoryDisk(), PATH);
      for (let i = 0; i < 20; i++) {
        const tx = db.beginWrite();
        const bucket = tx.createBucketIfNotExists(bytes("b"));
        bucket.fillPercent = fillPercent;
        fill(bucket, i * 500, (i + 1) * 500, 40);
        await tx.commit();
      }
      sizes.push(db.sizeBytes());
    }
    const payload = 10_000 * (40 + 12 + 16);
    expect(sizes[0]! / payload).toBeGreaterThan(1.8);
    expect(sizes[1]! / payload).toBeLessThan(1.25);
  });

  test("stores a freelist of more than 65534 pages and reads it again", async () => {
    const disk = new MemoryDisk();
    const options = { pageBytes: 512, noFreelistSync: false };
    const db = await Database.open(disk, PATH, options);
    const tx = db.beginWrite();
    tx.createBucket(bytes("b")).put(bytes("k"), new Uint8Array(66_000 * 512));
    await tx.commit();
    const deleting = db.beginWrite();
    deleting.deleteBucket(bytes("b"));
    await deleting.commit();
    await db.close();
    const reopened = await Database.open(disk, PATH, options);
    expect(reopened.stats().freePages).toBeGreaterThan(66_000);
    expectSound(reopened);
  });
});

describe("transactions", () => {
  test("refuse what does not fit", async () => {
    const db = await Database.open(new MemoryDisk(), PATH);
    const tx = db.beginWrite();
    const bucket = tx.createBucket(bytes("b"));
    expect(() => bucket.put(bytes(""), bytes("v"))).toThrow("key required");
    expect(() => bucket.put(new Uint8Array(32_769), bytes("v"))).toThrow("key too large");
    expect(() => tx.createBucket(bytes(""))).toThrow("bucket name required");
    expect(() => tx.createBucket(bytes("b"))).toThrow("bucket already exists");
    expect(() => tx.deleteBucket(bytes("c"))).toThrow("bucket not found");
    tx.deleteBucket(bytes("b"));
    expect(() => bucket.get(bytes("k"))).toThrow("bucket not found");
    tx.rollback();
    tx.rollback();
    expect(() => tx.createBucket(bytes("b"))).toThrow("tx closed");
    await expect(tx.commit()).rejects.toThrow("tx closed");
    const reader = db.beginRead();
    reader.close();
    reader.close();
    expect(() => reader.bucketNames()).toThrow("tx closed");
    await db.close();
    await db.close();
    expect(() => db.beginRead()).toThrow("database not open");
  });

  test("of a file opened for reading cannot write", async () => {
    const disk = new MemoryDisk();
    await expect(Database.open(disk, PATH, { readOnly: true })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    const db = await Database.open(disk, PATH);
    await expect(Database.open(disk, PATH)).rejects.toMatchObject({ code: "LOCKED" });
    const tx = db.beginWrite();
    tx.createBucket(bytes("b")).put(bytes("k"), bytes("v"));
    await tx.commit();
    await db.close();
    const reading = await Database.open(disk, PATH, { readOnly: true });
    const also = await Database.open(disk, PATH, { readOnly: true });
    expect(() => reading.beginWrite()).toThrow("database is in read-only mode");
    const bucket = also.beginRead().bucket(bytes("b"))!;
    expect(bucket.get(bytes("k"))).toEqual(bytes("v"));
    expect(() => bucket.put(bytes("k"), bytes("w"))).toThrow("tx not writable");
    expect(() => bucket.setSequence(1)).toThrow("tx not writable");
  });
});

describe("copies", () => {
  async function filled(): Promise<Database> {
    const db = await Database.open(new MemoryDisk(), PATH, { pageBytes: 1024 });
    for (let i = 0; i < 5; i++) {
      const tx = db.beginWrite();
      const bucket = tx.createBucketIfNotExists(bytes("b"));
      fill(bucket, i * 200, (i + 1) * 200, 100);
      bucket.createBucketIfNotExists(bytes("a nested")).put(keyOf(i), bytes("v"));
      bucket.createBucketIfNotExists(bytes("z nested")).setSequence(i);
      tx.createBucketIfNotExists(bytes("empty")).setSequence(i + 3);
      for (let k = 0; k < i * 150; k++) bucket.delete(keyOf(k));
      await tx.commit();
    }
    return db;
  }

  function contents(db: Database): unknown {
    const list = (bucket: Bucket): unknown => {
      const found: unknown[] = [bucket.sequence()];
      const cursor = bucket.cursor();
      for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
        found.push([entry.key, entry.value ?? list(bucket.bucket(entry.key)!)]);
      }
      return found;
    };
    const tx = db.beginRead();
    return tx.bucketNames().map((name) => [name, list(tx.bucket(name)!)]);
  }

  test("copyPages() gives the state of its transaction, whatever is committed meanwhile", async () => {
    const db = await filled();
    const before = contents(db);
    const reader = db.beginRead();
    const disk = new MemoryDisk();
    const file = await disk.open(PATH, { mode: "create" });
    let at = 0;
    for (const chunk of reader.copyPages(20_000)) {
      await file.write([chunk], at);
      at += chunk.length;
      const tx = db.beginWrite();
      fill(tx.bucket(bytes("b"))!, 700, 800, at % 200);
      await tx.commit();
    }
    expect(at).toBe(reader.imageBytes);
    await file.close();
    const image = disk.fileBytes(PATH);
    for (const damaged of [undefined, 20, 1024 + 20]) {
      const copyDisk = new MemoryDisk();
      const copyFile = await copyDisk.open(PATH, { mode: "create" });
      const bytesOfCopy = image.slice();
      if (damaged !== undefined) bytesOfCopy[damaged] = 99;
      await copyFile.write([bytesOfCopy], 0);
      await copyFile.close();
      const copy = await Database.open(copyDisk, PATH);
      expectSound(copy);
      expect(contents(copy)).toEqual(before);
    }
  });

  test("compact() copies all and frees nothing behind it", async () => {
    const source = await filled();
    for (const bytesPerTx of [0, 1, 5000]) {
      const target = await Database.open(new MemoryDisk(), PATH, { pageBytes: 1024 });
      await compact(source, target, { bytesPerTx, clock: new HastyClock() });
      expectSound(target);
      expect(contents(target)).toEqual(contents(source));
      if (bytesPerTx === 0) expect(target.sizeBytes()).toBeLessThan(source.sizeBytes() / 2);
    }
    expect(source.stats().openReaders).toBe(3);
  });
});
