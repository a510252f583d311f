/** check perf: whether a cluster takes a steady stream of puts, and how fast. */

import { out, ProgressBar } from "@etcd-ts/cli";
import { errorText } from "@etcd-ts/client";
import type { Client } from "@etcd-ts/client";

import type { Context } from "../context.ts";
import { EXIT, SilentExit } from "../exit.ts";
import {
  atPace,
  defragmentAll,
  loadFrom,
  Measurement,
  mustBeEmpty,
  openClients,
  randomKeys,
  reportErrors,
  tidyUp,
} from "./load.ts";
import type { Load, Statistics } from "./load.ts";

interface Pace {
  readonly perSecond: number;
  readonly clients: number;
}

const PACES: { readonly [load in Load]: Pace } = {
  s: { perSecond: 150, clients: 50 },
  m: { perSecond: 1000, clients: 200 },
  l: { perSecond: 8000, clients: 500 },
  xl: { perSecond: 15_000, clients: 1000 },
};
const DURATION_SECONDS = 60;
const KEY_BYTES = 256;
const VALUE_BYTES = 1024;
/** What counts as fast enough. */
const PER_SECOND_PART_MIN = 0.9;
const SLOWEST_SECONDS_MAX = 0.5;
const DEVIATION_SECONDS_MAX = 0.1;
const CLEANUP_TIMEOUT_MS = 30_000;

export async function checkPerf(context: Context): Promise<void> {
  const pace = PACES[loadFrom(context)];
  const prefix = context.flags.string("prefix");
  const clients = await openClients(context, pace.clients);
  await mustBeEmpty(clients[0]!, prefix, `'etcdctl del --prefix ${prefix}'`);
  const abort = new AbortController();
  // An interruption ends the load early; what was written is deleted all the same.
  process.once("SIGINT", () => abort.abort());
  const bar = new ProgressBar(DURATION_SECONDS);
  const seconds = setInterval(() => bar.add(1), 1000);
  const timer = setTimeout(() => abort.abort(), DURATION_SECONDS * 1000);
  const statistics = await putAtPace(clients, prefix, pace, abort.signal);
  clearInterval(seconds);
  clearTimeout(timer);
  bar.finish();
  await cleanUp(context, clients[0]!, prefix);
  await defragmentAll(context);
  const isPassed = report(statistics, pace.perSecond);
  out(isPassed ? "PASS\n" : "FAIL\n");
  if (!isPassed) throw new SilentExit(EXIT.error);
}

/** Puts until the signal comes. */
async function putAtPace(
  clients: readonly Client[],
  prefix: string,
  pace: Pace,
  signal: AbortSignal,
): Promise<Statistics> {
  const nextKey = randomKeys(prefix, KEY_BYTES);
  const value = Buffer.alloc(VALUE_BYTES);
  const measurement = new Measurement();
  await atPace(pace.perSecond, clients.length, signal, (i) =>
    measurement.of(() => clients[i]!.kv.put(nextKey(), value)),
  );
  return measurement.statistics();
}

async function cleanUp(context: Context, client: Client, prefix: string): Promise<void> {
  let revision: number;
  try {
    const { header } = await client.kv.delete(prefix, {
      prefix: true,
      timeoutMs: CLEANUP_TIMEOUT_MS,
    });
    revision = header?.revision ?? 0;
  } catch (error) {
    out(`FAIL: Cleanup failed during key deletion: ERROR(${errorText(error)})\n`);
    return;
  }
  await tidyUp(context, client, revision);
}

interface Criterion {
  readonly isMet: boolean;
  readonly line: string;
}

function criteriaOf(statistics: Statistics, perSecond: number): readonly Criterion[] {
  const { slowestSeconds, deviationSeconds } = statistics;
  const rate = `${Math.floor(statistics.perSecond) + 1} writes/s`;
  const slowest = `${slowestSeconds.toFixed(6)}s`;
  const deviation = `${deviationSeconds.toFixed(6)}s`;
  const of = (isMet: boolean, met: string, missed: string): Criterion => ({
    isMet,
    line: isMet ? `PASS: ${met}` : missed,
  });
  return [
    of(
      statistics.perSecond / perSecond > PER_SECOND_PART_MIN,
      `Throughput is ${rate}`,
      `FAIL: Throughput too low: ${rate}`,
    ),
    of(
      slowestSeconds <= SLOWEST_SECONDS_MAX,
      `Slowest request took ${slowest}`,
      `Slowest request took too long: ${slowest}`,
    ),
    // Without any time there is none that is too long.
    of(
      !(deviationSeconds > DEVIATION_SECONDS_MAX),
      `Stddev is ${deviation}`,
      `Stddev too high: ${deviation}`,
    ),
  ];
}

/** Whether the cluster is fast enough. */
export function isMet(statistics: Statistics, perSecond: number): boolean {
  return (
    statistics.errors.size === 0 && criteriaOf(statistics, perSecond).every((one) => one.isMet)
  );
}

/** Prints a line for each criterion. @returns whether all are met */
function report(statistics: Statistics, perSecond: number): boolean {
  reportErrors(statistics.errors);
  for (const { line } of criteriaOf(statistics, perSecond)) out(`${line}\n`);
  return isMet(statistics, perSecond);
}
