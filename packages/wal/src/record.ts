/**
 * Records and their frames: the bytes of a log segment.
 *
 * A frame is an 8-byte length, the record (`walpb.Record`: 1 type, 2 crc, 3 data) and zero bytes up
 * to a multiple of 8. The length field is little-endian: the low 56 bits are the record's size; a
 * padded frame has 0x80 | padding in the top byte.
 *
 * Invariants:
 * - Each record's crc is CRC-32C over the data of all records of the log so far. A crc record, which
 *   opens a segment, has no data and hands the running value over from the segment before.
 * - The crc does not cover the type, the frame length or itself. Those are held to the one form every
 *   writer produces, and the length is written twice (frame, data field): so no single changed bit
 *   turns a record into a different valid one.
 */

import { WIRE_BYTES, WireWriter, crc32c, invariant, varintLength } from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";
import { writeEntryHead } from "@etcd-ts/raft";
import type { Entry } from "@etcd-ts/raft";

export const RECORD_METADATA = 1;
export const RECORD_ENTRY = 2;
export const RECORD_STATE = 3;
export const RECORD_CRC = 4;
export const RECORD_SNAPSHOT = 5;

export type RecordType = 1 | 2 | 3 | 4 | 5;

export const FRAME_HEADER_BYTES = 8;
const FRAME_ALIGNMENT_BYTES = 8;

/** Type, crc and data tags with the longest varints a record may carry before its data. */
export const RECORD_HEAD_BYTES_MAX = 2 + 6 + 1 + 8;

const TAG_TYPE = 0x08;
const TAG_CRC = 0x10;
const TAG_DATA = 0x1a;
const PADDED_BIT = 0x80;

export interface FrameSize {
  /** Without the length field and the padding. */
  readonly recordBytes: number;
  readonly paddingBytes: number;
}

/** Bytes after the record so that the frame ends on a multiple of 8. */
export function framePaddingBytes(recordBytes: number): number {
  const over = recordBytes % FRAME_ALIGNMENT_BYTES;
  return over === 0 ? 0 : FRAME_ALIGNMENT_BYTES - over;
}

export function isZero(bytes: Uint8Array, start = 0, end: number = bytes.length): boolean {
  for (let i = start; i < end; i++) if (bytes[i] !== 0) return false;
  return true;
}

export function writeFrameSize(target: Uint8Array, recordBytes: number): void {
  const padding = framePaddingBytes(recordBytes);
  let rest = recordBytes;
  for (let i = 0; i < 7; i++) {
    target[i] = rest % 0x100;
    rest = Math.floor(rest / 0x100);
  }
  target[7] = padding === 0 ? 0 : PADDED_BIT | padding;
}

/**
 * Reads one length field.
 *
 * @param header - 8 bytes, not all zero
 * @returns undefined if no writer produces it; the size may still exceed the file
 */
export function decodeFrameSize(header: Uint8Array): FrameSize | undefined {
  let recordBytes = 0;
  for (let i = 6; i >= 0; i--) recordBytes = recordBytes * 0x100 + header[i]!;
  if (recordBytes === 0 || !Number.isSafeInteger(recordBytes)) return undefined;
  const paddingBytes = framePaddingBytes(recordBytes);
  const top = paddingBytes === 0 ? 0 : PADDED_BIT | paddingBytes;
  return header[7] === top ? { recordBytes, paddingBytes } : undefined;
}

export interface RecordHead {
  readonly type: number;
  readonly crc: number;
  /** Where data starts in the record; the record's length if it has none. */
  readonly dataStart: number;
  readonly dataBytes: number;
}

/**
 * Reads what comes before a record's data.
 *
 * @param bytes - the first bytes of the record, at least `RECORD_HEAD_BYTES_MAX` or all of it
 * @returns undefined if no writer produces it
 */
export function decodeRecordHead(bytes: Uint8Array, recordBytes: number): RecordHead | undefined {
  const head = impliedRecordHead(bytes, recordBytes);
  if (head === undefined || head.dataStart + head.dataBytes !== recordBytes) return undefined;
  return head;
}

/**
 * As `decodeRecordHead`, for a record whose size is not known but through its data's length.
 *
 * @param recordBytes - where a record without data ends; undefined if it must have some
 */
