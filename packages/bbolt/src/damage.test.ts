/** Files that lie: every answer is a `CorruptionError` or a value, in bounded time. */

import {
  CorruptionError,
  MemoryDisk,
  SeededRandom,
  bytesFromLatin1,
  randomBelow,
  utf8FromString,
} from "@etcd-ts/base";
import fc from "fast-check";
import { env } from "node:process";
import { describe, expect, test } from "vitest";
import { PAGE_HEADER_BYTES, writeUint16, writeUint32, writeUint64 } from "./format.ts";
import {
  type Bucket,
  Database,
  type DatabaseOptions,
  InvalidDatabaseError,
  type Transaction,
  check,
  compact,
} from "./index.ts";
import { decodeMeta, encodeMeta, fnv64a } from "./meta.ts";

const PATH = "/db";
const SOAK = env["ETCD_TS_SOAK"] === undefined ? 1 : 25;
const PAGE_BYTES = 512;
const bytes = utf8FromString;

async function diskWith(image: Uint8Array): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const file = await disk.open(PATH, { mode: "create" });
  await file.write([image], 0);
  await file.close();
  return disk;
}

/** Trees of several levels, nested, inline and deleted things, overflow, free pages. */
async function soundImage(options: DatabaseOptions): Promise<Uint8Array> {
  const disk = new MemoryDisk();
  const db = await Database.open(disk, PATH, { pageBytes: PAGE_BYTES, ...options });
  for (let round = 0; round < 3; round++) {
    const tx = db.beginWrite();
    const rows = tx.createBucketIfNotExists(bytes("rows"));
    for (let i = 0; i < 150; i++) rows.put(bytes(`row ${round} ${i}`), new Uint8Array(i % 40));
    rows.put(bytes("large"), new Uint8Array(3000).fill(round));
    const nested = tx.createBucketIfNotExists(bytes("nested"));
    const inner = nested.createBucketIfNotExists(bytes("inner"));
    for (let i = 0; i < 40; i++) inner.put(bytes(`inner ${i}`), bytes("x".repeat(round * 9)));
    nested.createBucketIfNotExists(bytes("inline")).put(bytes("a"), bytes("b"));
    tx.createBucketIfNotExists(bytes("small")).setSequence(7 + round);
    if (round === 2) for (let i = 0; i < 60; i++) rows.delete(bytes(`row 0 ${i}`));
    await tx.commit();
  }
  await db.close();
  return disk.fileBytes(PATH);
}

/** Reads all there is, both ways and by key. */
function readAll(from: Bucket | Transaction, depth = 0): void {
  const cursor = from.cursor();
  let keys = 0;
  for (let entry = cursor.first(); entry !== undefined; entry = cursor.next(), keys++) {
    if (entry.value !== undefined) continue;
    const nested = from.bucket(entry.key);
    if (nested !== undefined && depth < 5) readAll(nested, depth + 1);
  }
  for (let entry = cursor.last(); entry !== undefined; entry = cursor.previous()) keys--;
  if (keys !== 0) throw new CorruptionError("keys are not in order", PATH, 0);
}

async function tolerant(run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (error instanceof CorruptionError) {
      expect(error.path).toBe(PATH);
      return;
    }
    const isRefusal = error instanceof Error && error.message === "incompatible value";
    if (!isRefusal) throw error;
  }
}

async function useAll(image: Uint8Array, options: DatabaseOptions): Promise<void> {
  const disk = await diskWith(image);
  await tolerant(async () => {
    const db = await Database.open(disk, PATH, options);
    const tx = db.beginRead();
    const found = [...check(tx)];
    await tolerant(() => readAll(tx));
    await tolerant(() => [...tx.copyPages(1000)]);
    if (found.length === 0) readAll(tx);
    tx.close();
    await tolerant(async () =>
      compact(db, await Database.open(new MemoryDisk(), PATH), { bytesPerTx: 5000 }),
    );
    for (const name of ["rows", "nested", "small"]) {
      await tolerant(async () => {
        const writer = db.beginWrite();
        try {
          const bucket = writer.createBucketIfNotExists(bytes(name));
          for (let i = 0; i < 50; i++) bucket.put(bytes(`row 1 ${i}`), bytes("new"));
          for (let i = 0; i < 50; i++) bucket.delete(bytes(`row 2 ${i}`));
          if (name === "nested") writer.deleteBucket(bytes(name));
          await writer.commit();
        } finally {
          writer.rollback();
        }
      });
    }
    await db.close();
  });
}

