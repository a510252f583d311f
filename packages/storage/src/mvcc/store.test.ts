import { env } from "node:process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeMessage, MemoryMetrics, SeededRandom } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import {
  bytes,
  DB_PATH,
  MapLeaseBook,
  newWorld,
  openBackend,
  openStore,
  text,
} from "../../compliance/harness.ts";
import type { World } from "../../compliance/harness.ts";
import { inRange, MvccModel } from "../../compliance/mvcc-model.ts";
import type { ModelOperation, ModelStep } from "../../compliance/mvcc-model.ts";
import type { Backend } from "../backend/backend.ts";
import { readFinishedCompact, writeScheduledCompact } from "../schema/compaction.ts";
import { mustReadUint64, uint64Bytes } from "../schema/numbers.ts";
import { encodeRevision } from "./revision.ts";
import type { MvccStore } from "./store.ts";
import type { RangeResult } from "./types.ts";

const STEPS = bytes("steps");
const NEWEST = { revision: 0, limit: 0, countOnly: false };
const NO_END = bytes("");

const key = fc.constantFrom("a", "ab", "b", "c", "c\0", "d", "e", "zz", "é");
const end = fc.oneof(fc.constantFrom("", "\0"), key);
const operation: fc.Arbitrary<ModelOperation> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("put" as const),
      key,
      value: fc.string({ maxLength: 3 }),
      lease: fc.constantFrom(0n, 0n, 5n, -7n),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("deleteRange" as const), key, end }) },
);
const txn = fc.record({
  kind: fc.constant("txn" as const),
  operations: fc.array(operation, { minLength: 1, maxLength: 4 }),
});
const range = fc.record({
  kind: fc.constant("range" as const),
  key,
  end,
  back: fc.integer({ min: -1, max: 12 }),
  limit: fc.integer({ min: -1, max: 4 }),
  countOnly: fc.boolean(),
  sliced: fc.boolean(),
});
const just = <const K extends string>(kind: K) => fc.record({ kind: fc.constant(kind) });
const command = fc.oneof(
  { weight: 10, arbitrary: txn },
  { weight: 6, arbitrary: range },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(120) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("hash" as const), back: fc.nat(6) }) },
  { weight: 1, arbitrary: just("commit") },
  { weight: 1, arbitrary: just("reopen") },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash" as const), seed: fc.nat() }) },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

function plain({ key: name, createRevision, modRevision, version, value, lease }: KeyValue) {
  return [text(name), createRevision, modRevision, version, text(value), lease];
}

function outcome(read: () => RangeResult): unknown {
  try {
    return shown(read());
  } catch (error) {
    return (error as Error).message;
  }
}

function shown({ kvs, count, revision }: RangeResult): unknown {
  for (const kv of kvs) {
    const { key, createRevision, modRevision, version, value, lease } = kv;
    const fields = { key, createRevision, modRevision, version, value, lease };
    const encoded = encodeMessage(KeyValueCodec, fields);
    expect(kv.encoded).toEqual(encoded);
  }
  return { kvs: kvs.map(plain), count, revision };
}

/** A store and the model it must agree with. */
class Pair {
  readonly world: World;
  backend!: Backend;
  store!: MvccStore;
  leases = new MapLeaseBook();
  model = new MvccModel();
  readonly steps: ModelStep[] = [];
  /** Sliced reads under way. */
  reads: Promise<void>[] = [];
  durableSteps = 0;

  constructor(world: World) {
    this.world = world;
  }

  async open(): Promise<void> {
    this.backend = await openBackend(this.world, { batchLimit: 20 });
    this.leases = new MapLeaseBook();
    this.store = await openStore(this.world, this.backend, {
      leases: this.leases,
      compactionBatchLimit: 3,
    });
    this.backend.onPreCommit(() => this.backend.put("meta", STEPS, uint64Bytes(this.steps.length)));
  }

