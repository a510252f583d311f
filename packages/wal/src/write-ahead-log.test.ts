import { MemoryDisk, crc32c, MemoryLogger, SeededRandom } from "@etcd-ts/base";
import type { Entry, HardState } from "@etcd-ts/raft";
import process from "node:process";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
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

/** What was saved, applied one entry at a time. */
class Model {
  readonly entries: Entry[] = [];
  hardState: HardState | undefined;

  add(next: Entry): void {
    this.entries.length = next.index - 1;
    this.entries.push(next);
  }
}

interface Step {
  readonly backBy: number;
  readonly count: number;
  readonly dataBytes: number;
  readonly withState: boolean;
  readonly snapshot: boolean;
}

const arbitraryStep: fc.Arbitrary<Step> = fc.record({
  backBy: fc.constantFrom(0, 0, 0, 1, 3),
  count: fc.integer({ min: 0, max: 4 }),
  dataBytes: fc.constantFrom(0, 1, 20, 500, 505, 1200, 3000),
  withState: fc.boolean(),
  snapshot: fc.constantFrom(false, false, false, true),
});

interface Save {
  readonly entries: Entry[];
  readonly hardState: HardState | undefined;
  readonly snapshotIndex: number | undefined;
}

/** Turns drawn steps into saves that raft could make. */
function savesOf(steps: readonly Step[]): Save[] {
  let last = 0;
  let committed = 0;
  let term = 1;
  return steps.map(({ backBy, count, dataBytes, withState, snapshot }) => {
    const from = Math.max(committed, last - backBy) + 1;
    if (from <= last && count > 0) term++;
    const batch = entries(from, count, term, dataBytes);
    if (count > 0) last = from + count - 1;
    if (withState) committed = last;
    return {
      entries: batch,
      hardState: withState ? hardState(committed, term) : undefined,
      snapshotIndex: snapshot && committed > 0 ? committed : undefined,
    };
  });
}

/** Compares faster than the bytes. */
function textOf(list: readonly Entry[]): string {
  return list.map((e) => `${e.type} ${e.term} ${e.index} ${crc32c(0, e.data)}`).join("\n");
}

async function apply(wal: WriteAheadLog, save: Save): Promise<void> {
  await wal.save(save.hardState, save.entries);
  if (save.snapshotIndex !== undefined) {
    await wal.saveSnapshot({ index: save.snapshotIndex, term: 1, confState: CONF_STATE });
  }
}

function modelOf(saves: readonly Save[]): Model {
  const model = new Model();
  for (const save of saves) {
    for (const added of save.entries) model.add(added);
    if (save.hardState !== undefined) model.hardState = save.hardState;
  }
  return model;
}

