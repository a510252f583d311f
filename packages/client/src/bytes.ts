/** Keys and values as programs give them: bytes, or text that stands for its UTF-8. */

import { utf8FromString } from "@etcd-ts/base";

export type Bytes = string | Uint8Array;

export function bytesOf(value: Bytes): Uint8Array {
  return typeof value === "string" ? utf8FromString(value) : value;
}

const NUL = new Uint8Array([0]);

/** `rangeEnd` that means every key from `key` on. */
export const FROM_KEY: Uint8Array = NUL;

/** The end of the range of all keys that begin with `prefix`; `FROM_KEY` if there is no end. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return FROM_KEY;
  // A copy: `slice` of a Buffer would be a view of the caller's bytes.
  const end = new Uint8Array(prefix.subarray(0, length));
  end[length - 1]! += 1;
  return end;
}

export interface KeyRange {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}

export interface RangeOptions {
  /** Keys in `[key, rangeEnd)`. */
  readonly rangeEnd?: Bytes;
  /** Keys that begin with `key`; all keys if it is empty. */
  readonly prefix?: boolean;
  /** Keys from `key` on. */
  readonly fromKey?: boolean;
}

/** The range that a key and these options name. */
export function keyRange(key: Bytes, options: RangeOptions): KeyRange {
  const begin = bytesOf(key);
  if (options.prefix === true) {
    return begin.length === 0
      ? { key: NUL, rangeEnd: FROM_KEY }
      : { key: begin, rangeEnd: prefixEnd(begin) };
  }
  if (options.fromKey === true) {
    return { key: begin.length === 0 ? NUL : begin, rangeEnd: FROM_KEY };
  }
  return { key: begin, rangeEnd: bytesOf(options.rangeEnd ?? "") };
}
