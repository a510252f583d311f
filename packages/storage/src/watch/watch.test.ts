import { env } from "node:process";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import type { Event } from "@etcd-ts/api";
import { bytes, newWorld, openBackend, openStore, text } from "../../compliance/harness.ts";
import type { World } from "../../compliance/harness.ts";
import { inRange, MvccModel } from "../../compliance/mvcc-model.ts";
import type { ModelOperation } from "../../compliance/mvcc-model.ts";
import type { Backend } from "../backend/backend.ts";
import type { MvccStore } from "../mvcc/store.ts";
import { WATCH_ID_NONE } from "../mvcc/types.ts";
import type { WatchBatch, WatchOptions } from "../mvcc/types.ts";
import { DUPLICATE_WATCH_ID, EMPTY_WATCHER_RANGE, STREAM_BATCHES_MAX } from "./watch-stream.ts";
import type { WatchStream } from "./watch-stream.ts";

const STREAMS = 3;

const key = fc.constantFrom("a", "b", "c", "d", "e");
const put: fc.Arbitrary<ModelOperation> = fc.record({
  kind: fc.constant("put" as const),
  key,
  value: fc.string({ maxLength: 2 }),
  lease: fc.constant(0n),
});
const deleteRange: fc.Arbitrary<ModelOperation> = fc.record({
  kind: fc.constant("deleteRange" as const),
  key,
  end: fc.constantFrom("", "d", "\0"),
});
/** A transaction changes a key at most once: the server sees to it. */
const operations = fc.oneof(
  { weight: 3, arbitrary: fc.uniqueArray(put, { selector: (each) => each.key, minLength: 1 }) },
  { weight: 1, arbitrary: fc.tuple(deleteRange) },
);
const stream = fc.nat(STREAMS - 1);
const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("txn" as const),
      operations,
      times: fc.constantFrom(1, 1, 1, 60, 150),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("watch" as const),
      stream,
      key,
      end: fc.constantFrom("", "c", "e", "\0"),
      back: fc.option(fc.integer({ min: -3, max: 40 })),
      noPut: fc.boolean(),
      noDelete: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("take" as const), stream, max: fc.nat(40) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("cancel" as const), id: fc.nat(5), stream }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("progress" as const), stream }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.nat(60) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("turns" as const), turns: fc.nat(4) }) },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

interface Watched {
  readonly from: number;
  readonly options: WatchOptions;
  /** Everything below was seen. */
  seenBelow: number;
  readonly events: string[];
  end: "open" | "cancelled" | "compacted";
}

function describeEvent({ type, kv }: Event): string {
  return `${type === 0 ? "put" : "delete"} ${text(kv!.key)}=${text(kv!.value)} @${kv!.modRevision}`;
}

class Watching {
  readonly world: World;
  readonly store: MvccStore;
  readonly model = new MvccModel();
  readonly streams: WatchStream[];
  readonly watched: Map<number, Watched>[] = [];
  /** Of each progress batch still queued: the watches it speaks for. */
  readonly asked: Watched[][][] = [];

  constructor(world: World, store: MvccStore) {
    this.world = world;
    this.store = store;
    this.streams = Array.from({ length: STREAMS }, () => store.newWatchStream());
    for (let i = 0; i < STREAMS; i++) {
      this.watched.push(new Map());
      this.asked.push([]);
    }
  }

  async run(next: Command): Promise<void> {
    switch (next.kind) {
      case "txn":
        for (let i = 0; i < next.times; i++) this.#txn(next.operations);
        break;
      case "watch":
        this.#watch(next);
        break;
      case "take":
        this.take(next.stream, next.max);
        break;
      case "cancel": {
        const watch = this.watched[next.stream]!.get(next.id);
        const isOpen = this.streams[next.stream]!.cancel(next.id);
        if (watch?.end === "open" && isOpen) watch.end = "cancelled";
        break;
      }
      case "progress":
        if (this.streams[next.stream]!.requestProgressAll()) {
          this.asked[next.stream]!.push([...this.watched[next.stream]!.values()]);
        }
        break;
      case "compact": {
        const revision = this.model.currentRevision - next.back;
        if (revision <= this.model.compactRevision) break;
        this.store.compact(revision).finished.catch(() => undefined);
        this.model.apply({ kind: "compact", revision });
        break;
      }
      case "turns":
        for (let i = 0; i < next.turns; i++) {
          this.world.clock.virtual.runNext();
          await nextTurn();
        }
        break;
    }
  }

