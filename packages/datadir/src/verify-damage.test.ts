/** Damage of any kind to a snapshot: `verify` tells, or what etcd reads is what it was. */

import { beforeAll, describe, expect, test } from "vitest";
import fc from "fast-check";
import { hexFromBytes, latin1FromBytes } from "@etcd-ts/base";
import { Database } from "@etcd-ts/bbolt";
import { WriteAheadLog } from "@etcd-ts/wal";
import { Fixture } from "./database-fixture.ts";
import type { Change } from "./database-fixture.ts";
import { restoreSnapshot } from "./restore.ts";
import { verify } from "./verify.ts";

const PAGE_BYTES = 4096;
const CHECKSUM_BYTES = 32;
const META_PAGES = 2;

let whole: Uint8Array;
let contents: readonly string[];

/** Branch pages, overflow pages, and pages that a compaction made free. */
beforeAll(async () => {
  const transactions: Change[][] = [];
  for (let i = 0; i < 400; i++) {
    transactions.push([["put", `key ${i % 150}`, `${i} `.repeat(i % 7 === 0 ? 400 : 12)]]);
  }
  transactions.push([["delete", "key 3"]]);
  const made = new Fixture();
  await made.snapshot("/snapshot", { transactions, compactAt: 300 });
  whole = made.disk.fileBytes("/snapshot").slice();
  contents = (await entriesOf(made, "/snapshot"))!;
});

/** All that is stored, in order; undefined if it cannot be read. */
async function entriesOf(made: Fixture, path: string): Promise<string[] | undefined> {
  let database: Database;
  try {
    database = await made.run(Database.open(made.disk, path, { readOnly: true }));
  } catch {
    return undefined;
  }
  try {
    const entries: string[] = [];
    const reader = database.beginRead();
    for (const name of reader.bucketNames()) {
      const cursor = reader.bucket(name)!.cursor();
      for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
        const value = hexFromBytes(entry.value ?? new Uint8Array(0));
        entries.push(`${latin1FromBytes(name)} ${hexFromBytes(entry.key)} ${value}`);
      }
    }
    return entries;
  } catch {
    return undefined;
  } finally {
    await made.run(database.close());
  }
}

async function verdict(
  bytes: Uint8Array,
): Promise<{ isIntact: boolean; entries: string[] | undefined }> {
  const made = new Fixture();
  await made.writeFile("/file", [bytes]);
  const { isIntact } = await made.run(verify(made.context, { path: "/file" }));
  return { isIntact, entries: await entriesOf(made, "/file") };
}

/** The first `count` pages, each at its place or another. */
function withPages(image: Uint8Array, change: (pages: Uint8Array[]) => Uint8Array[]): Uint8Array {
  const pages: Uint8Array[] = [];
  for (let at = 0; at + PAGE_BYTES <= image.length; at += PAGE_BYTES) {
    pages.push(image.subarray(at, at + PAGE_BYTES));
  }
  const rest = image.subarray(pages.length * PAGE_BYTES);
  return new Uint8Array(Buffer.concat([...change(pages), rest]));
}

const part = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const at = (fraction: number, length: number): number => Math.floor(fraction * length);

const pageDamage = fc.oneof(
  fc.record({ kind: fc.constant("zeroed" as const), page: part }),
  fc.record({ kind: fc.constant("filled" as const), page: part }),
  fc.record({ kind: fc.constant("overwritten" as const), page: part, by: part }),
  fc.record({ kind: fc.constant("swapped" as const), page: part, by: part }),
  fc.record({ kind: fc.constant("left out" as const), page: part }),
);
type PageDamage = typeof pageDamage extends fc.Arbitrary<infer T> ? T : never;

function damaged(image: Uint8Array, damage: PageDamage): Uint8Array {
  return withPages(image, (pages) => {
    const i = at(damage.page, pages.length);
    if (damage.kind === "left out") return pages.toSpliced(i, 1);
    if (damage.kind === "zeroed") return pages.with(i, new Uint8Array(PAGE_BYTES));
    if (damage.kind === "filled") return pages.with(i, new Uint8Array(PAGE_BYTES).fill(0xa5));
    const other = at(damage.by, pages.length);
    const overwritten = pages.with(i, pages[other]!);
    return damage.kind === "swapped" ? overwritten.with(other, pages[i]!) : overwritten;
  });
}

describe("verify() of a snapshot", () => {
  test("tells of any flipped bit", () =>
    fc.assert(
      fc.asyncProperty(part, fc.integer({ min: 0, max: 7 }), async (place, bit) => {
        const bytes = whole.slice();
        bytes[at(place, bytes.length)]! ^= 1 << bit;
        expect((await verdict(bytes)).isIntact).toBe(false);
      }),
      { numRuns: 60 },
    ));

  test("tells of any page that is lost or is another", () =>
    fc.assert(
      fc.asyncProperty(pageDamage, async (damage) => {
        const bytes = damaged(whole, damage);
        const isSame = Buffer.compare(bytes, whole) === 0;
        expect((await verdict(bytes)).isIntact).toBe(isSame);
      }),
      { numRuns: 60 },
    ));

  test("tells of any missing end, but for that of the checksum", () =>
    fc.assert(
      fc.asyncProperty(part, async (place) => {
        const bytes = whole.subarray(0, at(place, whole.length));
        const { isIntact, entries } = await verdict(bytes);
        if (isIntact) expect(entries).toEqual(contents);
      }),
      { numRuns: 60 },
    ));
});

