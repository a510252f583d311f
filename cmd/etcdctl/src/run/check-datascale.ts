/** check datascale: by how much the memory of a server grows with many keys. */

import { out, ProgressBar } from "@etcd-ts/cli";
import { errorText } from "@etcd-ts/client";
import type { Client } from "@etcd-ts/client";

import type { Context } from "../context.ts";
import { EXIT, SilentExit } from "../exit.ts";
import {
  defragmentAll,
  loadFrom,
  Measurement,
  mustBeEmpty,
  openClients,
  randomKeys,
  reportErrors,
  tidyUp,
} from "./load.ts";
import type { Load } from "./load.ts";
import { readMetric } from "./metrics.ts";

interface Scale {
  readonly keys: number;
  readonly clients: number;
}

const SCALES: { readonly [load in Load]: Scale } = {
  s: { keys: 10_000, clients: 50 },
  m: { keys: 100_000, clients: 200 },
  l: { keys: 1_000_000, clients: 500 },
  xl: { keys: 3_000_000, clients: 1000 },
};
const KEY_BYTES = 512;
const VALUE_BYTES = 512;
const MEMORY_METRIC = "process_resident_memory_bytes";
const BYTES_PER_MB = 1024 * 1024;

export async function checkDatascale(context: Context): Promise<void> {
  const scale = SCALES[loadFrom(context)];
  const prefix = context.flags.string("prefix");
  const clients = await openClients(context, scale.clients);
  await mustBeEmpty(clients[0]!, prefix, `etcdctl del --prefix ${prefix}`);
  const bytesBefore = await memoryOf(context, "before");
  out(
    `Start data scale check for work load [${scale.keys} key-value pairs, ${KEY_BYTES + VALUE_BYTES} bytes per key-value, ${scale.clients} concurrent clients].\n`,
  );
  const bar = new ProgressBar(scale.keys);
  const errors = await putAll(clients, prefix, scale.keys, () => bar.add(1));
  bar.finish();
  const bytesAfter = await memoryOf(context, "after");
  const { header } = await clients[0]!.kv.delete(prefix, { prefix: true });
  await tidyUp(context, clients[0]!, header?.revision ?? 0);
  await defragmentAll(context);
  if (!reportErrors(errors)) throw new SilentExit(EXIT.error);
  const used = (bytesAfter - bytesBefore) / BYTES_PER_MB;
  out(`PASS: Approximate system memory used : ${used.toFixed(2)} MB.\n`);
}

/** @returns failures by their text */
async function putAll(
  clients: readonly Client[],
  prefix: string,
  count: number,
  onDone: () => void,
): Promise<ReadonlyMap<string, number>> {
  const nextKey = randomKeys(prefix, KEY_BYTES);
  const value = Buffer.alloc(VALUE_BYTES);
  const measurement = new Measurement();
  let left = count;
  const work = async (client: Client): Promise<void> => {
    while (left > 0) {
      left--;
      await measurement.of(() => client.kv.put(nextKey(), value));
      onDone();
    }
  };
  await Promise.all(clients.map(work));
  return measurement.statistics().errors;
}

/** @throws {SilentExit} if the first endpoint does not tell */
async function memoryOf(context: Context, when: "before" | "after"): Promise<number> {
  try {
    const [endpoint = ""] = await context.endpoints();
    const bytes = await readMetric(endpoint, MEMORY_METRIC, await context.settings());
    if (bytes > 0) return bytes;
  } catch (error) {
    out(`fetch error: ${errorText(error)}\n`);
  }
  out(`FAIL: Could not read ${MEMORY_METRIC} ${when} the put operations.\n`);
  throw new SilentExit(EXIT.error);
}
