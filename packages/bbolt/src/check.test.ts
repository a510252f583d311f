/** Each invariant is broken by hand, once; `check` says so in bbolt's words. */

import { MemoryDisk, hexFromBytes, utf8FromString } from "@etcd-ts/base";
import { describe, expect, test } from "vitest";
import {
  ELEMENT_BYTES,
  PAGE_HEADER_BYTES,
  readUint16,
  readUint32,
  readUint64,
  writeUint16,
  writeUint64,
} from "./format.ts";
import { type CheckOptions, Database, type DatabaseOptions, check } from "./index.ts";
import { type Meta, decodeMeta, encodeMeta } from "./meta.ts";

const PATH = "/db";
const PAGE_BYTES = 512;
const bytes = utf8FromString;
const keyOf = (i: number): Uint8Array => bytes(`k${100 + i}`);

/** The image of a file with one bucket of 100 keys, and how to change it. */
class Image {
  readonly bytes: Uint8Array;

  constructor(image: Uint8Array) {
    this.bytes = image;
  }

  static async make(options: DatabaseOptions): Promise<Image> {
    const disk = new MemoryDisk();
    const db = await Database.open(disk, PATH, { pageBytes: PAGE_BYTES, ...options });
    for (let round = 0; round < 2; round++) {
      const tx = db.beginWrite();
      const bucket = tx.createBucketIfNotExists(bytes("b"));
      for (let i = 0; i < 100; i++) bucket.put(keyOf(i), bytes(`value ${round}`));
      await tx.commit();
    }
    await db.close();
    return new Image(disk.fileBytes(PATH));
  }

  get meta(): Meta {
    const metas = [0, PAGE_BYTES].map((at) => decodeMeta(this.bytes.subarray(at), PATH, at));
    return metas.reduce((a, b) => (a.txid > b.txid ? a : b));
  }

  setMeta(change: Partial<Meta>): void {
    const meta = { ...this.meta, ...change };
    encodeMeta(meta, meta.txid % 2, this.page(meta.txid % 2));
  }

  page(id: number): Uint8Array {
    return this.bytes.subarray(id * PAGE_BYTES, (id + 1) * PAGE_BYTES);
  }

  /** Where in the page of the top level the bucket's header is. */
  get bucketValueOffset(): number {
    const top = this.page(this.meta.rootPageID);
    const element = PAGE_HEADER_BYTES;
    return element + readUint32(top, element + 4) + readUint32(top, element + 8);
  }

  /** The branch at the root of the bucket. */
  get branch(): Uint8Array {
    return this.page(readUint64(this.page(this.meta.rootPageID), this.bucketValueOffset));
  }

  get branchID(): number {
    return readUint64(this.branch, 0);
  }

  childID(i: number): number {
    return readUint64(this.branch, PAGE_HEADER_BYTES + i * ELEMENT_BYTES + 8);
  }

  child(i: number): Uint8Array {
    return this.page(this.childID(i));
  }

  key(page: Uint8Array, i: number): Uint8Array {
    const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    const at = element + readUint32(page, element + 4);
    return page.subarray(at, at + readUint32(page, element + 8));
  }

  async check(options: CheckOptions = {}): Promise<string[]> {
    const disk = new MemoryDisk();
    const file = await disk.open(PATH, { mode: "create" });
    await file.write([this.bytes], 0);
    const db = await Database.open(disk, PATH, { readOnly: true });
    return [...check(db.beginRead(), options)];
  }
}