describe("verify() of a database without a checksum", () => {
  test("tells of any page that is lost or is another, or nothing that is stored is in it", () =>
    fc.assert(
      fc.asyncProperty(pageDamage, async (damage) => {
        const image = whole.subarray(0, -CHECKSUM_BYTES);
        const { isIntact, entries } = await verdict(damaged(image, damage));
        if (isIntact) expect(entries).toEqual(contents);
      }),
      { numRuns: 120 },
    ));

  test("tells of any flipped bit, but for one within a value", () =>
    fc.assert(
      fc.asyncProperty(part, fc.integer({ min: 0, max: 7 }), async (place, bit) => {
        const bytes = whole.slice(0, -CHECKSUM_BYTES);
        bytes[at(place, bytes.length)]! ^= 1 << bit;
        const { isIntact, entries } = await verdict(bytes);
        if (!isIntact) return;
        expect(entries!.length).toBe(contents.length);
        const changed = entries!.filter((entry, i) => entry !== contents[i]);
        expect(changed.length).toBeLessThanOrEqual(1);
        const keys = (list: readonly string[]) => list.map((entry) => entry.replace(/ \w*$/, ""));
        expect(keys(entries!)).toEqual(keys(contents));
      }),
      { numRuns: 150 },
    ));

  test("tells of any flipped bit in what the meta pages are read for", async () => {
    for (let page = 0; page < META_PAGES; page++) {
      for (let byte = 0; byte < 80; byte++) {
        // The header's fields for other kinds of pages are not read.
        if (byte >= 10 && byte < 16) continue;
        const bytes = whole.slice(0, -CHECKSUM_BYTES);
        bytes[page * PAGE_BYTES + byte]! ^= 0x01;
        expect((await verdict(bytes)).isIntact, `page ${page}, byte ${byte}`).toBe(false);
      }
    }
  });
});

describe("verify() of a data directory", () => {
  const WAL = "/data/member/wal/0000000000000000-0000000000000000.wal";
  const SNAP = "/data/member/snap/0000000000000001-0000000000000001.snap";

  /** A restored member with a few entries behind the snapshot. */
  async function directory(): Promise<Fixture> {
    const made = new Fixture();
    await made.snapshot("/snapshot", { transactions: [[["put", "a", "1"]]] });
    await made.run(
      restoreSnapshot(made.context, {
        snapshotPath: "/snapshot",
        dataDirectory: "/data",
        name: "m1",
        initialCluster: "m1=http://a:1",
        initialClusterToken: "tok",
        advertisePeerURLs: ["http://a:1"],
      }),
    );
    const { wal } = await made.run(
      WriteAheadLog.open(made.disk, "/data/member/wal", START, made.context),
    );
    for (let index = 2; index < 20; index++) {
      const data = new Uint8Array(index * 13).fill(index);
      const entry = { type: "EntryNormal", term: 1, index, data } as const;
      await made.run(wal.save({ term: 1, vote: 0n, commit: index }, [entry]));
    }
    await made.run(wal.close());
    return made;
  }

  const START = { index: 1, term: 1, confState: undefined };
  const stateOf = async (made: Fixture): Promise<unknown> => {
    const { disk, context } = made;
    try {
      const { entries, hardState, metadata } = await made.run(
        WriteAheadLog.readAll(disk, "/data/member/wal", START, context),
      );
      return { entries, hardState, metadata };
    } catch {
      return undefined;
    }
  };

  test("tells of any flipped bit of the log, or what is read of it is the same", async () => {
    const made = await directory();
    const state = await stateOf(made);
    const used = made.disk.fileBytes(WAL).findLastIndex((byte) => byte !== 0) + 1;
    await fc.assert(
      fc.asyncProperty(part, async (place) => {
        const bit = Math.floor(place * used * 8);
        made.disk.flipBit(WAL, bit >> 3, bit & 7);
        const { checks } = await made.run(verify(made.context, { path: "/data" }));
        const isTold = checks.some(({ status }) => status === "failed" || status === "warning");
        if (!isTold) expect(await stateOf(made)).toEqual(state);
        made.disk.flipBit(WAL, bit >> 3, bit & 7);
      }),
      { numRuns: 150 },
    );
    expect((await made.run(verify(made.context, { path: "/data" }))).isIntact).toBe(true);
  });

  test("tells of any flipped bit of a raft snapshot", async () => {
    const made = await directory();
    const { length } = made.disk.fileBytes(SNAP);
    await fc.assert(
      fc.asyncProperty(part, async (place) => {
        const bit = Math.floor(place * length * 8);
        made.disk.flipBit(SNAP, bit >> 3, bit & 7);
        expect((await made.run(verify(made.context, { path: "/data" }))).isIntact).toBe(false);
        made.disk.flipBit(SNAP, bit >> 3, bit & 7);
      }),
      { numRuns: 30 },
    );
  });
});
