import fc from "fast-check";
import { expect, test } from "vitest";

import { MinHeap } from "./min-heap.ts";

type Item = { key: number };

test("MinHeap gives what a sorted list would, whatever is pushed, moved and removed", () => {
  const step = fc.record({
    kind: fc.constantFrom("push", "push", "pop", "remove", "update"),
    key: fc.integer({ min: 0, max: 20 }),
    pick: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new MinHeap<Item>((a, b) => a.key < b.key);
      const model: Item[] = [];
      for (const { kind, key, pick } of steps) {
        const chosen = model[pick % Math.max(1, model.length)];
        if (kind === "push") {
          const item = { key };
          heap.push(item);
          model.push(item);
        } else if (kind === "pop") {
          const item = heap.pop();
          expect(item?.key).toBe(
            model.length === 0 ? undefined : Math.min(...model.map((m) => m.key)),
          );
          if (item !== undefined) model.splice(model.indexOf(item), 1);
        } else if (chosen !== undefined && kind === "remove") {
          expect(heap.remove(chosen)).toBe(true);
          expect(heap.remove(chosen)).toBe(false);
          model.splice(model.indexOf(chosen), 1);
        } else if (chosen !== undefined) {
          chosen.key = key;
          expect(heap.update(chosen)).toBe(true);
        }
        expect(heap.size).toBe(model.length);
      }
      const drained: number[] = [];
      for (let item = heap.pop(); item !== undefined; item = heap.pop()) drained.push(item.key);
      expect(drained).toEqual(model.map((m) => m.key).sort((a, b) => a - b));
    }),
  );
});

test("push() refuses an item it holds", () => {
  const heap = new MinHeap<number>((a, b) => a < b);
  heap.push(1);
  expect(() => heap.push(1)).toThrow("already held");
});

test("clear() forgets everything", () => {
  const heap = new MinHeap<number>((a, b) => a < b);
  heap.push(1);
  heap.clear();
  expect([heap.size, heap.peek(), heap.pop(), heap.has(1)]).toEqual([
    0,
    undefined,
    undefined,
    false,
  ]);
});
