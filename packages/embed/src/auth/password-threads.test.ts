import { readdirSync, readFileSync } from "node:fs";
import { getPriority, platform } from "node:os";

import { SERVER_ERRORS } from "@etcd-ts/api";
import { bytesFromLatin1, latin1FromBytes } from "@etcd-ts/base";
import { afterAll, describe, expect, test } from "vitest";

import { HASHES_WAITING_MAX, PasswordThreads, usableCost } from "./password-threads.ts";

const GO_HASHES = [
  ["", "$2a$04$bTjtvhkKECxrRoqveGcFp.LgfkCzBxYpTAXL2VyuRj5i8WdBeFpXC"],
  ["päss", "$2a$04$Yk5BT0wCRx4gZmWySMHXUOzdLMSHoxVbgybWFqosYd991SszmiEwy"],
  ["a\0b", "$2a$04$dJr9Exwv38fe6G/KSpN/5uJt59mF9QA6zsmyk88mY0DY35LrJ2G9W"],
  ["x".repeat(72), "$2a$04$n4IkpcyMC5aajyEgVj/6bOSd9xfDDxH9A.br4BZtUA.vdOsNYTktG"],
] as const;

const threads = new PasswordThreads(4, { threadsMax: 1 });
const plain = new PasswordThreads(4, { threadsMax: 1, isNative: false });
afterAll(() => Promise.all([threads.close(), plain.close()]));

describe.each([
  ["as it is installed", threads],
  ["without a native library", plain],
])("%s", (_, own) => {
  test("hash() marks its hashes as Go does, and matches() takes those of the others", async () => {
    const hash = await own.hash("päss");
    expect(latin1FromBytes(hash)).toMatch(/^\$2a\$04\$/);
    for (const other of [threads, plain]) {
      expect(await other.matches("päss", hash)).toBe(true);
      expect(await other.matches("pass", hash)).toBe(false);
    }
    expect(await own.matches("päss", own.hashNow("päss"))).toBe(true);
  });

  test("matches() gives the answers of Go's library", async () => {
    // Made with golang.org/x/crypto/bcrypt, cost 4.
    for (const [password, hash] of GO_HASHES) {
      expect(await own.matches(password, bytesFromLatin1(hash))).toBe(true);
      expect(await own.matches(`y${password}`, bytesFromLatin1(hash))).toBe(false);
    }
  });

  test.each(["no hash", "", `$2a$03$${"a".repeat(53)}`, `$2a$32$${"a".repeat(53)}`])(
    "no password fits %j, and the thread goes on",
    async (hash) => {
      expect(await own.matches("x", bytesFromLatin1(hash))).toBe(false);
      expect(await own.matches("x", own.hashNow("x"))).toBe(true);
    },
  );

  test("matches() takes any mark of the version, as Go does", async () => {
    const hash = latin1FromBytes(await own.hash("x"));
    for (const mark of ["$2$", "$2b$", "$2x$", "$2y$", "$2z$"]) {
      const marked = bytesFromLatin1(hash.replace("$2a$", mark));
      expect(await own.matches("x", marked)).toBe(true);
      expect(await own.matches("y", marked)).toBe(false);
    }
  });
});

test.runIf(platform() === "linux")("threads yield to the member, which does not", async () => {
  const before = getPriority();
  await threads.hash("x");
  const niceness = readdirSync("/proc/self/task").map((id) => {
    const [, rest = ""] = readFileSync(`/proc/self/task/${id}/stat`, "latin1").split(") ");
    return Number(rest.split(" ")[16]);
  });
  expect(niceness).toContain(10);
  expect(getPriority()).toBe(before);
});

test("hash() refuses more than bcrypt looks at", async () => {
  await expect(threads.hash("x".repeat(73))).rejects.toThrow("exceeds 72 bytes");
});

test("no more than a bound wait, and what waits ends with the threads", async () => {
  const busy = new PasswordThreads(4, { threadsMax: 1 });
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
