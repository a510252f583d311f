import { expect, test } from "vitest";

import { CorruptionError, EtcdError, invariant, InvariantError, unreachable } from "./errors.ts";

test("invariant() builds its message only when it fails", () => {
  let built = 0;
  const message = (): string => {
    built++;
    return "f: 1 is not 2";
  };
  invariant(true, message);
  expect(built).toBe(0);
  expect(() => invariant(false, message)).toThrow(new InvariantError("f: 1 is not 2"));
});

test("a CorruptionError names the place and keeps its cause", () => {
  const cause = new Error("below");
  const error = new CorruptionError("bad checksum", "/data/x.wal", 512, { cause });
  expect(error).toBeInstanceOf(EtcdError);
  expect(error).not.toBeInstanceOf(InvariantError);
  expect(error).toMatchObject({
    name: "CorruptionError",
    code: "CORRUPTION",
    path: "/data/x.wal",
    offsetBytes: 512,
    message: "bad checksum (/data/x.wal at byte 512)",
    cause,
  });
});

test("unreachable() names the value and the place", () => {
  expect(() => unreachable("x" as never, "step")).toThrow("step: unexpected x");
});
