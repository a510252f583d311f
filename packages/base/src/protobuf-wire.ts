/**
 * The protobuf wire format for hand-written codecs: a growing writer and a bounded reader.
 *
 * Source: protobuf.dev/programming-guides/encoding. Counters (revision, index, term) are
 * `number`; identities (member, cluster, lease) are `bigint`.
 *
 * Invariants:
 * - The writer emits fields in the order it is called; codecs call it in field-number order and
 *   leave out zero values of proto3, because other members hash the stored bytes.
 * - The reader never reads at or past `end`, and refuses what it cannot represent.
 */

import { EMPTY_BYTES, stringFromUtf8, utf8Length, writeUtf8 } from "./bytes.ts";
import { EtcdError, invariant } from "./errors.ts";

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
export const WIRE_START_GROUP = 3;
export const WIRE_END_GROUP = 4;
export const WIRE_FIXED32 = 5;

/** Nested groups a reader skips; protobuf implementations share this bound. */
const GROUP_DEPTH_MAX = 100;
const TWO_POW_32 = 0x1_0000_0000;
const TWO_POW_28 = 0x1000_0000;

/** Bytes that are no protobuf message. */
export class WireFormatError extends EtcdError {
  readonly code = "WIRE_FORMAT";
}

/** Bytes a varint of a non-negative safe integer takes. */
export function varintLength(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < TWO_POW_28) return 4;
  let length = 4;
  let rest = Math.floor(value / TWO_POW_28);
  while (rest > 0) {
    length++;
    rest = Math.floor(rest / 0x80);
  }
  return length;
}

/** Results up to this size share blocks of memory. */
const SLAB_RESULT_BYTES_MAX = 4 * 1024;
const SLAB_BYTES = 64 * 1024;

/** The block being filled; the first one is made when it is needed. */
let slab: Uint8Array = EMPTY_BYTES;
let slabUsed = SLAB_BYTES;

/**
 * Copies small byte strings into a shared block: an allocation of its own costs several times what
 * it takes to fill it. A block lives as long as any of its parts, which are never handed out twice.
 */
