import fc from "fast-check";
import { bytesFromLatin1, compareBytes, latin1FromBytes } from "@etcd-ts/base";
import { describe, expect, test } from "vitest";
import { TickingClock } from "../../compliance/harness.ts";
import { Slice } from "../backend/slice.ts";
import { sortSlots } from "./key-order.ts";
import { KeyTable, NO_SLOT } from "./key-table.ts";

const add = (table: KeyTable, key: Uint8Array, main: number) =>
  table.add(table.hashOf(key, 0, key.length), key, 0, key.length, main, 0, main, 1);
const find = (table: KeyTable, key: Uint8Array) =>
  table.find(table.hashOf(key, 0, key.length), key, 0, key.length);

/** Few letters and shared beginnings: keys that are prefixes of others, and end in zero bytes. */
const key = fc
  .tuple(
    fc.constantFrom("", "/registry/pods/", "\0", "\0\0\0\0"),
    fc.array(fc.constantFrom("\0", "\u0001", "a", "b", "\u00ff"), { maxLength: 7 }),
  )
  .map(([front, rest]) => bytesFromLatin1(front + rest.join("")));

describe("KeyTable", () => {
  test("finds what a map finds, keys and slots coming and going", () => {
    const step = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.nat(400), fc.nat(40));
    fc.assert(
      fc.property(fc.array(step, { minLength: 300, maxLength: 1500 }), (steps) => {
        const table = new KeyTable();
        const slots = new Map<string, number>();
        for (const [action, n, length] of steps) {
          const name = `${n}`.padEnd(n % 7 === 0 ? 3 + length * 20 : 3, "x");
          const bytes = bytesFromLatin1(name);
          const slot = slots.get(name);
          expect(find(table, bytes)).toBe(slot ?? NO_SLOT);
          if (slot === undefined) slots.set(name, add(table, bytes, n));
          else if (action === 0) {
            table.remove(slot);
            slots.delete(name);
          } else if (action === 1) table.tidy(slot);
        }
        expect(table.size).toBe(slots.size);
        for (const [name, slot] of slots) expect(latin1FromBytes(table.keyOf(slot))).toBe(name);
      }),
      { numRuns: 30 },
    );
  });

  test("gives back the memory of keys that have gone", () => {
    const table = new KeyTable();
    const keyOf = (i: number) => bytesFromLatin1(`${i}`.padStart(100, "k"));
    const slots: number[] = [];
    const keys = 60_000;
    for (let i = 0; i < keys; i++) slots.push(add(table, keyOf(i), i + 1));
    const fullBytes = table.sizeBytes;
    const kept = slots.filter((_slot, i) => i % 10 === 0);
    for (const [i, slot] of slots.entries()) if (i % 10 !== 0) table.remove(slot);
    for (const slot of kept) table.tidy(slot);
    expect(fullBytes - table.sizeBytes).toBeGreaterThan(keys * 100 * 0.8);
    for (const [i, slot] of kept.entries()) {
      const bytes = keyOf(10 * i);
      expect(find(table, bytes)).toBe(slot);
    }
    const before = table.sizeBytes;
    for (let i = 0; i < keys * 0.9; i++) add(table, keyOf(keys + i), i + 1);
    expect(table.sizeBytes - before).toBeLessThan(keys * 100);
  });

  test("a key longer than a chunk is kept whole", () => {
    const table = new KeyTable();
    const long = new Uint8Array(1_500_000).fill(7);
    const slot = add(table, long, 2);
    add(table, bytesFromLatin1("a"), 3);
    expect(find(table, long)).toBe(slot);
    expect(compareBytes(table.keyOf(slot), long)).toBe(0);
    table.remove(slot);
    expect(find(table, long)).toBe(NO_SLOT);
    expect(table.sizeBytes).toBeLessThan(2_000_000);
  });
});

describe("sortSlots()", () => {
  test("orders as memcmp does, in runs of any length", async () => {
    const clock = new TickingClock();
    const lists = fc.uniqueArray(key, { maxLength: 400, selector: latin1FromBytes });
    await fc.assert(
      fc.asyncProperty(lists, fc.constantFrom(5, 20, 1000), async (keys, runKeys) => {
        const table = new KeyTable();
        const slots = Uint32Array.from(keys, (bytes) => add(table, bytes, 1));
        await clock.until(sortSlots(table, slots, new Slice(clock), runKeys));
        const sorted = Array.from(slots, (slot) => latin1FromBytes(table.keyOf(slot)));
        expect(sorted).toEqual(keys.toSorted(compareBytes).map((each) => latin1FromBytes(each)));
      }),
      { numRuns: 60 },
    );
  });
});
