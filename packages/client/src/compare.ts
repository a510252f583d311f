/** Comparisons of a transaction. */

import { CompareCodec, CompareResult, CompareTarget } from "@etcd-ts/api";
import type { Compare, CompareValue } from "@etcd-ts/api";
import { EMPTY_BYTES } from "@etcd-ts/base";

import { bytesOf, keyRange } from "./bytes.ts";
import type { Bytes, RangeOptions } from "./bytes.ts";

export type Relation = "=" | "!=" | "<" | ">";

const RESULTS: { readonly [relation in Relation]: number } = {
  "=": CompareResult.EQUAL,
  "!=": CompareResult.NOT_EQUAL,
  "<": CompareResult.LESS,
  ">": CompareResult.GREATER,
};

function make(
  target: number,
  key: Bytes,
  relation: Relation,
  value: CompareValue,
  options: RangeOptions | undefined,
): Compare {
  const range =
    options === undefined ? { key: bytesOf(key), rangeEnd: EMPTY_BYTES } : keyRange(key, options);
  return CompareCodec.create({ result: RESULTS[relation], target, value, ...range });
}

/** `compare.version("key", "=", 0)` holds while the key does not exist. */
export const compare = {
  version: (key: Bytes, relation: Relation, version: number, options?: RangeOptions): Compare =>
    make(CompareTarget.VERSION, key, relation, { kind: "version", version }, options),
  createRevision: (
    key: Bytes,
    relation: Relation,
    createRevision: number,
    options?: RangeOptions,
  ): Compare =>
    make(CompareTarget.CREATE, key, relation, { kind: "createRevision", createRevision }, options),
  modRevision: (
    key: Bytes,
    relation: Relation,
    modRevision: number,
    options?: RangeOptions,
  ): Compare =>
    make(CompareTarget.MOD, key, relation, { kind: "modRevision", modRevision }, options),
  value: (key: Bytes, relation: Relation, value: Bytes, options?: RangeOptions): Compare =>
    make(CompareTarget.VALUE, key, relation, { kind: "value", value: bytesOf(value) }, options),
  lease: (key: Bytes, relation: Relation, lease: bigint, options?: RangeOptions): Compare =>
    make(CompareTarget.LEASE, key, relation, { kind: "lease", lease }, options),
} as const;
