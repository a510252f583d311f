/** Puts from many connections, and how long they took: what `check` is made of. */

import { goQuote, out } from "@etcd-ts/cli";
import { errorText } from "@etcd-ts/client";
import type { Bytes, Client } from "@etcd-ts/client";

import type { Context } from "../context.ts";
import { EXIT, ExitError } from "../exit.ts";

export const LOADS = ["s", "m", "l", "xl"] as const;
export type Load = (typeof LOADS)[number];

const NAMES: { readonly [name: string]: Load } = {
  s: "s",
  small: "s",
  m: "m",
  medium: "m",
  l: "l",
  large: "l",
  xl: "xl",
  xLarge: "xl",
};
/** Of compacting and defragmenting afterwards. */
const AFTERWARDS = { timeoutMs: 30_000 };

/** @throws {ExitError} */
export function loadFrom(context: Context): Load {
  const word = context.flags.string("load");
  const load = NAMES[word];
  if (load === undefined) throw new ExitError(EXIT.badFeature, `unknown load option ${word}`);
  return load;
}

/** Each with connections of its own. */
export async function openClients(context: Context, count: number): Promise<readonly Client[]> {
  const clients: Client[] = [];
  while (clients.length < count) clients.push(await context.client());
  return clients;
}

/** @param command - deletes them. @throws {ExitError} if there are keys under the prefix */
export async function mustBeEmpty(client: Client, prefix: string, command: string): Promise<void> {
  const { kvs } = await client.kv.get(prefix, { prefix: true, limit: 1 });
  if (kvs.length === 0) return;
  throw new ExitError(
    EXIT.invalidInput,
    `prefix ${goQuote(prefix)} has keys. Delete with ${command} first`,
  );
}

/** What `--auto-compact` and `--auto-defrag` ask for. */
export async function tidyUp(context: Context, client: Client, revision: number): Promise<void> {
  if (context.flags.bool("auto-compact")) {
    out(`Compacting with revision ${revision}\n`);
    await client.kv.compact(revision, { physical: true, ...AFTERWARDS });
    out(`Compacted with revision ${revision}\n`);
  }
}

export async function defragmentAll(context: Context): Promise<void> {
  if (!context.flags.bool("auto-defrag")) return;
  for (const endpoint of await context.endpoints()) {
    out(`Defragmenting ${goQuote(endpoint)}\n`);
    const client = await context.client(endpoint);
    await client.maintenance.defragment(AFTERWARDS);
    out(`Defragmented ${goQuote(endpoint)}\n`);
  }
}

export interface Statistics {
  readonly perSecond: number;
  readonly slowestSeconds: number;
  /** Standard deviation of the times; not a number if there are none. */
  readonly deviationSeconds: number;
  readonly errors: ReadonlyMap<string, number>;
}

/** Times and failures of requests. */
export class Measurement {
  readonly #seconds: number[] = [];
  readonly #errors = new Map<string, number>();
  readonly #startMs = performance.now();

  /** Runs a request; a failure is counted, not thrown. */
  async of(request: () => Promise<unknown>): Promise<void> {
    const startMs = performance.now();
    try {
      await request();
      this.#seconds.push((performance.now() - startMs) / 1000);
    } catch (error) {
      const text = errorText(error);
      this.#errors.set(text, (this.#errors.get(text) ?? 0) + 1);
    }
  }

  /** Of all that has ended since the measurement began. */
  statistics(): Statistics {
    const count = this.#seconds.length;
    const totalSeconds = (performance.now() - this.#startMs) / 1000;
    let sum = 0;
    let slowestSeconds = 0;
    for (const seconds of this.#seconds) {
      sum += seconds;
      slowestSeconds = Math.max(slowestSeconds, seconds);
    }
    let squares = 0;
    for (const seconds of this.#seconds) squares += (seconds - sum / count) ** 2;
    return {
      perSecond: count / totalSeconds,
      slowestSeconds,
      deviationSeconds: Math.sqrt(squares / count),
      errors: this.#errors,
    };
  }
}

/** Prints failures, if any. @returns whether there were none */
export function reportErrors(errors: ReadonlyMap<string, number>): boolean {
  if (errors.size === 0) return true;
  out("FAIL: too many errors\n");
  for (const [text, count] of errors) out(`FAIL: ERROR(${text}) -> ${count}\n`);
  return false;
}

const RANDOM_BYTES = 8;

/** Keys of a fixed length under a prefix, random in their first bytes and zero after them. */
export function randomKeys(prefix: string, keyBytes: number): () => Bytes {
  const prefixBytes = Buffer.from(prefix);
  return () => {
    const key = Buffer.alloc(prefixBytes.length + keyBytes);
    key.set(prefixBytes);
    for (let i = 0; i < RANDOM_BYTES; i++) {
      key[prefixBytes.length + i] = Math.floor(Math.random() * 256);
    }
    return key;
  };
}

/**
 * Hands out requests at a steady pace: `perSecond` of them, as far as the workers keep up. As many
 * as there are workers may wait; what is due beyond that is left out.
 *
 * @param perform - does one request with worker `i`; does not throw
 */
export async function atPace(
  perSecond: number,
  workerCount: number,
  signal: AbortSignal,
  perform: (i: number) => Promise<void>,
): Promise<void> {
  const idle = Array.from({ length: workerCount }, (_, i) => i);
  const running = new Set<Promise<void>>();
  let waiting = 0;
  const work = async (i: number): Promise<void> => {
    await perform(i);
    while (waiting > 0 && !signal.aborted) {
      waiting--;
      await perform(i);
    }
    idle.push(i);
  };
  const offer = (): void => {
    const worker = idle.pop();
    if (worker === undefined) waiting = Math.min(waiting + 1, workerCount);
    else {
      const promise = work(worker).finally(() => running.delete(promise));
      running.add(promise);
    }
  };
  const startMs = performance.now();
  let handedOut = 0;
  while (!signal.aborted) {
    const due = Math.floor(((performance.now() - startMs) / 1000) * perSecond) + 1;
    for (; handedOut < due; handedOut++) offer();
    await new Promise((resolve) => setTimeout(resolve, Math.max(1, 1000 / perSecond)));
  }
  await Promise.all(running);
}
