/**
 * `npm run sim`: runs seeds until there are enough, the time is over, or a promise was broken.
 *
 *   --seed N      one seed, told in detail
 *   --seeds N     N seeds, from --from (default 1)
 *   --seconds S   seeds until S seconds are over
 *   --hours H     ends sooner, once H virtual hours are reached
 *   --minutes M   how long faults go on in each run (default: drawn from the seed)
 */

import { parseArgs } from "node:util";
import process, { exit } from "node:process";
import { setImmediate as nextImmediate } from "node:timers/promises";

import { drawOptions, optionText } from "./options.ts";
import { simulate } from "./simulation.ts";
import type { Outcome } from "./simulation.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string" },
    seconds: { type: "string" },
    hours: { type: "string" },
    minutes: { type: "string" },
    from: { type: "string" },
    story: { type: "boolean" },
  },
});

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value >= 0)) {
    console.error(`not a number: ${text}`);
    exit(2);
  }
  return value;
}

const only = numberOf(values.seed);
const minutes = numberOf(values.minutes);
const seconds = numberOf(values.seconds);
const hours = numberOf(values.hours);
const from = only ?? numberOf(values.from) ?? 1;
const seeds =
  only === undefined ? (numberOf(values.seeds) ?? (seconds === undefined ? 10 : Infinity)) : 1;

/** The seed that runs now. */
let current = from;
process.on("unhandledRejection", (error) => {
  console.error(`FAIL seed ${current}: a promise was rejected and nobody cared`, error);
  console.error(`  replay: npm run sim -- --seed ${current}`);
  exit(1);
});

/** The first interrupt lets the seed at hand end and tells the totals; the second ends at once. */
let isInterrupted = false;
process.once("SIGINT", () => {
  isInterrupted = true;
});

const startMs = performance.now();
const totals = new Map<string, number>();
let virtualMs = 0;
let runs = 0;
let failures = 0;

function passedSeconds(): number {
  return (performance.now() - startMs) / 1000;
}

async function runSeed(seed: number): Promise<Outcome> {
  current = seed;
  const options = drawOptions(seed, minutes === undefined ? undefined : minutes * 60_000);
  const seedMs = performance.now();
  if (only !== undefined) console.log(optionText(options));
  const outcome = await simulate(options, { settle: () => nextImmediate() });
  const tookMs = performance.now() - seedMs;
  const ratio = Math.round(outcome.virtualMs / tookMs);
  const verdict = outcome.failure === undefined ? "ok  " : "FAIL";
  console.log(
    `${verdict} seed ${seed} trace ${outcome.traceHash} ${(outcome.virtualMs / 1000).toFixed(0)} s virtual in ${(tookMs / 1000).toFixed(1)} s (x${ratio}) ${outcome.counts.get("operations checked") ?? 0} operations`,
  );
  if (outcome.failure !== undefined) {
    const length = minutes === undefined ? "" : ` --minutes ${minutes}`;
    if (only === undefined) console.log(`  ${optionText(options)}`);
    if (only !== undefined || values.story === true) {
      for (const line of outcome.story) console.log(`  ${line}`);
    }
    console.log(`  ${outcome.failure.stack ?? outcome.failure.message}`);
    console.log(`  replay: npm run sim -- --seed ${seed}${length}`);
  }
  return outcome;
}

for (let i = 0; i < seeds; i++) {
  if (isInterrupted) break;
  if (seconds !== undefined && passedSeconds() >= seconds) break;
  if (hours !== undefined && virtualMs >= hours * 3_600_000) break;
  const outcome = await runSeed(from + i);
  runs++;
  virtualMs += outcome.virtualMs;
  if (outcome.failure !== undefined) failures++;
  for (const [name, count] of outcome.counts) totals.set(name, (totals.get(name) ?? 0) + count);
}

console.log("");
for (const [name, count] of [...totals].sort(([a], [b]) => (a < b ? -1 : 1))) {
  console.log(`${String(count).padStart(12)}  ${name}`);
}
console.log(
  `${runs} seeds, ${(virtualMs / 3_600_000).toFixed(2)} virtual hours in ${passedSeconds().toFixed(1)} s (x${Math.round(virtualMs / 1000 / passedSeconds())}), ${failures} violations`,
);
exit(failures > 0 ? 1 : 0);
