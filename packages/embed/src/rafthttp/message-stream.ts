/** The stream of whole messages: each one behind its length. */

import { decodeMessage } from "@etcd-ts/base";
import type { WireWriter } from "@etcd-ts/base";
import { MessageCodec } from "@etcd-ts/raft";
import type { Message } from "@etcd-ts/raft";
import { ByteQueue } from "./byte-queue.ts";
import { decoding, encodeMessageFrame, limitExceeded } from "./frames.ts";
import type { DecodedMessage, StreamDecoder, StreamEncoder } from "./frames.ts";
import { STREAM_FRAME_BYTES_MAX } from "./limits.ts";

const LENGTH_BYTES = 8;

export class MessageStreamEncoder implements StreamEncoder {
  encode(message: Message, writer: WireWriter): void {
    encodeMessageFrame(message, writer);
  }
}

export class MessageStreamDecoder implements StreamDecoder {
  readonly #bytes = new ByteQueue();
  readonly #frameBytesMax: number;
  /** Of the frame whose length has been read. */
  #frameBytes: number | undefined;

  constructor(frameBytesMax: number = STREAM_FRAME_BYTES_MAX) {
    this.#frameBytesMax = frameBytesMax;
  }

  push(chunk: Uint8Array): void {
    this.#bytes.push(chunk);
  }

  next(): DecodedMessage | undefined {
    if (this.#frameBytes === undefined) {
      if (this.#bytes.length < LENGTH_BYTES) return undefined;
      const frameBytes = this.#bytes.takeCounter();
      if (frameBytes > this.#frameBytesMax) throw limitExceeded();
      this.#frameBytes = frameBytes;
    }
    const sizeBytes = this.#frameBytes;
    if (this.#bytes.length < sizeBytes) return undefined;
    this.#frameBytes = undefined;
    const bytes = this.#bytes.take(sizeBytes);
    return { message: decoding(() => decodeMessage(MessageCodec, bytes)), sizeBytes };
  }

  /** Bytes that came after the last message taken; the decoder is of no more use. */
  rest(): Uint8Array {
    return this.#bytes.takeAll();
  }

  /** Whether it stands between two frames. */
  get isEmpty(): boolean {
    return this.#frameBytes === undefined && this.#bytes.length === 0;
  }
}
