/** Records of the `key` bucket as KeyValues. */

import { CorruptionError, EMPTY_BYTES, latin1FromBytes, WireReader } from "@etcd-ts/base";
import { EventType } from "@etcd-ts/api";
import type { Event, KeyValue } from "@etcd-ts/api";
import type { RevisionKey } from "./revision.ts";

/** Protobuf tag of KeyValue.key: field 1, length-delimited. */
const KEY_TAG = 0x0a;

/**
 * The KeyValue of a stored record, with `encoded` set so that a response copies the stored bytes.
 * Its byte fields are views of `encoded`.
 *
 * @throws {CorruptionError} naming the file if `encoded` is no KeyValue
 */
export function keyValueFromStored(encoded: Uint8Array, path: string): KeyValue {
  let key = EMPTY_BYTES;
  let createRevision = 0;
  let modRevision = 0;
  let version = 0;
  let value = EMPTY_BYTES;
  let lease = 0n;
  try {
    const reader = new WireReader(encoded);
    while (reader.next()) {
      switch (reader.field) {
        case 1:
          key = reader.view();
          break;
        case 2:
          createRevision = reader.int64Number();
          break;
        case 3:
          modRevision = reader.int64Number();
          break;
        case 4:
          version = reader.int64Number();
          break;
        case 5:
          value = reader.view();
          break;
        case 6:
          lease = reader.int64();
          break;
        default:
          reader.skip();
      }
    }
  } catch (cause) {
    throw damaged(path, cause);
  }
  return { key, createRevision, modRevision, version, value, lease, encoded };
}

/** What the index needs of a stored record; reads one after another without making objects. */
export class StoredFields {
  /** The key as a latin-1 string. */
  name = "";
  createRevision = 0;
  version = 0;
  lease = 0n;

  /** @throws {CorruptionError} naming the file if `encoded` is no KeyValue */
  read(encoded: Uint8Array, path: string): void {
    this.name = "";
    this.createRevision = 0;
    this.version = 0;
    this.lease = 0n;
    try {
      const reader = new WireReader(encoded);
      while (reader.next()) {
        switch (reader.field) {
          case 1: {
            const key = reader.message();
            this.name = latin1FromBytes(encoded, key.offset, key.end);
            break;
          }
          case 2:
            this.createRevision = reader.int64Number();
            break;
          case 4:
            this.version = reader.int64Number();
            break;
          case 6:
            this.lease = reader.int64();
            break;
          default:
            reader.skip();
        }
      }
    } catch (cause) {
      throw damaged(path, cause);
    }
  }
}

function damaged(path: string, cause: unknown): CorruptionError {
  return new CorruptionError("a value of the key bucket is no KeyValue", path, 0, { cause });
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
  return latin1FromBytes(keyValueFromStored(encoded, path).key);
}

/** Whether a stored record begins with `key`, a latin-1 string: whether it is that key's. */
export function isRecordOf(key: string, stored: Uint8Array): boolean {
  let at = 1;
  let length = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = stored[at++];
    if (byte === undefined) return false;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  if (stored[0] !== KEY_TAG || length !== key.length || at + length > stored.length) return false;
  for (let i = 0; i < length; i++) if (stored[at + i] !== key.charCodeAt(i)) return false;
  return true;
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
  return deleteEvent(keyValueFromStored(encoded, path).key, revision.main);
}
