/**
 * Records of the `key` bucket, written where they will lie.
 *
 * A record is a KeyValue in its wire form, fields in number order and zeros left out: what
 * `KeyValueCodec` makes, byte for byte, because members compare hashes of it. Written by hand, as
 * every put makes one: its length is known first, so that it needs no buffer of its own.
 */

import { invariant, varintLength } from "@etcd-ts/base";

const KEY_TAG = 0x0a;
const CREATE_REVISION_TAG = 0x10;
const MOD_REVISION_TAG = 0x18;
const VERSION_TAG = 0x20;
const VALUE_TAG = 0x2a;
const LEASE_TAG = 0x30;
const TWO_POW_28 = 0x1000_0000;
/** Byte strings up to this size are copied by hand, which costs less than the call. */
const COPY_BYTES_MAX = 32;

export interface PutRecord {
  /** Not empty. */
  readonly key: Uint8Array;
  /** Both revisions and the version are above 0. */
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: bigint;
}

/** Bytes `writePut` writes. */
export function putBytes(record: PutRecord): number {
  const { key, createRevision, modRevision, version, value, lease } = record;
  let bytes = 4 + varintLength(key.length) + key.length;
  bytes += varintLength(createRevision) + varintLength(modRevision) + varintLength(version);
  if (value.length > 0) bytes += 1 + varintLength(value.length) + value.length;
  if (lease !== 0n) bytes += 1 + leaseBytes(lease);
  return bytes;
}

/** Writes a record of `bytes` bytes, as `putBytes` told, to `target` from `offset` on. */
export function writePut(
  record: PutRecord,
  target: Uint8Array,
  offset: number,
  bytes: number,
): void {
  const { key, createRevision, modRevision, version, value, lease } = record;
  let at = offset;
  target[at++] = KEY_TAG;
  at = writeVarint(target, at, key.length);
  at = copy(key, target, at);
  target[at++] = CREATE_REVISION_TAG;
  at = writeVarint(target, at, createRevision);
  target[at++] = MOD_REVISION_TAG;
  at = writeVarint(target, at, modRevision);
  target[at++] = VERSION_TAG;
  at = writeVarint(target, at, version);
  if (value.length > 0) {
    target[at++] = VALUE_TAG;
    at = writeVarint(target, at, value.length);
    at = copy(value, target, at);
  }
  if (lease !== 0n) {
    target[at++] = LEASE_TAG;
    at = writeLease(target, at, lease);
  }
  invariant(at === offset + bytes, () => `writePut: ${at - offset} bytes instead of ${bytes}`);
}

/** Bytes of what a deletion leaves: the key alone. */
export function tombstoneBytes(keyBytes: number): number {
  return 1 + varintLength(keyBytes) + keyBytes;
}

/** Writes what comes before the key. @returns where the key goes */
export function writeTombstoneHead(keyBytes: number, target: Uint8Array, offset: number): number {
  target[offset] = KEY_TAG;
  return writeVarint(target, offset + 1, keyBytes);
}

function copy(bytes: Uint8Array, target: Uint8Array, at: number): number {
  const { length } = bytes;
  if (length > COPY_BYTES_MAX) target.set(bytes, at);
  else for (let i = 0; i < length; i++) target[at + i] = bytes[i]!;
  return at + length;
}

function writeVarint(target: Uint8Array, offset: number, value: number): number {
  let at = offset;
  let rest = value;
  while (rest >= TWO_POW_28) {
    target[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest >= 0x80) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
}

/** A lease is a signed 64-bit number: below zero it takes ten bytes. */
function leaseBytes(lease: bigint): number {
  let bytes = 1;
  for (let rest = BigInt.asUintN(64, lease) >> 7n; rest > 0n; rest >>= 7n) bytes++;
  return bytes;
}

function writeLease(target: Uint8Array, offset: number, lease: bigint): number {
  let at = offset;
  let rest = BigInt.asUintN(64, lease);
  for (; rest >= 0x80n; rest >>= 7n) target[at++] = Number(rest & 0x7fn) | 0x80;
  target[at++] = Number(rest);
  return at;
}
