/**
 * Revisions as keys of the `key` bucket.
 *
 * 17 bytes: main, big-endian, `_`, sub, big-endian; a tombstone has a `t` behind. Byte order is
 * revision order, and a tombstone sorts right behind the plain key of the same revision.
 */

import { CorruptionError } from "@etcd-ts/base";
import { readUint64, writeUint64 } from "../schema/numbers.ts";

export const REVISION_BYTES = 17;
export const TOMBSTONE_BYTES = 18;
const SEPARATOR = 0x5f;
const TOMBSTONE_MARK = 0x74;

/** One change: the `sub`th, from 0, of transaction `main`. */
export interface Revision {
  readonly main: number;
  readonly sub: number;
}

export interface RevisionKey extends Revision {
  readonly isTombstone: boolean;
}

export function encodeRevision(main: number, sub: number, isTombstone = false): Uint8Array {
  const bytes = new Uint8Array(isTombstone ? TOMBSTONE_BYTES : REVISION_BYTES);
  writeRevision(bytes, 0, main, sub, isTombstone);
  return bytes;
}

/** Writes the key of a revision at `at`. */
export function writeRevision(
  target: Uint8Array,
  at: number,
  main: number,
  sub: number,
  isTombstone: boolean,
): void {
  writeUint64(target, at, main);
  target[at + 8] = SEPARATOR;
  writeUint64(target, at + 9, sub);
  if (isTombstone) target[at + 17] = TOMBSTONE_MARK;
}

/** Undefined if `bytes` is no revision key. */
export function decodeRevision(bytes: Uint8Array): RevisionKey | undefined {
  const isTombstone = bytes.length === TOMBSTONE_BYTES && bytes[17] === TOMBSTONE_MARK;
  if (bytes.length !== REVISION_BYTES && !isTombstone) return undefined;
  const main = readUint64(bytes, 0);
  const sub = readUint64(bytes, 9);
  if (main === undefined || sub === undefined || bytes[8] !== SEPARATOR) return undefined;
  return { main, sub, isTombstone };
}

/** @throws {CorruptionError} if `bytes` is no revision key */
export function mustDecodeRevision(bytes: Uint8Array, path: string): RevisionKey {
  const revision = decodeRevision(bytes);
  if (revision === undefined) {
    throw new CorruptionError("a key of the key bucket is no revision", path, 0);
  }
  return revision;
}
