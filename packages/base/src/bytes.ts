/**
 * Byte strings: comparison, and the three text forms used at the edges.
 *
 * A key inside an index is a latin-1 string, one byte a character: V8 compares and hashes it
 * natively and in byte order. `latin1FromBytes` and `bytesFromLatin1` cross that edge.
 */

import { invariant } from "./errors.ts";

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

/** Characters handed to `String.fromCharCode` at once; larger calls overflow the stack. */
const CHARACTERS_PER_CALL = 4096;

/** Up to here, joining groups is faster than handing over a list of arguments. */
const GROUPED_BYTES_MAX = 64;

/** Orders byte strings as memcmp does; a prefix comes first. Negative, zero or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Joins byte strings into a new one. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** One character per byte, U+0000 to U+00FF. */
export function latin1FromBytes(bytes: Uint8Array, start = 0, end: number = bytes.length): string {
  if (end - start <= GROUPED_BYTES_MAX) return groupedLatin1(bytes, start, end);
  if (end - start <= CHARACTERS_PER_CALL) {
    return String.fromCharCode.apply(null, bytes.subarray(start, end) as unknown as number[]);
  }
  let text = "";
  for (let i = start; i < end; i += CHARACTERS_PER_CALL) {
    text += latin1FromBytes(bytes, i, Math.min(end, i + CHARACTERS_PER_CALL));
  }
  return text;
}

/**
 * Keys are short and this is on the way of each of them. A call with a fixed number of arguments is
 * compiled in place; one with a list of them copies the list twice.
 */
function groupedLatin1(b: Uint8Array, start: number, end: number): string {
  const make = String.fromCharCode;
  let text = "";
  let i = start;
  for (; i + 8 <= end; i += 8) {
    text += make(
      b[i]!,
      b[i + 1]!,
      b[i + 2]!,
      b[i + 3]!,
      b[i + 4]!,
      b[i + 5]!,
      b[i + 6]!,
      b[i + 7]!,
    );
  }
  if (i + 4 <= end) {
    text += make(b[i]!, b[i + 1]!, b[i + 2]!, b[i + 3]!);
    i += 4;
  }
  for (; i < end; i++) text += make(b[i]!);
  return text;
}

/** The inverse of `latin1FromBytes`; every character must be below U+0100. */
export function bytesFromLatin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    invariant(unit < 0x100, () => `bytesFromLatin1: U+${unit.toString(16)} at ${i}`);
    bytes[i] = unit;
  }
  return bytes;
}

/** Length of `text` in UTF-8; a lone surrogate counts as U+FFFD. */
export function utf8Length(text: string): number {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) length += 1;
    else if (unit < 0x800) length += 2;
    else if (isLeadingSurrogate(unit) && isTrailingSurrogate(text.charCodeAt(i + 1))) {
      length += 4;
      i++;
    } else length += 3;
  }
  return length;
}

/** Writes `text` as UTF-8 at `offset` and returns the offset after it. */
export function writeUtf8(text: string, target: Uint8Array, offset: number): number {
  for (let i = 0; i < text.length; i++) {
    let point = text.charCodeAt(i);
    if (isLeadingSurrogate(point) && isTrailingSurrogate(text.charCodeAt(i + 1))) {
      point = 0x10000 + ((point - 0xd800) << 10) + (text.charCodeAt(++i) - 0xdc00);
    } else if (point >= 0xd800 && point < 0xe000) point = 0xfffd;
    if (point < 0x80) target[offset++] = point;
    else if (point < 0x800) {
      target[offset++] = 0xc0 | (point >> 6);
      target[offset++] = 0x80 | (point & 0x3f);
    } else if (point < 0x10000) {
      target[offset++] = 0xe0 | (point >> 12);
      target[offset++] = 0x80 | ((point >> 6) & 0x3f);
      target[offset++] = 0x80 | (point & 0x3f);
    } else {
      target[offset++] = 0xf0 | (point >> 18);
      target[offset++] = 0x80 | ((point >> 12) & 0x3f);
      target[offset++] = 0x80 | ((point >> 6) & 0x3f);
      target[offset++] = 0x80 | (point & 0x3f);
    }
  }
  return offset;
}

export function utf8FromString(text: string): Uint8Array {
  const bytes = new Uint8Array(utf8Length(text));
  writeUtf8(text, bytes, 0);
  return bytes;
}

/** Decodes UTF-8; each ill-formed byte becomes U+FFFD, so the result never fails. */
export function stringFromUtf8(bytes: Uint8Array): string {
  let ascii = true;
  for (let i = 0; i < bytes.length && ascii; i++) ascii = bytes[i]! < 0x80;
  if (ascii) return latin1FromBytes(bytes);
  let text = "";
  for (let i = 0; i < bytes.length;) {
    const sequence = decodeSequence(bytes, i);
    text += String.fromCodePoint(sequence === undefined ? 0xfffd : sequence.point);
    i += sequence === undefined ? 1 : sequence.length;
  }
  return text;
}

/** Whether `bytes` is well-formed UTF-8 (no overlong forms, no surrogates). */
export function isUtf8(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length;) {
    if (bytes[i]! < 0x80) {
      i++;
      continue;
    }
    const sequence = decodeSequence(bytes, i);
    if (sequence === undefined) return false;
    i += sequence.length;
  }
  return true;
}

const HEX_DIGITS = "0123456789abcdef";

export function hexFromBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX_DIGITS[byte >> 4]! + HEX_DIGITS[byte & 15]!;
  return text;
}

/** Two lower- or upper-case digits a byte; undefined if `text` is anything else. */
export function bytesFromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** A 64-bit identity as etcd prints it: lower-case hex, unsigned, no padding. */
export function hexFromID(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16);
}

function isLeadingSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isTrailingSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}

function decodeSequence(
  bytes: Uint8Array,
  start: number,
): { point: number; length: number } | undefined {
  const lead = bytes[start]!;
  if (lead < 0x80) return { point: lead, length: 1 };
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || start + length > bytes.length) return undefined;
  let point = lead & (0xff >> (length + 1));
  for (let i = 1; i < length; i++) {
    const byte = bytes[start + i]!;
    if ((byte & 0xc0) !== 0x80) return undefined;
    point = (point << 6) | (byte & 0x3f);
  }
  const smallest = length === 2 ? 0x80 : length === 3 ? 0x800 : 0x10000;
  if (point < smallest || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return undefined;
  return { point, length };
}