const INTERESTING = [0, 1, 2, 3, 0xffff, 0xffffffff, 0x7fffffff, 0x80000000, PAGE_BYTES];

/** Overwrites a few places, most of them in the headers and elements that structure a page. */
function damage(image: Uint8Array, random: SeededRandom): void {
  const pages = image.length / PAGE_BYTES;
  for (let i = 1 + randomBelow(random, 4); i > 0; i--) {
    const page = randomBelow(random, pages) * PAGE_BYTES;
    const at = page + randomBelow(random, random.float() < 0.7 ? 80 : PAGE_BYTES - 4);
    const choice = randomBelow(random, 4);
    if (choice === 0) image[at] = random.uint32();
    else if (choice === 1) writeUint16(image, at & ~1, randomBelow(random, pages * 2));
    else if (choice === 2) writeUint32(image, at & ~3, randomBelow(random, pages * 2));
    else writeUint32(image, at & ~3, INTERESTING[randomBelow(random, INTERESTING.length)]!);
  }
  for (const page of [0, PAGE_BYTES]) {
    if (random.float() < 0.5) sealMeta(image.subarray(page));
  }
}

/** Makes the checksum of a meta page right, so that its numbers are looked at. */
function sealMeta(page: Uint8Array): void {
  const sum = fnv64a(page, PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + 56);
  writeUint32(page, PAGE_HEADER_BYTES + 56, Number(sum & 0xffffffffn));
  writeUint32(page, PAGE_HEADER_BYTES + 60, Number(sum >> 32n));
}

describe("a damaged file", () => {
  test.each([true, false])(
    "is refused, whatever the damage (noFreelistSync %s)",
    async (noFreelistSync) => {
      const options: DatabaseOptions = { noFreelistSync, cacheBytesMax: 20_000 };
      const sound = await soundImage(options);
      await useAll(sound, options);
      await fc.assert(
        fc.asyncProperty(fc.nat(), async (seed) => {
          const image = sound.slice();
          damage(image, new SeededRandom(seed));
          await useAll(image, options);
        }),
        { numRuns: 120 * SOAK },
      );
    },
  );

  test("is refused when pages are swapped or a branch leads back to itself", async () => {
    const sound = await soundImage({ noFreelistSync: false });
    const pages = sound.length / PAGE_BYTES;
    await fc.assert(
      fc.asyncProperty(fc.nat(pages - 1), fc.nat(pages - 1), fc.boolean(), async (a, b, seal) => {
        const image = sound.slice();
        image.copyWithin(a * PAGE_BYTES, b * PAGE_BYTES, (b + 1) * PAGE_BYTES);
        // With the right id the copy passes for the page it replaces.
        if (seal) writeUint64(image, a * PAGE_BYTES, a);
        await useAll(image, {});
      }),
      { numRuns: 80 * SOAK },
    );
  });

  test("names the file and the offset of the page", async () => {
    const image = await soundImage({});
    const { rootPageID } = decodeMeta(image, PATH, 0);
    writeUint16(image, rootPageID * PAGE_BYTES + 8, 0x40);
    const opening = Database.open(await diskWith(image), PATH);
    await expect(opening).rejects.toMatchObject({
      code: "CORRUPTION",
      path: PATH,
      offsetBytes: rootPageID * PAGE_BYTES,
      message: `page ${rootPageID}: invalid type: unknown<40> (/db at byte ${rootPageID * PAGE_BYTES})`,
    });
  });
});

