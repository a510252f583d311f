import { expect, test } from "vitest";

import { RevisionLedger } from "./revision-ledger.ts";

test("RevisionLedger.tell() takes the same history from all, in any order within a revision", () => {
  const ledger = new RevisionLedger();
  const two = [
    { key: "a", value: "1" },
    { key: "b", value: undefined },
  ];
  expect(ledger.tell(2, two, "m1")).toBe(true);
  expect(ledger.tell(2, two.toReversed(), "m2")).toBe(false);
  ledger.checkAcknowledged([2], 2);
});

test("RevisionLedger.tell() tells of a member whose history differs", () => {
  const ledger = new RevisionLedger();
  ledger.tell(2, [{ key: "a", value: "1" }], "m1");
  expect(() => ledger.tell(2, [{ key: "a", value: "2" }], "m2")).toThrow(
    'm2 has "a=2" at revision 2',
  );
});

test("RevisionLedger.checkAcknowledged() tells of an acknowledged write that is gone", () => {
  const ledger = new RevisionLedger();
  ledger.tell(2, [{ key: "a", value: "1" }], "m1");
  ledger.tell(3, [{ key: "a", value: "2" }], "m1");
  expect(() => ledger.checkAcknowledged([2, 3], 2)).toThrow("3 was acknowledged, the end is 2");
  expect(() => ledger.checkAcknowledged([4], 5)).toThrow("no member tells of it");
});
