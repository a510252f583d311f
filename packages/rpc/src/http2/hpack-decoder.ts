/**
 * Header blocks to header fields: RFC 7541.
 *
 * Invariants:
 * - A block is always decoded to its end, so that the dynamic table stays what the client thinks
 *   it is; of a list above the maximum no field is kept.
 * - The sizes of the entries in the ring add up to `#tableBytes`, at most `#tableBytesLimit`.
 * - Work and memory are proportional to the encoded bytes, whatever they decode to.
 */

import { EtcdError } from "@etcd-ts/base";

import { FIELD_OVERHEAD_BYTES, HeaderField, HeaderName } from "./header-field.ts";
import { STATIC_ENTRIES, STATIC_TABLE } from "./hpack-static-table.ts";
import { huffmanDecode, huffmanDecodedBytesMax } from "./huffman.ts";
import { HTTP2_HEADER_TABLE_BYTES } from "./limits.ts";

/** The connection cannot go on: both ends no longer agree on the table. */
export class HpackError extends EtcdError {
  readonly code = "HPACK";
}

/** A smallest entry for each 32 bytes; a power of two. */
const RING_ENTRIES = HTTP2_HEADER_TABLE_BYTES / FIELD_OVERHEAD_BYTES;
const RING_MASK = RING_ENTRIES - 1;
/** An update to the smallest size in between, and one to the last. */
const SIZE_UPDATES_MAX = 2;
/** Bytes that continue an integer: 28 bits, more than any length here. */
const INTEGER_BYTES_MAX = 4;
/** A scratch buffer that has grown beyond this is let go. */
const SCRATCH_KEPT_BYTES = 64 * 1024;

/** Literals that are remembered, and the length of one. */
const LITERALS_MASK = 15;
const LITERAL_BYTES_MAX = 0x7f;

interface KnownLiteral {
  /** The value as it was encoded, with its length. */
  readonly bytes: Uint8Array;
  readonly field: HeaderField;
}

let scratch = Buffer.allocUnsafeSlow(1024);

