import { performance } from "node:perf_hooks";
import { setImmediate as nextTurn } from "node:timers/promises";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { DiskFile } from "../index.ts";
import { DiskError, SeededRandom } from "../index.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { SECTOR_BYTES } from "./memory-inode.ts";
import { VirtualClock } from "./virtual-clock.ts";

const PATH = "/f";

async function openNew(disk: MemoryDisk, path = PATH): Promise<DiskFile> {
  const file = await disk.open(path, { mode: "create" });
  await disk.syncDirectory("/");
  return file;
}

function fill(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

type Step =
  | { kind: "write" | "durable"; at: number; length: number }
  | { kind: "truncate"; at: number }
  | { kind: "extend"; at: number }
  | { kind: "sync" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "write" as const,
        "write" as const,
        "write" as const,
        "durable" as const,
      ),
      at: fc.nat(50_000),
      length: fc.integer({ min: 1, max: 20_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("truncate" as const), at: fc.nat(50_000) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("extend" as const), at: fc.nat(70_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("sync" as const) }) },
);

/** Does the steps; gives the bytes as of the last sync and as they are seen. */
async function run(
  file: DiskFile,
  steps: readonly Step[],
): Promise<{ durable: Uint8Array; visible: Uint8Array }> {
  let visible = new Uint8Array(0);
  let durable = visible;
  const resize = (size: number): void => {
    const resized = new Uint8Array(size);
    resized.set(visible.subarray(0, size));
    visible = resized;
  };
  for (const [i, taken] of steps.entries()) {
    if (taken.kind === "write") {
      await file.write([fill(taken.length, i + 1)], taken.at);
      resize(Math.max(visible.length, taken.at + taken.length));
      visible.fill(i + 1, taken.at, taken.at + taken.length);
    } else if (taken.kind === "truncate") {
      await file.truncate(taken.at);
      resize(taken.at);
    } else if (taken.kind === "extend") {
      await file.preallocate(taken.at);
      resize(Math.max(visible.length, taken.at));
    } else if (taken.kind === "durable") {
      await file.writeDurably([fill(taken.length, i + 1)], taken.at);
      resize(Math.max(visible.length, taken.at + taken.length));
      visible.fill(i + 1, taken.at, taken.at + taken.length);
      durable = visible.slice();
    } else {
      await file.dataSync();
      durable = visible.slice();
    }
  }
  return { durable, visible };
}

