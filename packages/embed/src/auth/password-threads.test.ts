import { SERVER_ERRORS } from "@etcd-ts/api";
import { bytesFromLatin1, latin1FromBytes } from "@etcd-ts/base";
import { afterAll, expect, test } from "vitest";

import { HASHES_WAITING_MAX, PasswordThreads, usableCost } from "./password-threads.ts";

const threads = new PasswordThreads(4, 1);
afterAll(() => threads.close());

test("hash() marks its hashes as Go does, and matches() takes those of Go", async () => {
  const hash = await threads.hash("päss");
  expect(latin1FromBytes(hash)).toMatch(/^\$2a\$04\$/);
  expect(await threads.matches("päss", hash)).toBe(true);
  expect(await threads.matches("pass", hash)).toBe(false);
  expect(await threads.matches("päss", threads.hashNow("päss"))).toBe(true);
  expect(await threads.matches("x", bytesFromLatin1("no hash"))).toBe(false);
});

test("hash() refuses more than bcrypt looks at", async () => {
  await expect(threads.hash("x".repeat(73))).rejects.toThrow("exceeds 72 bytes");
});

test("no more than a bound wait, and what waits ends with the threads", async () => {
  const busy = new PasswordThreads(4, 1);
  const jobs = Array.from({ length: HASHES_WAITING_MAX + 2 }, () =>
    busy.hash("x").then(
      () => "done",
      (error: unknown) => (error === SERVER_ERRORS.tooManyRequests ? "refused" : "stopped"),
    ),
  );
  await busy.close();
  const outcomes = await Promise.all(jobs);
  expect(outcomes.at(-1)).toBe("refused");
  expect(outcomes.filter((outcome) => outcome === "refused")).toHaveLength(1);
  expect(outcomes).toContain("stopped");
});

test.each([
  [3, 10],
  [4, 4],
  [31, 31],
  [32, 10],
])("usableCost(%i)", (cost, used) => {
  expect(usableCost(cost)).toBe(used);
});