function copyToSlab(bytes: Uint8Array): Uint8Array {
  if (bytes.length > SLAB_RESULT_BYTES_MAX) return bytes.slice();
  if (slabUsed + bytes.length > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  const copy = slab.subarray(slabUsed, slabUsed + bytes.length);
  copy.set(bytes);
  slabUsed += bytes.length;
  return copy;
}

/** Writes a message front to back into one buffer that grows. Reusable through `reset`. */
export class WireWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacityBytes = 256) {
    this.#bytes = new Uint8Array(capacityBytes);
  }

  get length(): number {
    return this.#length;
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  reset(): void {
    this.#length = 0;
  }

  /** A copy of what was written; the caller owns it, but not the memory around it. */
  finish(): Uint8Array {
    return copyToSlab(this.view());
  }

  /** A view of what was written, valid until the next call on this writer. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** What was written begins here; valid until the next call that may grow it. For patching. */
  get buffer(): Uint8Array {
    return this.#bytes;
  }

  /** Makes room for `bytes` bytes of unspecified content. @returns the offset of the first */
  extend(bytes: number): number {
    this.#reserve(bytes);
    const offset = this.#length;
    this.#length += bytes;
    return offset;
  }

  /** Forgets all but the first `length` bytes. */
  truncate(length: number): void {
    invariant(length >= 0 && length <= this.#length, () => `truncate: ${length}`);
    this.#length = length;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  tag(field: number, wireType: number): void {
    if (field > 15) {
      this.varint(field * 8 + wireType);
      return;
    }
    if (this.#length === this.#bytes.length) this.#reserve(1);
    this.#bytes[this.#length++] = field * 8 + wireType;
  }

  /** A non-negative safe integer. */
  varint(value: number): void {
    invariant(value >= 0 && Number.isSafeInteger(value), () => `varint: ${value}`);
    this.#reserve(10);
    const bytes = this.#bytes;
    let at = this.#length;
    let rest = value;
    while (rest >= TWO_POW_28) {
      bytes[at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    while (rest >= 0x80) {
      bytes[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    bytes[at++] = rest;
    this.#length = at;
  }

  /** An int64 held in a number; negative values take ten bytes, as protobuf has it. */
  int64Number(value: number): void {
    if (value >= 0) this.varint(value);
    else this.varint64(BigInt(value));
  }

  /** A 64-bit value, signed or unsigned, held in a bigint. */
  varint64(value: bigint): void {
    this.varintHalves(Number(BigInt.asUintN(32, value >> 32n)), Number(BigInt.asUintN(32, value)));
  }

  /** An unsigned 64-bit value in two halves, which costs no bigint. */
  varintHalves(high: number, low: number): void {
    this.#reserve(10);
    const bytes = this.#bytes;
    let at = this.#length;
    let restLow = low >>> 0;
    let restHigh = high >>> 0;
    while (restHigh > 0) {
      bytes[at++] = (restLow & 0x7f) | 0x80;
      restLow = ((restLow >>> 7) | (restHigh << 25)) >>> 0;
      restHigh >>>= 7;
    }
    while (restLow >= 0x80) {
      bytes[at++] = (restLow & 0x7f) | 0x80;
      restLow >>>= 7;
    }
    bytes[at++] = restLow;
    this.#length = at;
  }

  /** Raw bytes, no length. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A few bytes of `bytes`, without a view of them. */
  rawRange(bytes: Uint8Array, start: number, end: number): void {
    this.#reserve(end - start);
    const own = this.#bytes;
    let at = this.#length;
    for (let i = start; i < end; i++) own[at++] = bytes[i]!;
    this.#length = at;
  }

  bytesField(field: number, value: Uint8Array): void {
    this.tag(field, WIRE_BYTES);
    this.varint(value.length);
    this.raw(value);
  }

  stringField(field: number, value: string): void {
    const length = utf8Length(value);
    this.tag(field, WIRE_BYTES);
    this.varint(length);
    this.#reserve(length);
    this.#length = writeUtf8(value, this.#bytes, this.#length);
  }

  varintField(field: number, value: number): void {
    this.tag(field, WIRE_VARINT);
    this.int64Number(value);
  }

  varint64Field(field: number, value: bigint): void {
    this.tag(field, WIRE_VARINT);
    this.varint64(value);
  }

  boolField(field: number, value: boolean): void {
    this.tag(field, WIRE_VARINT);
    this.varint(value ? 1 : 0);
  }

  /**
   * Opens a nested message: writes the tag and leaves room for its length.
   *
   * @returns a mark to hand to `endMessage`
   */
  beginMessage(field: number): number {
    this.tag(field, WIRE_BYTES);
    this.#reserve(1);
    return this.#length++;
  }

  /** Closes the nested message opened at `mark`, moving it if its length needs more than a byte. */
  endMessage(mark: number): void {
    const start = mark + 1;
    const length = this.#length - start;
    const extra = varintLength(length) - 1;
    if (extra > 0) {
      this.#reserve(extra);
      this.#bytes.copyWithin(start + extra, start, this.#length);
    }
    const end = this.#length + extra;
    this.#length = mark;
    this.varint(length);
    this.#length = end;
  }
}

/** Reads one message between two offsets. Byte fields are views of the input, not copies. */
export class WireReader {
  readonly bytes: Uint8Array;
  offset: number;
  readonly end: number;
  /** Field and wire type of the tag read last. */
  field = 0;
  wireType = 0;

  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    invariant(
      start >= 0 && start <= end && end <= bytes.length,
      () => `WireReader: [${start}, ${end}) of ${bytes.length}`,
    );
    this.bytes = bytes;
    this.offset = start;
    this.end = end;
  }

  /** Moves to the next field; false at the end of the message. */
  next(): boolean {
    if (this.offset >= this.end) return false;
    const tag = this.#tagVarint();
    this.field = tag >>> 3;
    this.wireType = tag & 7;
    if (this.field === 0) throw new WireFormatError("proto: illegal tag 0");
    if (this.wireType > WIRE_FIXED32) {
      throw new WireFormatError(`proto: illegal wireType ${this.wireType}`);
    }
    return true;
  }

  /** Checks the wire type of the current field. */
  expect(wireType: number): void {
    if (this.wireType !== wireType) {
      throw new WireFormatError(`proto: wrong wireType = ${this.wireType} for field ${this.field}`);
    }
  }

  /** An unsigned 64-bit field as a number. @throws {WireFormatError} above 2^53 - 1 */
  uint64Number(): number {
    this.expect(WIRE_VARINT);
    this.#varint();
    if (this.#high >= 0x20_0000) {
      throw new WireFormatError(`proto: field ${this.field} exceeds 2^53-1`);
    }
    return this.#high * TWO_POW_32 + this.#low;
  }

  /** A signed 64-bit field as a number, clamped to the safe integers: order is kept. */
  int64NumberClamped(): number {
    this.expect(WIRE_VARINT);
    this.#varint();
    const high = this.#high | 0;
    if (high >= 0x20_0000) return Number.MAX_SAFE_INTEGER;
    if (high < -0x20_0000) return Number.MIN_SAFE_INTEGER;
    const value = high * TWO_POW_32 + this.#low;
    return value < Number.MIN_SAFE_INTEGER ? Number.MIN_SAFE_INTEGER : value;
  }

  /** A signed 64-bit field as a number. @throws {WireFormatError} beyond the safe integers */
  int64Number(): number {
    const value = this.int64NumberClamped();
    if (value === Number.MAX_SAFE_INTEGER || value === Number.MIN_SAFE_INTEGER) {
      throw new WireFormatError(`proto: field ${this.field} is beyond 2^53-1`);
    }
    return value;
  }

  /** An unsigned 64-bit identity. */
  uint64(): bigint {
    this.expect(WIRE_VARINT);
    this.#varint();
    if (this.#high === 0) return BigInt(this.#low);
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  /** A signed 64-bit identity. */
  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  uint32(): number {
    this.expect(WIRE_VARINT);
    this.#varint();
    return this.#low;
  }

  /** An int32 or enum field; the low 32 bits, signed, as protobuf has it. */
  int32(): number {
    this.expect(WIRE_VARINT);
    this.#varint();
    return this.#low | 0;
  }

  bool(): boolean {
    this.expect(WIRE_VARINT);
    this.#varint();
    return this.#low !== 0 || this.#high !== 0;
  }

  /** Bytes of the current field: a view of the input. */
  view(): Uint8Array {
    const end = this.#lengthDelimitedEnd();
    const view = this.bytes.subarray(this.offset, end);
    this.offset = end;
    return view;
  }

  string(): string {
    return stringFromUtf8(this.view());
  }

  /** A reader over the nested message of the current field. */
  message(): WireReader {
    const end = this.#lengthDelimitedEnd();
    const nested = new WireReader(this.bytes, this.offset, end);
    this.offset = end;
    return nested;
  }

  /** Passes over the current field. */
  skip(): void {
    this.#skipValue(this.field, this.wireType, 0);
  }

  #low = 0;
  #high = 0;

  #truncated(): WireFormatError {
    return new WireFormatError("unexpected EOF");
  }

  #tagVarint(): number {
    this.#varint();
    if (this.#high !== 0) throw new WireFormatError("proto: illegal tag");
    return this.#low;
  }

  #varint(): void {
    const { bytes, end } = this;
    let at = this.offset;
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= end) throw this.#truncated();
      const byte = bytes[at++]!;
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.#low = low;
        this.#high = 0;
        this.offset = at;
        return;
      }
    }
    if (at >= end) throw this.#truncated();
    let byte = bytes[at++]!;
    low = (low | ((byte & 0x0f) << 28)) >>> 0;
    let high = (byte & 0x7f) >> 4;
    for (let shift = 3; byte >= 0x80; shift += 7) {
      if (shift > 31) throw new WireFormatError("proto: integer overflow");
      if (at >= end) throw this.#truncated();
      byte = bytes[at++]!;
      if (shift === 31 && byte > 1) throw new WireFormatError("proto: integer overflow");
      high |= (byte & 0x7f) << shift;
    }
    this.#low = low;
    this.#high = high >>> 0;
    this.offset = at;
  }

  #lengthDelimitedEnd(): number {
    this.expect(WIRE_BYTES);
    this.#varint();
    const end = this.offset + this.#low;
    if (this.#high !== 0 || end > this.end) throw this.#truncated();
    return end;
  }

  #skipValue(field: number, wireType: number, depth: number): void {
    switch (wireType) {
      case WIRE_VARINT:
        this.#varint();
        return;
      case WIRE_FIXED64:
        this.#advance(8);
        return;
      case WIRE_FIXED32:
        this.#advance(4);
        return;
      case WIRE_BYTES:
        this.#varint();
        if (this.#high !== 0) throw this.#truncated();
        this.#advance(this.#low);
        return;
      case WIRE_START_GROUP:
        this.#skipGroup(field, depth + 1);
        return;
      default:
        throw new WireFormatError("proto: unexpected end of group");
    }
  }

  #skipGroup(field: number, depth: number): void {
    if (depth > GROUP_DEPTH_MAX) throw new WireFormatError("proto: groups nested too deep");
    for (;;) {
      const tag = this.#tagVarint();
      if ((tag & 7) === WIRE_END_GROUP) {
        if (tag >>> 3 !== field) throw new WireFormatError("proto: unexpected end of group");
        return;
      }
      this.#skipValue(tag >>> 3, tag & 7, depth);
    }
  }

  #advance(bytes: number): void {
    if (this.offset + bytes > this.end) throw this.#truncated();
    this.offset += bytes;
  }
}

/** How one message type crosses the wire. */
export interface Codec<T> {
  /** Appends the fields of `message`, without tag or length. */
  encode(message: T, writer: WireWriter): void;
  /** Reads to the end of `reader`; unknown fields are passed over. @throws {WireFormatError} */
  decode(reader: WireReader): T;
}

/** What `encodeMessage` keeps for the next call; a larger buffer is given back. */
const SCRATCH_BYTES_MAX = 1024 * 1024;
let scratch: WireWriter | undefined = new WireWriter();

/** The bytes of one message; the caller owns them. */
export function encodeMessage<T>(codec: Codec<T>, message: T): Uint8Array {
  // A codec may encode another message meanwhile: that one finds no scratch and makes its own.
  const writer = scratch ?? new WireWriter();
  scratch = undefined;
  writer.reset();
  codec.encode(message, writer);
  const bytes = writer.finish();
  if (writer.capacity <= SCRATCH_BYTES_MAX) scratch = writer;
  return bytes;
}

/** @throws {WireFormatError} */
export function decodeMessage<T>(codec: Codec<T>, bytes: Uint8Array): T {
  return codec.decode(new WireReader(bytes));
}