describe("crash()", () => {
  test("without chance leaves exactly what was synced", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
        const disk = new MemoryDisk();
        const { durable, visible } = await run(await openNew(disk), steps);
        expect(disk.fileBytes(PATH).length).toBe(visible.length);
        disk.crash();
        expect(compare(disk.fileBytes(PATH), durable)).toBe(0);
        disk.crash();
        expect(compare(disk.fileBytes(PATH), durable)).toBe(0);
        expect(disk.usedBytes).toBe(durable.length);
      }),
      { numRuns: 100 },
    );
  });

  test("with chance leaves, in every sector, what was synced or what was last seen", async () => {
    const seen = { durable: 0, visible: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 10 }), fc.nat(), async (steps, seed) => {
        const disk = new MemoryDisk();
        const { durable, visible } = await run(await openNew(disk), steps);
        disk.crash(new SeededRandom(seed));
        const left = disk.fileBytes(PATH);
        expect([durable.length, visible.length]).toContain(left.length);
        for (let at = 0; at < left.length; at += SECTOR_BYTES) {
          const end = Math.min(at + SECTOR_BYTES, left.length);
          const sector = left.subarray(at, end);
          const isDurable = compare(sector, padded(durable, at, end)) === 0;
          const isVisible = compare(sector, padded(visible, at, end)) === 0;
          // Where one end of file lies inside the sector, its bytes may come from both sides.
          const isMixed = [durable.length, visible.length].some((size) => size > at && size < end);
          expect(isDurable || isVisible || isMixed).toBe(true);
          if (!isVisible) seen.durable++;
          if (!isDurable) seen.visible++;
        }
      }),
      { numRuns: 150 },
    );
    expect(seen.durable).toBeGreaterThan(0);
    expect(seen.visible).toBeGreaterThan(0);
  });

  test("can tear a single write between sectors", async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const disk = new MemoryDisk();
      const file = await openNew(disk);
      await file.write([fill(4 * SECTOR_BYTES, 1)], 0);
      await file.sync();
      await file.write([fill(4 * SECTOR_BYTES, 2)], 0);
      disk.crash(new SeededRandom(seed));
      const left = disk.fileBytes(PATH);
      outcomes.add([0, 1, 2, 3].map((sector) => left[sector * SECTOR_BYTES]).join());
    }
    expect(outcomes).toContain("1,1,1,1");
    expect(outcomes).toContain("2,2,2,2");
    expect(outcomes.size).toBeGreaterThan(4);
  });

  test("options take the place of chance", async () => {
    const disk = new MemoryDisk();
    const file = await openNew(disk);
    await file.write([fill(10, 1)], 0);
    disk.crash(new SeededRandom(1), { keepChance: 1, keepSizeChance: 1 });
    expect(disk.fileBytes(PATH)).toEqual(fill(10, 1));
  });

  test("ends handles, locks and faults", async () => {
    const disk = new MemoryDisk();
    const file = await disk.open(PATH, { mode: "create", lock: "exclusive" });
    await disk.syncDirectory("/");
    disk.fail({ operation: "write", code: "IO" });
    disk.crash();
    expect(() => file.sizeBytes()).toThrow("lost power");
    await expect(file.write([fill(1, 1)], 0)).rejects.toThrow("lost power");
    const again = await disk.open(PATH, { mode: "readWrite", lock: "exclusive" });
    await again.write([fill(1, 1)], 0);
    await file.close();
    await expect(disk.open(PATH, { mode: "read", lock: "shared" })).rejects.toThrow("locked");
  });
});

