/** What the words and flags of `get`, `put` and `del` ask for; `txn` reads its lines the same way. */

import { err, goQuote, parseGoInt } from "@etcd-ts/cli";
import type { CommandFlags } from "@etcd-ts/cli";
import type { Bytes, DeleteOptions, GetOptions, PutOptions, RangeOptions } from "@etcd-ts/client";

import { badArguments, EXIT, ExitError, orBadArguments } from "../exit.ts";
import { readAll } from "../lines.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const SORT_TARGETS: { readonly [name: string]: GetOptions["sortBy"] } = {
  CREATE: "CREATE",
  KEY: "KEY",
  MODIFY: "MOD",
  VALUE: "VALUE",
  VERSION: "VERSION",
  "": "KEY",
};
const ORDERS: { readonly [name: string]: GetOptions["order"] } = {
  ASCEND: "ASCEND",
  DESCEND: "DESCEND",
  "": "NONE",
};

/** Whether a read may be answered by one member alone. @throws {ExitError} */
export function isSerializable(consistency: string): boolean {
  if (consistency === "s" || consistency === "l") return consistency === "s";
  throw badFeature(`unknown consistency flag ${goQuote(consistency)}`);
}

function badFeature(message: string): ExitError {
  return new ExitError(EXIT.badFeature, message);
}

/** The second word or the flag that makes a range of a key. */
function rangeOptions(args: readonly string[], flags: CommandFlags): Mutable<RangeOptions> {
  const prefix = flags.bool("prefix");
  const fromKey = flags.bool("from-key");
  const rangeEnd = args[1];
  if (rangeEnd !== undefined && (prefix || fromKey)) {
    throw badArguments(
      "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
    );
  }
  return { prefix, fromKey, ...(rangeEnd === undefined ? {} : { rangeEnd }) };
}

function refuseBoth(flags: CommandFlags, one: string, other: string): void {
  if (!flags.bool(one) || !flags.bool(other)) return;
  throw badArguments(`\`--${one}\` and \`--${other}\` cannot be set at the same time, choose one`);
}

/** @throws {ExitError} */
export function getArguments(
  args: readonly string[],
  flags: CommandFlags,
): { readonly key: string; readonly options: GetOptions } {
  const key = args[0];
  if (key === undefined) {
    throw badArguments(
      "get command needs one argument as key and an optional argument as range_end",
    );
  }
  refuseBoth(flags, "prefix", "from-key");
  refuseBoth(flags, "keys-only", "count-only");
  const serializable = isSerializable(flags.string("consistency"));
  const range = rangeOptions(args, flags);
  const order = ORDERS[flags.string("order").toUpperCase()];
  if (order === undefined) throw badFeature(`bad sort order ${flags.string("order")}`);
  const sortBy = SORT_TARGETS[flags.string("sort-by").toUpperCase()];
  if (sortBy === undefined) throw badFeature(`bad sort target ${flags.string("sort-by")}`);
  const atLeastZero = (name: string): number => Math.max(0, flags.number(name));
  const [minCreate, maxCreate] = [atLeastZero("min-create-rev"), atLeastZero("max-create-rev")];
  if (maxCreate > 0 && minCreate > maxCreate) {
    throw badFeature(`getMinCreateRev(=${minCreate}) > getMaxCreateRev(=${maxCreate})`);
  }
  const [minMod, maxMod] = [atLeastZero("min-mod-rev"), atLeastZero("max-mod-rev")];
  if (maxMod > 0 && minMod > maxMod) {
    throw badFeature(`getMinModRev(=${minMod}) > getMaxModRev(=${maxMod})`);
  }
  const options = {
    ...range,
    serializable,
    order,
    sortBy,
    limit: flags.number("limit"),
    revision: atLeastZero("rev"),
    keysOnly: flags.bool("keys-only"),
    countOnly: flags.bool("count-only"),
    minCreateRevision: minCreate,
    maxCreateRevision: maxCreate,
    minModRevision: minMod,
    maxModRevision: maxMod,
  };
  return { key, options };
}

/** A lease id in hexadecimal. @throws {ExitError} */
export function parseLeaseID(text: string, what: string): bigint {
  return orBadArguments(
    () => parseGoInt(text, 16),
    (reason) => `bad lease ID${what} (${reason}), expecting ID in Hex`,
  );
}

const PUT_NEEDS = "put command needs 1 argument and input from stdin or 2 arguments";

/** @throws {ExitError} */
export async function putArguments(
  args: readonly string[],
  flags: CommandFlags,
): Promise<{ readonly key: string; readonly value: Bytes; readonly options: PutOptions }> {
  const key = args[0];
  if (key === undefined) throw badArguments(PUT_NEEDS);
  const ignoreValue = flags.bool("ignore-value");
  if (ignoreValue && args.length > 1) {
    throw badArguments("put command needs only 1 argument when 'ignore-value' is set");
  }
  let value: Bytes = args[1] ?? "";
  if (!ignoreValue && args[1] === undefined) {
    value = await readAll();
    if (value.length === 0) throw badArguments(PUT_NEEDS);
  }
  const options = {
    lease: parseLeaseID(flags.string("lease"), ""),
    prevKV: flags.bool("prev-kv"),
    ignoreValue,
    ignoreLease: flags.bool("ignore-lease"),
  };
  return { key, value: ignoreValue ? "" : value, options };
}

const RANGE_WARNING_MS = 2000;

/** Waits two seconds before a range is deleted that was not asked for by its flag. */
export async function deleteArguments(
  args: readonly string[],
  flags: CommandFlags,
): Promise<{ readonly key: string; readonly options: DeleteOptions }> {
  const [key, end] = args;
  if (key === undefined || args.length > 2) {
    throw badArguments(
      "del command needs one argument as key and an optional argument as range_end",
    );
  }
  refuseBoth(flags, "prefix", "from-key");
  const range = rangeOptions(args, flags);
  if (end !== undefined && !flags.bool("range")) {
    err(
      `Warning: Keys between ${goQuote(key)} and ${goQuote(end)} will be deleted. Please interrupt the command within next 2 seconds to cancel. You can provide \`--range\` flag to avoid the delay.\n`,
    );
    await new Promise((resolve) => setTimeout(resolve, RANGE_WARNING_MS));
  }
  return { key, options: { ...range, prevKV: flags.bool("prev-kv") } };
}
