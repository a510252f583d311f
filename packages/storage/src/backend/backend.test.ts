import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { equalBytes, MemoryDisk, MemoryMetrics, SeededRandom } from "@etcd-ts/base";
import { check, Database } from "@etcd-ts/bbolt";
import {
  bytes,
  DB_PATH,
  newWorld,
  openBackend,
  text,
  TickingClock,
} from "../../compliance/harness.ts";
import type { World } from "../../compliance/harness.ts";
import { encodeRevision } from "../mvcc/revision.ts";
import { uint64Bytes, mustReadUint64 } from "../schema/numbers.ts";
import { OVERLOAD_BATCHES } from "./backend.ts";
import type { Backend } from "./backend.ts";
import type { BucketName } from "./bucket.ts";
import { skipMemberOwnMeta } from "./hash.ts";

const STEPS = bytes("steps");
const BUCKET_NAMES: BucketName[] = ["key", "lease", "meta"];

type Model = Map<string, string>;

const steps = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant("put" as const),
        bucket: fc.nat(2),
        key: fc.nat(20),
        bytes: fc.constantFrom(1, 50, 3000, 9000),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("delete" as const),
        bucket: fc.nat(2),
        key: fc.nat(20),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(150) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("commit" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("defragment" as const) }) },
  ),
  { maxLength: 50 },
);
type Steps = typeof steps extends fc.Arbitrary<infer T> ? T : never;

function keyOf(key: number): Uint8Array {
  return bytes(`k${String(key).padStart(3, "0")}`);
}

function contents(backend: Backend): Model {
  const model: Model = new Map();
  for (const bucket of BUCKET_NAMES) {
    backend.forEach(bucket, (key, value) => {
      if (text(key) !== "steps") model.set(`${bucket}/${text(key)}`, text(value));
    });
  }
  return model;
}

function stepsApplied(backend: Backend): number {
  const value = backend.get("meta", STEPS);
  return value === undefined ? 0 : mustReadUint64(value, "steps", DB_PATH);
}

function sorted(model: Model): [string, string][] {
  return [...model].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** Plays the steps; `history[n]` is what the backend holds after n of them. */
class Player {
  readonly history: Model[] = [new Map()];
  durableSteps = 0;
  readonly world: World;
  backend: Backend;

  constructor(world: World, backend: Backend) {
    this.world = world;
    this.backend = backend;
    backend.onPreCommit(() => backend.put("meta", STEPS, uint64Bytes(this.applied)));
  }

  get applied(): number {
    return this.history.length - 1;
  }

  async play(list: Steps): Promise<void> {
    for (const [i, step] of list.entries()) {
      switch (step.kind) {
        case "put":
        case "delete":
          this.#change(step, i);
          break;
        case "wait":
          await this.world.clock.virtual.advanceSettled(step.ms);
          break;
        case "commit": {
          const asked = this.applied;
          await this.world.clock.until(this.backend.commit());
          this.durableSteps = asked;
          break;
        }
        case "defragment":
          // In the background: the next steps run while it copies.
          this.backend.defragment().catch(() => undefined);
          break;
      }
    }
  }

  #change(step: Extract<Steps[number], { key: number }>, i: number): void {
    const bucket = BUCKET_NAMES[step.bucket]!;
    const model = new Map(this.history.at(-1)!);
    const name = `${bucket}/${text(keyOf(step.key))}`;
    if (step.kind === "put") {
      const value = `${i}`.padEnd(step.bytes, "x");
      this.backend.put(bucket, keyOf(step.key), bytes(value));
      model.set(name, value);
    } else {
      this.backend.delete(bucket, keyOf(step.key));
      model.delete(name);
    }
    this.history.push(model);
    expect(this.backend.get(bucket, keyOf(step.key))?.length).toBe(model.get(name)?.length);
  }
}

