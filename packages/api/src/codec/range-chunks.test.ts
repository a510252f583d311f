import { concatBytes, decodeMessage, EMPTY_BYTES, encodeMessage, equalBytes } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { KeyValueCodec } from "./key-value.ts";
import type { KeyValue } from "./key-value.ts";
import { RangeResponseCodec } from "./kv.ts";
import { RangeChunks } from "./range-chunks.ts";

const sized = (max: number) =>
  fc.nat(max).map((length) => new Uint8Array(length).fill(length & 0xff));
const counter = fc.nat(2 ** 40);
const pair: fc.Arbitrary<KeyValue> = fc.record({
  key: sized(40),
  createRevision: counter,
  modRevision: counter,
  version: counter,
  value: fc.oneof({ weight: 9, arbitrary: sized(300) }, { weight: 1, arbitrary: sized(200_000) }),
  lease: fc.bigInt({ min: 0n, max: 2n ** 62n }),
});
const way = fc.constantFrom("message", "stored", "key");
const header = { clusterID: 7n, memberID: 8n, revision: 9, raftTerm: 10 };

describe("RangeChunks", () => {
  test("finish() gives what RangeResponseCodec writes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(pair, way), { maxLength: 60 }),
        fc.boolean(),
        fc.nat(),
        (list, more, count) => {
          const chunks = new RangeChunks();
          const kvs: KeyValue[] = [];
          for (const [kv, how] of list) {
            const stored = concatBytes([Uint8Array.of(1), encodeMessage(KeyValueCodec, kv)]);
            if (how === "message") chunks.add(kv);
            else if (how === "stored") chunks.addStored(stored, 1, stored.length);
            else chunks.addStoredKey(stored, 1, stored.length);
            kvs.push(how === "key" ? { ...kv, value: EMPTY_BYTES } : kv);
          }
          expect(chunks.pairs).toBe(kvs.length);
          const encoded = chunks.finish(header, more, count);
          const joined = concatBytes(encoded.chunks);
          expect(joined.length).toBe(encoded.bytes);
          expect(encoded.chunks.every((chunk) => chunk.length > 0)).toBe(true);
          const whole = encodeMessage(RangeResponseCodec, { header, kvs, more, count });
          expect(equalBytes(joined, whole)).toBe(true);
          expect(decodeMessage(RangeResponseCodec, joined).kvs.length).toBe(kvs.length);
        },
      ),
      { numRuns: 100 },
    );
  });

  test("chunks stay small, but for a pair that is not", () => {
    const chunks = new RangeChunks();
    const stored = new Uint8Array(1000);
    for (let i = 0; i < 2000; i++) chunks.addStored(stored, 0, 1000);
    const lengths = chunks.finish(header, false, 2000).chunks.map((chunk) => chunk.length);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(64 * 1024);
    expect(lengths.length).toBeLessThan(50);
  });

  test("recycle() hands on the memory of that list's chunks, and no other", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(2000), fc.boolean(), fc.nat(5)), { minLength: 5, maxLength: 15 }),
        (lists) => {
          let alive: { chunks: readonly Uint8Array[]; copy: Uint8Array }[] = [];
          lists.forEach(([records, isRecycled, which], i) => {
            const list = new RangeChunks();
            for (let k = 0; k < records; k++) {
              const record = new Uint8Array(150).fill(i + 1);
              list.addStored(record, 0, record.length);
            }
            const { chunks, recycle } = list.finish({ ...header, revision: i }, true, records);
            alive.push({ chunks, copy: concatBytes(chunks) });
            const given = isRecycled ? alive[which] : undefined;
            if (given !== undefined) {
              for (const chunk of given.chunks) recycle?.(chunk);
              alive = alive.filter((one) => one !== given);
            }
            for (const one of alive)
              expect(equalBytes(concatBytes(one.chunks), one.copy)).toBe(true);
          });
        },
      ),
      { numRuns: 30 },
    );
  });
});
