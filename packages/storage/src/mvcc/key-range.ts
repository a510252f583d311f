/** Ranges of keys as requests carry them, made into the half-open ranges of the index. */

import { concatBytes, latin1FromBytes } from "@etcd-ts/base";

const ZERO = new Uint8Array(1);

/** [begin, end) over keys; no end stands for no upper bound. */
export interface KeyRange {
  readonly begin: Uint8Array;
  readonly end: Uint8Array | undefined;
  /** The range is the one key `begin`. */
  readonly isSingle: boolean;
}

/** A range with its keys as latin-1 strings, as the interval trees of watchers have them. */
export interface NameRange {
  readonly begin: string;
  readonly end: string | undefined;
  readonly isSingle: boolean;
}

/** @param rangeEnd - empty for one key, a single zero byte for all keys at or after `key` */
export function keyRangeFrom(key: Uint8Array, rangeEnd: Uint8Array): KeyRange {
  if (rangeEnd.length === 0) return { begin: key, end: keyAfter(key), isSingle: true };
  if (isUnbounded(rangeEnd)) return { begin: key, end: undefined, isSingle: false };
  return { begin: key, end: rangeEnd, isSingle: false };
}

export function nameRangeFrom(key: Uint8Array, rangeEnd: Uint8Array): NameRange {
  const { begin, end, isSingle } = keyRangeFrom(key, rangeEnd);
  return {
    begin: latin1FromBytes(begin),
    end: end === undefined ? undefined : latin1FromBytes(end),
    isSingle,
  };
}

/** The least key above `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  return concatBytes([key, ZERO]);
}

/** Whether `rangeEnd` means "all keys at or after". */
export function isUnbounded(rangeEnd: Uint8Array): boolean {
  return rangeEnd.length === 1 && rangeEnd[0] === 0;
}