describe("WriteAheadLog", () => {
  test("open() gives back what was saved, across segments and openings", async () => {
    const property = fc.asyncProperty(
      fc.array(fc.array(arbitraryStep, { maxLength: 8 }), { minLength: 1, maxLength: 3 }),
      async (lives) => {
        const disk = new MemoryDisk();
        const saves = savesOf(lives.flat());
        let wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
        let at = 0;
        for (const life of lives) {
          for (const save of saves.slice(at, (at += life.length))) await apply(wal, save);
          await wal.close();
          const model = modelOf(saves.slice(0, at));
          const read = await WriteAheadLog.readAll(disk, DIRECTORY, START, options());
          const opened = await WriteAheadLog.open(disk, DIRECTORY, START, options());
          wal = opened.wal;
          for (const got of [read, opened]) {
            expect(got.metadata).toEqual(METADATA);
            expect(textOf(got.entries)).toEqual(textOf(model.entries));
            expect(got.hardState).toEqual(model.hardState);
          }
        }
        await wal.close();
      },
    );
    await fc.assert(property, { numRuns: 60 });
  });

  test("a crash at any operation loses nothing acknowledged and half-applies nothing", async () => {
    const property = fc.asyncProperty(
      fc.array(arbitraryStep, { minLength: 1, maxLength: 10 }),
      fc.nat(60),
      fc.nat(0xffff_ffff),
      async (steps, operations, seed) => {
        const disk = new MemoryDisk();
        const saves = savesOf(steps);
        const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
        await setImmediate();
        disk.powerOffAfter(operations);
        let acknowledged = 0;
        for (const save of saves) {
          try {
            await apply(wal, save);
          } catch {
            break;
          }
          acknowledged++;
        }
        if (acknowledged === saves.length) disk.powerOffAfter(0);
        disk.crash(new SeededRandom(seed));
        await wal.close().catch(() => undefined);
        const opened = await WriteAheadLog.open(disk, DIRECTORY, START, options());
        expectBetween(opened, saves, acknowledged);
        // What was mended stays, and the log goes on.
        const next = opened.entries.length + 1;
        await opened.wal.save(undefined, [entry(next, 99)]);
        await opened.wal.close();
        const again = await WriteAheadLog.readAll(disk, DIRECTORY, START, options());
        expect(textOf(again.entries)).toBe(textOf([...opened.entries, entry(next, 99)]));
      },
    );
    await fc.assert(property, { numRuns: process.env["ETCD_TS_SOAK"] ? 20_000 : 400 });
  });

  test("create() interrupted anywhere leaves no log or a whole one", async () => {
    for (let operations = 0; operations < 20; operations++) {
      for (let seed = 0; seed < 6; seed++) {
        const disk = new MemoryDisk();
        disk.powerOffAfter(operations);
        await WriteAheadLog.create(disk, DIRECTORY, METADATA, options()).catch(() => undefined);
        disk.powerOffAfter(0);
        disk.crash(new SeededRandom(seed));
        if (await WriteAheadLog.exists(disk, DIRECTORY)) {
          const read = await WriteAheadLog.readAll(disk, DIRECTORY, START, options());
          expect(read).toEqual({ metadata: METADATA, hardState: undefined, entries: [] });
        } else {
          await (await WriteAheadLog.create(disk, DIRECTORY, METADATA, options())).close();
        }
      }
    }
  });

  test("save() shares one write and one sync among calls made during a sync", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options(1 << 20));
    await setImmediate();
    disk.resetCounts();
    const saves = Array.from({ length: 50 }, (_, i) => wal.save(hardState(i), [entry(i + 1)]));
    await Promise.all(saves);
    expect(disk.counts).toMatchObject({ write: 2, dataSync: 2 });
    await wal.close();
    const read = await WriteAheadLog.readAll(disk, DIRECTORY, START, options());
    expect(read.entries).toEqual(entries(1, 50));
    expect(read.hardState).toEqual(hardState(49));
  });

  test("save() syncs for entries, votes and terms, not for a commit alone", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    await setImmediate();
    const syncsOf = async (state: HardState | undefined, batch: Entry[]): Promise<number> => {
      disk.resetCounts();
      await wal.save(state, batch);
      return disk.counts.dataSync;
    };
    expect(await syncsOf({ term: 0, vote: 0n, commit: 0 }, [])).toBe(0);
    expect(await syncsOf({ term: 1, vote: 0n, commit: 0 }, [])).toBe(1);
    expect(await syncsOf({ term: 1, vote: 7n, commit: 0 }, [])).toBe(1);
    expect(await syncsOf(undefined, [entry(1)])).toBe(1);
    expect(await syncsOf({ term: 1, vote: 7n, commit: 1 }, [])).toBe(0);
    expect(await syncsOf({ term: 1, vote: 7n, commit: 1 }, [entry(2)])).toBe(1);
    expect(await syncsOf({ term: 1, vote: 7n, commit: 2 }, [])).toBe(0);
    await wal.close();
    const read = await WriteAheadLog.readAll(disk, DIRECTORY, START, options());
    expect(read.hardState).toEqual({ term: 1, vote: 7n, commit: 2 });
  });

  test.each(["write", "dataSync"] as const)(
    "a failed %s makes it refuse everything after",
    async (operation) => {
      const disk = new MemoryDisk();
      const logger = new MemoryLogger();
      const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, { ...options(), logger });
      await wal.save(hardState(0), [entry(1)]);
      disk.fail({ operation, code: "IO" });
      const both = [wal.save(undefined, [entry(2)]), wal.save(undefined, [entry(3)])];
      for (const save of both) await expect(save).rejects.toMatchObject({ code: "WAL_FAILED" });
      const snapshot = { index: 1, term: 1, confState: CONF_STATE };
      await expect(wal.save(hardState(0), [])).rejects.toMatchObject({ code: "WAL_FAILED" });
      await expect(wal.saveSnapshot(snapshot)).rejects.toMatchObject({ code: "WAL_FAILED" });
      await wal.close();
      const read = await WriteAheadLog.readAll(disk, DIRECTORY, START, options());
      expect(read.entries[0]).toEqual(entry(1));
      expect(read.entries.length).toBeLessThan(3);
    },
  );

  test("a full disk at a cut keeps what was acknowledged", async () => {
    const disk = new MemoryDisk({ capacityBytes: 10_000 });
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    let acknowledged = 0;
    for (let index = 1; index < 20; index++) {
      const isSaved = await wal.save(hardState(0), [entry(index, 1, 900)]).then(
        () => true,
        () => false,
      );
      if (!isSaved) break;
      acknowledged = index;
    }
    await wal.close();
    expect(acknowledged).toBeGreaterThan(3);
    expect(acknowledged).toBeLessThan(19);
    const read = await WriteAheadLog.readAll(disk, DIRECTORY, START, options());
    expect(read.entries.slice(0, acknowledged)).toEqual(entries(1, acknowledged, 1, 900));
  });

  test("close() is idempotent and ends saving", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    const last = wal.save(undefined, [entry(1)]);
    await Promise.all([wal.close(), wal.close()]);
    await last;
    await expect(wal.save(undefined, [entry(2)])).rejects.toMatchObject({ code: "WAL_CLOSED" });
    expect(await disk.list(DIRECTORY)).toEqual(await segmentNames(disk));
  });
});

