/**
 * `npm run sim`: runs seeds until there are enough or the time is over, and tells what struck.
 *
 *   --seed N      one seed, told in detail
 *   --seeds N     at least N seeds, from --from (default 1)
 *   --hours H     at least H virtual hours; with --seeds, both
 *   --seconds S   ends after S seconds, whatever was reached
 *   --jobs J      J seeds at a time, each in a thread (default 1)
 *   --minutes M   how long faults go on in each run (default: drawn from the seed)
 *   --story       tells failures in detail
 */

import process, { exit } from "node:process";
import { parseArgs } from "node:util";
import { isMainThread } from "node:worker_threads";

import { FAULT_CLASSES, LONG_RUN_SEEDS, missingClasses } from "./coverage.ts";
import { isEnough } from "./run-length.ts";
import type { RunGoal } from "./run-length.ts";
import { runHere, runInThread, serveSeeds } from "./seed-runners.ts";
import type { SeedRunner } from "./seed-runners.ts";

interface Arguments {
  readonly only: number | undefined;
  readonly from: number;
  readonly goal: RunGoal;
  readonly seconds: number;
  readonly minutes: number | undefined;
  readonly jobs: number;
  readonly story: boolean;
}

function readArguments(): Arguments {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: {
      seed: text,
      seeds: text,
      seconds: text,
      hours: text,
      minutes: text,
      from: text,
      jobs: text,
      story: { type: "boolean" },
    },
  });
  const only = numberOf(values.seed);
  const seconds = numberOf(values.seconds);
  const hours = numberOf(values.hours);
  const fallback = hours !== undefined ? 0 : seconds !== undefined ? Infinity : 10;
  const many = { seeds: numberOf(values.seeds) ?? fallback, hours: hours ?? 0 };
  return {
    only,
    from: only ?? numberOf(values.from) ?? 1,
    goal: only === undefined ? many : { seeds: 1, hours: 0 },
    seconds: seconds ?? Infinity,
    minutes: numberOf(values.minutes),
    jobs: Math.max(1, numberOf(values.jobs) ?? 1),
    story: values.story === true,
  };
}

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value >= 0)) {
    console.error(`not a number: ${text}`);
    exit(2);
  }
  return value;
}

/** What came of all seeds so far. */
class Totals {
  readonly counts = new Map<string, number>();
  readonly #startMs = performance.now();
  virtualMs = 0;
  runs = 0;
  failures = 0;

  get seconds(): number {
    return (performance.now() - this.#startMs) / 1000;
  }

  get hours(): number {
    return this.virtualMs / 3_600_000;
  }
}

async function main(): Promise<void> {
  const args = readArguments();
  const totals = new Totals();
  /** The first interrupt lets the seeds at hand end and tells the totals; the second ends at once. */
  let isInterrupted = false;
  process.once("SIGINT", () => {
    isInterrupted = true;
  });
  let begun = 0;
  const isOver = (): boolean =>
    isInterrupted || totals.seconds >= args.seconds || isEnough(args.goal, begun, totals.hours);
  const work = async (run: SeedRunner): Promise<void> => {
    while (!isOver()) {
      const seed = args.from + begun++;
      const isDetailed = args.only !== undefined || args.story;
      const report = await run({ seed, minutes: args.minutes, isDetailed });
      console.log(report.lines.join("\n"));
      totals.runs++;
      totals.virtualMs += report.virtualMs;
      if (report.isFailure) totals.failures++;
      for (const [name, count] of report.counts) {
        totals.counts.set(name, (totals.counts.get(name) ?? 0) + count);
      }
    }
  };
  const file = new URL(import.meta.url);
  const runners =
    args.jobs === 1 ? [runHere()] : Array.from({ length: args.jobs }, () => runInThread(file));
  await Promise.all(runners.map(work));
  const isCovered = args.only !== undefined || tellClasses(totals);
  tellTotals(totals);
  if (!isInterrupted && args.goal.seeds < Infinity && !isEnough(args.goal, begun, totals.hours)) {
    console.log(`ended by --seconds before ${args.goal.seeds} seeds and ${args.goal.hours} hours`);
  }
  exit(totals.failures > 0 || !isCovered ? 1 : 0);
}

/** Tells every class of faults with its count; false if one is missing that must not. */
function tellClasses({ counts, runs }: Totals): boolean {
  console.log("\nfaults by class:");
  for (const [name, counter] of FAULT_CLASSES) {
    console.log(`${String(counts.get(counter) ?? 0).padStart(12)}  ${name} (${counter})`);
  }
  const missing = missingClasses(counts);
  if (missing.length === 0) return true;
  const isLong = runs >= LONG_RUN_SEEDS;
  console.log(`${isLong ? "FAIL" : "warning"}: never struck: ${missing.join("; ")}`);
  return !isLong;
}

function tellTotals({ counts, runs, hours, seconds, failures }: Totals): void {
  console.log("\neverything counted:");
  for (const [name, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    console.log(`${String(count).padStart(12)}  ${name}`);
  }
  console.log(
    `${runs} seeds, ${hours.toFixed(2)} virtual hours in ${seconds.toFixed(1)} s (x${Math.round((hours * 3600) / seconds)}), ${failures} violations`,
  );
}

if (isMainThread) await main();
else serveSeeds();