async function expectSound(world: World): Promise<void> {
  const database = await world.clock.until(Database.open(world.disk, DB_PATH, { readOnly: true }));
  const transaction = database.beginRead();
  expect([...check(transaction)]).toEqual([]);
  transaction.close();
  await world.clock.until(database.close());
}

describe("Backend", () => {
  test("reads see every change at once, through commits, defragmentation and reopening", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(5), async (list, latencyMs) => {
        const world = newWorld(latencyMs);
        const backend = await openBackend(world, { batchLimit: 7 });
        const player = new Player(world, backend);
        await player.play(list);
        const expected = sorted(player.history.at(-1)!);
        expect(sorted(contents(backend))).toEqual(expected);
        await world.clock.until(backend.close());
        await expectSound(world);
        const again = await openBackend(world);
        expect(sorted(contents(again))).toEqual(expected);
        expect(await world.clock.until(world.disk.list("/member/snap"))).toEqual(["db"]);
        await world.clock.until(again.close());
      }),
      { numRuns: 40 },
    );
  });

  test("a crash at any operation leaves a whole batch boundary, at or after the last commit()", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(60), fc.nat(), async (list, operations, seed) => {
        const world = newWorld(seed % 5);
        const backend = await openBackend(world, { batchLimit: 7 });
        const player = new Player(world, backend);
        world.disk.settle();
        world.disk.powerOffAfter(operations);
        try {
          await player.play(list);
        } catch {
          // The disk is gone; nothing after this was acknowledged.
        }
        const { durableSteps } = player;
        world.disk.crash(new SeededRandom(seed));
        const again = await openBackend(world);
        const applied = stepsApplied(again);
        expect(applied).toBeGreaterThanOrEqual(durableSteps);
        expect(sorted(contents(again))).toEqual(sorted(player.history[applied]!));
        expect(await world.clock.until(world.disk.list("/member/snap"))).toEqual(["db"]);
        await world.clock.until(again.close());
        await expectSound(world);
      }),
      { numRuns: 100 },
    );
  });

  test("range() merges file, frozen batch and new changes in key order, within its bounds", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    for (const name of ["b", "d", "f", "h"]) backend.put("key", bytes(name), bytes("file"));
    await world.clock.until(backend.commit());
    backend.put("key", bytes("c"), bytes("new"));
    backend.put("key", bytes("a"), bytes("new"));
    backend.put("key", bytes("f"), bytes("newer"));
    backend.delete("key", bytes("d"));
    const read = (begin: string, end: string | undefined, limit?: number) =>
      backend
        .range("key", bytes(begin), end === undefined ? undefined : bytes(end), limit)
        .map(({ key, value }) => `${text(key)}=${text(value)}`);
    expect(read("", undefined)).toEqual(["a=new", "b=file", "c=new", "f=newer", "h=file"]);
    expect(read("b", "h")).toEqual(["b=file", "c=new", "f=newer"]);
    expect(read("b", "h", 2)).toEqual(["b=file", "c=new"]);
    const commit = backend.commit();
    backend.put("key", bytes("e"), bytes("newest"));
    expect(read("c", undefined)).toEqual(["c=new", "e=newest", "f=newer", "h=file"]);
    await world.clock.until(commit);
    expect(read("c", undefined)).toEqual(["c=new", "e=newest", "f=newer", "h=file"]);
    await world.clock.until(backend.close());
  });

  test("put() reaches the file after the interval, and at once after the limit", async () => {
    const world = newWorld();
    const backend = await openBackend(world, { batchLimit: 10 });
    backend.put("key", bytes("a"), bytes("1"));
    await world.clock.virtual.advanceSettled(99);
    expect(backend.sizeInUseBytes()).toBeLessThan(5 * 4096);
    const syncs = world.disk.counts.dataSync;
    await world.clock.virtual.advanceSettled(1);
    expect(world.disk.counts.dataSync).toBeGreaterThan(syncs);
    for (let i = 0; i < 10; i++) backend.put("key", bytes(`b${i}`), bytes("1"));
    const before = world.disk.counts.dataSync;
    await world.clock.virtual.advanceSettled(0);
    expect(world.disk.counts.dataSync).toBeGreaterThan(before);
    await world.clock.until(backend.close());
  });

  test("commit() without changes does not touch the disk", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    await world.clock.until(backend.commit());
    const { writtenBytes } = world.disk.counts;
    await world.clock.until(backend.commit());
    await world.clock.virtual.advanceSettled(1000);
    expect(world.disk.counts.writtenBytes).toBe(writtenBytes);
    await world.clock.until(backend.close());
  });

  test("isOverloaded tells when changes outrun the disk, and whenDrained() when they no longer do", async () => {
    const clock = new TickingClock();
    const disk = new MemoryDisk({ clock: clock.virtual, latencyMs: () => 1000 });
    const backend = await openBackend({ clock, disk }, { batchLimit: 5 });
    expect(backend.isOverloaded).toBe(false);
    await backend.whenDrained();
    let changes = 0;
    while (!backend.isOverloaded) backend.put("key", bytes(`k${changes++}`), bytes("v"));
    expect(changes).toBe(5 * OVERLOAD_BATCHES);
    await clock.until(backend.whenDrained());
    expect(backend.isOverloaded).toBe(false);
    await clock.until(backend.close());
  });

  test("a failed commit is told once, rejects every commit() and keeps the data readable", async () => {
    const world = newWorld();
    const told: string[] = [];
    const backend = await openBackend(world, { onFatal: (error) => told.push(error.message) });
    backend.put("key", bytes("a"), bytes("1"));
    await world.clock.until(backend.commit());
    world.disk.fail({ operation: "write", code: "NO_SPACE", times: 100 });
    backend.put("key", bytes("b"), bytes("2"));
    const drained = backend.whenDrained();
    await expect(world.clock.until(backend.commit())).rejects.toThrow("failed to commit");
    await drained;
    backend.put("key", bytes("c"), bytes("3"));
    await expect(world.clock.until(backend.commit())).rejects.toThrow("failed to commit");
    await expect(backend.whenDrained()).rejects.toThrow("failed to commit");
    expect(told.length).toBe(1);
    expect(text(backend.get("key", bytes("b"))!)).toBe("2");
    expect(backend.failure).toBeDefined();
    await world.clock.until(backend.close());
    world.disk.crash();
    const again = await openBackend(world);
    expect(again.range("key", bytes(""), undefined).map(({ key }) => text(key))).toEqual(["a"]);
    await world.clock.until(again.close());
  });

  test("a pre-commit hook that throws forbids this commit and all later ones", async () => {
    const world = newWorld();
    const told: string[] = [];
    const backend = await openBackend(world, { onFatal: (error) => told.push(error.message) });
    let isRefusing = false;
    backend.onPreCommit(() => {
      if (isRefusing) throw new Error("half an entry");
    });
    backend.put("key", bytes("a"), bytes("1"));
    await world.clock.until(backend.commit());
    isRefusing = true;
    backend.put("key", bytes("b"), bytes("2"));
    await expect(world.clock.until(backend.commit())).rejects.toThrow("half an entry");
    isRefusing = false;
    await expect(world.clock.until(backend.commit())).rejects.toThrow("half an entry");
    expect(told.length).toBe(1);
    await world.clock.until(backend.close());
    const again = await openBackend(world);
    expect(again.get("key", bytes("b"))).toBeUndefined();
    await world.clock.until(again.close());
  });

  test("snapshot() is an image of what was put before it, whatever comes after", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    for (let i = 0; i < 500; i++) backend.put("key", keyOf(i), bytes("x".repeat(300)));
    const snapshot = await world.clock.until(backend.snapshot());
    for (let i = 0; i < 500; i += 2) backend.delete("key", keyOf(i));
    await world.clock.until(backend.commit());
    await world.clock.until(backend.defragment());
    const chunks: Uint8Array[] = [];
    const reading = (async () => {
      for await (const chunk of snapshot.chunks()) chunks.push(chunk.slice());
    })();
    await world.clock.until(reading);
    snapshot.close();
    snapshot.close();
    expect(chunks.slice(0, -1).every((chunk) => chunk.length === 32 * 1024)).toBe(true);
    expect(chunks.reduce((sum, chunk) => sum + chunk.length, 0)).toBe(snapshot.sizeBytes);

    const other = newWorld();
    await other.disk.makeDirectory("/member/snap");
    const file = await other.disk.open(DB_PATH, { mode: "createNew" });
    await file.write(chunks, 0);
    await file.close();
    const copy = await openBackend(other);
    expect(copy.range("key", bytes(""), undefined).length).toBe(500);
    await other.clock.until(copy.close());
    await world.clock.until(backend.close());
  });

  test("hash() depends on what is stored and not on how, and leaves out a member's own keys", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    for (let i = 0; i < 200; i++) backend.put("key", keyOf(i), bytes(`v${i}`));
    for (let i = 0; i < 200; i += 3) backend.delete("key", keyOf(i));
    const before = await world.clock.until(backend.hash());
    backend.put("meta", bytes("consistent_index"), uint64Bytes(5));
    await world.clock.until(backend.defragment());
    // The bucket's name is hashed even if it holds nothing else.
    expect(await world.clock.until(backend.hash())).not.toBe(before);
    const withMeta = await world.clock.until(backend.hash(skipMemberOwnMeta));
    backend.put("meta", bytes("consistent_index"), uint64Bytes(6));
    expect(await world.clock.until(backend.hash())).toBe(withMeta);
    expect(await world.clock.until(backend.hash(() => false))).not.toBe(withMeta);
    backend.put("key", keyOf(1), bytes("other"));
    expect(await world.clock.until(backend.hash())).not.toBe(withMeta);
    await world.clock.until(backend.close());
  });

  test("hash() is the same while other long reads go on", async () => {
    const world = newWorld();
    const first = await openBackend(world);
    for (let i = 0; i < 5000; i++) first.put("key", bytes(`${i}`), bytes("x".repeat(i % 500)));
    await world.clock.until(first.close());
    const backend = await openBackend(world, { cacheBytesMax: 64 * 1024 });
    const alone = await world.clock.until(backend.hash());
    const find = backend.finder("key", true);
    const hashes = [backend.hash(), backend.hash(), backend.hash()];
    for (let i = 0; i < 3; i++) {
      world.clock.virtual.runNext();
      expect(backend.range("key", bytes("4"), undefined).length).toBeGreaterThan(500);
      expect(find(bytes("4321"))?.length).toBe(321);
    }
    expect(await world.clock.until(Promise.all(hashes))).toEqual([alone, alone, alone]);
    await world.clock.until(backend.close());
  });

  test("defragment() gives space back and goes on taking changes meanwhile", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    for (let i = 0; i < 2000; i++) backend.put("key", bytes(`${i}`), bytes("x".repeat(200)));
    await world.clock.until(backend.commit());
    for (let i = 100; i < 2000; i++) backend.delete("key", bytes(`${i}`));
    await world.clock.until(backend.commit());
    const { length } = world.disk.fileBytes(DB_PATH);
    const defragmentation = backend.defragment();
    await world.clock.virtual.advanceSettled(0);
    backend.put("key", bytes("meanwhile"), bytes("kept"));
    expect(text(backend.get("key", bytes("meanwhile"))!)).toBe("kept");
    expect(backend.get("key", bytes("5"))?.length).toBe(200);
    await world.clock.until(defragmentation);
    expect(backend.sizeBytes()).toBeLessThan(length / 4);
    expect(backend.get("key", bytes("5"))?.length).toBe(200);
    await world.clock.until(backend.close());
    const again = await openBackend(world);
    expect(again.range("key", bytes(""), undefined).length).toBe(101);
    await world.clock.until(again.close());
  });

  test("defragment() that finds no space leaves the file as it was, and the backend working", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    for (let i = 0; i < 100; i++) backend.put("key", keyOf(i), bytes("x".repeat(300)));
    await world.clock.until(backend.commit());
    world.disk.fail({ operation: "write", code: "NO_SPACE", path: `${DB_PATH}.tmp.1`, times: 1 });
    await expect(world.clock.until(backend.defragment())).rejects.toThrow();
    expect(await world.clock.until(world.disk.list("/member/snap"))).toEqual(["db"]);
    backend.put("key", bytes("after"), bytes("1"));
    await world.clock.until(backend.commit());
    await world.clock.until(backend.defragment());
    expect(backend.range("key", bytes(""), undefined).length).toBe(101);
    await world.clock.until(backend.close());
  });

  test("open() removes copies that an interrupted defragmentation left", async () => {
    const world = newWorld();
    await world.disk.makeDirectory("/member/snap");
    const stale = await world.disk.open(`${DB_PATH}.tmp.123456`, { mode: "createNew" });
    await stale.close();
    const backend = await openBackend(world);
    expect(await world.clock.until(world.disk.list("/member/snap"))).toEqual(["db"]);
    await world.clock.until(backend.close());
  });

  test("the metrics carry etcd's names", async () => {
    const world = newWorld();
    const metrics = new MemoryMetrics();
    const backend = await openBackend(world, { metrics });
    backend.put("key", bytes("a"), bytes("1"));
    await world.clock.until(backend.commit());
    expect(metrics.observations("etcd_disk_backend_commit_duration_seconds")?.count).toBe(1);
    await world.clock.until(backend.defragment());
    expect(metrics.observations("etcd_disk_backend_defrag_duration_seconds")?.count).toBe(1);
    expect(metrics.value("etcd_disk_defrag_inflight")).toBe(0);
    await world.clock.until(backend.close());
  });
});

