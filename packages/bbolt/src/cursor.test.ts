import { MemoryDisk, compareBytes, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bucket, type Cursor, Database } from "./index.ts";

const bytes = utf8FromString;
const keyOf = (n: number): Uint8Array => bytes(`key-${String(n).padStart(4, "0")}`);

async function bucketWith(keys: Iterable<number>, pageBytes = 512): Promise<Bucket> {
  const db = await Database.open(new MemoryDisk(), "/db", { pageBytes });
  const before = db.beginWrite();
  const bucket = before.createBucket(bytes("b"));
  for (const n of keys) bucket.put(keyOf(n), bytes(`value ${n}`));
  await before.commit();
  return db.beginWrite().bucket(bytes("b"))!;
}

const row = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe("Cursor", () => {
  test("walks both ways and stays at the ends", async () => {
    const cursor = (await bucketWith(row(100))).cursor();
    const seen: Uint8Array[] = [];
    for (let entry = cursor.next(); entry !== undefined; entry = cursor.next()) {
      seen.push(entry.key);
    }
    expect(seen).toEqual(row(100).map(keyOf));
    expect(cursor.next()).toBeUndefined();
    expect(cursor.previous()?.key).toEqual(keyOf(99));
    expect(cursor.next()).toBeUndefined();
    expect(cursor.first()?.key).toEqual(keyOf(0));
    expect(cursor.previous()).toBeUndefined();
    expect(cursor.previous()).toBeUndefined();
    expect(cursor.next()?.key).toEqual(keyOf(0));
  });

  test("find() gives what get() gives, in any order and after changes", async () => {
    const bucket = await bucketWith(row(200).map((n) => 2 * n));
    const steps = fc.array(fc.tuple(fc.constantFrom("find", "next", "put", "delete"), fc.nat(401)));
    fc.assert(
      fc.property(steps, (list) => {
        const cursor = bucket.cursor();
        for (const [kind, n] of list) {
          if (kind === "put") bucket.put(keyOf(n), bytes(`other ${n}`));
          else if (kind === "delete") bucket.delete(keyOf(n));
          else if (kind === "next") cursor.next();
          else {
            expect(cursor.find(keyOf(n))).toEqual(bucket.get(keyOf(n)));
            expect(cursor.next()).toEqual(bucket.cursor().first());
          }
          expect(cursor.find(keyOf(n))).toEqual(bucket.get(keyOf(n)));
          cursor.seek(keyOf(n));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("a passing cursor sees what others see, and keeps no leaves", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, "/db", { pageBytes: 512 });
    const writer = db.beginWrite();
    const bucket = writer.createBucket(bytes("b"));
    // Leaves of many sizes, some with overflow pages.
    for (const n of row(3000)) bucket.put(keyOf(n), new Uint8Array(n % 97 === 0 ? 2000 : n % 50));
    await writer.commit();
    await db.close();
    const again = await Database.open(disk, "/db");
    const reader = again.beginRead();
    const passing = reader.bucket(bytes("b"))!.passingCursor();
    const seen: string[] = [];
    const shown = (entry: { key: Uint8Array; value: Uint8Array | undefined }): string =>
      `${stringFromUtf8(entry.key)} ${entry.value?.length}`;
    for (let entry = passing.first(); entry !== undefined; entry = passing.next()) {
      seen.push(shown(entry));
    }
    expect(passing.next()).toBeUndefined();
    expect(again.stats().cachedBytes).toBeLessThan(again.stats().fileBytes / 4);
    const plain = reader.bucket(bytes("b"))!.cursor();
    for (const n of [5, 2990, 6, 7, 1500, 1501, 3500, 0]) {
      expect(passing.find(keyOf(n))).toEqual(plain.find(keyOf(n)));
      expect(passing.seek(keyOf(n))).toEqual(plain.seek(keyOf(n)));
    }
    const expected: string[] = [];
    for (let entry = plain.first(); entry !== undefined; entry = plain.next()) {
      expected.push(shown(entry));
    }
    expect(seen).toEqual(expected);
  });

  test("walk() visits what a plain cursor gives, between any bounds, until it is told to stop", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, "/db", { pageBytes: 512 });
    const writer = db.beginWrite();
    const bucket = writer.createBucket(bytes("b"));
    for (const n of row(1000)) {
      // Nested buckets are passed over; some leaves have overflow pages.
      if (n % 91 === 0) bucket.createBucket(keyOf(2 * n));
      else bucket.put(keyOf(2 * n), bytes("v".repeat(n % 97 === 0 ? 2000 : n % 50)));
    }
    await writer.commit();
    const reader = db.beginRead();
    const plain = reader.bucket(bytes("b"))!.cursor();
    const bound = fc.integer({ min: -1, max: 2010 }).map((n) => (n < 0 ? bytes("a") : keyOf(n)));
    const walk = (begin: Uint8Array, end: Uint8Array | undefined, most: number): string[] => {
      const seen: string[] = [];
      reader
        .bucket(bytes("b"))!
        .passingCursor()
        .walk(begin, end, (page, key, value, valueEnd) => {
          seen.push(stringFromUtf8(page.subarray(key, value)) + (valueEnd - value));
          return seen.length < most;
        });
      return seen;
    };
    fc.assert(
      fc.property(bound, fc.option(bound, { nil: undefined }), fc.nat(1500), (begin, end, most) => {
        const expected: string[] = [];
        for (let at = plain.seek(begin); at !== undefined; at = plain.next()) {
          if (end !== undefined && compareBytes(at.key, end) >= 0) break;
          if (at.value !== undefined) expected.push(stringFromUtf8(at.key) + at.value.length);
        }
        expect(walk(begin, end, most + 1)).toEqual(expected.slice(0, most + 1));
      }),
      { numRuns: 100 },
    );
    expect(walk(bytes(""), undefined, Infinity)).toHaveLength(1000 - 11);
  });

  test("a passing cursor refuses to go on once something else was read", async () => {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, "/db", { pageBytes: 512 });
    const writer = db.beginWrite();
    const bucket = writer.createBucket(bytes("b"));
    for (const n of row(6000)) bucket.put(keyOf(n), new Uint8Array(100));
    await writer.commit();
    await db.close();
    const reader = (await Database.open(disk, "/db")).beginRead();
    const one = reader.bucket(bytes("b"))!.passingCursor();
    const other = reader.bucket(bytes("b"))!.passingCursor();
    one.first();
    for (let i = 0; i < 100; i++) one.next();
    other.seek(keyOf(4000));
    for (let i = 0; i < 1000; i++) other.next();
    expect(() => one.next()).toThrow("something else was read");
    expect(() => one.previous()).toThrow("in order only");
    expect(one.find(keyOf(3))).toEqual(new Uint8Array(100));
  });

  test("finds nothing in an empty bucket", async () => {
    const cursor = (await bucketWith([])).cursor();
    expect(cursor.find(keyOf(1))).toBeUndefined();
    expect(cursor.first()).toBeUndefined();
    expect(cursor.last()).toBeUndefined();
    expect(cursor.seek(keyOf(1))).toBeUndefined();
    expect(cursor.next()).toBeUndefined();
    expect(cursor.previous()).toBeUndefined();
  });

  test("delete() needs an entry", async () => {
    const cursor = (await bucketWith(row(3))).cursor();
    expect(() => cursor.delete()).toThrow("not on an entry");
    cursor.first();
    cursor.delete();
    expect(() => cursor.delete()).toThrow("not on an entry");
    expect(cursor.next()?.key).toEqual(keyOf(1));
  });

  test("delete() refuses a nested bucket", async () => {
    const bucket = await bucketWith([]);
    bucket.createBucket(bytes("nested"));
    const cursor = bucket.cursor();
    expect(cursor.first()).toEqual({ key: bytes("nested"), value: undefined });
    expect(() => cursor.delete()).toThrow("incompatible value");
  });

  test("keeps its place whatever is changed around it", async () => {
    const command = fc.record({
      what: fc.constantFrom(
        "next",
        "next",
        "previous",
        "seek",
        "first",
        "last",
        "put",
        "delete",
        "deleteHere" as const,
      ),
      n: fc.nat(300),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(300), { size: "max", maxLength: 200 }),
        fc.array(command, { size: "max", maxLength: 100 }),
        async (start, commands) => {
          const bucket = await bucketWith(start);
          const model = new CursorModel(start);
          const cursor = bucket.cursor();
          for (const { what, n } of commands) {
            const actual = step(bucket, cursor, what, n, model.isOn);
            const expected = model.step(what, n);
            expect(actual).toEqual(expected === undefined ? undefined : keyOf(expected));
          }
        },
      ),
      { numRuns: 50 },
    );
  });
});

