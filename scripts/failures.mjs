/**
 * `node scripts/failures.mjs NAME LOG [NAME LOG]...`: what failed in the steps of `.ci/run`, for the
 * end of its output, where it survives when the rest is cut off. First each failure with its
 * message, then all names, one a line, so that the last lines name everything.
 */

import { readFileSync } from "node:fs";

const LINES_PER_FAILURE_MAX = 40;
const FAILURES_SHOWN_MAX = 12;
const NAMES_MAX = 60;
const LINE_CHARACTERS_MAX = 240;

/** What Vitest puts below "Failed Suites", "Failed Tests" and "Unhandled Errors". */
function vitestFailures(lines) {
  const found = [];
  let block;
  for (const line of lines) {
    const error = /^⎯+ (Uncaught Exception|Unhandled Rejection|Unhandled Error) ⎯+$/.exec(line);
    if (/^ FAIL {2}\S/.test(line)) found.push((block = { name: line.slice(7), lines: [] }));
    else if (error !== null) found.push((block = { name: error[1], lines: [] }));
    else if (/^⎯+(\[\d+\/\d+\])?⎯*$/.test(line) || /^ Test Files /.test(line)) block = undefined;
    else block?.lines.push(line);
  }
  return found;
}

/** Go prints a test's messages before its verdict; the verdicts of subtests come after it. */
function goFailures(lines) {
  const found = [];
  lines.forEach((line, i) => {
    const verdict = /^\s*--- FAIL: (.*)$/.exec(line);
    const isWhole = /^(panic:|fatal error:|FAIL\t.*\[)/.test(line);
    if (verdict === null && !isWhole) return;
    const nested = verdict !== null && line.startsWith(" ");
    const from = Math.max(0, i - LINES_PER_FAILURE_MAX);
    const before = nested
      ? []
      : lines.slice(from, i).filter((other) => !/--- PASS|^ok /.test(other));
    const after = isWhole ? lines.slice(i + 1, i + LINES_PER_FAILURE_MAX / 2) : [];
    found.push({
      name: verdict?.[1] ?? line,
      lines: [...before, line, ...after],
      keepEnd: !isWhole,
    });
  });
  return found;
}

function failuresOf(step, path) {
  // oxlint-disable-next-line no-control-regex -- colours
  const text = readFileSync(path, "utf8").replace(/\x1b\[[0-9;]*m/g, "");
  const lines = text.split("\n").map((line) => line.slice(0, LINE_CHARACTERS_MAX));
  const found = [...vitestFailures(lines), ...goFailures(lines)];
  if (found.length > 0) return found.map((failure) => ({ ...failure, step }));
  return [{ step, name: "(the end of its output)", lines: lines.slice(-LINES_PER_FAILURE_MAX) }];
}

function message({ lines }) {
  return lines.find((line) => line.trim() !== "")?.trim() ?? "";
}

const failures = [];
for (let i = 2; i + 1 < process.argv.length; i += 2) {
  failures.push(...failuresOf(process.argv[i], process.argv[i + 1]));
}
for (const { step, name, lines, keepEnd } of failures.slice(0, FAILURES_SHOWN_MAX)) {
  const max = LINES_PER_FAILURE_MAX;
  console.log(`\n== failed in ${step}: ${name}`);
  console.log((keepEnd ? lines.slice(-max) : lines.slice(0, max)).join("\n").trimEnd());
}
console.log(`\n== all that failed (${failures.length})`);
for (const failure of failures.slice(0, NAMES_MAX)) {
  const why = failure.keepEnd ? "" : `: ${message(failure)}`;
  console.log(`${failure.step}: ${failure.name}${why}`);
}
if (failures.length > NAMES_MAX) console.log(`and ${failures.length - NAMES_MAX} more`);
