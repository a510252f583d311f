/** Ranges of keys as requests carry them, made into the half-open ranges of the index. */

import { latin1FromBytes } from "@etcd-ts/base";

/** [begin, end) over latin-1 keys; no end stands for no upper bound. */
export interface KeyRange {
  readonly begin: string;
  readonly end: string | undefined;
  /** The range is the one key `begin`. */
  readonly isSingle: boolean;
}

/** @param rangeEnd - empty for one key, a single zero byte for all keys at or after `key` */
export function keyRangeFrom(key: Uint8Array, rangeEnd: Uint8Array): KeyRange {
  const begin = latin1FromBytes(key);
  if (rangeEnd.length === 0) return { begin, end: begin + "\0", isSingle: true };
  if (isUnbounded(rangeEnd)) return { begin, end: undefined, isSingle: false };
  return { begin, end: latin1FromBytes(rangeEnd), isSingle: false };
}

/** Whether `rangeEnd` means "all keys at or after". */
export function isUnbounded(rangeEnd: Uint8Array): boolean {
  return rangeEnd.length === 1 && rangeEnd[0] === 0;
}