/** The entries must be what some prefix of the written entries gives, not shorter than promised. */
function expectBetween(
  got: { entries: Entry[]; hardState: HardState | undefined },
  saves: readonly Save[],
  acknowledged: number,
): void {
  const model = modelOf(saves.slice(0, acknowledged));
  const allowed = [textOf(model.entries)];
  for (const save of saves.slice(acknowledged, acknowledged + 1)) {
    for (const added of save.entries) {
      model.add(added);
      allowed.push(textOf(model.entries));
    }
  }
  expect(allowed).toContain(textOf(got.entries));
  const durable = saves.slice(0, acknowledged).findLast((save) => save.entries.length > 0);
  if (durable?.hardState !== undefined) expect(got.hardState).toBeDefined();
  expect(got.hardState?.commit ?? 0).toBeLessThanOrEqual(got.entries.length);
}

describe("WriteAheadLog segments", () => {
  test("open() at a snapshot reads from the segment that holds it", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    for (let index = 1; index <= 30; index++) {
      await wal.save(hardState(index), [entry(index, 1, 500)]);
      if (index % 10 === 0) await wal.saveSnapshot({ index, term: 1, confState: CONF_STATE });
    }
    await wal.close();
    expect((await segmentNames(disk)).length).toBeGreaterThan(3);
    for (const index of [0, 10, 20, 30]) {
      const start = { index, term: index === 0 ? 0 : 1, confState: CONF_STATE };
      const read = await WriteAheadLog.readAll(disk, DIRECTORY, start, options());
      expect(read.entries).toEqual(entries(index + 1, 30 - index, 1, 500));
    }
    const noRecord = { index: 5, term: 1, confState: CONF_STATE };
    const otherTerm = { index: 10, term: 2, confState: CONF_STATE };
    await expect(WriteAheadLog.open(disk, DIRECTORY, noRecord, options())).rejects.toMatchObject({
      code: "WAL_SNAPSHOT_NOT_FOUND",
    });
    await expect(WriteAheadLog.open(disk, DIRECTORY, otherTerm, options())).rejects.toMatchObject({
      code: "WAL_SNAPSHOT_MISMATCH",
    });
  });

  test("validSnapshots() lists the records at or below the committed index", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    await wal.save(hardState(0), entries(1, 8));
    await wal.save(hardState(5), []);
    const first = { index: 5, term: 1, confState: CONF_STATE };
    await wal.saveSnapshot(first);
    await wal.saveSnapshot({ index: 9, term: 1, confState: CONF_STATE });
    await wal.close();
    const valid = await WriteAheadLog.validSnapshots(disk, DIRECTORY, options());
    expect(valid).toEqual([START, first]);
  });

  test("a second writer is refused until the first closes", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    const open = (): ReturnType<typeof WriteAheadLog.open> =>
      WriteAheadLog.open(disk, DIRECTORY, START, options());
    await expect(open()).rejects.toMatchObject({ code: "LOCKED" });
    await wal.close();
    await (await open()).wal.close();
    await expect(WriteAheadLog.create(disk, DIRECTORY, METADATA, options())).rejects.toMatchObject({
      code: "WAL_EXISTS",
    });
  });

  test("purge() removes only segments that were released", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    for (let index = 1; index <= 40; index++) {
      await wal.save(hardState(index), [entry(index, 1, 500)]);
    }
    const before = await segmentNames(disk);
    expect(before.length).toBeGreaterThan(3);
    expect(await wal.purge(1)).toEqual([]);
    await wal.saveSnapshot({ index: 25, term: 1, confState: CONF_STATE });
    await wal.releaseTo(25);
    expect(await wal.purge(0)).toEqual([]);
    const kept = before.filter((name) => parseInt(name.slice(17, 33), 16) < 25).length - 1;
    expect(await wal.purge(1)).toEqual(before.slice(0, kept));
    await wal.close();
    const start = { index: 25, term: 1, confState: CONF_STATE };
    const opened = await WriteAheadLog.open(disk, DIRECTORY, start, options());
    expect(opened.entries).toEqual(entries(26, 15, 1, 500));
    await opened.wal.close();
    await expect(WriteAheadLog.open(disk, DIRECTORY, START, options())).rejects.toMatchObject({
      code: "WAL_FILE_NOT_FOUND",
    });
  });

  test("open() names a missing segment", async () => {
    const disk = new MemoryDisk();
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, options());
    for (let index = 1; index <= 30; index++) await wal.save(undefined, [entry(index, 1, 500)]);
    await wal.close();
    const names = await segmentNames(disk);
    await disk.remove(`${DIRECTORY}/${names[1]}`);
    await expect(WriteAheadLog.open(disk, DIRECTORY, START, options())).rejects.toThrow(
      `no segment between ${names[0]} and ${names[2]}`,
    );
  });

  test("a slow sync is warned about", async () => {
    const disk = new MemoryDisk();
    const logger = new MemoryLogger();
    const clock = options().clock;
    let now = 0;
    const slow = {
      ...options(),
      logger,
      clock: Object.assign(Object.create(clock), {
        monotonicMs: () => (now += 1_500),
      }) as typeof clock,
    };
    const wal = await WriteAheadLog.create(disk, DIRECTORY, METADATA, slow);
    await wal.save(undefined, [entry(1)]);
    await wal.close();
    const warnings = logger.events.filter((event) => event.level === "warn");
    expect(warnings.map((event) => event.message)).toEqual(["slow fdatasync"]);
    expect(warnings[0]?.fields).toMatchObject({ took: "1.5s", "expected-duration": "1s" });
  });
});