describe("syncs", () => {
  test("a sync covers what was written before it began, not what came during it", async () => {
    const clock = new VirtualClock({ settle: nextTurn });
    const latencyMs = (operation: string): number => (operation === "dataSync" ? 10 : 1);
    const disk = new MemoryDisk({ clock, latencyMs });
    const file = await clock.runUntil(openNew(disk));
    await clock.runUntil(file.write([fill(100, 1)], 0));
    const sync = file.dataSync();
    await clock.runUntil(file.write([fill(50, 2)], 0));
    await clock.runUntil(file.write([fill(50, 3)], 100));
    await clock.runUntil(sync);
    disk.crash();
    expect(disk.fileBytes(PATH)).toEqual(fill(100, 1));
  });

  test("tells what became of bytes that were not synced", async () => {
    const disk = new MemoryDisk();
    const file = await openNew(disk);
    await file.write([fill(4 * SECTOR_BYTES, 1)], 0);
    await file.sync();
    expect(disk.crash(new SeededRandom(1))).toMatchObject({ lostUnits: 0, keptUnits: 0 });
    const again = await disk.open(PATH, { mode: "readWrite" });
    await again.write([fill(3 * SECTOR_BYTES, 2)], 0);
    const plan = { unitBytes: SECTOR_BYTES, keepChance: 0 };
    expect(disk.crash(new SeededRandom(1), plan)).toMatchObject({ lostUnits: 3, keptUnits: 0 });
    const torn = { lostUnits: 0, keptUnits: 0, tornSectors: 0, tornPages: 0 };
    for (let seed = 0; torn.tornSectors === 0; seed++) {
      const once = await disk.open(PATH, { mode: "readWrite" });
      await once.write([fill(4 * SECTOR_BYTES, 3 + seed)], 0);
      const loss = disk.crash(new SeededRandom(seed), { unitBytes: SECTOR_BYTES, keepChance: 0.5 });
      const isTorn = loss.lostUnits > 0 && loss.keptUnits > 0;
      expect(loss).toMatchObject({ tornSectors: isTorn ? 1 : 0, tornPages: 0 });
      torn.tornSectors = loss.tornSectors;
    }
  });

  test("a crash during a sync leaves the state before it", async () => {
    const clock = new VirtualClock({ settle: nextTurn });
    const disk = new MemoryDisk({ clock });
    const file = await clock.runUntil(openNew(disk));
    await clock.runUntil(file.write([fill(10, 1)], 0));
    await clock.runUntil(file.dataSync());
    await clock.runUntil(file.write([fill(10, 2)], 0));
    const sync = file.dataSync();
    disk.crash();
    await expect(clock.runUntil(sync)).rejects.toThrow("lost power");
    expect(disk.fileBytes(PATH)).toEqual(fill(10, 1));
  });

  test("of two syncs at once the later one covers both", async () => {
    const clock = new VirtualClock({ settle: nextTurn });
    let delayMs = 20;
    const disk = new MemoryDisk({ clock, latencyMs: () => (delayMs /= 2) });
    const file = await clock.runUntil(openNew(disk));
    await clock.runUntil(file.write([fill(10, 1)], 0));
    const first = file.dataSync();
    await clock.runUntil(file.write([fill(10, 2)], 20_000));
    await clock.runUntil(file.dataSync());
    await clock.runUntil(first);
    disk.crash();
    expect(disk.fileBytes(PATH).length).toBe(20_010);
    expect(disk.fileBytes(PATH)[20_000]).toBe(2);
  });

  test("a failed sync breaks the handle, and its bytes stay lost unless written again", async () => {
    const disk = new MemoryDisk();
    const file = await openNew(disk);
    await file.write([fill(10, 1), new Uint8Array(20_000), fill(10, 1)], 0);
    disk.fail({ operation: "dataSync", code: "IO" });
    await expect(file.dataSync()).rejects.toMatchObject({ code: "IO" });
    await expect(file.write([fill(1, 9)], 0)).rejects.toThrow("an earlier sync failed");
    await expect(file.dataSync()).rejects.toThrow("an earlier sync failed");
    const again = await disk.open(PATH, { mode: "readWrite" });
    expect(disk.fileBytes(PATH)[0]).toBe(1);
    await again.write([fill(1, 2)], 20_010);
    await again.dataSync();
    disk.crash();
    const left = disk.fileBytes(PATH);
    expect([left.length, left[0], left[20_010], left[20_011]]).toEqual([20_020, 0, 2, 1]);
  });
});

describe("directories", () => {
  test("names survive a crash only after their directory was synced", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/a");
    await disk.syncDirectory("/");
    for (const name of ["x", "y"]) {
      const file = await disk.open(`/a/${name}`, { mode: "create" });
      await file.write([fill(1, 1)], 0);
      await file.sync();
      if (name === "x") await disk.syncDirectory("/a");
    }
    await disk.rename("/a/x", "/a/z");
    disk.crash();
    expect(await disk.list("/a")).toEqual(["x"]);
    await disk.remove("/a/x");
    disk.crash();
    expect(disk.fileBytes("/a/x")).toEqual(fill(1, 1));
    await disk.remove("/a/x");
    await disk.syncDirectory("/a");
    disk.crash();
    expect(await disk.list("/a")).toEqual([]);
  });

  test("a rename is done or not done, never half", async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const disk = new MemoryDisk();
      await disk.makeDirectory("/a");
      await disk.makeDirectory("/b");
      const file = await disk.open("/a/f", { mode: "create" });
      await disk.syncDirectory("/");
      await disk.syncDirectory("/a");
      await file.close();
      await disk.rename("/a/f", "/b/g");
      await disk.rename("/b/g", "/b/h");
      disk.crash(new SeededRandom(seed));
      outcomes.add(JSON.stringify([await disk.list("/a"), await disk.list("/b")]));
    }
    expect([...outcomes].sort()).toEqual(['[["f"],[]]', '[[],["g"]]', '[[],["h"]]']);
  });

  test("syncing one side of a rename makes both sides durable", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/a");
    await disk.makeDirectory("/b");
    await disk.syncDirectory("/");
    await disk.open("/a/f", { mode: "create" });
    await disk.rename("/a/f", "/b/f");
    await disk.syncDirectory("/b");
    disk.crash(new SeededRandom(1), { keepDirectorySteps: 1 });
    expect([await disk.list("/a"), await disk.list("/b")]).toEqual([[], ["f"]]);
  });

  test("a removed tree comes back whole unless its parent was synced", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/d/e");
    await openNew(disk, "/d/e/f");
    disk.settle();
    await disk.removeTree("/d");
    disk.crash();
    expect(await disk.list("/d/e")).toEqual(["f"]);
    await disk.removeTree("/d");
    await disk.syncDirectory("/");
    disk.crash();
    expect(await disk.list("/")).toEqual([]);
  });
});

