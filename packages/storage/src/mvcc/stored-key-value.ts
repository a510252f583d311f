/** Records of the `key` bucket as KeyValues. */

import {
  CorruptionError,
  EMPTY_BYTES,
  latin1FromBytes,
  WIRE_BYTES,
  WireReader,
} from "@etcd-ts/base";
import { EventType } from "@etcd-ts/api";
import type { Event, KeyValue } from "@etcd-ts/api";
import type { KeyIndex } from "./key-index.ts";
import type { RevisionKey } from "./revision.ts";

/** Protobuf tag of KeyValue.key: field 1, length-delimited. */
const KEY_TAG = 0x0a;
/** Those of create revision, mod revision, version (varints) and value (length-delimited). */
const CREATE_REVISION_TAG = 0x10;
const MOD_REVISION_TAG = 0x18;
const VERSION_TAG = 0x20;
const VALUE_TAG = 0x2a;
/** A key of one byte, three numbers, no value. */
const USUAL_BYTES_MIN = 9;
/** Longer varints are left to the reader, which knows all of them. */
const NUMBER_SCALE_MAX = 2 ** 49;

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
  /** Where the key is, in the bytes that were given. */
  keyStart = 0;
  keyEnd = 0;
  createRevision = 0;
  version = 0;
  lease = 0n;
  #at = 0;

  /**
   * Reads the record `bytes[start, end)`.
   *
   * @throws {CorruptionError} naming the file if it is no KeyValue
   */
  read(bytes: Uint8Array, start: number, end: number, path: string): void {
    this.keyStart = start;
    this.keyEnd = start;
    this.createRevision = 0;
    this.version = 0;
    this.lease = 0n;
    if (this.#readUsual(bytes, start, end)) return;
    try {
      this.#readAny(new WireReader(bytes, start, end));
    } catch (cause) {
      throw damaged(path, cause);
    }
  }

  /** Reads the form of nearly all records: five fields in order, no lease. False for any other. */
  #readUsual(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start < USUAL_BYTES_MIN || bytes[start] !== KEY_TAG) return false;
    this.#at = start + 1;
    const keyBytes = this.#number(bytes);
    const keyStart = this.#at;
    this.#at += keyBytes;
    if (!(this.#at < end) || bytes[this.#at++] !== CREATE_REVISION_TAG) return false;
    const createRevision = this.#number(bytes);
    if (bytes[this.#at++] !== MOD_REVISION_TAG) return false;
    const modRevision = this.#number(bytes);
    if (bytes[this.#at++] !== VERSION_TAG) return false;
    const version = this.#number(bytes);
    if (Number.isNaN(createRevision + modRevision + version)) return false;
    if (this.#at < end) {
      if (bytes[this.#at++] !== VALUE_TAG) return false;
      const valueBytes = this.#number(bytes);
      this.#at += valueBytes;
    }
    // Whatever was read past the end was not this record's: then this is not where it ends.
    if (this.#at !== end) return false;
    this.keyStart = keyStart;
    this.keyEnd = keyStart + keyBytes;
    this.createRevision = createRevision;
    this.version = version;
    return true;
  }

  /** A varint below 2^49; NaN, which ends nowhere, if it is longer. */
  #number(bytes: Uint8Array): number {
    let value = 0;
    for (let scale = 1; scale < NUMBER_SCALE_MAX; scale *= 0x80) {
      const byte = bytes[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return NaN;
  }

  #readAny(reader: WireReader): void {
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
        case 3:
          reader.int64Number();
          break;
        case 4:
          this.version = reader.int64Number();
          break;
        case 5:
          reader.expect(WIRE_BYTES);
          reader.skip();
          break;
        case 6:
          this.lease = reader.int64();
          break;
        default:
          reader.skip();
      }
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

/** Whether a stored record begins with the key `bytes[start, end)`. */
export function isStoredOf(
  stored: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  const length = end - start;
  // Tag and length take two bytes or, of longer keys, more.
  if (length >= 0x80) {
    const span = leadingKey(stored);
    if (span === undefined || span.end - span.start !== length) return false;
    return isSame(stored, span.start, bytes, start, end);
  }
  return stored[0] === KEY_TAG && stored[1] === length && isSame(stored, 2, bytes, start, end);
}

function isSame(
  stored: Uint8Array,
  from: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  for (let i = start, at = from; i < end; i++, at++) if (stored[at] !== bytes[i]) return false;
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
