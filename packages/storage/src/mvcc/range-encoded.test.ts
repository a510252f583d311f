import { concatBytes, decodeMessage, EMPTY_BYTES } from "@etcd-ts/base";
import { RangeResponseCodec } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytes, newWorld, openBackend, openStore, text } from "../../compliance/harness.ts";
import type { World } from "../../compliance/harness.ts";
import { encodeRevision } from "./revision.ts";
import type { MvccStore } from "./store.ts";
import type { EncodedRangeOptions } from "./types.ts";

const KEYS = 2500;
const HEADER = { clusterID: 1n, memberID: 2n, revision: 3, raftTerm: 4 };
const nameOf = (n: number): string => `k${String(n).padStart(5, "0")}`;

/** Keys in an order that has nothing to do with their revisions; some gone, some changed twice. */
async function scrambledStore(batchLimit: number): Promise<{ world: World; store: MvccStore }> {
  const world = newWorld();
  const store = await openStore(world, await openBackend(world, { batchLimit }));
  for (let i = 0; i < KEYS; i += 50) {
    const writer = store.write();
    for (let k = i; k < i + 50; k++) {
      writer.put(bytes(nameOf((k * 7919) % KEYS)), bytes(`${k}`.repeat(k % 9)), BigInt(k % 3));
    }
    if (i % 500 === 0) writer.deleteRange(bytes(nameOf(i % 700)), bytes(nameOf((i % 700) + 20)));
    writer.end();
    if (i % 1000 === 0) await world.clock.until(store.backend.commit());
  }
  return { world, store };
}

async function readEncoded(
  world: World,
  store: MvccStore,
  begin: string,
  end: string,
  options: EncodedRangeOptions,
): Promise<unknown> {
  const reading = store.rangeEncoded(bytes(begin), bytes(end), options);
  const { pairs, more, count, revision } = await world.clock.until(reading);
  const { chunks } = pairs.finish(HEADER, more, count);
  const { kvs } = decodeMessage(RangeResponseCodec, concatBytes(chunks));
  return { kvs: kvs.map(fieldsOf), more, count, revision };
}

/** What is read straight from the store decodes its fields when they are asked for. */
function fieldsOf({ key, createRevision, modRevision, version, value, lease }: KeyValue): unknown {
  return { key, createRevision, modRevision, version, value, lease };
}

async function readPlain(
  world: World,
  store: MvccStore,
  begin: string,
  end: string,
  { revision, limit, keysOnly }: EncodedRangeOptions,
): Promise<unknown> {
  const options = { revision, limit: limit > 0 ? limit + 1 : 0, countOnly: false, keysOnly };
  const result = await world.clock.until(store.rangeSliced(bytes(begin), bytes(end), options));
  const more = limit > 0 && result.kvs.length > limit;
  const kvs = more ? result.kvs.slice(0, limit) : result.kvs;
  return { kvs: kvs.map(fieldsOf), more, count: result.count, revision: result.revision };
}

describe("rangeEncoded()", () => {
  test("gives what rangeSliced() gives, for every range, revision and limit", async () => {
    for (const batchLimit of [300, 100_000]) {
      const { world, store } = await scrambledStore(batchLimit);
      const place = fc.nat(KEYS).map(nameOf);
      await fc.assert(
        fc.asyncProperty(
          place,
          fc.oneof(place, fc.constantFrom("", "\0", "z")),
          fc.nat(store.currentRevision),
          fc.constantFrom(0, 1, 7, 600, KEYS),
          fc.boolean(),
          async (begin, end, revision, limit, keysOnly) => {
            const options = { revision, limit, keysOnly };
            expect(await readEncoded(world, store, begin, end, options)).toEqual(
              await readPlain(world, store, begin, end, options),
            );
          },
        ),
        { numRuns: 40 },
      );
      const all = { revision: 0, limit: 0, keysOnly: false };
      expect(await readEncoded(world, store, "k", "\0", all)).toEqual(
        await readPlain(world, store, "k", "\0", all),
      );
      await world.clock.until(store.close());
    }
  });

  test("stays at its revision while keys come, go and are compacted away", async () => {
    const { world, store } = await scrambledStore(300);
    const options = { revision: 0, limit: 0, keysOnly: false };
    const before = await readPlain(world, store, "k", "l", options);
    const reading = store.rangeEncoded(bytes("k"), bytes("l"), options);
    for (let i = 0; i < 5; i++) {
      world.clock.virtual.runNext();
      const writer = store.write();
      writer.deleteRange(bytes(nameOf(i * 400)), bytes(nameOf(i * 400 + 300)));
      writer.put(bytes(`k0000${i}x`), bytes("new"), 0n);
      writer.end();
      store.compact(store.currentRevision);
    }
    const { pairs, count, more, revision } = await world.clock.until(reading);
    const { kvs } = decodeMessage(
      RangeResponseCodec,
      concatBytes(pairs.finish(HEADER, more, count).chunks),
    );
    expect({ kvs: kvs.map(fieldsOf), more, count, revision }).toEqual(before);
    await world.clock.until(store.close());
  });

  test("refuses revisions that are compacted or do not exist", async () => {
    const { world, store } = await scrambledStore(300);
    const read = (revision: number): Promise<unknown> =>
      readEncoded(world, store, "k", "l", { revision, limit: 0, keysOnly: false });
    await expect(read(store.currentRevision + 1)).rejects.toThrow("future revision");
    await world.clock.until(store.compact(10).finished);
    await expect(read(9)).rejects.toThrow("has been compacted");
    await world.clock.until(store.close());
  });

  test("refuses a record that is another key's, or not there", async () => {
    const world = newWorld();
    const store = await openStore(world, await openBackend(world));
    const writer = store.write();
    writer.put(bytes("a"), EMPTY_BYTES, 0n);
    writer.put(bytes("b"), EMPTY_BYTES, 0n);
    writer.end();
    const read = (): Promise<unknown> =>
      readEncoded(world, store, "a", "z", { revision: 0, limit: 0, keysOnly: false });
    const ofB = store.backend.get("key", encodeRevision(2, 1))!;
    store.backend.put("key", encodeRevision(2, 0), ofB);
    await expect(read()).rejects.toThrow("a record of another key of revision 2.0");
    store.backend.delete("key", encodeRevision(2, 0));
    await expect(read()).rejects.toThrow("no record of revision 2.0");
    expect(text(ofB)).toContain("b");
    await world.clock.until(store.close());
  });
});
