/**
 * txn: comparisons, operations if they hold, operations if not, each block ended by an empty line.
 *
 * Grammar of a comparison: `target("key") relation "value"`, both strings as Go writes them.
 */

import { CommandFlags, FlagError, goQuote, out, parseGoInt, readGoQuoted } from "@etcd-ts/cli";
import { compare, op } from "@etcd-ts/client";
import type { Relation } from "@etcd-ts/client";
import type { Compare, RequestOp } from "@etcd-ts/api";

import { DEL, GET, PUT } from "../kv-flags.ts";
import type { Context } from "../context.ts";
import { badArguments, EXIT, ExitError } from "../exit.ts";
import { LineReader } from "../lines.ts";
import { splitWords } from "../words.ts";
import { deleteArguments, getArguments, putArguments } from "./kv-arguments.ts";

export async function txn(context: Context): Promise<void> {
  if (context.args.length > 0) throw badArguments("txn command does not accept argument");
  const client = await context.client();
  const isInteractive = context.flags.bool("interactive");
  const lines = new LineReader();
  const block = async <T>(title: string, parse: (line: string) => Promise<T>): Promise<T[]> => {
    if (isInteractive) out(`${title}\n`);
    const items: T[] = [];
    for (;;) {
      const line = (await lines.next())?.trim();
      if (line === undefined) throw invalidInput("EOF");
      if (line === "") return items;
      items.push(await parse(line));
    }
  };
  const comparisons = await block("compares:", (line) => Promise.resolve(parseCompare(line)));
  const success = await block("success requests (get, put, del):", parseOperation);
  const failure = await block("failure requests (get, put, del):", parseOperation);
  const response = await client.kv
    .txn()
    .if(...comparisons)
    .do(...success)
    .else(...failure)
    .commit();
  context.printer.txn(response);
}

function invalidInput(message: string): ExitError {
  return new ExitError(EXIT.invalidInput, message);
}

/** @throws {ExitError} */
export async function parseOperation(line: string): Promise<RequestOp> {
  const [name, ...words] = splitWords(line);
  if (words.length === 0) throw invalidInput(`invalid txn compare request: ${line}`);
  const parse = (flags: CommandFlags): string[] => {
    try {
      return flags.parse(words);
    } catch (cause) {
      if (!(cause instanceof FlagError)) throw cause;
      throw new ExitError(EXIT.invalidInput, `invalid txn request: ${line}`, { cause });
    }
  };
  if (name === "get") {
    const flags = new CommandFlags(GET);
    const { key, options } = getArguments(parse(flags), flags);
    return op.get(key, options);
  }
  if (name === "put") {
    const flags = new CommandFlags(PUT);
    const { key, value, options } = await putArguments(parse(flags), flags);
    return op.put(key, value, options);
  }
  if (name === "del") {
    const flags = new CommandFlags(DEL);
    const { key, options } = await deleteArguments(parse(flags), flags);
    return op.delete(key, options);
  }
  throw invalidInput(`invalid txn request: ${line}`);
}

const RELATIONS: ReadonlySet<string> = new Set(["=", "!=", "<", ">"]);

/** @throws {ExitError} */
export function parseCompare(line: string): Compare {
  const open = line.indexOf("(");
  const malformed = (why = ""): ExitError => invalidInput(`malformed comparison: ${line}${why}`);
  if (open < 0) throw malformed();
  const target = line.slice(0, open);
  const key = readGoQuoted(line.slice(open + 1).trimStart());
  const middle = key === undefined ? null : /^\)\s+(\S+)/.exec(key.rest);
  const spaced = middle === null ? "" : key!.rest.slice(middle[0].length);
  const value = /^\s/.test(spaced) ? readGoQuoted(spaced.trimStart()) : undefined;
  if (key === undefined || middle === null || value === undefined) {
    throw malformed(`; got ${target}(${goQuote(key?.value ?? "")}) ${middle?.[1] ?? ""} ""`);
  }
  if (!RELATIONS.has(middle[1]!)) throw malformed(` (unknown relation ${middle[1]})`);
  const relation = middle[1] as Relation;
  const number = (): number => {
    try {
      return Number(parseGoInt(Buffer.from(value.value).toString(), 10));
    } catch (cause) {
      throw new ExitError(EXIT.invalidInput, `invalid txn compare request: ${line}`, { cause });
    }
  };
  switch (target) {
    case "ver":
    case "version":
      return compare.version(key.value, relation, number());
    case "c":
    case "create":
      return compare.createRevision(key.value, relation, number());
    case "m":
    case "mod":
      return compare.modRevision(key.value, relation, number());
    case "val":
    case "value":
      return compare.value(key.value, relation, value.value);
    case "lease":
      return compare.lease(key.value, relation, leaseOf(value.value, line));
    default:
      throw malformed(` (unknown target ${target})`);
  }
}

function leaseOf(text: Uint8Array, line: string): bigint {
  try {
    return parseGoInt(Buffer.from(text).toString(), 16);
  } catch (cause) {
    throw new ExitError(EXIT.invalidInput, `invalid txn compare request: ${line}`, { cause });
  }
}
