/**
 * The bytes of a connection that do not lie whole in one read: the preface, and the frame that is
 * cut at the end of a read.
 *
 * Invariant: memory is made for what a frame says it has, never more than a frame may have.
 */

import {
  ErrorCode,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FrameType,
  PREFACE_TEXT,
  readUint24,
} from "./frames.ts";

/** What is told of frames. */
export interface FrameSink {
  /** The connection has ended: nothing more is to be cut. */
  readonly isDone: boolean;
  frame(bytes: Uint8Array, header: number, length: number): void;
  fail(code: ErrorCode, reason: string): void;
}

export class FrameCutter {
  readonly #sink: FrameSink;
  #prefaceBytes = 0;
  #partial: Uint8Array | undefined;
  #partialBytes = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Whether the frame that is cut is one of HEADERS. */
  get hasPartialHeaders(): boolean {
    const partial = this.#partial;
    return partial !== undefined && this.#partialBytes > 3 && partial[3] === FrameType.HEADERS;
  }

  /** Takes what belongs to what came before. @returns the offset behind it */
  begin(chunk: Uint8Array): number {
    const at = this.#prefaceBytes < PREFACE_TEXT.length ? this.#readPreface(chunk) : 0;
    return this.#partial === undefined ? at : this.#completePartial(chunk, at);
  }

  #readPreface(chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length && this.#prefaceBytes < PREFACE_TEXT.length) {
      if (chunk[at++] === PREFACE_TEXT.charCodeAt(this.#prefaceBytes++)) continue;
      this.#sink.fail(ErrorCode.PROTOCOL_ERROR, "bad preface");
      return chunk.length;
    }
    return at;
  }

  /** The length of the payload behind the header at `at`; fails if it is too long. */
  payloadBytes(bytes: Uint8Array, at: number): number {
    const length = readUint24(bytes, at);
    if (length > FRAME_PAYLOAD_BYTES_MAX) {
      this.#sink.fail(ErrorCode.FRAME_SIZE_ERROR, "frame too long");
    }
    return length;
  }

  /** Keeps the start of a frame, with room for the rest as soon as its length is known. */
  keep(chunk: Uint8Array, at: number): void {
    const bytes = chunk.length - at;
    if (bytes === 0) return;
    const length = bytes < FRAME_HEADER_BYTES ? 0 : this.payloadBytes(chunk, at);
    this.#partial = new Uint8Array(FRAME_HEADER_BYTES + length);
    this.#partial.set(chunk.subarray(at));
    this.#partialBytes = bytes;
  }

  /** @returns the offset after what was needed of `chunk` */
  #completePartial(chunk: Uint8Array, start: number): number {
    let at = start;
    while (at < chunk.length && !this.#sink.isDone) {
      let partial = this.#partial!;
      const taken = Math.min(partial.length - this.#partialBytes, chunk.length - at);
      partial.set(chunk.subarray(at, at + taken), this.#partialBytes);
      at += taken;
      this.#partialBytes += taken;
      if (this.#partialBytes < partial.length) return at;
      const length = this.payloadBytes(partial, 0);
      if (this.#sink.isDone) return at;
      if (partial.length === FRAME_HEADER_BYTES && length > 0) {
        const whole = new Uint8Array(FRAME_HEADER_BYTES + length);
        whole.set(partial);
        partial = whole;
        this.#partial = whole;
        continue;
      }
      this.#partial = undefined;
      this.#sink.frame(partial, 0, length);
      return at;
    }
    return at;
  }
}
