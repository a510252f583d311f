import fc from "fast-check";
import { expect, test } from "vitest";
import { SortOrder, SortTarget } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import { bytes } from "../../compliance/harness.ts";
import { applyRangeOptions, storeRangeOptions } from "./range-options.ts";
import type { RangeRequestOptions } from "./range-options.ts";

const PLAIN: RangeRequestOptions = {
  limit: 0,
  revision: 0,
  sortOrder: SortOrder.NONE,
  sortTarget: SortTarget.KEY,
  keysOnly: false,
  countOnly: false,
  minModRevision: 0,
  maxModRevision: 0,
  minCreateRevision: 0,
  maxCreateRevision: 0,
};

const pairs = fc
  .uniqueArray(
    fc.record({
      key: fc.string({ minLength: 1, maxLength: 3 }),
      createRevision: fc.integer({ min: 1, max: 9 }),
      modRevision: fc.integer({ min: 1, max: 9 }),
      version: fc.integer({ min: 1, max: 9 }),
      value: fc.string({ maxLength: 2 }),
    }),
    { selector: (pair) => pair.key, maxLength: 12 },
  )
  .map((list) =>
    list
      .map((pair): KeyValue => ({
        ...pair,
        key: bytes(pair.key),
        value: bytes(pair.value),
        lease: 0n,
        encoded: bytes("stored"),
      }))
      .toSorted((a, b) => compareText(a.key, b.key)),
  );

const request = fc.record({
  limit: fc.integer({ min: -1, max: 6 }),
  revision: fc.constant(0),
  sortOrder: fc.integer({ min: 0, max: 2 }),
  sortTarget: fc.integer({ min: 0, max: 4 }),
  keysOnly: fc.boolean(),
  countOnly: fc.boolean(),
  minModRevision: fc.integer({ min: 0, max: 5 }),
  maxModRevision: fc.constantFrom(0, 4, 8),
  minCreateRevision: fc.integer({ min: 0, max: 5 }),
  maxCreateRevision: fc.constantFrom(0, 4, 8),
});

function compareText(a: Uint8Array, b: Uint8Array): number {
  const hex = (value: Uint8Array) => [...value].map((byte) => String.fromCharCode(byte)).join("");
  return hex(a) < hex(b) ? -1 : hex(a) > hex(b) ? 1 : 0;
}

/** What the store gives for the options it is asked with. */
function fromStore(all: KeyValue[], options: RangeRequestOptions) {
  const { limit, countOnly } = storeRangeOptions(options);
  const kvs = countOnly ? [] : limit > 0 ? all.slice(0, limit) : all;
  return { kvs, count: all.length, revision: 10 };
}

const fieldOf = (target: number, kv: KeyValue): number | Uint8Array =>
  [kv.key, kv.version, kv.createRevision, kv.modRevision, kv.value][target]!;

test("applyRangeOptions() counts all keys, keeps filters and limit, and says if there is more", () => {
  fc.assert(
    fc.property(pairs, request, (all, options) => {
      const answer = applyRangeOptions(options, fromStore(all, options));
      expect(answer.count).toBe(all.length);
      if (options.countOnly) {
        expect(answer).toEqual({ kvs: [], more: false, count: all.length });
        return;
      }
      const passing = all.filter(
        (kv) =>
          kv.modRevision >= options.minModRevision &&
          (options.maxModRevision === 0 || kv.modRevision <= options.maxModRevision) &&
          kv.createRevision >= options.minCreateRevision &&
          (options.maxCreateRevision === 0 || kv.createRevision <= options.maxCreateRevision),
      );
      const wanted = options.limit > 0 ? Math.min(options.limit, passing.length) : passing.length;
      expect(answer.kvs.length).toBe(wanted);
      expect(answer.more).toBe(wanted < passing.length);
      for (const kv of answer.kvs) {
        expect(kv.value.length === 0 || !options.keysOnly).toBe(true);
        expect(kv.encoded === undefined).toBe(options.keysOnly);
      }
    }),
  );
});

test("applyRangeOptions() orders by the target, upwards unless asked otherwise", () => {
  fc.assert(
    fc.property(pairs, request, (all, options) => {
      const asked = { ...options, countOnly: false, keysOnly: false };
      const { kvs } = applyRangeOptions(asked, fromStore(all, asked));
      const sign = asked.sortOrder === SortOrder.DESCEND ? -1 : 1;
      for (let i = 1; i < kvs.length; i++) {
        const before = fieldOf(asked.sortTarget, kvs[i - 1]!);
        const after = fieldOf(asked.sortTarget, kvs[i]!);
        const order =
          typeof before === "number"
            ? before - (after as number)
            : compareText(before, after as Uint8Array);
        expect(order * sign).toBeLessThanOrEqual(0);
      }
    }),
  );
});

test("storeRangeOptions() hands the limit down, with one to spare, unless all pairs are needed", () => {
  expect(storeRangeOptions({ ...PLAIN, limit: 5 }).limit).toBe(6);
  // Without an order, another target sorts only what the limit left: as the reference does.
  expect(storeRangeOptions({ ...PLAIN, limit: 5, sortTarget: SortTarget.MOD }).limit).toBe(6);
  expect(storeRangeOptions({ ...PLAIN, limit: 5, sortOrder: SortOrder.ASCEND }).limit).toBe(0);
  expect(storeRangeOptions({ ...PLAIN, limit: 5, maxModRevision: 3 }).limit).toBe(0);
  expect(storeRangeOptions({ ...PLAIN, limit: -3 }).limit).toBe(0);
});

test("storeRangeOptions() asks for values when they are what is sorted by", () => {
  const byValue = { ...PLAIN, keysOnly: true, sortTarget: SortTarget.VALUE };
  expect(storeRangeOptions(byValue).keysOnly).toBe(false);
  expect(storeRangeOptions({ ...byValue, sortTarget: SortTarget.MOD }).keysOnly).toBe(true);
});
