/** Records of the `key` bucket as KeyValues. */

import { CorruptionError, decodeMessage, EMPTY_BYTES, latin1FromBytes } from "@etcd-ts/base";
import { EventType, KeyValueCodec } from "@etcd-ts/api";
import type { Event, KeyValue } from "@etcd-ts/api";
import type { RevisionKey } from "./revision.ts";

/** Protobuf tag of KeyValue.key: field 1, length-delimited. */
const KEY_TAG = 0x0a;

/** @throws {CorruptionError} naming the file if `encoded` is no KeyValue */
export function decodeStored(encoded: Uint8Array, path: string): KeyValue {
  try {
    return decodeMessage(KeyValueCodec, encoded);
  } catch (cause) {
    throw new CorruptionError("a value of the key bucket is no KeyValue", path, 0, { cause });
  }
}

/** The same with `encoded` set, so that a response copies the stored bytes. */
export function keyValueFromStored(encoded: Uint8Array, path: string): KeyValue {
  const { key, createRevision, modRevision, version, value, lease } = decodeStored(encoded, path);
  return { key, createRevision, modRevision, version, value, lease, encoded };
}

/** A KeyValue whose value is left out, which its stored bytes no longer describe. */
export function withoutValue(kv: KeyValue): KeyValue {
  const { key, createRevision, modRevision, version, lease } = kv;
  return {
    key,
    createRevision,
    modRevision,
    version,
    value: EMPTY_BYTES,
    lease,
    encoded: undefined,
  };
}

/**
 * The key of a stored record as a latin-1 string, without decoding the rest. A record without
 * bytes, which a restore with a revision bump leaves, has the empty key.
 */
export function keyNameOfStored(encoded: Uint8Array, path: string): string {
  const length = encoded[1];
  if (encoded[0] === KEY_TAG && length !== undefined && length < 0x80) {
    if (2 + length <= encoded.length) return latin1FromBytes(encoded, 2, 2 + length);
  }
  return latin1FromBytes(decodeStored(encoded, path).key);
}

/** What a deletion shows of its key. */
export function deletedKeyValue(key: Uint8Array, modRevision: number): KeyValue {
  return {
    key,
    createRevision: 0,
    modRevision,
    version: 0,
    value: EMPTY_BYTES,
    lease: 0n,
    encoded: undefined,
  };
}

export function putEvent(kv: KeyValue): Event {
  return { type: EventType.PUT, kv, prevKV: undefined };
}

export function deleteEvent(key: Uint8Array, modRevision: number): Event {
  return { type: EventType.DELETE, kv: deletedKeyValue(key, modRevision), prevKV: undefined };
}

/** The event a stored record was. */
export function eventFromStored(revision: RevisionKey, encoded: Uint8Array, path: string): Event {
  if (!revision.isTombstone) return putEvent(keyValueFromStored(encoded, path));
  return deleteEvent(decodeStored(encoded, path).key, revision.main);
}