describe("check()", () => {
  test("finds nothing in a sound file", async () => {
    for (const noFreelistSync of [true, false]) {
      expect(await (await Image.make({ noFreelistSync })).check()).toEqual([]);
    }
  });

  test("reports a page reached twice", async () => {
    const image = await Image.make({});
    writeUint64(image.branch, PAGE_HEADER_BYTES + 8, image.childID(1));
    const found = await image.check();
    expect(found).toContain(
      `page ${image.childID(1)}: multiple references (stack: [${image.branchID} ${image.childID(1)}])`,
    );
  });

  test("reports a branch that leads back to itself", async () => {
    const image = await Image.make({});
    writeUint64(image.branch, PAGE_HEADER_BYTES + 8, image.branchID);
    expect(await image.check()).toContain(
      `page ${image.branchID}: multiple references (stack: [${image.branchID} ${image.branchID}])`,
    );
  });

  test("reports a reachable page in the freelist, and one in neither", async () => {
    const image = await Image.make({ noFreelistSync: false });
    const freelist = image.page(image.meta.freelistPageID!);
    const leaked = readUint64(freelist, PAGE_HEADER_BYTES);
    writeUint64(freelist, PAGE_HEADER_BYTES, image.childID(0));
    expect(await image.check()).toEqual([
      `page ${image.childID(0)}: reachable freed`,
      `page ${leaked}: unreachable unfreed`,
    ]);
  });

  test("reports a page that is twice in the freelist", async () => {
    const image = await Image.make({ noFreelistSync: false });
    const freelist = image.page(image.meta.freelistPageID!);
    const first = readUint64(freelist, PAGE_HEADER_BYTES);
    writeUint64(freelist, PAGE_HEADER_BYTES + 8, first);
    expect((await image.check())[0]).toContain(`page ${first}: already freed`);
  });

  test("reports a page above the high-water mark", async () => {
    const image = await Image.make({});
    const { highWater } = image.meta;
    writeUint64(image.branch, PAGE_HEADER_BYTES + 8, highWater);
    expect((await image.check())[0]).toContain(`child page ${highWater} is out of bounds`);
    const nested = await Image.make({});
    writeUint64(nested.page(nested.meta.rootPageID), nested.bucketValueOffset, highWater);
    expect((await nested.check())[0]).toBe(
      `page ${highWater}: out of bounds: ${highWater} (stack: [${highWater}])`,
    );
  });

  test("reports a page that is neither branch nor leaf", async () => {
    const image = await Image.make({});
    writeUint16(image.child(2), 8, 0x10);
    expect((await image.check())[0]).toContain(`page ${image.childID(2)}: invalid type: freelist`);
  });

  test("reports keys out of order, doubled, and outside of what the branch says", async () => {
    const image = await Image.make({});
    const leaf = image.child(1);
    const id = image.childID(1);
    const stack = `[${image.branchID} ${id}]`;
    const [first, second] = [image.key(leaf, 0).slice(), image.key(leaf, 1).slice()];
    const hex = hexFromBytes;

    image.key(leaf, 1).set(first);
    expect(await image.check()).toEqual([
      `key[1]=(hex)${hex(first)} on leaf page(${id}) needs to be > (found =) than previous element (hex)${hex(first)}. Stack: ${stack}`,
    ]);
    image.key(leaf, 1).set(keyOf(0));
    expect(await image.check({ keyText: () => "K" })).toEqual([
      `key[1]=(hex)K on leaf page(${id}) needs to be > (found <) than previous element (hex)K. Stack: ${stack}`,
    ]);
    image.key(leaf, 1).set(second);
    image.key(leaf, 0).set(keyOf(0));
    expect(await image.check()).toEqual([
      `the first key[0]=(hex)${hex(keyOf(0))} on leaf page(${id}) needs to be >= the key in the ancestor (${hex(first)}). Stack: ${stack}`,
    ]);
    image.key(leaf, 0).set(first);
    const last = readUint16(leaf, 10) - 1;
    image.key(leaf, last).set(keyOf(99));
    const next = hex(image.key(image.child(2), 0));
    expect(await image.check()).toContain(
      `key[${last}]=(hex)${hex(keyOf(99))} on leaf page(${id}) needs to be < than key of the next element in ancestor (hex)${next}. Pages stack: ${stack}`,
    );
  });

  test("looks only below the page it is given", async () => {
    const image = await Image.make({});
    writeUint16(image.child(2), 8, 0x10);
    expect(await image.check({ fromPageID: image.childID(0) })).toEqual([]);
    expect(await image.check({ fromPageID: image.childID(2) })).toHaveLength(1);
    expect(await image.check({ fromPageID: 1 })).toEqual([
      `page ID (1) out of range [2, ${image.meta.highWater})`,
    ]);
  });

  test("finds nothing beside an open writer and older readers", async () => {
    const db = await Database.open(new MemoryDisk(), PATH, { pageBytes: PAGE_BYTES });
    const before = db.beginRead();
    for (let round = 0; round < 4; round++) {
      const tx = db.beginWrite();
      const bucket = tx.createBucketIfNotExists(bytes("b"));
      for (let i = 0; i < 100; i++) bucket.put(keyOf(i * round), bytes(`${round}`));
      if (round === 3) tx.deleteBucket(bytes("b"));
      const reader = db.beginRead();
      expect([...check(reader)]).toEqual([]);
      expect([...check(before)]).toEqual([]);
      await tx.commit();
      expect([...check(reader)]).toEqual([]);
    }
  });
});