  take(stream: number, max: number): number {
    const batches = this.streams[stream]!.take(max);
    for (const batch of batches) this.#see(stream, batch);
    return batches.length;
  }

  /** Takes until every watch has all there is. */
  async drain(): Promise<void> {
    for (let idle = 0; idle < 3; idle++) {
      await this.world.clock.virtual.advanceSettled(200);
      for (let i = 0; i < STREAMS; i++) while (this.take(i, 50) > 0) idle = 0;
    }
  }

  #txn(operations: readonly ModelOperation[]): void {
    const writer = this.store.write();
    for (const each of operations) {
      if (each.kind === "put") writer.put(bytes(each.key), bytes(each.value), 0n);
      else writer.deleteRange(bytes(each.key), bytes(each.end));
    }
    writer.end();
    this.model.apply({ kind: "txn", operations });
  }

  #watch(next: Extract<Command, { kind: "watch" }>): void {
    const { currentRevision } = this.model;
    const startRevision = next.back === null ? 0 : Math.max(0, currentRevision - next.back);
    const options: WatchOptions = {
      key: bytes(next.key),
      rangeEnd: bytes(next.end),
      startRevision,
      noPut: next.noPut,
      noDelete: next.noDelete,
    };
    const id = this.streams[next.stream]!.watch(options);
    if (next.end !== "" && next.end !== "\0" && next.key >= next.end) {
      expect(id).toBe(EMPTY_WATCHER_RANGE);
      return;
    }
    const from = startRevision === 0 ? currentRevision + 1 : startRevision;
    const watch: Watched = { from, options, seenBelow: from, events: [], end: "open" };
    this.watched[next.stream]!.set(id as number, watch);
  }

  #see(stream: number, batch: WatchBatch): void {
    const all = this.watched[stream]!;
    expect(batch.revision).toBeLessThanOrEqual(this.model.currentRevision);
    if (batch.watchID === WATCH_ID_NONE) {
      expect(batch.events).toEqual([]);
      for (const watch of this.asked[stream]!.shift()!) {
        if (watch.end === "open") this.#seenUpTo(watch, batch.revision);
      }
      return;
    }
    const watch = all.get(batch.watchID)!;
    if (batch.compactRevision > 0) {
      expect(batch.events).toEqual([]);
      expect(watch.seenBelow).toBeLessThan(batch.compactRevision);
      expect(watch.end).not.toBe("compacted");
      watch.end = "compacted";
      return;
    }
    expect(watch.end).not.toBe("compacted");
    expect(batch.events.length).toBeGreaterThan(0);
    for (const event of batch.events) {
      expect(event.kv!.modRevision).toBeGreaterThanOrEqual(watch.seenBelow);
      expect(event.kv!.modRevision).toBeLessThanOrEqual(batch.revision);
      watch.events.push(describeEvent(event));
    }
    // Nothing of the batch's last revision may come later: revisions are not split.
    this.#seenUpTo(watch, batch.events.at(-1)!.kv!.modRevision);
  }

  #seenUpTo(watch: Watched, revision: number): void {
    watch.seenBelow = Math.max(watch.seenBelow, revision + 1);
    expect(watch.events).toEqual(this.expected(watch, watch.seenBelow));
  }

  /** The events of a watch below a revision. */
  expected({ from, options }: Watched, below: number): string[] {
    return this.model.changes
      .filter(
        (change) =>
          change.main >= from &&
          change.main < below &&
          inRange(change.key, text(options.key), text(options.rangeEnd)) &&
          (change.kv === undefined ? options.noDelete !== true : options.noPut !== true),
      )
      .map(({ main, key: name, kv }) =>
        kv === undefined ? `delete ${name}= @${main}` : `put ${name}=${text(kv.value)} @${main}`,
      );
  }
}

describe("watch guarantees", () => {
  test("every watch gets each event once, in order, whole revisions, however slow its reader", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 40 }), async (commands) => {
        const world = newWorld();
        const backend = await openBackend(world);
        const store = await openStore(world, backend, { compactionSleepMs: 0 });
        const watching = new Watching(world, store);
        for (const next of commands) await watching.run(next);
        await watching.drain();
        const counts = store.watcherCounts();
        expect([counts.unsynced, counts.victims]).toEqual([0, 0]);
        for (const watched of watching.watched) {
          for (const watch of watched.values()) {
            if (watch.end !== "open") continue;
            expect(watch.events).toEqual(watching.expected(watch, Infinity));
          }
        }
        for (const each of watching.streams) each.close();
        await world.clock.until(store.close());
        await world.clock.until(backend.close());
      }),
      { numRuns: env["ETCD_TS_SOAK"] === "1" ? 2000 : 40 },
    );
  });
});

