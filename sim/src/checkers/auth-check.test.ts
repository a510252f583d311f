import { expect, test } from "vitest";

import { AuthCheck } from "./auth-check.ts";

test("AuthCheck accepts refusals, and what others write", () => {
  const check = new AuthCheck();
  check.attempted("bad");
  check.ended("put", new Error("permission denied"));
  check.happened(2, [
    { key: "a", value: "good" },
    { key: "b", value: undefined },
  ]);
  expect(check.refused).toBe(1);
});

test("AuthCheck tells of an answer to a caller without the right", () => {
  expect(() => new AuthCheck().ended("guest reads k2", undefined)).toThrow(
    "guest reads k2 was answered",
  );
});

test("AuthCheck tells of a refused write that happened all the same", () => {
  const check = new AuthCheck();
  check.attempted("bad");
  check.ended("put", new Error("timed out"));
  expect(() => check.happened(7, [{ key: "a", value: "bad" }])).toThrow("revision 7 put a to bad");
});
