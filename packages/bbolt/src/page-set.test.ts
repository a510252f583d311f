import fc from "fast-check";
import { expect, test } from "vitest";
import { PageSet } from "./page-set.ts";

test("PageSet is a set, and next() finds what comes after", () => {
  const ids = fc.array(fc.nat(300), { size: "max", maxLength: 200 });
  fc.assert(
    fc.property(fc.nat(100), ids, ids, fc.nat(320), (pages, added, deleted, from) => {
      const set = new PageSet(pages);
      const model = new Set(added);
      for (const id of added) set.add(id);
      for (const id of deleted) {
        set.delete(id);
        model.delete(id);
      }
      for (let id = 0; id < 310; id++) expect(set.has(id)).toBe(model.has(id));
      const above = [...model].filter((id) => id >= from);
      expect(set.next(from)).toBe(above.length === 0 ? Infinity : Math.min(...above));
      let absent = from;
      while (model.has(absent)) absent++;
      expect(set.next(from, false)).toBe(absent);
    }),
    { numRuns: 50 },
  );
});

test("PageSet.next() sees the last bit of a word", () => {
  const set = new PageSet(64);
  set.add(31);
  expect(set.next(0)).toBe(31);
  expect(set.next(32)).toBe(Infinity);
  for (let id = 0; id < 96; id++) set.add(id);
  expect(set.next(0, false)).toBe(96);
});
