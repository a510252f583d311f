/** The report at the end of `.ci/run`: its last lines alone must tell what failed and why. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

const program = join(import.meta.dirname, "../../scripts/failures.mjs");
const directory = mkdtempSync(join(tmpdir(), "etcd-ts-report-"));
afterAll(() => rmSync(directory, { recursive: true }));

function report(outputs: Readonly<Record<string, string>>): readonly string[] {
  const args = Object.entries(outputs).flatMap(([step, output], i) => {
    const path = join(directory, String(i));
    writeFileSync(path, output);
    return [step, path];
  });
  const run = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  return run.stdout.trimEnd().split("\n");
}

const vitest = [
  " ✓ a.test.ts (3 tests)",
  "⎯⎯⎯⎯ Failed Tests 1 ⎯⎯⎯⎯",
  "",
  "\u001b[41m FAIL \u001b[49m a.test.ts > keeps what it was given",
  "AssertionError: expected 1 to be 2",
  ...Array.from({ length: 200 }, (_, i) => `    difference ${i}`),
  "⎯⎯⎯⎯⎯⎯[1/1]⎯",
  "",
  "⎯⎯⎯⎯ Unhandled Errors ⎯⎯⎯⎯",
  "⎯⎯⎯⎯ Uncaught Exception ⎯⎯⎯⎯",
  "Error: nobody waited for this",
  "⎯⎯⎯⎯⎯⎯",
  " Test Files  1 failed (1)",
  "      Tests  1 failed | 2 passed (3)",
].join("\n");

const go = [
  "--- PASS: TestFine (0.1s)",
  "    kill_test.go:33: key 7 is lost",
  "--- FAIL: TestKill (1.5s)",
  "    --- FAIL: TestKill/leader (1.2s)",
  "FAIL",
].join("\n");

test("failures names every failure with its message in the last lines", () => {
  const lines = report({ "npm test": vitest, conformance: go, "npm run check": "src/a.ts: TS1" });
  expect(lines.slice(-6)).toEqual([
    "== all that failed (5)",
    "npm test: a.test.ts > keeps what it was given: AssertionError: expected 1 to be 2",
    "npm test: Uncaught Exception: Error: nobody waited for this",
    "conformance: TestKill (1.5s)",
    "conformance: TestKill/leader (1.2s)",
    "npm run check: (the end of its output): src/a.ts: TS1",
  ]);
});

test("failures gives a bounded part of each failure's output", () => {
  const lines = report({ "npm test": vitest, conformance: go });
  expect(lines).toContain("    difference 30");
  expect(lines).not.toContain("    difference 60");
  expect(lines).toContain("    kill_test.go:33: key 7 is lost");
  expect(lines.join("\n")).not.toContain("TestFine");
});
