/** lease grant, revoke, timetolive, list, keep-alive. */

import { out, parseGoInt } from "@etcd-ts/cli";
import { errorText } from "@etcd-ts/client";

import type { Context } from "../context.ts";
import { badArguments, EXIT, ExitError, orBadArguments } from "../exit.ts";
import { paddedID } from "../printers/printer.ts";
import { parseLeaseID } from "./kv-arguments.ts";

function onlyWord(context: Context, needs: string): string {
  const [word] = context.args;
  if (word === undefined || context.args.length !== 1) throw badArguments(needs);
  return word;
}

async function orExit<T>(promise: Promise<T>, status: number, prefix = ""): Promise<T> {
  try {
    return await promise;
  } catch (cause) {
    const text = errorText(cause);
    throw new ExitError(status, prefix === "" ? text : `${prefix} (${text})`, { cause });
  }
}

export async function grant(context: Context): Promise<void> {
  const word = onlyWord(context, "lease grant command needs TTL argument");
  const ttl = orBadArguments(
    () => parseGoInt(word, 10),
    (text) => `bad TTL (${text})`,
  );
  const client = await context.client();
  const granting = client.lease.grant(Number(ttl), context.timeout);
  context.printer.grant(await orExit(granting, EXIT.error, "failed to grant lease"));
}

export async function revoke(context: Context): Promise<void> {
  const id = parseLeaseID(onlyWord(context, "lease revoke command needs 1 argument"), " arg");
  const client = await context.client();
  const revoking = client.lease.revoke(id, context.timeout);
  context.printer.revoke(id, await orExit(revoking, EXIT.error, "failed to revoke lease"));
}

export async function timeToLive(context: Context): Promise<void> {
  const word = onlyWord(context, "lease timetolive command needs lease ID as argument");
  const keys = context.flags.bool("keys");
  const client = await context.client();
  const asking = client.lease.timeToLive(parseLeaseID(word, " arg"), { keys });
  context.printer.timeToLive(await orExit(asking, EXIT.badConnection), keys);
}

export async function list(context: Context): Promise<void> {
  const client = await context.client();
  context.printer.leases(await orExit(client.lease.list(), EXIT.badConnection));
}

export async function keepAlive(context: Context): Promise<void> {
  const word = onlyWord(context, "lease keep-alive command needs lease ID as argument");
  const id = parseLeaseID(word, " arg");
  const client = await context.client();
  if (context.flags.bool("once")) {
    const renewing = client.lease.keepAliveOnce(id);
    context.printer.keepAlive(await orExit(renewing, EXIT.badConnection));
    return;
  }
  const { printer } = context;
  for await (const answer of client.lease.keepAlive(id)) printer.keepAlive(answer);
  if (context.format === "simple") out(`lease ${paddedID(id)} expired or revoked.\n`);
}