test("record() finds what get() finds, wherever the record is", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          {
            weight: 6,
            arbitrary: fc.record({ kind: fc.constant("put" as const), slot: fc.nat(9) }),
          },
          {
            weight: 3,
            arbitrary: fc.record({ kind: fc.constant("delete" as const), back: fc.nat(12) }),
          },
          { weight: 2, arbitrary: fc.record({ kind: fc.constant("commit" as const) }) },
          { weight: 1, arbitrary: fc.record({ kind: fc.constant("defragment" as const) }) },
          { weight: 6, arbitrary: fc.record({ kind: fc.constant("read" as const) }) },
        ),
        { maxLength: 60, size: "max" },
      ),
      async (all) => {
        const world = newWorld();
        const backend = await openBackend(world);
        backend.createBucket("key");
        const records: { main: number; sub: number; slot: number }[] = [];
        const look = (): void => {
          for (const { main, sub, slot } of records) {
            const found = backend.record(slot, main, sub);
            const wanted = backend.get("key", encodeRevision(main, sub));
            expect(found === undefined).toBe(wanted === undefined);
            expect(found === undefined || equalBytes(found, wanted!)).toBe(true);
          }
        };
        for (const step of all) {
          if (step.kind === "put") {
            const main = 2 + (records.length >>> 1);
            const sub = records.length % 2;
            const log = backend.appendRecord(main, sub, false, 700);
            log.block.fill(1 + (records.length % 250), log.offset, log.offset + 700);
            // Slots of one place in the table take turns.
            records.push({ main, sub, slot: step.slot * 32 * 1024 });
          } else if (step.kind === "delete") {
            const record = records[records.length - 1 - step.back];
            if (record !== undefined)
              backend.delete("key", encodeRevision(record.main, record.sub));
          } else if (step.kind === "commit") await world.clock.until(backend.commit());
          else if (step.kind === "defragment") await world.clock.until(backend.defragment());
          else look();
        }
        look();
        look();
        await world.clock.until(backend.close());
      },
    ),
    { numRuns: 40 },
  );
});
