/** The conditions of a transaction. */

import { compareBytes, EMPTY_BYTES } from "@etcd-ts/base";
import { CompareResult, CompareTarget } from "@etcd-ts/api";
import type { Compare, KeyValue } from "@etcd-ts/api";
import type { KeyState, RangeOptions, ReadTxn } from "@etcd-ts/storage";

/** The newest revision, all pairs. */
export const READ_ALL: RangeOptions = { revision: 0, limit: 0, countOnly: false };

/** What a missing key compares as: every number is zero. */
const MISSING: KeyValue = {
  key: EMPTY_BYTES,
  createRevision: 0,
  modRevision: 0,
  version: 0,
  value: EMPTY_BYTES,
  lease: 0n,
};

/**
 * Whether every key in the range satisfies the condition. A range without keys is judged as one
 * missing key; the value of a missing key satisfies nothing.
 */
export function holds(txn: Pick<ReadTxn, "range" | "stateOf">, compare: Compare): boolean {
  if (compare.rangeEnd.length === 0 && isKnownToIndex(compare.target)) {
    return holdsFor(compare, txn.stateOf(compare.key) ?? MISSING);
  }
  const { kvs } = txn.range(compare.key, compare.rangeEnd, READ_ALL);
  if (kvs.length === 0) {
    return compare.target !== CompareTarget.VALUE && holdsFor(compare, MISSING);
  }
  return kvs.every((kv) => holdsFor(compare, kv));
}

function isKnownToIndex(target: number): boolean {
  const { VERSION, CREATE, MOD } = CompareTarget;
  return target === VERSION || target === CREATE || target === MOD;
}

function holdsFor(compare: Compare, kv: KeyState & Partial<KeyValue>): boolean {
  const order = orderOf(compare, kv);
  switch (compare.result) {
    case CompareResult.EQUAL:
      return order === 0;
    case CompareResult.GREATER:
      return order > 0;
    case CompareResult.LESS:
      return order < 0;
    case CompareResult.NOT_EQUAL:
      return order !== 0;
    default:
      // A result outside the enumeration holds, as it does on every other member.
      return true;
  }
}

/** Negative, zero or positive; an operand of another kind than the target counts as zero. */
function orderOf(compare: Compare, kv: KeyState & Partial<KeyValue>): number {
  const operand = compare.value;
  switch (compare.target) {
    case CompareTarget.VERSION:
      return kv.version - (operand.kind === "version" ? operand.version : 0);
    case CompareTarget.CREATE:
      return kv.createRevision - (operand.kind === "createRevision" ? operand.createRevision : 0);
    case CompareTarget.MOD:
      return kv.modRevision - (operand.kind === "modRevision" ? operand.modRevision : 0);
    case CompareTarget.VALUE:
      return compareBytes(
        kv.value ?? EMPTY_BYTES,
        operand.kind === "value" ? operand.value : EMPTY_BYTES,
      );
    case CompareTarget.LEASE: {
      const lease = operand.kind === "lease" ? operand.lease : 0n;
      const own = kv.lease ?? 0n;
      return own === lease ? 0 : own < lease ? -1 : 1;
    }
    default:
      return 0;
  }
}
