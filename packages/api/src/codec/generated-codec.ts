/**
 * The bridge from generated messages to `Codec`, for everything that is not hot.
 *
 * Invariant: whatever is wrong with the bytes, `WireFormatError` is what comes out.
 */

import { create, fromBinary, mergeFromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { WireFormatError } from "@etcd-ts/base";
import type { Codec, WireReader, WireWriter } from "@etcd-ts/base";

/** Unknown fields are passed over, as the hand-written codecs do. */
const READ_OPTIONS = { readUnknownFields: false } as const;
const WRITE_OPTIONS = { writeUnknownFields: false } as const;

class GeneratedCodec<D extends DescMessage> implements Codec<MessageShape<D>> {
  readonly #describe: () => D;
  #described: D | undefined;

  constructor(describe: () => D) {
    this.#describe = describe;
  }

  get #schema(): D {
    this.#described ??= this.#describe();
    return this.#described;
  }

  encode(message: MessageShape<D>, writer: WireWriter): void {
    writer.raw(toBinary(this.#schema, message, WRITE_OPTIONS));
  }

  decode(reader: WireReader): MessageShape<D> {
    const bytes = reader.bytes.subarray(reader.offset, reader.end);
    reader.offset = reader.end;
    return this.#read(() => fromBinary(this.#schema, bytes, READ_OPTIONS));
  }

  /** Reads the nested message of the current field, over `previous` if the field came before. */
  decodeField(previous: MessageShape<D> | undefined, reader: WireReader): MessageShape<D> {
    const message = previous ?? create(this.#schema);
    const bytes = reader.view();
    return this.#read(() => mergeFromBinary(this.#schema, message, bytes, READ_OPTIONS));
  }

  /** The library throws plain errors and range errors, on the bytes alone. */
  #read(read: () => MessageShape<D>): MessageShape<D> {
    try {
      return read();
    } catch (cause) {
      throw new WireFormatError(`proto: ${this.#schema.typeName}: ${String(cause)}`, { cause });
    }
  }
}

/**
 * The codec of one generated message type. Byte fields of decoded messages may view the input.
 *
 * @param schema - or what finds it, called when it is needed first
 */
export function generatedCodec<D extends DescMessage>(schema: D | (() => D)): GeneratedCodec<D> {
  return new GeneratedCodec(typeof schema === "function" ? schema : () => schema);
}
