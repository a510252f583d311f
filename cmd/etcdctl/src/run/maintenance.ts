/** alarm, move-leader, downgrade. */

import { hexFromID } from "@etcd-ts/base";
import { parseGoUint } from "@etcd-ts/cli";

import type { Context } from "../context.ts";
import { badArguments, orBadArguments } from "../exit.ts";

export async function alarmList(context: Context): Promise<void> {
  if (context.args.length > 0) throw badArguments("alarm list command accepts no arguments");
  const client = await context.client();
  context.printer.alarms(await client.maintenance.alarms(context.timeout));
}

export async function alarmDisarm(context: Context): Promise<void> {
  if (context.args.length > 0) throw badArguments("alarm disarm command accepts no arguments");
  const client = await context.client();
  context.printer.alarms(await client.maintenance.disarmAll(context.timeout));
}

export async function moveLeader(context: Context): Promise<void> {
  const [word] = context.args;
  if (word === undefined || context.args.length !== 1) {
    throw badArguments("move-leader command needs 1 argument");
  }
  const target = orBadArguments(
    () => parseGoUint(word, 16),
    (text) => text,
  );
  const endpoints = await context.endpoints();
  for (const endpoint of endpoints) {
    const client = await context.client(endpoint);
    const { header, leader } = await client.maintenance.status(context.timeout);
    if (header?.memberId !== leader) continue;
    const response = await client.maintenance.moveLeader(target, context.timeout);
    const text = `Leadership transferred from ${hexFromID(leader)} to ${hexFromID(target)}`;
    context.printer.moveLeader(text, response);
    return;
  }
  throw badArguments(`no leader endpoint given at [${endpoints.join(" ")}]`);
}

function targetVersion(context: Context): string {
  const [version] = context.args;
  if (version === undefined) throw badArguments("TARGET_VERSION not provided");
  if (context.args.length > 1) throw badArguments("too many arguments");
  if (version === "") throw badArguments("target version not provided");
  return version;
}

async function downgrade(
  context: Context,
  action: "VALIDATE" | "ENABLE" | "CANCEL",
  version: string,
): Promise<void> {
  const client = await context.client();
  const response = await client.maintenance.downgrade(action, version, context.timeout);
  const text = `Downgrade ${action.toLowerCase()} success, cluster version ${response.version}`;
  context.printer.downgrade(text, response);
}

export async function downgradeValidate(context: Context): Promise<void> {
  await downgrade(context, "VALIDATE", targetVersion(context));
}

export async function downgradeEnable(context: Context): Promise<void> {
  await downgrade(context, "ENABLE", targetVersion(context));
}

export async function downgradeCancel(context: Context): Promise<void> {
  await downgrade(context, "CANCEL", "");
}