describe("WatchStream", () => {
  let world: World;
  let backend: Backend;
  let store: MvccStore;
  let watches: WatchStream;

  beforeEach(async () => {
    world = newWorld();
    backend = await openBackend(world);
    store = await openStore(world, backend);
    watches = store.newWatchStream();
  });

  const put = (name: string, value = "v") => {
    const writer = store.write();
    writer.put(bytes(name), bytes(value), 0n);
    writer.end();
  };
  const watch = (name: string, options: Partial<WatchOptions> = {}) =>
    watches.watch({ key: bytes(name), rangeEnd: bytes(""), startRevision: 0, ...options });
  const settle = () => world.clock.virtual.advanceSettled(0);

  test("watch() counts ids up from 0, passes over those taken and refuses duplicates", () => {
    expect(watch("a", { watchID: 1 })).toBe(1);
    expect(watch("a")).toBe(0);
    expect(watch("a")).toBe(2);
    expect(watch("a", { watchID: 1 })).toBe(DUPLICATE_WATCH_ID);
    expect(watch("a", { watchID: -9 })).toBe(-9);
    expect(DUPLICATE_WATCH_ID.message).toBe("mvcc: duplicate watch ID provided on the WatchStream");
    expect(watches.cancel(1)).toBe(true);
    expect(watches.cancel(1)).toBe(false);
    expect(watch("a", { watchID: 1 })).toBe(1);
  });

  test("watch() refuses an empty range and a negative start", () => {
    expect(watch("b", { rangeEnd: bytes("b") })).toBe(EMPTY_WATCHER_RANGE);
    expect(watch("b", { rangeEnd: bytes("a") })).toBe(EMPTY_WATCHER_RANGE);
    expect(watch("b", { rangeEnd: bytes("\0") })).toBe(0);
    const refusal = watch("b", { startRevision: -1 });
    expect((refusal as Error).message).toBe("mvcc: required revision has been compacted");
  });

  test("end() hands a transaction's events over as one batch, within the turn", () => {
    let ready = 0;
    watches.onReady(() => ready++);
    watch("a", { rangeEnd: bytes("c") });
    watch("b");
    const writer = store.write();
    writer.put(bytes("a"), bytes("1"), 0n);
    writer.put(bytes("b"), bytes("2"), 0n);
    writer.put(bytes("c"), bytes("3"), 0n);
    expect(watches.take()).toEqual([]);
    writer.end();
    expect(ready).toBe(1);
    const batches = watches.take();
    expect(batches.map(({ watchID, events }) => [watchID, events.map(describeEvent)])).toEqual([
      [0, ["put a=1 @2", "put b=2 @2"]],
      [1, ["put b=2 @2"]],
    ]);
    expect(batches[0]!.revision).toBe(2);
    put("b");
    expect(ready).toBe(2);
  });

  test("a watch that starts in the future waits for its revision", () => {
    watch("a", { startRevision: 4 });
    put("a");
    put("a");
    expect(watches.requestProgressAll()).toBe(false);
    put("a");
    expect(watches.take().map(({ events }) => events.map(describeEvent))).toEqual([["put a=v @4"]]);
    expect(watches.requestProgressAll()).toBe(true);
  });

  test("a watch that starts at the compact revision sees its deletion; below, it is cancelled", async () => {
    put("a");
    const writer = store.write();
    writer.deleteRange(bytes("a"), bytes(""));
    writer.end();
    await world.clock.until(store.compact(3).finished);
    watch("a", { startRevision: 3 });
    watch("a", { startRevision: 2 });
    await settle();
    const batches = watches.take();
    expect(batches.map(({ watchID, compactRevision }) => [watchID, compactRevision])).toEqual([
      [1, 3],
      [0, 0],
    ]);
    expect(batches[1]!.events.map(describeEvent)).toEqual(["delete a= @3"]);
    expect(watches.watchCount).toBe(1);
    expect(watches.cancel(1)).toBe(false);
  });

  test("requestProgress() answers only for a synced watch, behind what was queued before", async () => {
    put("a");
    put("a");
    watch("a", { startRevision: 2 });
    expect(watches.requestProgress(0)).toBe(false);
    expect(watches.requestProgressAll()).toBe(false);
    expect(watches.requestProgress(7)).toBe(false);
    await settle();
    expect(watches.requestProgress(0)).toBe(true);
    expect(watches.requestProgressAll()).toBe(true);
    const batches = watches.take();
    expect(batches.map(({ watchID, events }) => [watchID, events.length])).toEqual([
      [0, 2],
      [0, 0],
      [WATCH_ID_NONE, 0],
    ]);
    expect(batches.map(({ revision }) => revision)).toEqual([3, 3, 3]);
  });

  test("a full stream costs one held batch a watch, and loses nothing", async () => {
    const other = store.newWatchStream();
    other.watch({ key: bytes("a"), rangeEnd: bytes(""), startRevision: 0 });
    watch("a");
    const events = STREAM_BATCHES_MAX * 3;
    let seen = 0;
    for (let i = 0; i < events; i++) {
      put("a", `${i}`);
      seen += other.take().length;
    }
    expect(seen).toBe(events);
    expect(watches.queuedBatches).toBe(STREAM_BATCHES_MAX);
    expect(store.watcherCounts()).toEqual({ synced: 1, unsynced: 0, victims: 1 });
    expect(watches.requestProgressAll()).toBe(false);
    const values: string[] = [];
    while (values.length < events) {
      for (const batch of watches.take(3)) {
        for (const event of batch.events) values.push(text(event.kv!.value));
      }
      await settle();
    }
    expect(values).toEqual(Array.from({ length: events }, (_, i) => `${i}`));
    await settle();
    expect(store.watcherCounts()).toEqual({ synced: 2, unsynced: 0, victims: 0 });
  });

  test("catching up yields between slices of the past, at most 1000 revisions a batch", async () => {
    for (let i = 0; i < 2500; i++) put("a");
    watch("a", { startRevision: 1 });
    watch("b", { startRevision: 1 });
    const { virtual } = world.clock;
    let turns = 0;
    const sizes: number[] = [];
    while (sizes.reduce((sum, size) => sum + size, 0) < 2500) {
      virtual.runNext();
      turns++;
      for (const batch of watches.take()) sizes.push(batch.events.length);
    }
    expect(turns).toBeGreaterThanOrEqual(3);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1000);
    await settle();
    expect(store.watcherCounts()).toEqual({ synced: 2, unsynced: 0, victims: 0 });
  });

  test("more watches than one pass takes all catch up", async () => {
    put("a");
    for (let i = 0; i < 1500; i++) {
      const each = i % 100 === 0 ? store.newWatchStream() : watches;
      each.watch({ key: bytes("b"), rangeEnd: bytes("c"), startRevision: 1 });
    }
    await settle();
    expect(store.watcherCounts()).toEqual({ synced: 1500, unsynced: 0, victims: 0 });
  });

  test("restore() keeps watches going: what they miss comes from the new contents", async () => {
    watch("a");
    put("a");
    put("b");
    const other = newWorld();
    const otherStore = await openStore(other, await openBackend(other));
    const otherPut = (name: string) => {
      const writer = otherStore.write();
      writer.put(bytes(name), bytes("other"), 0n);
      writer.end();
    };
    for (const name of ["a", "b", "a", "b", "a"]) otherPut(name);
    await world.clock.until(store.restore(otherStore.backend));
    await settle();
    const events = watches.take().flatMap((batch) => batch.events.map(describeEvent));
    expect(events).toEqual(["put a=v @2", "put a=other @4", "put a=other @6"]);
  });

  test("close() ends all watches", () => {
    watch("a");
    watch("b", { rangeEnd: bytes("\0") });
    put("a");
    watches.close();
    watches.close();
    put("a");
    expect(watches.take()).toEqual([]);
    expect(store.watcherCounts()).toEqual({ synced: 0, unsynced: 0, victims: 0 });
  });

  test("a damaged record met while catching up is told to onFatal", async () => {
    const told: string[] = [];
    const damaged = await openStore(world, backend, {
      onFatal: (error) => told.push(error.message),
    });
    for (const name of ["a", "b"]) {
      const writer = damaged.write();
      writer.put(bytes(name), bytes("v"), 0n);
      writer.end();
    }
    const { key: revision } = backend.range("key", bytes(""), undefined).at(-1)!;
    backend.put("key", revision, bytes("\xff\xff"));
    damaged.newWatchStream().watch({
      key: bytes("a"),
      rangeEnd: bytes("\0"),
      startRevision: 1,
    });
    await settle();
    expect(told.length).toBe(1);
    expect(told[0]).toContain("/member/snap/db");
  });
});