export function impliedRecordHead(
  bytes: Uint8Array,
  recordBytes: number | undefined,
): RecordHead | undefined {
  if (bytes.length < 2 || bytes[0] !== TAG_TYPE) return undefined;
  const type = bytes[1]!;
  if (type < RECORD_METADATA || type > RECORD_SNAPSHOT) return undefined;
  let at = 2;
  let crc = 0;
  if (bytes[at] === TAG_CRC) {
    const value = decodeVarint(bytes, at + 1);
    if (value === undefined || value.value > 0xffff_ffff) return undefined;
    crc = value.value;
    at = value.end;
  }
  if (at === recordBytes) return { type, crc, dataStart: at, dataBytes: 0 };
  if (bytes[at] !== TAG_DATA) return undefined;
  const length = decodeVarint(bytes, at + 1);
  if (length === undefined) return undefined;
  return { type, crc, dataStart: length.end, dataBytes: length.value };
}

/** A varint in its shortest form, below 2^49. */
function decodeVarint(
  bytes: Uint8Array,
  start: number,
): { value: number; end: number } | undefined {
  let value = 0;
  for (let i = 0, scale = 1; i < 7; i++, scale *= 0x80) {
    const byte = bytes[start + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return byte === 0 && i > 0 ? undefined : { value, end: start + i + 1 };
  }
  return undefined;
}

/** Turns messages into framed, chained records, one after another in a buffer it owns. */
export class RecordEncoder {
  #crc: number;
  readonly #out: WireWriter;
  readonly #data = new WireWriter(1024);
  readonly #frame = new Uint8Array(FRAME_HEADER_BYTES);

  /** @param crc - the running checksum of all data before */
  constructor(crc: number, capacityBytes = 4096) {
    this.#crc = crc;
    this.#out = new WireWriter(capacityBytes);
  }

  get crc(): number {
    return this.#crc;
  }

  get length(): number {
    return this.#out.length;
  }

  /** Starts over with an empty buffer; the checksum goes on. */
  reset(): void {
    this.#out.reset();
  }

  /** What was encoded, valid until the next call. */
  view(): Uint8Array {
    return this.#out.view();
  }

  message<T>(type: RecordType, codec: Codec<T>, message: T): void {
    this.#data.reset();
    codec.encode(message, this.#data);
    this.data(type, this.#data.view());
  }

  data(type: RecordType, data: Uint8Array): void {
    invariant(type !== RECORD_CRC, () => "RecordEncoder.data: a crc record has no data");
    this.#crc = crc32c(this.#crc, data);
    const recordBytes = this.#beginData(type, data.length);
    this.#out.raw(data);
    this.#pad(recordBytes);
  }

  /** As `message` for an entry, whose data is copied once. */
  entry(entry: Entry): void {
    const head = this.#data;
    head.reset();
    writeEntryHead(entry, head);
    this.#crc = crc32c(crc32c(this.#crc, head.buffer, 0, head.length), entry.data);
    const recordBytes = this.#beginData(RECORD_ENTRY, head.length + entry.data.length);
    this.#out.rawRange(head.buffer, 0, head.length);
    this.#out.raw(entry.data);
    this.#pad(recordBytes);
  }

  /** All of a record but the bytes of its data. @returns its size */
  #beginData(type: RecordType, dataBytes: number): number {
    const head = 2 + 1 + varintLength(this.#crc);
    const recordBytes = head + 1 + varintLength(dataBytes) + dataBytes;
    this.#begin(type, recordBytes);
    this.#out.tag(3, WIRE_BYTES);
    this.#out.varint(dataBytes);
    return recordBytes;
  }

  /** Hands the running checksum over to a new segment. */
  checksum(): void {
    const recordBytes = 2 + 1 + varintLength(this.#crc);
    this.#begin(RECORD_CRC, recordBytes);
    this.#pad(recordBytes);
  }

  #begin(type: RecordType, recordBytes: number): void {
    writeFrameSize(this.#frame, recordBytes);
    this.#out.rawRange(this.#frame, 0, FRAME_HEADER_BYTES);
    this.#out.varintField(1, type);
    this.#out.varintField(2, this.#crc);
  }

  #pad(recordBytes: number): void {
    const padding = framePaddingBytes(recordBytes);
    this.#out.rawRange(ZEROS, 0, padding);
    invariant(
      this.#out.length % FRAME_ALIGNMENT_BYTES === 0,
      () => `RecordEncoder: frame ends at ${this.#out.length}`,
    );
  }
}

const ZEROS = new Uint8Array(FRAME_ALIGNMENT_BYTES);

/** A record as read. `data` is a view that lives until the next read of its segment. */
export interface LogRecord {
  readonly type: RecordType;
  readonly data: Uint8Array;
  /** Where its frame starts in its segment. */
  readonly offsetBytes: number;
}