describe("Database.open()", () => {
  async function failure(image: Uint8Array): Promise<InvalidDatabaseError> {
    const opening = Database.open(await diskWith(image), PATH);
    const error = await opening.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(InvalidDatabaseError);
    return error as InvalidDatabaseError;
  }

  test("tells what is wrong with the meta pages", async () => {
    const sound = await soundImage({});
    const withMetas = (change: (page: Uint8Array) => void): Uint8Array => {
      const image = sound.slice();
      change(image.subarray(0, PAGE_BYTES));
      change(image.subarray(PAGE_BYTES, 2 * PAGE_BYTES));
      return image;
    };
    const magic = await failure(withMetas((page) => writeUint32(page, PAGE_HEADER_BYTES, 1)));
    expect(magic).toMatchObject({
      code: "INVALID_DATABASE",
      message: "invalid database (/db at byte 0)",
    });
    const version = await failure(withMetas((page) => writeUint32(page, PAGE_HEADER_BYTES + 4, 3)));
    expect(version).toMatchObject({
      code: "VERSION_MISMATCH",
      message: "version mismatch (/db at byte 0)",
    });
    const sum = await failure(withMetas((page) => writeUint32(page, PAGE_HEADER_BYTES + 60, 3)));
    expect(sum).toMatchObject({
      code: "CHECKSUM_ERROR",
      message: "checksum error (/db at byte 0)",
    });
    expect((await failure(bytes("short"))).code).toBe("INVALID_DATABASE");
    expect((await failure(bytesFromLatin1("x".repeat(5000)))).code).toBe("INVALID_DATABASE");
    expect((await failure(sound.subarray(0, 600))).message).toContain("file size too small 600");
    await expect(Database.open(await diskWith(sound.subarray(0, 2048)), PATH)).rejects.toThrow(
      "file is shorter than",
    );
  });

  test("falls back to the state before when the newer meta page is damaged", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH);
    for (const value of ["old", "new"]) {
      const tx = db.beginWrite();
      tx.createBucketIfNotExists(bytes("b")).put(bytes("k"), bytes(value));
      await tx.commit();
    }
    const newest = db.stats().txid;
    await db.close();
    for (const [txid, value] of [
      [newest, "old"],
      [newest - 1, "new"],
    ] as const) {
      const image = disk.fileBytes(PATH);
      image[(txid % 2) * 4096 + 70]! ^= 1;
      const reopened = await Database.open(await diskWith(image), PATH);
      const reader = reopened.beginRead();
      expect(reader.bucket(bytes("b"))?.get(bytes("k"))).toEqual(bytes(value));
      expect([...check(reader)]).toEqual([]);
    }
  });

  test.each([512, 4096, 65536])(
    "finds pages of %i bytes by either meta page",
    async (pageBytes) => {
      const disk = new MemoryDisk();
      await (await Database.open(disk, PATH, { pageBytes })).close();
      for (const damaged of [undefined, 0, pageBytes]) {
        const image = disk.fileBytes(PATH);
        if (damaged !== undefined) image[damaged + 20] = 99;
        const db = await Database.open(await diskWith(image), PATH);
        expect(db.pageBytes).toBe(pageBytes);
      }
    },
  );

  test("makes an empty file as bbolt does", async () => {
    const disk = new MemoryDisk();
    await (await Database.open(disk, PATH)).close();
    const image = disk.fileBytes(PATH);
    expect(image.length).toBe(4 * 4096);
    expect(fnv64a(image, 0, image.length)).toBe(EMPTY_FILE_FNV64A);
  });
});

/** Of the file `bbolt` 1.4.3 makes with 4096-byte pages when it opens one that is missing. */
const EMPTY_FILE_FNV64A = 9737331009492300045n;

test("fnv64a() gives the published value", () => {
  expect(fnv64a(bytes("foobar"), 0, 6)).toBe(0x85944171f73967e8n);
});

test("decodeMeta() gives back what encodeMeta() wrote", () => {
  const meta = fc.record({
    pageBytes: fc.constantFrom(512, 4096, 65536),
    rootPageID: fc.integer({ min: 2, max: 999 }),
    rootSequence: fc.maxSafeNat(),
    freelistPageID: fc.option(fc.integer({ min: 2, max: 999 }), { nil: undefined }),
    highWater: fc.integer({ min: 1000, max: 2 ** 30 }),
    txid: fc.maxSafeNat(),
  });
  fc.assert(
    fc.property(meta, (value) => {
      const page = new Uint8Array(512);
      encodeMeta(value, value.txid % 2, page);
      expect(decodeMeta(page, PATH, 0)).toEqual(value);
    }),
  );
});