function step(
  bucket: Bucket,
  cursor: Cursor,
  what: string,
  n: number,
  isOn: boolean,
): Uint8Array | undefined {
  switch (what) {
    case "next":
      return cursor.next()?.key;
    case "previous":
      return cursor.previous()?.key;
    case "seek":
      return cursor.seek(keyOf(n))?.key;
    case "first":
      return cursor.first()?.key;
    case "last":
      return cursor.last()?.key;
    case "put":
      bucket.put(keyOf(n), bytes("new"));
      return undefined;
    case "delete":
      bucket.delete(keyOf(n));
      return undefined;
    default:
      if (isOn) cursor.delete();
      return undefined;
  }
}

/** A place among numbers: on one, or between two. */
class CursorModel {
  readonly keys: Set<number>;
  /** Between keys it is the number it was on; -1 is before all, 1000 after all. */
  place: number | undefined;
  isOn = false;

  constructor(keys: Iterable<number>) {
    this.keys = new Set(keys);
  }

  step(what: string, n: number): number | undefined {
    const place = this.place;
    switch (what) {
      case "first":
        return this.goTo(this.above(-1), 1000);
      case "last":
        return this.goTo(this.below(1000), -1);
      case "next":
        return this.goTo(this.above(place ?? -1), 1000);
      case "previous":
        return this.goTo(this.below(place ?? 1000), -1);
      case "seek":
        return this.goTo(this.above(n - 1), 1000);
      case "put":
        this.keys.add(n);
        return undefined;
      case "delete":
        this.keys.delete(n);
        return undefined;
      default:
        if (this.isOn) this.keys.delete(place!);
        this.isOn = false;
        return undefined;
    }
  }

  goTo(found: number | undefined, otherwise: number): number | undefined {
    this.place = found ?? otherwise;
    this.isOn = found !== undefined;
    return found;
  }

  above(n: number): number | undefined {
    return [...this.keys].filter((key) => key > n).sort((a, b) => a - b)[0];
  }

  below(n: number): number | undefined {
    return [...this.keys].filter((key) => key < n).sort((a, b) => b - a)[0];
  }
}

test("keyOf() orders as numbers do", () => {
  expect(compareBytes(keyOf(9), keyOf(10))).toBeLessThan(0);
});
