/** endpoint health, status, hashkv; defrag. One member after the other, each by its own client. */

import { err, formatGoDuration, out } from "@etcd-ts/cli";
import { errorText } from "@etcd-ts/client";
import type { Client } from "@etcd-ts/client";

import type { Context } from "../context.ts";
import { EXIT, ExitError, SilentExit } from "../exit.ts";
import { alarmName } from "../printers/printer.ts";
import type { EndpointHealth, OfEndpoint } from "../printers/index.ts";

/** The endpoints of the flags, or with `--cluster` those of all members. */
async function chosenEndpoints(context: Context): Promise<readonly string[]> {
  if (!context.flags.bool("cluster")) return context.endpoints();
  const client = await context.client();
  try {
    const { members } = await client.cluster.list(context.timeout);
    return members.flatMap(({ clientURLs }) => clientURLs);
  } catch (cause) {
    throw new ExitError(
      EXIT.error,
      `failed to fetch endpoints from etcd cluster member list: ${errorText(cause)}`,
      { cause },
    );
  } finally {
    await client.close();
  }
}

/** Asks every endpoint; tells which failed, and how the last of them did. */
async function askAll<T>(
  context: Context,
  what: string,
  ask: (client: Client) => Promise<T>,
): Promise<{ readonly answers: OfEndpoint<T>[]; readonly failure: unknown }> {
  const answers: OfEndpoint<T>[] = [];
  let failure: unknown;
  for (const endpoint of await chosenEndpoints(context)) {
    const client = await context.client(endpoint);
    try {
      answers.push({ endpoint, response: await ask(client) });
    } catch (error) {
      failure = error;
      context.reportFailures();
      err(`Failed to get the ${what} of endpoint ${endpoint} (${errorText(error)})\n`);
    }
    await client.close();
  }
  return { answers, failure };
}

export async function status(context: Context): Promise<void> {
  const { answers, failure } = await askAll(context, "status", (client) =>
    client.maintenance.status(context.timeout),
  );
  context.printer.endpointStatus(answers);
  if (failure !== undefined) throw new SilentExit(EXIT.error);
}

export async function hashKV(context: Context): Promise<void> {
  const revision = context.flags.number("rev");
  const { answers, failure } = await askAll(context, "hash", (client) =>
    client.maintenance.hashKV(revision, context.timeout),
  );
  context.printer.endpointHashKV(answers);
  if (failure !== undefined) throw new ExitError(EXIT.error, errorText(failure));
}

export async function health(context: Context): Promise<void> {
  const endpoints = await chosenEndpoints(context);
  const list = await Promise.all(endpoints.map((endpoint) => healthOf(context, endpoint)));
  context.reportFailures();
  context.printer.endpointHealth(list);
  if (list.some(({ error }) => error !== "")) {
    throw new ExitError(EXIT.error, "unhealthy cluster");
  }
}

/** Healthy is who answers a read the leader agreed to, and has no alarm. */
async function healthOf(context: Context, endpoint: string): Promise<EndpointHealth> {
  const client = await context.client(endpoint);
  const start = performance.now();
  let error = "";
  try {
    await client.kv.get("health", context.timeout);
  } catch (cause) {
    const text = errorText(cause);
    if (text !== "etcdserver: permission denied") error = text;
  }
  const took = formatGoDuration(performance.now() - start);
  if (error === "") {
    try {
      const { alarms } = await client.maintenance.alarms(context.timeout);
      if (alarms.length > 0) {
        error = `Active Alarm(s): ${alarms.map(({ alarm }) => `${alarmName(alarm)} `).join("")}`;
      }
    } catch {
      error = "Unable to fetch the alarm list";
    }
  }
  await client.close();
  return { endpoint, isHealthy: error === "", took, error };
}

export async function defrag(context: Context): Promise<void> {
  let failures = 0;
  for (const endpoint of await inDefragOrder(context, await chosenEndpoints(context))) {
    const client = await context.client(endpoint);
    const start = performance.now();
    const took = (): string => formatGoDuration(performance.now() - start);
    try {
      await client.maintenance.defragment(context.timeout);
      out(`Finished defragmenting etcd member[${endpoint}]. took ${took()}\n`);
    } catch (error) {
      failures++;
      context.reportFailures();
      err(`Failed to defragment etcd member[${endpoint}]. took ${took()}. (${errorText(error)})\n`);
    }
    await client.close();
  }
  if (failures > 0) throw new SilentExit(EXIT.error);
}

/** With `--cluster` the leader comes last: a busy leader may lose its place. */
async function inDefragOrder(
  context: Context,
  endpoints: readonly string[],
): Promise<readonly string[]> {
  if (!context.flags.bool("cluster") || endpoints.length < 2) return endpoints;
  const leaders = new Set<string>();
  for (const endpoint of endpoints) {
    const client = await context.client(endpoint);
    try {
      const { header, leader } = await client.maintenance.status(context.timeout);
      if (header?.memberId === leader) leaders.add(endpoint);
    } catch {
      // It will fail again when its turn comes, and be reported then.
    }
    await client.close();
  }
  const others = endpoints.filter((endpoint) => !leaders.has(endpoint));
  return [...others, ...endpoints.filter((endpoint) => leaders.has(endpoint))];
}
