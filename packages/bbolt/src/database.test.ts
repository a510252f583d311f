/**
 * The database against a model: nested maps. Random programs of changes, commits, rollbacks,
 * reopenings and long-lived readers; and power cuts at every operation on the disk.
 */

import {
  MemoryDisk,
  SeededRandom,
  bytesFromLatin1,
  equalBytes,
  latin1FromBytes,
} from "@etcd-ts/base";
import fc from "fast-check";
import { env } from "node:process";
import { describe, expect, test } from "vitest";
import {
  type Bucket,
  Database,
  type DatabaseOptions,
  type ReadTransaction,
  type SortedRun,
  type Transaction,
  type WriteTransaction,
  check,
} from "./index.ts";

const PATH = "/data/db";
const SOAK = env["ETCD_TS_SOAK"] === undefined ? 1 : 20;

interface Model {
  sequence: number;
  readonly entries: Map<string, Uint8Array | Model>;
}

const emptyModel = (): Model => ({ sequence: 0, entries: new Map() });

function cloneModel(model: Model): Model {
  const entries = new Map<string, Uint8Array | Model>();
  for (const [key, value] of model.entries) {
    entries.set(key, value instanceof Uint8Array ? value : cloneModel(value));
  }
  return { sequence: model.sequence, entries };
}

/** Entries a walk must give, in order. */
function inOrder(model: Model): [string, Uint8Array | Model][] {
  return [...model.entries].sort(([a], [b]) => (a < b ? -1 : 1));
}

function compareBucket(actual: Bucket | Transaction, model: Model, where: string): void {
  const cursor = actual.cursor();
  let entry = cursor.first();
  for (const [key, value] of inOrder(model)) {
    const at = `${where}/${key.slice(0, 20)}`;
    if (entry === undefined) throw new Error(`${at} is missing`);
    if (latin1FromBytes(entry.key) !== key) {
      throw new Error(`${at} expected, found ${latin1FromBytes(entry.key).slice(0, 20)}`);
    }
    if (value instanceof Uint8Array) {
      if (entry.value === undefined) throw new Error(`${at} is a bucket`);
      if (!equalBytes(entry.value, value)) throw new Error(`${at} has another value`);
    } else {
      if (entry.value !== undefined) throw new Error(`${at} is no bucket`);
      const nested = actual.bucket(entry.key)!;
      if (nested.sequence() !== value.sequence) throw new Error(`${at} has another sequence`);
      compareBucket(nested, value, at);
    }
    entry = cursor.next();
  }
  if (entry !== undefined) throw new Error(`${where}: ${latin1FromBytes(entry.key)} is too much`);
  const backwards: string[] = [];
  for (let e = cursor.last(); e !== undefined; e = cursor.previous()) {
    backwards.push(latin1FromBytes(e.key));
  }
  expect(backwards.reverse()).toEqual(inOrder(model).map(([key]) => key));
}

type Step =
  | { readonly kind: "put"; readonly place: number; readonly key: number; readonly bytes: number }
  | {
      readonly kind: "putRow";
      readonly place: number;
      readonly key: number;
      readonly count: number;
    }
  | {
      readonly kind: "appendRow";
      readonly place: number;
      readonly key: number;
      readonly count: number;
    }
  | {
      readonly kind: "deleteRow";
      readonly place: number;
      readonly key: number;
      readonly count: number;
    }
  | {
      readonly kind: "sweep";
      readonly place: number;
      readonly key: number;
      readonly modulus: number;
    }
  | { readonly kind: "createBucket"; readonly place: number; readonly key: number }
  | { readonly kind: "deleteBucket"; readonly place: number }
  | { readonly kind: "setSequence"; readonly place: number; readonly value: number }
  | {
      readonly kind:
        | "commit"
        | "failedCommit"
        | "rollback"
        | "reopen"
        | "openReader"
        | "closeReader";
    };

