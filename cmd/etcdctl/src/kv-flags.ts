/** Flags of get, put and del; lines of a transaction have them too. */

import { boolFlag, intFlag, stringFlag } from "./global-flags.ts";

export const GET = [
  stringFlag(
    "consistency",
    "l: ask the leader (linearizable); s: answer from what the member has",
    "l",
  ),
  boolFlag("count-only", "print the number of keys alone (with -w fields)"),
  boolFlag("from-key", "all keys from <key> on, in byte order"),
  boolFlag("keys-only", "leave the values out"),
  intFlag("limit", "most keys to return; 0 for all"),
  intFlag("max-create-rev", "only keys created at or before this revision"),
  intFlag("max-mod-rev", "only keys last changed at or before this revision"),
  intFlag("min-create-rev", "only keys created at or after this revision"),
  intFlag("min-mod-rev", "only keys last changed at or after this revision"),
  stringFlag("order", "ASCEND (the default) or DESCEND"),
  boolFlag("prefix", "all keys that begin with <key>"),
  boolFlag("print-value-only", "print values without their keys (with -w simple)"),
  intFlag("rev", "the keys as they were at this revision; 0 for now"),
  stringFlag("sort-by", "CREATE, KEY, MODIFY, VALUE or VERSION"),
];

export const PUT = [
  boolFlag("ignore-lease", "keep the key's lease"),
  boolFlag("ignore-value", "keep the key's value"),
  stringFlag("lease", "lease to attach the key to, in hexadecimal", "0"),
  boolFlag("prev-kv", "print what was there before"),
];

export const DEL = [
  boolFlag("from-key", "all keys from <key> on, in byte order"),
  boolFlag("prefix", "all keys that begin with <key>"),
  boolFlag("prev-kv", "print what was deleted"),
  boolFlag("range", "a range is meant: do not wait two seconds before deleting it"),
];

export const WATCH = [
  {
    ...boolFlag("interactive", "read lines `watch ...` and `progress` from standard input"),
    short: "i",
  },
  boolFlag("prefix", "all keys that begin with the key"),
  boolFlag("prev-kv", "print what was there before each event"),
  boolFlag("progress-notify", "print from time to time how far the watch has come"),
  intFlag("rev", "begin at this revision, in the past too"),
];
