/** lock and elect: held until a signal, or while a command runs. */

import { RangeResponseCodec } from "@etcd-ts/api";
import { Election, Mutex, Session } from "@etcd-ts/client";

import type { Context } from "../context.ts";
import { badArguments, EXIT, ExitError, SilentExit } from "../exit.ts";
import { runCommand } from "./watch.ts";

/** Of `elect`, whose command line has no flag for it. */
const ELECT_TTL_SECONDS = 60;

/** Settles, and aborts the signal, at the first SIGINT or SIGTERM. */
function interruption(): { readonly signal: AbortSignal; readonly came: Promise<"signal"> } {
  const abort = new AbortController();
  const came = new Promise<"signal">((resolve) => {
    const stop = (): void => {
      abort.abort();
      resolve("signal");
    };
    process.once("SIGINT", stop);
    process.once("SIGTERM", stop);
  });
  return { signal: abort.signal, came };
}

function ended(session: Session): Promise<"expired"> {
  return session.done.then(
    () => "expired",
    () => "expired",
  );
}

export async function lock(context: Context): Promise<void> {
  const [name, ...command] = context.args;
  if (name === undefined) {
    throw badArguments("lock takes a lock name argument and an optional command to execute");
  }
  const client = await context.client();
  const session = await Session.create(client, { ttlSeconds: context.flags.number("ttl") });
  const { signal, came } = interruption();
  const mutex = new Mutex(session, name);
  await mutex.lock({ signal });
  if (command.length > 0) {
    const { status, text } = await runCommand(command, {
      ETCD_LOCK_KEY: mutex.key,
      ETCD_LOCK_REV: String(mutex.header?.revision ?? 0),
    });
    await mutex.unlock();
    if (status !== 0) throw new ExitError(status, text);
    return;
  }
  const held = await client.kv.get(mutex.key, { signal });
  if (held.kvs.length === 0) throw new ExitError(EXIT.error, "lock lost on init");
  context.printer.get(held);
  if ((await Promise.race([came, ended(session)])) === "expired") {
    throw new ExitError(EXIT.error, "session expired");
  }
  await mutex.unlock();
}

export async function elect(context: Context): Promise<void> {
  const [name, proposal] = context.args;
  if (name === undefined || context.args.length > 2) {
    throw badArguments("elect takes one election name argument and an optional proposal argument");
  }
  const isListening = context.flags.bool("listen");
  if (proposal === undefined && !isListening) {
    throw badArguments("no proposal argument but -l not set");
  }
  if (proposal !== undefined && isListening) {
    throw badArguments("proposal given but -l is set");
  }
  const client = await context.client();
  const session = await Session.create(client, { ttlSeconds: ELECT_TTL_SECONDS });
  const election = new Election(session, name);
  if (proposal === undefined) await observe(context, election);
  else await campaign(context, session, election, proposal);
}

async function observe(context: Context, election: Election): Promise<void> {
  const { signal, came } = interruption();
  const { printer } = context;
  const reading = (async () => {
    for await (const { header, kv, more, count } of election.observe({ signal })) {
      printer.get(RangeResponseCodec.create({ header, kvs: [kv], more, count }));
    }
  })();
  // What cannot be printed ends it; what ends the watch is only told as the end.
  const ended = reading.catch((error: unknown) => {
    if (error instanceof ExitError) throw error;
  });
  await Promise.race([came, ended]);
  if (!signal.aborted) throw new ExitError(EXIT.error, "elect: observer lost");
  throw new SilentExit(0);
}

async function campaign(
  context: Context,
  session: Session,
  election: Election,
  proposal: string,
): Promise<void> {
  const { signal, came } = interruption();
  await election.campaign(proposal, { signal });
  context.printer.get(await session.client.kv.get(election.key, { signal }));
  if ((await Promise.race([came, ended(session)])) === "expired") {
    throw new ExitError(EXIT.error, "elect: session expired");
  }
  await election.resign();
}