const place = fc.nat(20);
const key = fc.nat(400);
const arbitraryStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("put" as const),
      place,
      key,
      bytes: fc.oneof(fc.nat(40), fc.nat(900), fc.nat(20_000)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("putRow" as const), place, key, count: fc.nat(120) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("appendRow" as const),
      place,
      key,
      count: fc.nat(120),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("deleteRow" as const),
      place,
      key,
      count: fc.nat(200),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("sweep" as const),
      place,
      key,
      modulus: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("createBucket" as const), place, key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("deleteBucket" as const), place }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("setSequence" as const),
      place,
      value: fc.maxSafeNat(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "failedCommit" as const,
        "commit" as const,
        "commit" as const,
        "commit" as const,
        "rollback" as const,
        "reopen" as const,
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom("openReader" as const, "closeReader" as const) }),
  },
);

/** Keys of 3 to 60 bytes; number order is not byte order. */
function keyBytes(n: number): Uint8Array {
  const text = `${n % 7}-${n}-`;
  return bytesFromLatin1(text + "\u00ff".repeat(n % 53));
}

function valueBytes(n: number, bytes: number): Uint8Array {
  return new Uint8Array(bytes).fill(n & 0xff);
}

class World {
  readonly disk: MemoryDisk;
  readonly options: DatabaseOptions;
  db!: Database;
  /** What the disk holds for sure. */
  committed: Model = emptyModel();
  /** What a commit under way would make of it. */
  inFlight: Model | undefined;
  working: Model = emptyModel();
  tx: WriteTransaction | undefined;
  readers: { readonly tx: ReadTransaction; readonly model: Model }[] = [];

  constructor(disk: MemoryDisk, options: DatabaseOptions) {
    this.disk = disk;
    this.options = options;
  }

  async open(): Promise<void> {
    this.db = await Database.open(this.disk, PATH, this.options);
    this.tx = undefined;
    this.working = cloneModel(this.committed);
  }

  async run(step: Step): Promise<void> {
    switch (step.kind) {
      case "commit":
        return this.commit();
      case "failedCommit":
        return this.failedCommit();
      case "rollback":
        this.tx?.rollback();
        this.tx = undefined;
        this.working = cloneModel(this.committed);
        return;
      case "reopen":
        for (const reader of this.readers.splice(0)) reader.tx.close();
        await this.db.close();
        await this.open();
        return this.verify();
      case "openReader":
        this.readers.push({ tx: this.db.beginRead(), model: this.committed });
        return;
      case "closeReader": {
        const reader = this.readers.shift();
        if (reader === undefined) return;
        compareBucket(reader.tx, reader.model, "reader");
        reader.tx.close();
        return;
      }
      default:
        this.change(step);
    }
  }

  beginWrite(): WriteTransaction {
    if (this.tx === undefined) {
      this.tx = this.db.beginWrite();
      if (this.readers.length === 0) expect(this.db.stats().pendingPages).toBe(0);
    }
    return this.tx;
  }

  async commit(): Promise<void> {
    const tx = this.beginWrite();
    compareBucket(tx, this.working, "writer");
    this.inFlight = this.working;
    await tx.commit();
    this.tx = undefined;
    this.committed = this.working;
    this.inFlight = undefined;
    this.working = cloneModel(this.committed);
    this.verify();
  }

  /** A write fails before anything is synced: the database goes on without the changes. */
  async failedCommit(): Promise<void> {
    const tx = this.beginWrite();
    tx.createBucketIfNotExists(keyBytes(402));
    this.disk.fail({ operation: "write", code: "NO_SPACE" });
    await expect(tx.commit()).rejects.toThrow();
    this.tx = undefined;
    this.working = cloneModel(this.committed);
    this.verify();
  }

  verify(): void {
    const tx = this.db.beginRead();
    compareBucket(tx, this.committed, "committed");
    expect([...check(tx)]).toEqual([]);
    tx.close();
    for (const reader of this.readers) compareBucket(reader.tx, reader.model, "old reader");
  }

