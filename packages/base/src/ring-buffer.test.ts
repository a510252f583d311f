import fc from "fast-check";
import { expect, test } from "vitest";

import { RingBuffer } from "./ring-buffer.ts";

test("RingBuffer is a bounded queue, whatever is pushed and shifted", () => {
  const steps = fc.array(fc.constantFrom("push", "push", "shift"), { maxLength: 100 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 6 }), (kinds, capacity) => {
      const ring = new RingBuffer<number>(capacity);
      const model: number[] = [];
      for (const [i, kind] of kinds.entries()) {
        if (kind === "push") {
          expect(ring.push(i)).toBe(model.length < capacity);
          if (model.length < capacity) model.push(i);
        } else expect(ring.shift()).toBe(model.shift());
        expect(Array.from({ length: ring.size }, (_, position) => ring.at(position))).toEqual(
          model,
        );
        expect([ring.at(-1), ring.at(ring.size)]).toEqual([undefined, undefined]);
      }
    }),
  );
});

test("a capacity below one is refused", () => {
  expect(() => new RingBuffer(0)).toThrow("RingBuffer: 0");
  expect(() => new RingBuffer(1.5)).toThrow("RingBuffer: 1.5");
});

test("clear() makes room for capacity items", () => {
  const ring = new RingBuffer<number>(2);
  ring.push(1);
  ring.push(2);
  ring.clear();
  expect([ring.size, ring.push(3), ring.push(4), ring.push(5), ring.shift()]).toEqual([
    0,
    true,
    true,
    false,
    3,
  ]);
});
