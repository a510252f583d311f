import fc from "fast-check";
import { expect, test } from "vitest";

import { SeededRandom } from "./seeded-random.ts";

const draws = (random: SeededRandom, count = 8): number[] =>
  Array.from({ length: count }, () => random.uint32());

test("the same seed gives the same draws, for ever", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (seed) => {
      expect(draws(new SeededRandom(seed))).toEqual(draws(new SeededRandom(seed)));
    }),
  );
  // Seeds printed long ago must still replay.
  expect(draws(new SeededRandom(42), 4)).toMatchInlineSnapshot(`
    [
      463696458,
      287124655,
      4013714212,
      2196210639,
    ]
  `);
  expect(draws(new SeededRandom(42).split("disk"), 4)).toMatchInlineSnapshot(`
    [
      2728711680,
      2773097007,
      1894751167,
      172617368,
    ]
  `);
});

test("split() does not depend on what was drawn, and draws nothing", () => {
  const used = new SeededRandom(1);
  draws(used, 100);
  expect(draws(used.split("a"))).toEqual(draws(new SeededRandom(1).split("a")));
  const [left, right] = [new SeededRandom(2), new SeededRandom(2)];
  left.split("b");
  expect(draws(left)).toEqual(draws(right));
});

test("seeds and names that are near give draws that are far", () => {
  const all = new Set<number>();
  for (let seed = 0; seed < 300; seed++) {
    const random = new SeededRandom(seed);
    for (const name of ["", "a", "b", "ab", "ba", "\u0000"]) all.add(random.split(name).uint32());
    all.add(random.uint32());
    all.add(random.split("a").split("b").uint32());
  }
  // 2,400 draws of 32 bits meet by chance less than once in a thousand runs.
  expect(all.size).toBe(2400);
});
