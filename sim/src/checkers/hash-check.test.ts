import { expect, test } from "vitest";

import { checkEqualHashes } from "./hash-check.ts";

const SAME = { hash: 7, hashRevision: 4, compactRevision: 2, currentRevision: 4 };

test("checkEqualHashes() takes equal members, and tells of one that differs in anything", () => {
  checkEqualHashes(
    new Map([
      ["m1", SAME],
      ["m2", { ...SAME }],
    ]),
  );
  for (const other of [{ hash: 8 }, { hashRevision: 5 }, { compactRevision: 3 }]) {
    const results = new Map([
      ["m1", SAME],
      ["m2", { ...SAME, ...other }],
    ]);
    expect(() => checkEqualHashes(results)).toThrow("hash: m1 7 at 4, compacted 2; m2");
  }
});
