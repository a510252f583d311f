import fc from "fast-check";
import { expect, test } from "vitest";

import { MemoryBudget } from "./memory-budget.ts";

const MAX = 1000;

test("hold() refuses nobody as long as all have room", () => {
  const budget = new MemoryBudget(MAX);
  budget.join();
  expect(budget.hold(MAX, MAX)).toBe(true);
  expect(budget.hold(1, MAX + 1)).toBe(false);
});

test("hold() spares whoever holds no more than an equal share", () => {
  const budget = new MemoryBudget(MAX);
  budget.join();
  budget.join();
  expect(budget.hold(MAX, MAX)).toBe(true);
  expect(budget.hold(10, 10)).toBe(true);
  expect(budget.hold(1, MAX + 1)).toBe(false);
});

test("if those give way who are told to, no more than the maximum and a last piece is held", () => {
  const pieces = fc.array(fc.record({ who: fc.nat(9), bytes: fc.integer({ min: 1, max: 300 }) }));
  fc.assert(
    fc.property(pieces, (taken) => {
      const budget = new MemoryBudget(MAX);
      const own = Array.from({ length: 10 }, () => 0);
      for (let i = 0; i < own.length; i++) budget.join();
      for (const { who, bytes } of taken) {
        own[who]! += bytes;
        if (budget.hold(bytes, own[who]!)) continue;
        budget.hold(-own[who]!, 0);
        own[who] = 0;
      }
      // Below an equal share nobody is refused, so each may hold one beyond the maximum.
      expect(budget.heldBytes).toBe(own.reduce((sum, bytes) => sum + bytes, 0));
      expect(budget.heldBytes).toBeLessThanOrEqual(2 * MAX);
    }),
  );
});