  async run(next: Command): Promise<void> {
    switch (next.kind) {
      case "txn":
        this.#txn(next.operations);
        break;
      case "range":
        this.#range(next);
        break;
      case "compact":
        this.#compact(this.model.currentRevision - next.back);
        break;
      case "wait":
        await this.world.clock.virtual.advanceSettled(next.ms);
        break;
      case "hash":
        await this.#hash(this.model.currentRevision - next.back);
        break;
      case "commit": {
        const asked = this.steps.length;
        await this.world.clock.until(this.backend.commit());
        this.durableSteps = asked;
        break;
      }
      case "reopen":
        await this.settleReads();
        await this.world.clock.until(this.store.close());
        await this.world.clock.until(this.backend.close());
        await this.open();
        this.durableSteps = this.steps.length;
        break;
      case "crash":
        await this.settleReads();
        await this.#crash(next.seed);
        break;
    }
    this.#compareState();
  }

  async settleReads(): Promise<void> {
    await this.world.clock.until(Promise.all(this.reads));
    this.reads = [];
  }

  async settleCompaction(): Promise<void> {
    const { virtual } = this.world.clock;
    while ((readFinishedCompact(this.backend) ?? -1) !== this.store.compactRevision) {
      await virtual.advanceSettled(20);
    }
  }

  #step(step: ModelStep): void {
    this.steps.push(step);
    this.model.apply(step);
  }

  #txn(operations: readonly ModelOperation[]): void {
    const writer = this.store.write();
    for (const each of operations) {
      if (each.kind === "put") writer.put(bytes(each.key), bytes(each.value), each.lease);
      else writer.deleteRange(bytes(each.key), bytes(each.end));
    }
    const inside = writer.range(bytes("\0"), bytes("\0"), NEWEST);
    writer.end();
    this.#step({ kind: "txn", operations });
    expect(shown(inside)).toEqual(this.#expected("\0", "\0", 0, 0, false));
  }

  #range(next: Extract<Command, { kind: "range" }>): void {
    const revision = next.back < 0 ? 0 : this.model.currentRevision + 1 - next.back;
    const { limit, countOnly } = next;
    const expected = this.#expected(next.key, next.end, revision, limit, countOnly);
    const options = { revision, limit, countOnly };
    const from = bytes(next.key);
    const to = bytes(next.end);
    if (!next.sliced) {
      expect(outcome(() => this.store.range(from, to, options))).toEqual(expected);
      return;
    }
    this.reads.push(
      this.store.rangeSliced(from, to, options).then(
        (result) => expect(shown(result)).toEqual(expected),
        (error: Error) => expect(error.message).toEqual(expected),
      ),
    );
  }

  #expected(begin: string, last: string, asked: number, limit: number, countOnly: boolean) {
    const { currentRevision, compactRevision } = this.model;
    if (asked > currentRevision) return "mvcc: required revision is a future revision";
    const revision = asked <= 0 ? currentRevision : asked;
    if (revision < compactRevision) return "mvcc: required revision has been compacted";
    const all = this.model.live(revision).filter(([name]) => inRange(name, begin, last));
    const kvs = countOnly ? [] : limit > 0 ? all.slice(0, limit) : all;
    return { kvs: kvs.map(([, kv]) => plain(kv)), count: all.length, revision: currentRevision };
  }

  #compact(revision: number): void {
    const { compactRevision } = this.model;
    if (revision <= compactRevision) {
      expect(() => this.store.compact(revision)).toThrow("has been compacted");
      return;
    }
    const isFirstOrDone = (readFinishedCompact(this.backend) ?? -1) === compactRevision;
    const hash = isFirstOrDone ? this.model.compactionHash(revision) : undefined;
    const { finished } = this.store.compact(revision);
    const { store } = this;
    const check = finished.then(async () => {
      const kept = store.compactionHashes().find((each) => each.hashRevision === revision);
      expect(kept?.hash).toBe(hash);
      if (hash !== undefined) expect(kept?.compactRevision).toBe(compactRevision);
    });
    // A crash or a close interrupts it.
    check.catch((error: Error) => {
      if (!/interrupted|lost power|failed to commit/.test(error.message)) throw error;
    });
    this.#step({ kind: "compact", revision });
  }

  async #hash(revision: number): Promise<void> {
    if (revision < Math.max(this.model.compactRevision, 1)) return;
    await this.settleCompaction();
    if (this.store.compactionHashes().some((each) => each.hashRevision === revision)) return;
    const result = await this.world.clock.until(this.store.hashByRevision(revision));
    expect(result).toEqual({
      hash: this.model.hash(revision),
      hashRevision: revision,
      compactRevision: this.model.compactRevision,
      currentRevision: this.model.currentRevision,
    });
  }

  async #crash(seed: number): Promise<void> {
    this.world.disk.crash(new SeededRandom(seed));
    await this.open();
    const value = this.backend.get("meta", STEPS);
    const applied = value === undefined ? 0 : mustReadUint64(value, "steps", DB_PATH);
    expect(applied).toBeGreaterThanOrEqual(this.durableSteps);
    this.steps.length = applied;
    this.model = new MvccModel();
    for (const step of this.steps) this.model.apply(step);
    this.durableSteps = applied;
  }

  #compareState(): void {
    const { store, model } = this;
    expect(store.currentRevision).toBe(model.currentRevision);
    expect(store.compactRevision).toBe(model.compactRevision);
    expect(store.keyCount).toBe(model.live(model.currentRevision).length);
    expect(this.leases.entries()).toEqual(model.leases());
    store.verify();
  }
}