  /** One of the buckets there are, or undefined if there is none; 0 is the top level. */
  at(step: { readonly place: number }): {
    bucket: Bucket | undefined;
    model: Model;
    above: Bucket | undefined;
    name: string;
  } {
    const tx = this.beginWrite();
    const all: {
      bucket: Bucket | undefined;
      model: Model;
      above: Bucket | undefined;
      name: string;
    }[] = [];
    const visit = (
      bucket: Bucket | undefined,
      model: Model,
      above: Bucket | undefined,
      name: string,
    ): void => {
      all.push({ bucket, model, above, name });
      for (const [key, value] of model.entries) {
        if (value instanceof Uint8Array) continue;
        const bytes = bytesFromLatin1(key);
        const nested = bucket === undefined ? tx.bucket(bytes) : bucket.bucket(bytes);
        visit(nested!, value, bucket, key);
      }
    };
    visit(undefined, this.working, undefined, "");
    return all[step.place % all.length]!;
  }

  change(step: Extract<Step, { readonly place: number }>): void {
    const { bucket, model, above, name } = this.at(step);
    const tx = this.tx!;
    switch (step.kind) {
      case "createBucket": {
        const bytes = keyBytes(step.key);
        const text = latin1FromBytes(bytes);
        const create = (): Bucket => (bucket ?? tx).createBucket(bytes);
        const there = model.entries.get(text);
        if (there === undefined) {
          create().fillPercent = 0.9;
          model.entries.set(text, emptyModel());
        } else if (there instanceof Uint8Array) expect(create).toThrow("incompatible value");
        else expect(create).toThrow("bucket already exists");
        return;
      }
      case "deleteBucket": {
        if (name === "") return;
        (above ?? tx).deleteBucket(bytesFromLatin1(name));
        const parent = above === undefined ? this.working : undefined;
        (parent ?? this.parentOf(model)).entries.delete(name);
        return;
      }
      default:
        if (bucket !== undefined) this.changeEntries(step, bucket, model);
    }
  }

  parentOf(child: Model, from: Model = this.working): Model {
    for (const value of from.entries.values()) {
      if (value === child) return from;
      if (value instanceof Uint8Array) continue;
      const found = this.parentOf(child, value);
      if (found !== NOT_FOUND) return found;
    }
    return NOT_FOUND;
  }

  changeEntries(
    step: Extract<
      Step,
      { kind: "put" | "putRow" | "appendRow" | "deleteRow" | "sweep" | "setSequence" }
    >,
    bucket: Bucket,
    model: Model,
  ): void {
    switch (step.kind) {
      case "setSequence":
        bucket.setSequence(step.value);
        model.sequence = step.value;
        return;
      case "put":
        putOne(bucket, model, step.key, valueBytes(step.key, step.bytes));
        return;
      case "putRow":
        for (let i = 0; i < step.count; i++) {
          putOne(bucket, model, step.key + i, valueBytes(i, (i * 7) % 90));
        }
        return;
      case "appendRow": {
        const run = new Row(step.key, step.count);
        bucket.append(run);
        for (let i = 0; i < run.count; i++) {
          model.entries.set(latin1FromBytes(run.key(i)), run.value(i));
        }
        return;
      }
      case "deleteRow":
        for (let i = 0; i < step.count; i++) deleteOne(bucket, model, step.key + i);
        return;
      case "sweep":
        sweep(bucket, model, keyBytes(step.key), step.modulus);
    }
  }
}

const NOT_FOUND = emptyModel();

/** Entries above all others, though not always above those of another row. */
class Row implements SortedRun {
  readonly count: number;
  readonly #first: number;

  constructor(first: number, count: number) {
    this.#first = first;
    this.count = count;
  }

  key(i: number): Uint8Array {
    const n = this.#first + i;
    return bytesFromLatin1(`8-${String(n).padStart(6, "0")}${"\u00ff".repeat(n % 53)}`);
  }

