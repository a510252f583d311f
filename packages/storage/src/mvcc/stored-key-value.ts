/** Records of the `key` bucket as KeyValues. */

import { CorruptionError, EMPTY_BYTES, latin1FromBytes, WireReader } from "@etcd-ts/base";
import { EventType } from "@etcd-ts/api";
import type { Event, KeyValue } from "@etcd-ts/api";
import type { KeyIndex } from "./key-index.ts";
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

/**
 * A stored record as a KeyValue. Most are only copied into an answer, so the fields are decoded
 * when one is asked for.
 */
export class StoredKeyValue implements KeyValue {
  readonly encoded: Uint8Array;
  readonly #path: string;
  #fields: KeyValue | undefined;

  constructor(encoded: Uint8Array, path: string) {
    this.encoded = encoded;
    this.#path = path;
  }

  get key(): Uint8Array {
    return this.#decoded.key;
  }

  get createRevision(): number {
    return this.#decoded.createRevision;
  }

  get modRevision(): number {
    return this.#decoded.modRevision;
  }

  get version(): number {
    return this.#decoded.version;
  }

  get value(): Uint8Array {
    return this.#decoded.value;
  }

  get lease(): bigint {
    return this.#decoded.lease;
  }

  /** @throws {CorruptionError} naming the file if `encoded` is no KeyValue */
  get #decoded(): KeyValue {
    return (this.#fields ??= keyValueFromStored(this.encoded, this.#path));
  }
}

/** What the index needs of a stored record; reads one after another without making objects. */
export class StoredFields {
  /** Where in the record the key is. */
  keyStart = 0;
  keyEnd = 0;
  createRevision = 0;
  version = 0;
  lease = 0n;

  /** @throws {CorruptionError} naming the file if `encoded` is no KeyValue */
  read(encoded: Uint8Array, path: string): void {
    this.keyStart = 0;
    this.keyEnd = 0;
    this.createRevision = 0;
    this.version = 0;
    this.lease = 0n;
    try {
      const reader = new WireReader(encoded);
      while (reader.next()) {
        switch (reader.field) {
          case 1: {
            const key = reader.message();
            this.keyStart = key.offset;
            this.keyEnd = key.end;
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

/** Where a key stands in a record. */
export interface KeySpan {
  readonly start: number;
  readonly end: number;
}

/**
 * The key of a stored record, without decoding the rest; undefined unless it comes first, as it
 * does in all that etcd writes.
 */
function leadingKey(encoded: Uint8Array): KeySpan | undefined {
  if (encoded[0] !== KEY_TAG) return undefined;
  let start = 1;
  let length = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = encoded[start++];
    if (byte === undefined) return undefined;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) return { start, end: start + length };
  }
  return undefined;
}

/**
 * Where the key of a stored record is. A record without bytes, which a restore with a revision bump
 * leaves, has the empty key.
 *
 * @throws {CorruptionError} naming the file if `encoded` is no KeyValue
 */
export function keyOfStored(encoded: Uint8Array, path: string): KeySpan {
  const span = leadingKey(encoded);
  if (span !== undefined && span.end <= encoded.length) return span;
  const { key } = keyValueFromStored(encoded, path);
  const start = key.length === 0 ? 0 : key.byteOffset - encoded.byteOffset;
  return { start, end: start + key.length };
}

/** The key of a stored record as a latin-1 string. */
export function keyNameOfStored(encoded: Uint8Array, path: string): string {
  const { start, end } = keyOfStored(encoded, path);
  return latin1FromBytes(encoded, start, end);
}

/** Whether a stored record begins with the key of `slot`: whether it is that key's. */
export function isRecordOf(index: KeyIndex, slot: number, stored: Uint8Array): boolean {
  const span = leadingKey(stored);
  if (span === undefined || span.end > stored.length) return false;
  return index.isKey(slot, stored, span.start, span.end);
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