describe("MvccStore", () => {
  test("answers as a plain list of changes does, through compactions, reopening and crashes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(command, { minLength: 5, maxLength: 60 }),
        fc.nat(4),
        async (commands, latencyMs) => {
          const pair = new Pair(newWorld(latencyMs));
          await pair.open();
          pair.world.disk.settle();
          for (const next of commands) await pair.run(next);
          await pair.settleReads();
          await pair.settleCompaction();
          const hash = await pair.world.clock.until(pair.store.hashByRevision(0));
          expect(hash.hash).toBe(pair.model.hash(pair.model.currentRevision));
          await pair.world.clock.until(pair.store.close());
          await pair.world.clock.until(pair.backend.close());
        },
      ),
      { numRuns: env["ETCD_TS_SOAK"] === "1" ? 5000 : 120 },
    );
  });

  test("write() shows its own changes to itself, and makes one revision of them", async () => {
    const { store } = await newStore();
    const writer = store.write();
    expect(writer.put(bytes("a"), bytes("1"), 0n)).toBe(2);
    expect(writer.put(bytes("b"), bytes("1"), 0n)).toBe(2);
    expect(writer.deleteRange(bytes("a"), bytes("b"))).toEqual({ deleted: 1, revision: 2 });
    expect(writer.range(bytes("a"), bytes("z"), { ...NEWEST, limit: 1 })).toMatchObject({
      count: 1,
      revision: 2,
    });
    expect(store.currentRevision).toBe(1);
    expect(() => store.write()).toThrow("another writer has not ended");
    writer.end();
    writer.end();
    expect(store.currentRevision).toBe(2);
    expect(writer.changes().map(({ type, kv }) => [type, text(kv!.key), kv!.modRevision])).toEqual([
      [0, "a", 2],
      [0, "b", 2],
      [1, "a", 2],
    ]);
  });

  test("write() that changes nothing makes no revision", async () => {
    const { store } = await newStore();
    const writer = store.write();
    expect(writer.deleteRange(bytes("a"), NO_END)).toEqual({ deleted: 0, revision: 1 });
    expect(writer.changed).toBe(false);
    writer.end();
    expect(store.currentRevision).toBe(1);
  });

  test("previous() is what a key was before a revision, if that is not compacted", async () => {
    const { store, world } = await newStore();
    putEach(store, ["a", "a", "b"]);
    expect(store.previous(bytes("a"), 2)).toBeUndefined();
    expect(store.previous(bytes("a"), 3)?.modRevision).toBe(2);
    await world.clock.until(store.compact(4).finished);
    expect(store.previous(bytes("a"), 3)).toBeUndefined();
    expect(store.previous(bytes("a"), 5)?.modRevision).toBe(3);
  });

  test("rangeSliced() stays at its revision while keys are deleted and compacted away", async () => {
    const { store, world } = await newStore();
    const names = Array.from({ length: 3000 }, (_, i) => `k${String(i).padStart(5, "0")}`);
    putEach(store, names);
    const all = store.rangeSliced(bytes("k"), bytes("l"), NEWEST);
    const counted = store.rangeSliced(bytes("k"), bytes("l"), {
      revision: 1001,
      limit: 5,
      countOnly: false,
    });
    world.clock.virtual.runNext();
    const writer = store.write();
    expect(writer.deleteRange(bytes("k"), bytes("l")).deleted).toBe(3000);
    writer.end();
    const compaction = store.compact(store.currentRevision);
    expect(() => store.range(bytes("k"), bytes("l"), { ...NEWEST, revision: 1001 })).toThrow(
      "has been compacted",
    );
    const result = await world.clock.until(all);
    expect(result.revision).toBe(3001);
    expect(result.kvs.map((kv) => text(kv.key))).toEqual(names);
    expect(await world.clock.until(counted)).toMatchObject({ count: 1000, revision: 3001 });
    await world.clock.until(compaction.finished);
    expect(store.keyCount).toBe(0);
    expect(recordCount(store)).toBe(3000);
    putEach(store, ["last"]);
    await world.clock.until(store.compact(store.currentRevision).finished);
    expect(recordCount(store)).toBe(1);
  });

  test("readTxn() keeps its revision readable until end()", async () => {
    const { store, world } = await newStore();
    putEach(store, ["a", "a"]);
    const reader = store.readTxn();
    putEach(store, ["a", "a"]);
    const compaction = store.compact(5);
    await world.clock.virtual.advanceSettled(1000);
    expect(readFinishedCompact(store.backend)).toBeUndefined();
    expect(reader.range(bytes("a"), NO_END, NEWEST).kvs[0]?.modRevision).toBe(3);
    reader.end();
    reader.end();
    await world.clock.until(compaction.finished);
    expect(readFinishedCompact(store.backend)).toBe(5);
  });

  test("hashByRevision() is the same before, during and after a compaction below it", async () => {
    const { store, world } = await newStore();
    putEach(
      store,
      Array.from({ length: 2500 }, (_, i) => `k${i % 700}`),
    );
    const revision = store.currentRevision - 200;
    const compaction = store.compact(revision - 300);
    const during = store.hashByRevision(revision);
    world.clock.virtual.runNext();
    putEach(store, ["later"]);
    const first = await world.clock.until(during);
    await world.clock.until(compaction.finished);
    const { hash } = await world.clock.until(store.hashByRevision(revision));
    expect(first.hash).toBe(hash);
  });

  test("hashByRevision() of a store whose keys are all deleted skips the last tombstones", async () => {
    const { store, world } = await newStore();
    putEach(store, ["a", "b"]);
    const writer = store.write();
    writer.deleteRange(bytes("a"), bytes("z"));
    writer.end();
    await world.clock.until(store.compact(4).finished);
    expect(recordCount(store)).toBe(2);
    const empty = await world.clock.until((await newStore()).store.hashByRevision(0));
    const { hash } = await world.clock.until(store.hashByRevision(0));
    expect(hash).toBe(empty.hash);
  });

  test("compactionHashes() keeps the ten newest", async () => {
    const { store, world } = await newStore();
    putEach(
      store,
      Array.from({ length: 15 }, () => "a"),
    );
    for (let revision = 2; revision <= 14; revision++) {
      await world.clock.until(store.compact(revision).finished);
    }
    const kept = store.compactionHashes().map((each) => each.hashRevision);
    expect(kept).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    const known = await world.clock.until(store.hashByRevision(14));
    expect(known).toMatchObject({ compactRevision: 13, hashRevision: 14, currentRevision: 16 });
  });

  test("open() never goes back behind a compaction, even if nothing is left of it", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    writeScheduledCompact(backend, 40);
    backend.put("key", encodeRevision(30, 0), encodeKeyValue("a", 30));
    // What a restore with a revision bump leaves: a record without a KeyValue.
    backend.put("key", encodeRevision(35, 0), bytes(""));
    const store = await openStore(world, backend);
    expect(store.currentRevision).toBe(40);
    expect(store.compactRevision).toBe(40);
    while (readFinishedCompact(backend) !== 40) await world.clock.virtual.advanceSettled(20);
    expect(backend.range("key", NO_END, undefined).map(({ key: each }) => each)).toEqual([
      encodeRevision(30, 0),
    ]);
    putEach(store, ["b"]);
    expect(store.currentRevision).toBe(41);
  });

  test("open() names the file when a record is damaged", async () => {
    const world = newWorld();
    const backend = await openBackend(world);
    backend.put("key", encodeRevision(2, 0), bytes("\xff"));
    await expect(openStore(world, backend)).rejects.toThrow(DB_PATH);
    const other = newWorld();
    const otherBackend = await openBackend(other);
    otherBackend.put("key", bytes("no revision"), encodeKeyValue("a", 2));
    await expect(openStore(other, otherBackend)).rejects.toThrow("is no revision");
  });

  test("restore() takes over another backend's contents", async () => {
    const { store, world, leases } = await newStore();
    putEach(store, ["a", "b"]);
    const other = await newStore();
    putEach(other.store, ["c", "c", "d", "d"]);
    const writer = other.store.write();
    writer.put(bytes("leased"), bytes(""), 9n);
    writer.end();
    await world.clock.until(store.restore(other.store.backend));
    expect(store.currentRevision).toBe(6);
    expect(store.range(bytes("a"), bytes("\0"), NEWEST).kvs.map((kv) => text(kv.key))).toEqual([
      "c",
      "d",
      "leased",
    ]);
    expect(leases.entries()).toEqual([["leased", 9n]]);
    putEach(store, ["e"]);
    expect(store.currentRevision).toBe(7);
  });

  test("the metrics carry etcd's names", async () => {
    const metrics = new MemoryMetrics();
    const { store, world } = await newStore(metrics);
    putEach(store, ["a", "b"]);
    const writer = store.write();
    writer.range(bytes("a"), NO_END, NEWEST);
    writer.deleteRange(bytes("a"), NO_END);
    writer.end();
    await world.clock.until(store.compact(3).finished);
    expect(metrics.value("etcd_mvcc_put_total")).toBe(2);
    expect(metrics.value("etcd_mvcc_delete_total")).toBe(1);
    expect(metrics.value("etcd_mvcc_range_total")).toBe(1);
    expect(metrics.value("etcd_mvcc_txn_total")).toBe(1);
    expect(metrics.value("etcd_debugging_mvcc_keys_total")).toBe(1);
    expect(metrics.value("etcd_debugging_mvcc_current_revision")).toBe(4);
    expect(metrics.value("etcd_debugging_mvcc_compact_revision")).toBe(3);
    expect(metrics.value("etcd_mvcc_db_total_size_in_bytes")).toBe(store.backend.sizeBytes());
  });
});

async function newStore(metrics = new MemoryMetrics()) {
  const world = newWorld();
  const backend = await openBackend(world);
  const leases = new MapLeaseBook();
  const store = await openStore(world, backend, { leases, metrics });
  return { world, store, leases };
}

function putEach(store: MvccStore, names: readonly string[]): void {
  for (const name of names) {
    const writer = store.write();
    writer.put(bytes(name), bytes("value"), 0n);
    writer.end();
  }
}

function recordCount(store: MvccStore): number {
  return store.backend.range("key", NO_END, undefined).length;
}

function encodeKeyValue(name: string, revision: number): Uint8Array {
  return encodeMessage(KeyValueCodec, {
    key: bytes(name),
    createRevision: revision,
    modRevision: revision,
    version: 1,
    value: bytes("v"),
    lease: 0n,
  });
}
