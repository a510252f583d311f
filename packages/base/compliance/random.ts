/** What every `Random` keeps. The bounds are so wide that chance alone does not cross them. */

import { describe, expect, test } from "vitest";

import type { Random } from "../src/index.ts";
import { randomBelow } from "../src/index.ts";

const DRAWS = 20_000;

export function testRandom(name: string, create: () => Random): void {
  describe(name, () => {
    test("float() is spread over [0, 1)", () => {
      const random = create();
      const buckets = Array.from({ length: 20 }, () => 0);
      for (let i = 0; i < DRAWS; i++) {
        const value = random.float();
        if (!(value >= 0 && value < 1)) throw new Error(`float() gave ${value}`);
        buckets[Math.floor(value * 20)]!++;
      }
      for (const count of buckets) expect(Math.abs(count - DRAWS / 20)).toBeLessThan(250);
    });

    test("uint32() sets every bit half of the time", () => {
      const random = create();
      const ones = Array.from({ length: 32 }, () => 0);
      for (let i = 0; i < DRAWS; i++) {
        const value = random.uint32();
        if (value >>> 0 !== value) throw new Error(`uint32() gave ${value}`);
        for (let bit = 0; bit < 32; bit++) ones[bit]! += (value >>> bit) & 1;
      }
      for (const count of ones) expect(Math.abs(count - DRAWS / 2)).toBeLessThan(600);
    });

    test("fill() fills all of the target, of any length, and returns it", () => {
      const random = create();
      for (let length = 0; length < 20; length++) {
        const seen = new Uint8Array(length);
        for (let i = 0; i < 60; i++) {
          const target = new Uint8Array(length + 2);
          const part = target.subarray(1, 1 + length);
          expect(random.fill(part)).toBe(part);
          for (let j = 0; j < length; j++) seen[j]! |= part[j]!;
          expect([target[0], target[length + 1]]).toEqual([0, 0]);
        }
        expect([...seen].every((byte) => byte === 0xff)).toBe(true);
      }
    });

    test("randomBelow() stays below its bound and reaches every value", () => {
      const random = create();
      for (const bound of [1, 2, 7]) {
        const seen = new Set<number>();
        for (let i = 0; i < 400; i++) seen.add(randomBelow(random, bound));
        expect([...seen].sort()).toEqual(Array.from({ length: bound }, (_, i) => i));
      }
      expect(randomBelow(random, 2 ** 32)).toBeLessThan(2 ** 32);
    });

    test("two draws of 16 bytes differ", () => {
      const random = create();
      const [first, second] = [new Uint8Array(16), new Uint8Array(16)];
      random.fill(first);
      random.fill(second);
      expect(first).not.toEqual(second);
    });
  });
}