export class HpackDecoder {
  /** Grows with each change of the table: a block means the same as long as it does not. */
  version = 0;
  readonly #ring: (HeaderField | undefined)[] = Array.from(
    { length: RING_ENTRIES },
    () => undefined,
  );
  /** Literals seen lately, by a hash of their encoded value. */
  readonly #literals: (KnownLiteral | undefined)[] = [];
  /** Entries ever added; the newest is the one before. */
  #added = 0;
  #entries = 0;
  #tableBytes = 0;
  #tableBytesLimit = HTTP2_HEADER_TABLE_BYTES;
  #bytes: Uint8Array = scratch;
  #at = 0;
  #end = 0;

  /**
   * Decodes the block `bytes[start, end)`.
   *
   * @param fields - takes the fields, as long as the list stays below `listBytesMax`
   * @returns the list's size as HPACK counts
   * @throws {HpackError}
   */
  decode(
    bytes: Uint8Array,
    start: number,
    end: number,
    listBytesMax: number,
    fields: HeaderField[],
  ): number {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    let listBytes = 0;
    let sizeUpdates = 0;
    while (this.#at < end) {
      const first = bytes[this.#at]!;
      if ((first & 0xe0) === 0x20) {
        if (listBytes > 0 || ++sizeUpdates > SIZE_UPDATES_MAX) {
          throw new HpackError("a table size update inside a header block");
        }
        this.#resize(this.#integer(0x1f));
        continue;
      }
      const field = first >= 0x80 ? this.#field(this.#integer(0x7f)) : this.#literal(first);
      listBytes += field.bytes;
      if (listBytes <= listBytesMax) fields.push(field);
    }
    this.#bytes = scratch;
    return listBytes;
  }

  /** 01: with indexing; 0000: without; 0001: never. */
  #literal(first: number): HeaderField {
    const isIndexed = first >= 0x40;
    const index = this.#integer(isIndexed ? 0x3f : 0x0f);
    const header = index === 0 ? new HeaderName(this.#string()) : this.#field(index).header;
    if (!isIndexed && index !== 0) return this.#repeatedLiteral(header);
    const field = new HeaderField(header, this.#string());
    if (isIndexed) this.#add(field);
    return field;
  }

  /** Some clients never index a path, and send it in full with each call. */
  #repeatedLiteral(header: HeaderName): HeaderField {
    const bytes = this.#bytes;
    const start = this.#at;
    const end = start + 1 + ((bytes[start] ?? 0) & 0x7f);
    if (end > this.#end || end - start > LITERAL_BYTES_MAX) {
      return new HeaderField(header, this.#string());
    }
    let hash = end - start;
    for (let i = start; i < end; i++) hash = (hash * 31 + bytes[i]!) | 0;
    const slot = hash & LITERALS_MASK;
    const known = this.#literals[slot];
    if (known?.field.header === header && isSame(known.bytes, bytes, start, end)) {
      this.#at = end;
      return known.field;
    }
    const field = new HeaderField(header, this.#string());
    this.#literals[slot] = { bytes: bytes.slice(start, end), field };
    return field;
  }

  #field(index: number): HeaderField {
    if (index > STATIC_ENTRIES) {
      const age = index - STATIC_ENTRIES;
      if (age > this.#entries) throw new HpackError(`no header field at index ${index}`);
      return this.#ring[(this.#added - age) & RING_MASK]!;
    }
    if (index === 0) throw new HpackError("no header field at index 0");
    return STATIC_TABLE[index]!;
  }

  #add(field: HeaderField): void {
    this.version++;
    this.#evictTo(this.#tableBytesLimit - field.bytes);
    if (field.bytes > this.#tableBytesLimit) return;
    this.#ring[this.#added & RING_MASK] = field;
    this.#added++;
    this.#entries++;
    this.#tableBytes += field.bytes;
  }

  #resize(tableBytesLimit: number): void {
    this.version++;
    if (tableBytesLimit > HTTP2_HEADER_TABLE_BYTES) {
      throw new HpackError(`a table of ${tableBytesLimit} bytes is more than was allowed`);
    }
    this.#tableBytesLimit = tableBytesLimit;
    this.#evictTo(tableBytesLimit);
  }

  #evictTo(tableBytes: number): void {
    while (this.#entries > 0 && this.#tableBytes > tableBytes) {
      const oldest = (this.#added - this.#entries) & RING_MASK;
      this.#tableBytes -= this.#ring[oldest]!.bytes;
      this.#ring[oldest] = undefined;
      this.#entries--;
    }
  }

  #integer(prefixMask: number): number {
    const bytes = this.#bytes;
    let value = bytes[this.#at++]! & prefixMask;
    if (value < prefixMask) return value;
    for (let i = 0; i < INTEGER_BYTES_MAX; i++) {
      if (this.#at >= this.#end) throw new HpackError("a header block ends inside an integer");
      const byte = bytes[this.#at++]!;
      value += (byte & 0x7f) << (7 * i);
      if (byte < 0x80) return value;
    }
    throw new HpackError("an integer in a header block is too long");
  }

  #string(): string {
    if (this.#at >= this.#end) throw new HpackError("a header block ends before a string");
    const isHuffman = this.#bytes[this.#at]! >= 0x80;
    const length = this.#integer(0x7f);
    const start = this.#at;
    const end = start + length;
    if (end > this.#end) throw new HpackError("a header block ends inside a string");
    this.#at = end;
    if (length === 0) return "";
    const needed = isHuffman ? huffmanDecodedBytesMax(length) : length;
    const target = scratch.length >= needed ? scratch : Buffer.allocUnsafeSlow(needed);
    if (needed <= SCRATCH_KEPT_BYTES) scratch = target;
    if (!isHuffman) {
      for (let i = 0; i < length; i++) target[i] = this.#bytes[start + i]!;
      return target.toString("latin1", 0, length);
    }
    const decodedBytes = huffmanDecode(this.#bytes, start, end, target);
    if (decodedBytes < 0) throw new HpackError("a malformed Huffman code");
    return target.toString("latin1", 0, decodedBytes);
  }
}

function isSame(known: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[start + i]) return false;
  return true;
}