  value(i: number): Uint8Array {
    return valueBytes(i, (this.#first + i * 7) % 300);
  }

  keyBytes(i: number): number {
    return this.key(i).length;
  }

  valueBytes(i: number): number {
    return this.value(i).length;
  }

  copyEntries(from: number, to: number, target: Uint8Array, start: number): void {
    for (let i = from, at = start; i < to; i++) {
      target.set(this.key(i), at);
      at += this.keyBytes(i);
      target.set(this.value(i), at);
      at += this.valueBytes(i);
    }
  }
}

function putOne(bucket: Bucket, model: Model, n: number, value: Uint8Array): void {
  const bytes = keyBytes(n);
  const text = latin1FromBytes(bytes);
  const there = model.entries.get(text);
  if (there !== undefined && !(there instanceof Uint8Array)) {
    expect(() => bucket.put(bytes, value)).toThrow("incompatible value");
    return;
  }
  bucket.put(bytes, value);
  model.entries.set(text, value);
  expect(bucket.get(bytes)).toEqual(value);
}

function deleteOne(bucket: Bucket, model: Model, n: number): void {
  const bytes = keyBytes(n);
  const text = latin1FromBytes(bytes);
  const there = model.entries.get(text);
  if (there !== undefined && !(there instanceof Uint8Array)) {
    expect(() => bucket.delete(bytes)).toThrow("incompatible value");
    return;
  }
  bucket.delete(bytes);
  model.entries.delete(text);
  expect(bucket.get(bytes)).toBeUndefined();
}

/** From `start` on, deletes each `modulus`-th entry through the cursor. */
function sweep(bucket: Bucket, model: Model, start: Uint8Array, modulus: number): void {
  const from = latin1FromBytes(start);
  const expected = inOrder(model).filter(([text]) => text >= from);
  const cursor = bucket.cursor();
  let i = 0;
  for (let entry = cursor.seek(start); entry !== undefined; entry = cursor.next(), i++) {
    const text = latin1FromBytes(entry.key);
    expect(text).toBe(expected[i]![0]);
    if (i % modulus !== 0 || entry.value === undefined) continue;
    cursor.delete();
    model.entries.delete(text);
  }
  expect(i).toBe(expected.length);
}

async function newDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/data");
  disk.settle();
  return disk;
}

const arbitraryOptions: fc.Arbitrary<DatabaseOptions> = fc.record({
  pageBytes: fc.constantFrom(512, 1024, 4096),
  noFreelistSync: fc.boolean(),
  cacheBytesMax: fc.constantFrom(0, 10_000, 10_000_000),
});

describe("a database", () => {
  test("holds what a nested map would, whatever is done to it", async () => {
    const steps = fc.array(arbitraryStep, { minLength: 1, maxLength: 90, size: "max" });
    await fc.assert(
      fc.asyncProperty(arbitraryOptions, steps, async (options, program) => {
        const world = new World(await newDisk(), options);
        await world.open();
        for (const step of program) await world.run(step);
        await world.commit();
        await world.run({ kind: "reopen" });
      }),
      { numRuns: 25 * SOAK },
    );
  });

  test("is in the last committed state after a power cut at any operation", async () => {
    const steps = fc.array(arbitraryStep, { minLength: 3, maxLength: 16, size: "max" });
    await fc.assert(
      fc.asyncProperty(arbitraryOptions, steps, fc.nat(), async (options, program, seed) => {
        const random = new SeededRandom(seed);
        for (let operations = 0; ; operations++) {
          const world = new World(await newDisk(), options);
          world.disk.powerOffAfter(operations);
          const finished = await runUntilPowerOff(world, program);
          world.disk.crash(random);
          await verifyAfterCrash(world);
          if (finished) return;
        }
      }),
      { numRuns: 8 * SOAK },
    );
  });
});

async function runUntilPowerOff(world: World, program: readonly Step[]): Promise<boolean> {
  try {
    await world.open();
    for (const step of program) await world.run(step);
    await world.commit();
    return true;
  } catch (error) {
    if (!world.disk.isPoweredOff) throw error;
    return false;
  }
}

/** The state is one of the two it may be, sound, and can be written to. */
async function verifyAfterCrash(world: World): Promise<void> {
  const { inFlight } = world;
  world.readers = [];
  await world.open();
  const tx = world.db.beginRead();
  try {
    compareBucket(tx, world.committed, "before");
  } catch (error) {
    if (inFlight === undefined) throw error;
    compareBucket(tx, inFlight, "after");
    world.committed = inFlight;
    world.working = cloneModel(inFlight);
  }
  tx.close();
  world.verify();
  await world.run({ kind: "createBucket", place: 0, key: 401 });
  await world.run({ kind: "putRow", place: 1, key: 0, count: 50 });
  await world.commit();
}
