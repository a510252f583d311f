import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { IntervalTree } from "./interval-tree.ts";

/** Few letters and lengths, so that ranges meet, nest and repeat. */
const key = fc.string({ unit: fc.constantFrom("a", "b", "\u0000", "\u00ff"), maxLength: 3 });
const range = fc
  .tuple(key, fc.option(key, { nil: undefined, freq: 5 }))
  .filter(([begin, end]) => end === undefined || begin < end);
const step = fc.record({ range, value: fc.nat(12), isInsert: fc.boolean(), pick: fc.nat() });

type Held = { begin: string; end: string | undefined; value: number };

const ends = (held: Held): string => held.end ?? "\uffff";
const isSame = (a: Held, b: Held): boolean =>
  a.begin === b.begin && a.end === b.end && a.value === b.value;

function build(
  steps: { range: [string, string | undefined]; value: number; isInsert: boolean; pick: number }[],
): {
  tree: IntervalTree<number>;
  model: Held[];
} {
  const tree = new IntervalTree<number>();
  const model: Held[] = [];
  for (const {
    range: [begin, end],
    value,
    isInsert,
    pick,
  } of steps) {
    const held = { begin, end, value };
    if (isInsert) {
      tree.insert(begin, end, value);
      if (!model.some((other) => isSame(other, held))) model.push(held);
    } else {
      const victim = pick % 3 === 0 ? held : (model[pick % Math.max(1, model.length)] ?? held);
      const position = model.findIndex((other) => isSame(other, victim));
      expect(tree.remove(victim.begin, victim.end, victim.value)).toBe(position >= 0);
      if (position >= 0) model.splice(position, 1);
    }
    expect(tree.size).toBe(model.length);
  }
  tree.verify();
  return { tree, model };
}

/** By range; values on one range keep the order they came in. */
function sorted(model: Held[]): Held[] {
  return [...model].sort((a, b) => {
    if (a.begin !== b.begin) return a.begin < b.begin ? -1 : 1;
    return ends(a) === ends(b) ? 0 : ends(a) < ends(b) ? -1 : 1;
  });
}

describe("whatever is inserted and removed", () => {
  const steps = fc.array(step, { maxLength: 60 });

  test("stab() gives the values of the ranges that hold the point", () => {
    fc.assert(
      fc.property(steps, key, (taken, point) => {
        const { tree, model } = build(taken);
        const hits = sorted(model.filter((held) => held.begin <= point && point < ends(held)));
        expect(tree.stab(point)).toEqual(hits.map((held) => held.value));
      }),
    );
  });

  test("overlaps() gives the values of the ranges that share a key", () => {
    fc.assert(
      fc.property(steps, range, (taken, [begin, end]) => {
        const { tree, model } = build(taken);
        const hits = sorted(
          model.filter((held) => held.begin < (end ?? "\uffff") && begin < ends(held)),
        );
        expect(tree.overlaps(begin, end)).toEqual(hits.map((held) => held.value));
        expect(tree.hasOverlap(begin, end)).toBe(hits.length > 0);
      }),
    );
  });

  test("covers() tells whether every place of a range is held", () => {
    fc.assert(
      fc.property(steps, range, (taken, [begin, end]) => {
        const { tree, model } = build(taken);
        // Between two neighbouring bounds all keys share their fate, so the bounds stand for all.
        const bounds = [begin, ...model.flatMap((held) => [held.begin, ends(held)])];
        const places = bounds.filter((bound) => begin <= bound && bound < (end ?? "\uffff"));
        const isHeld = (place: string): boolean =>
          model.some((held) => held.begin <= place && place < ends(held));
        expect(tree.covers(begin, end)).toBe(places.every(isHeld));
      }),
    );
  });

  test("entries() gives everything in order", () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const { tree, model } = build(taken);
        expect([...tree.entries()]).toEqual(sorted(model));
      }),
    );
  });
});

test("stab() stays cheap among many ranges, and among many values on one range", () => {
  const tree = new IntervalTree<number>();
  const name = (i: number): string => i.toString().padStart(6, "0");
  for (let i = 0; i < 20_000; i++) tree.insert(name(i), `${name(i)}\u0000`, i);
  for (let i = 0; i < 5000; i++) tree.insert("000007", "000007\u0000", -1 - i);
  tree.verify();
  expect(tree.stab("012345")).toEqual([12_345]);
  expect(tree.stab("000007")).toHaveLength(5001);
  for (let i = 0; i < 5000; i++) expect(tree.remove("000007", "000007\u0000", -1 - i)).toBe(true);
  expect(tree.stab("000007")).toEqual([7]);
  for (let i = 0; i < 20_000; i += 2) tree.remove(name(i), `${name(i)}\u0000`, i);
  tree.verify();
  expect(tree.size).toBe(10_000);
  tree.clear();
  expect([tree.size, tree.stab("000007")]).toEqual([0, []]);
});

test("an empty range is refused by insert() and matches nothing", () => {
  const tree = new IntervalTree<number>();
  expect(() => tree.insert("b", "b", 1)).toThrow("empty");
  expect(() => tree.insert("b", "a", 1)).toThrow("empty");
  tree.insert("a", undefined, 1);
  expect(tree.overlaps("b", "b")).toEqual([]);
  expect(tree.covers("b", "b")).toBe(false);
  expect(tree.hasOverlap("c", "b")).toBe(false);
});
