/** Names and fixed-width numbers of the backend, for those who read it without a `Backend`. */

import { CorruptionError, invariant, latin1FromBytes, utf8FromString } from "@etcd-ts/base";
import type { Transaction } from "@etcd-ts/bbolt";
import { decodeRevision, keyValueFromStored } from "@etcd-ts/storage";

/** The bytes of a name. */
export function bytesFromName(name: string): Uint8Array {
  return utf8FromString(name);
}

export const KEY: Uint8Array = utf8FromString("key");
export const META: Uint8Array = utf8FromString("meta");
export const STORAGE_VERSION: Uint8Array = utf8FromString("storageVersion");
export const CONSISTENT_INDEX: Uint8Array = utf8FromString("consistent_index");
export const TERM: Uint8Array = utf8FromString("term");
export const CONF_STATE: Uint8Array = utf8FromString("confState");
export const SCHEDULED_COMPACT: Uint8Array = utf8FromString("scheduledCompactRev");
export const FINISHED_COMPACT: Uint8Array = utf8FromString("finishedCompactRev");

/** What the store needs of a record; zeros where it has none. */
export interface RecordFields {
  /** The key as a latin-1 string. */
  readonly name: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: bigint;
}

/** @throws {CorruptionError} if `stored` is no KeyValue; no bytes at all are an empty one */
export function readRecord(stored: Uint8Array, path: string): RecordFields {
  const { key, createRevision, modRevision, version, lease } = keyValueFromStored(stored, path);
  return { name: latin1FromBytes(key), createRevision, modRevision, version, lease };
}

export function keyNameOf(stored: Uint8Array, path: string): string {
  return readRecord(stored, path).name;
}

/** 8 bytes, big-endian. */
export function uint64Bytes(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** Undefined if `bytes` are not 8 or more than a counter holds. */
export function readUint64(bytes: Uint8Array): number | undefined {
  if (bytes.length !== 8) return undefined;
  const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(value);
}

/**
 * A counter of the `meta` bucket; 0 if there is none.
 *
 * @throws {CorruptionError}
 */
export function metaCounter(tx: Transaction, name: Uint8Array, path: string): number {
  const value = tx.bucket(META)?.get(name);
  if (value === undefined) return 0;
  const counter = readUint64(value);
  if (counter === undefined) {
    throw new CorruptionError(`${latin1FromBytes(name)} is no 64-bit counter`, path, 0);
  }
  return counter;
}

/**
 * A revision of the `meta` bucket; undefined if there is none.
 *
 * @throws {CorruptionError}
 */
export function metaRevision(tx: Transaction, name: Uint8Array, path: string): number | undefined {
  const value = tx.bucket(META)?.get(name);
  if (value === undefined) return undefined;
  const revision = decodeRevision(value);
  if (revision === undefined) {
    throw new CorruptionError(`${latin1FromBytes(name)} is no revision`, path, 0);
  }
  return revision.main;
}

/** The revision of the last record; 0 if there is none. @throws {CorruptionError} */
export function newestRevision(tx: Transaction, path: string): number {
  const entry = tx.bucket(KEY)?.cursor().last();
  if (entry === undefined) return 0;
  const revision = decodeRevision(entry.key);
  if (revision === undefined) {
    throw new CorruptionError("a key of the key bucket is no revision", path, 0);
  }
  invariant(revision.main >= 0, () => `newestRevision: ${revision.main}`);
  return revision.main;
}
