/** get, put, del, compaction. */

import { out, parseGoInt } from "@etcd-ts/cli";

import type { Context } from "../context.ts";
import { badArguments } from "../exit.ts";
import { SimplePrinter } from "../printers/index.ts";
import { deleteArguments, getArguments, putArguments } from "./kv-arguments.ts";

export async function get(context: Context): Promise<void> {
  const { key, options } = getArguments(context.args, context.flags);
  const client = await context.client();
  const response = await client.kv.get(key, { ...options, ...context.timeout });
  if (options.countOnly === true && context.format !== "fields") {
    throw badArguments("--count-only is only for `--write-out=fields`");
  }
  const { printer } = context;
  if (context.flags.bool("print-value-only")) {
    if (!(printer instanceof SimplePrinter)) {
      throw badArguments("print-value-only is only for `--write-out=simple`");
    }
    printer.valueOnly = true;
  }
  printer.get(response);
}

export async function put(context: Context): Promise<void> {
  const { key, value, options } = await putArguments(context.args, context.flags);
  const client = await context.client();
  context.printer.put(await client.kv.put(key, value, { ...options, ...context.timeout }));
}

export async function del(context: Context): Promise<void> {
  const { key, options } = await deleteArguments(context.args, context.flags);
  const client = await context.client();
  context.printer.del(await client.kv.delete(key, { ...options, ...context.timeout }));
}

export async function compaction(context: Context): Promise<void> {
  const [text] = context.args;
  if (text === undefined || context.args.length !== 1) {
    throw badArguments("compaction command needs 1 argument");
  }
  const revision = parseGoInt(text, 10);
  const client = await context.client();
  await client.kv.compact(Number(revision), {
    physical: context.flags.bool("physical"),
    ...context.timeout,
  });
  out(`compacted revision ${revision}\n`);
}
