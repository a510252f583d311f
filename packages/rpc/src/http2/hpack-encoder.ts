/**
 * Header fields to header blocks: RFC 7541.
 *
 * Few distinct fields leave a gRPC server, so those worth it go into the dynamic table and later
 * blocks name them by index. A block that was all indexes is kept and copied as long as the table
 * does not change.
 *
 * Invariants:
 * - `#positions` and the client's table agree: entry n of all ever added has index
 *   `61 + #added - n`, counting from 0.
 * - Nothing is added that would push another entry out; so nothing is ever evicted.
 */

import type { WireWriter } from "@etcd-ts/base";

import { FIELD_OVERHEAD_BYTES } from "./header-field.ts";
import { STATIC_ENTRIES, STATIC_NAMES, STATIC_TABLE } from "./hpack-static-table.ts";
import { huffmanEncode, huffmanEncodedBytes } from "./huffman.ts";
import { HTTP2_HEADER_TABLE_BYTES } from "./limits.ts";

/** How a field that is not in a table yet is written. */
export type Indexing = "add" | "never" | "without";

export type FieldToSend = readonly [name: string, value: string, indexing: Indexing];

/** Fields that make up a block again and again; its encoded form is kept with it. */
export class RepeatedBlock {
  readonly fields: readonly FieldToSend[];

  constructor(fields: readonly FieldToSend[]) {
    this.fields = fields;
  }
}

interface KeptBlock {
  readonly bytes: Uint8Array;
  readonly added: number;
}

const STATIC_POSITIONS: ReadonlyMap<string, number> = new Map(
  STATIC_TABLE.map((field, index) => [`${field.name}\n${field.value}`, index] as const).slice(1),
);

export class HpackEncoder {
  /** Place in the order of addition, by name and value. */
  readonly #positions = new Map<string, number>();
  readonly #kept = new Map<RepeatedBlock, KeptBlock>();
  #added = 0;
  #tableBytes = 0;
  #tableBytesMax = HTTP2_HEADER_TABLE_BYTES;
  /** The client must be told that its table is emptied, at the start of the next block. */
  #resetPending = false;

  /**
   * The client's SETTINGS_HEADER_TABLE_SIZE. One below what is used makes us do without a table,
   * for good; a larger one is not made use of.
   */
  setTableBytesMax(bytes: number): void {
    if (bytes >= this.#tableBytesMax) return;
    this.#tableBytesMax = 0;
    this.#tableBytes = 0;
    this.#positions.clear();
    this.#kept.clear();
    this.#resetPending = true;
  }

  /** The encoded form of `block`, if it is all indexes, so that nothing has to be told before. */
  kept(block: RepeatedBlock): Uint8Array | undefined {
    const kept = this.#kept.get(block);
    return kept?.added === this.#added && !this.#resetPending ? kept.bytes : undefined;
  }

  /** Appends the fields of `block`. */
  block(output: WireWriter, block: RepeatedBlock): void {
    const bytes = this.kept(block);
    if (bytes !== undefined) {
      const at = output.extend(bytes.length);
      const buffer = output.buffer;
      for (let i = 0; i < bytes.length; i++) buffer[at + i] = bytes[i]!;
      return;
    }
    const start = output.length;
    const isComplete = !this.#resetPending;
    const added = this.#added;
    this.fields(output, block.fields);
    if (!isComplete || added !== this.#added) return;
    this.#kept.set(block, { bytes: output.buffer.slice(start, output.length), added });
  }

  fields(output: WireWriter, fields: readonly FieldToSend[]): void {
    for (const [name, value, indexing] of fields) this.field(output, name, value, indexing);
  }

  /** Appends one field. @param value - one character a byte */
  field(output: WireWriter, name: string, value: string, indexing: Indexing = "without"): void {
    if (this.#resetPending) {
      this.#resetPending = false;
      writeOctet(output, 0x20);
    }
    const key = `${name}\n${value}`;
    const fixed = STATIC_POSITIONS.get(key);
    if (fixed !== undefined) {
      writeInteger(output, 0x80, 0x7f, fixed);
      return;
    }
    const position = this.#positions.get(key);
    if (position !== undefined) {
      writeInteger(output, 0x80, 0x7f, STATIC_ENTRIES + this.#added - position);
      return;
    }
    const nameIndex = STATIC_NAMES.get(name) ?? 0;
    const fieldBytes = name.length + value.length + FIELD_OVERHEAD_BYTES;
    if (indexing === "add" && this.#tableBytes + fieldBytes <= this.#tableBytesMax) {
      this.#positions.set(key, this.#added++);
      this.#tableBytes += fieldBytes;
      writeInteger(output, 0x40, 0x3f, nameIndex);
    } else writeInteger(output, indexing === "never" ? 0x10 : 0, 0x0f, nameIndex);
    if (nameIndex === 0) writeString(output, name);
    writeString(output, value);
  }
}

/** The buffer is asked for after `extend`, which may replace it. */
function writeOctet(output: WireWriter, octet: number): void {
  const at = output.extend(1);
  output.buffer[at] = octet;
}

function writeInteger(output: WireWriter, pattern: number, mask: number, value: number): void {
  if (value < mask) {
    writeOctet(output, pattern | value);
    return;
  }
  writeOctet(output, pattern | mask);
  output.varint(value - mask);
}

function writeString(output: WireWriter, text: string): void {
  const huffmanBytes = huffmanEncodedBytes(text);
  if (huffmanBytes < text.length) {
    writeInteger(output, 0x80, 0x7f, huffmanBytes);
    const at = output.extend(huffmanBytes);
    huffmanEncode(text, output.buffer, at);
    return;
  }
  writeInteger(output, 0, 0x7f, text.length);
  const at = output.extend(text.length);
  const buffer = output.buffer;
  for (let i = 0; i < text.length; i++) buffer[at + i] = text.charCodeAt(i);
}
