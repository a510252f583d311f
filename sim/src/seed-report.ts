/** One seed run and put into words; made of what may pass between threads. */

import { NODE_PORTS } from "./node-ports.ts";
import { drawOptions, optionText } from "./options.ts";
import { simulate } from "./simulation.ts";
import type { Outcome } from "./simulation.ts";

export interface SeedRequest {
  readonly seed: number;
  /** How long faults go on; undefined: as drawn. */
  readonly minutes: number | undefined;
  /** With its options, and with what happened if it fails. */
  readonly isDetailed: boolean;
}

export interface SeedReport {
  readonly lines: readonly string[];
  readonly virtualMs: number;
  readonly counts: ReadonlyMap<string, number>;
  readonly isFailure: boolean;
}

export async function reportSeed(request: SeedRequest): Promise<SeedReport> {
  const { seed, minutes, isDetailed } = request;
  const options = drawOptions(seed, minutes === undefined ? undefined : minutes * 60_000);
  const startMs = performance.now();
  const outcome = await simulate(options, NODE_PORTS);
  const lines = [summary(outcome, performance.now() - startMs)];
  const isFailure = outcome.failure !== undefined;
  if (isFailure || isDetailed) lines.push(`  ${optionText(options)}`);
  if (isDetailed) lines.push(...outcome.story.map((line) => `  ${line}`));
  if (outcome.failure !== undefined) {
    lines.push(`  ${outcome.failure.stack ?? outcome.failure.message}`, replayLine(request));
  }
  return { lines, virtualMs: outcome.virtualMs, counts: outcome.counts, isFailure };
}

/** The command that runs a seed again. */
export function replayLine({ seed, minutes }: SeedRequest): string {
  const length = minutes === undefined ? "" : ` --minutes ${minutes}`;
  return `  replay: npm run sim -- --seed ${seed}${length}`;
}

function summary({ seed, virtualMs, traceHash, counts, failure }: Outcome, tookMs: number): string {
  const verdict = failure === undefined ? "ok  " : "FAIL";
  const operations = counts.get("operations checked") ?? 0;
  const time = `${(virtualMs / 1000).toFixed(0)} s virtual in ${(tookMs / 1000).toFixed(1)} s`;
  const ratio = Math.round(virtualMs / tookMs);
  return `${verdict} seed ${seed} trace ${traceHash} ${time} (x${ratio}) ${operations} operations`;
}
