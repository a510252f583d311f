/**
 * What the hand-written codecs share: one rule for fields at their zero value, one for nested
 * messages, and the loop over fields.
 *
 * Invariants:
 * - A proto3 scalar at zero is not written; a nested message is written whenever it is present,
 *   even if empty. Members compare hashes of stored bytes, so both rules are exact.
 * - A singular nested message that comes twice is merged, field by field, as protobuf has it.
 * - A decoded message views the bytes it was read from. They must stay unchanged while it lives.
 */

import type { Codec, WireReader, WireWriter } from "@etcd-ts/base";

/** The same fields, open for writing: only a codec that is still building the message holds one. */
export type Draft<T> = { -readonly [K in keyof T]: T[K] };

/** What tells one message type from another. */
interface MessageShape<T extends object> {
  /** A new message, every field at its zero value; its arrays belong to it alone. */
  create(): T;
  /** Writes the fields in number order. */
  encode(message: T, writer: WireWriter): void;
  /**
   * Takes the current field of `reader` into `draft`.
   *
   * @param depth - how many transactions enclose this message
   * @returns false if the field is unknown; nothing has been read then
   */
  field(draft: Draft<T>, reader: WireReader, depth: number): boolean;
}

/** A hand-written codec of a message with plain fields. */
export class MessageCodec<T extends object> implements Codec<T> {
  readonly #shape: MessageShape<T>;

  constructor(shape: MessageShape<T>) {
    this.#shape = shape;
  }

  /** A message with the given fields, all others at their zero value. */
  create(fields?: Partial<T>): T {
    const message = this.#shape.create();
    return fields === undefined ? message : Object.assign(message, fields);
  }

  encode(message: T, writer: WireWriter): void {
    this.#shape.encode(message, writer);
  }

  /** The result views the bytes of `reader`. @throws {WireFormatError} */
  decode(reader: WireReader, depth = 0): T {
    return this.#read(this.#shape.create(), reader, depth);
  }

  /**
   * Reads the nested message of the current field, over `previous` if the field came before.
   *
   * @throws {WireFormatError}
   */
  decodeField(previous: T | undefined, reader: WireReader, depth = 0): T {
    return this.#read(previous ?? this.#shape.create(), reader.message(), depth);
  }

  #read(message: T, reader: WireReader, depth: number): T {
    const draft: Draft<T> = message;
    while (reader.next()) if (!this.#shape.field(draft, reader, depth)) reader.skip();
    return message;
  }
}

/** Appends to a list that the decoder itself made. */
export function append<T>(list: readonly T[], item: T): void {
  (list as T[]).push(item);
}

export function writeBytes(writer: WireWriter, field: number, value: Uint8Array): void {
  if (value.length > 0) writer.bytesField(field, value);
}

export function writeString(writer: WireWriter, field: number, value: string): void {
  if (value.length > 0) writer.stringField(field, value);
}

export function writeBool(writer: WireWriter, field: number, value: boolean): void {
  if (value) writer.boolField(field, true);
}

/** An integer or enum field held in a number. */
export function writeNumber(writer: WireWriter, field: number, value: number): void {
  if (value !== 0) writer.varintField(field, value);
}

/** A 64-bit identity. */
export function writeID(writer: WireWriter, field: number, value: bigint): void {
  if (value !== 0n) writer.varint64Field(field, value);
}

export function writeMessage<T>(
  writer: WireWriter,
  field: number,
  codec: Codec<T>,
  message: T | undefined,
): void {
  if (message === undefined) return;
  const mark = writer.beginMessage(field);
  codec.encode(message, writer);
  writer.endMessage(mark);
}

export function writeMessages<T>(
  writer: WireWriter,
  field: number,
  codec: Codec<T>,
  messages: readonly T[],
): void {
  for (const message of messages) writeMessage(writer, field, codec, message);
}