describe("faults", () => {
  test("fail() hits the operation, path and turn it names", async () => {
    const disk = new MemoryDisk();
    const [f, g] = [await openNew(disk), await openNew(disk, "/g")];
    disk.fail({
      operation: "write",
      code: "NO_SPACE",
      path: PATH,
      after: 1,
      times: 2,
      writtenBytes: 3,
    });
    await g.write([fill(1, 1)], 0);
    await f.write([fill(2, 1)], 0);
    await g.write([fill(1, 1)], 0);
    for (let i = 0; i < 2; i++) {
      await expect(f.write([fill(5, 2)], 2)).rejects.toMatchObject({
        code: "NO_SPACE",
        path: PATH,
      });
    }
    expect([...disk.fileBytes(PATH)]).toEqual([1, 1, 2, 2, 2]);
    await f.write([fill(5, 3)], 0);
    expect([...disk.fileBytes(PATH)]).toEqual([3, 3, 3, 3, 3]);
  });

  test("every operation can fail, and changes nothing then", async () => {
    const disk = new MemoryDisk();
    const file = await openNew(disk);
    await file.write([fill(3, 1)], 0);
    const attempts = {
      open: () => disk.open("/new", { mode: "create" }),
      read: async () => file.read(new Uint8Array(1), 0),
      truncate: () => file.truncate(0),
      preallocate: () => file.preallocate(100),
      makeDirectory: () => disk.makeDirectory("/d"),
      rename: () => disk.rename(PATH, "/g"),
      remove: () => disk.remove(PATH),
      removeTree: () => disk.removeTree(PATH),
      syncDirectory: () => disk.syncDirectory("/"),
      sync: () => file.sync(),
    } as const;
    for (const [operation, attempt] of Object.entries(attempts)) {
      disk.fail({ operation: operation as keyof typeof attempts, code: "IO" });
      await expect(attempt()).rejects.toMatchObject({ code: "IO" });
      expect(await disk.list("/")).toEqual(["f"]);
      expect(disk.fileBytes(PATH)).toEqual(fill(3, 1));
    }
  });

  test("a full disk takes what fits, and room comes back when files go", async () => {
    const disk = new MemoryDisk({ capacityBytes: 10 });
    const [f, g] = [await openNew(disk), await openNew(disk, "/g")];
    await f.write([fill(6, 1)], 0);
    await expect(g.write([fill(3, 2), fill(3, 2)], 0)).rejects.toMatchObject({ code: "NO_SPACE" });
    expect(disk.fileBytes("/g")).toEqual(fill(4, 2));
    await f.write([fill(6, 3)], 0);
    await expect(f.preallocate(7)).rejects.toMatchObject({ code: "NO_SPACE" });
    await disk.remove(PATH);
    await g.write([fill(6, 4)], 4);
    expect(disk.usedBytes).toBe(10);
    await g.truncate(1);
    expect(disk.usedBytes).toBe(1);
  });

  test("flipBit() changes the bytes that are read and those a crash leaves", async () => {
    const disk = new MemoryDisk();
    const file = await openNew(disk);
    await file.write([fill(3, 1)], 0);
    await file.sync();
    await file.write([fill(1, 1)], 0);
    disk.flipBit(PATH, 1, 7);
    disk.flipBit(PATH, 2);
    expect([...disk.fileBytes(PATH)]).toEqual([1, 0x81, 0]);
    await file.write([fill(1, 5)], 0);
    disk.crash();
    expect([...disk.fileBytes(PATH)]).toEqual([1, 0x81, 0]);
  });

  test("powerOffAfter() stops a program at each of its operations", async () => {
    const program = async (disk: MemoryDisk): Promise<void> => {
      const file = await disk.open("/t", { mode: "create" });
      await file.write([fill(700, 1)], 0);
      await file.sync();
      await disk.rename("/t", "/done");
      await disk.syncDirectory("/");
    };
    const whole = new MemoryDisk();
    await program(whole);
    const { open: _open, read: _read, writtenBytes: _written, ...changing } = whole.counts;
    const operations = Object.values(changing).reduce((sum, count) => sum + count, 0);
    expect(operations).toBe(4);
    for (let after = 0; after <= operations; after++) {
      for (let seed = 0; seed < 10; seed++) {
        const disk = new MemoryDisk();
        disk.powerOffAfter(after);
        const outcome = await program(disk).catch((error: unknown) => error);
        expect(outcome instanceof DiskError).toBe(after < operations);
        expect(disk.isPoweredOff).toBe(after < operations);
        disk.crash(new SeededRandom(seed));
        const names = await disk.list("/");
        // The name is only moved once the bytes are safe: that is what the order is for.
        if (names.includes("done")) expect(disk.fileBytes("/done")).toEqual(fill(700, 1));
        if (after === operations) expect(names).toEqual(["done"]);
      }
    }
  });

  test("permission bits are kept to", async () => {
    const disk = new MemoryDisk();
    await openNew(disk);
    disk.setMode(PATH, 0o400);
    await expect(disk.open(PATH, { mode: "readWrite" })).rejects.toMatchObject({
      code: "ACCESS_DENIED",
    });
    await (await disk.open(PATH, { mode: "read" })).close();
    disk.setMode(PATH, 0o000);
    await expect(disk.open(PATH, { mode: "read" })).rejects.toMatchObject({
      code: "ACCESS_DENIED",
    });
  });
});

test("counts tell how often the disk was asked", async () => {
  const disk = new MemoryDisk();
  const file = await openNew(disk);
  disk.resetCounts();
  await file.write([fill(10, 1), fill(5, 1)], 0);
  await file.dataSync();
  file.read(new Uint8Array(1), 0);
  expect(disk.counts).toMatchObject({ write: 1, writtenBytes: 15, dataSync: 1, read: 1, sync: 0 });
});

test("a preallocated segment costs no memory, and syncing a small write copies little", async () => {
  const disk = new MemoryDisk();
  const file = await openNew(disk);
  await file.preallocate(64_000_000);
  await file.sync();
  const startedMs = performance.now();
  for (let i = 0; i < 2000; i++) {
    await file.write([fill(300, i)], i * 300);
    await file.dataSync();
  }
  // Copying the segment at each sync would take minutes.
  expect(performance.now() - startedMs).toBeLessThan(30_000);
  disk.crash();
  expect(disk.fileBytes(PATH)[1999 * 300]).toBe(1999 & 0xff);
});

function compare(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

/** Bytes [start, end) of a file; zeros past its end. */
function padded(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const part = new Uint8Array(end - start);
  part.set(bytes.subarray(start, end));
  return part;
}
