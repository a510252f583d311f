/**
 * gRPC's message framing inside a stream: a flag byte, a length of 4 bytes big-endian, a payload.
 * Source: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
 *
 * Invariants:
 * - A length above the maximum is refused from its prefix, before any of its payload is kept.
 * - Cutting the bytes anywhere gives the same messages in the same order.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import { EMPTY_BYTES, WireWriter, invariant } from "@etcd-ts/base";
import type { EncodedChunks } from "@etcd-ts/api";
import type { Codec } from "@etcd-ts/base";

export const FRAME_HEADER_BYTES = 5;
const FLAG_PLAIN = 0;
const FLAG_COMPRESSED = 1;
/** A shared writer that has grown beyond this is let go. */
const WRITER_KEPT_BYTES = 256 * 1024;

export interface Frame {
  readonly compressed: boolean;
  /** A view of what was pushed where the message lay in one chunk, else a copy. */
  readonly payload: Uint8Array;
}

/** Takes bytes as they come and gives whole messages. */
export class FrameReader {
  readonly #payloadBytesMax: number;
  #chunks: Uint8Array[] = [];
  #chunkOffset = 0;
  #available = 0;
  /** Of the message being read; undefined until its prefix is complete. */
  #payloadBytes: number | undefined;
  #compressed = false;

  constructor(payloadBytesMax: number) {
    this.#payloadBytesMax = payloadBytesMax;
  }

  /** Whether the bytes so far end inside a message. */
  get isPartial(): boolean {
    return this.#available > 0 || this.#payloadBytes !== undefined;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#available += chunk.length;
  }

  /**
   * The next whole message.
   *
   * @throws {RpcError} with grpc-go's status, if the prefix is refused
   */
  next(): Frame | undefined {
    if (this.#payloadBytes === undefined && !this.#readPrefix()) return undefined;
    const payloadBytes = this.#payloadBytes;
    invariant(payloadBytes !== undefined, () => "FrameReader: no prefix");
    if (this.#available < payloadBytes) return undefined;
    const payload = this.#take(payloadBytes);
    this.#payloadBytes = undefined;
    return { compressed: this.#compressed, payload };
  }

  #readPrefix(): boolean {
    if (this.#available < FRAME_HEADER_BYTES) return false;
    const prefix = this.#take(FRAME_HEADER_BYTES);
    const flag = prefix[0]!;
    const length = new DataView(prefix.buffer, prefix.byteOffset).getUint32(1);
    if (length > this.#payloadBytesMax) {
      throw new RpcError(
        "RESOURCE_EXHAUSTED",
        GRPC_CODES.RESOURCE_EXHAUSTED,
        `grpc: received message larger than max (${length} vs. ${this.#payloadBytesMax})`,
      );
    }
    if (flag !== FLAG_PLAIN && flag !== FLAG_COMPRESSED) {
      throw new RpcError(
        "INTERNAL",
        GRPC_CODES.INTERNAL,
        `grpc: received unexpected payload format ${flag}`,
      );
    }
    this.#compressed = flag === FLAG_COMPRESSED;
    this.#payloadBytes = length;
    return true;
  }

  #take(bytes: number): Uint8Array {
    if (bytes === 0) return EMPTY_BYTES;
    this.#available -= bytes;
    const first = this.#chunks[0]!;
    const start = this.#chunkOffset;
    if (first.length - start >= bytes) {
      this.#chunkOffset += bytes;
      if (this.#chunkOffset === first.length) this.#dropChunks(1);
      return first.subarray(start, start + bytes);
    }
    return this.#gather(bytes);
  }

  #gather(bytes: number): Uint8Array {
    const gathered = new Uint8Array(bytes);
    let filled = 0;
    let used = 0;
    while (filled < bytes) {
      const chunk = this.#chunks[used]!;
      const part = chunk.subarray(this.#chunkOffset, this.#chunkOffset + bytes - filled);
      gathered.set(part, filled);
      filled += part.length;
      this.#chunkOffset += part.length;
      if (this.#chunkOffset < chunk.length) break;
      used++;
      this.#chunkOffset = 0;
    }
    this.#chunks.splice(0, used);
    return gathered;
  }

  #dropChunks(count: number): void {
    this.#chunks.splice(0, count);
    this.#chunkOffset = 0;
  }
}

const ZERO_PREFIX = new Uint8Array(FRAME_HEADER_BYTES);
let sharedWriter = new WireWriter(4096);

/** One uncompressed message with its prefix; the caller owns the bytes. */
export function encodeFrame<T>(codec: Codec<T>, message: T): Uint8Array {
  const writer = sharedWriter;
  writer.reset();
  writer.raw(ZERO_PREFIX);
  codec.encode(message, writer);
  const frame = writer.finish();
  if (frame.length > WRITER_KEPT_BYTES) sharedWriter = new WireWriter(4096);
  setPayloadLength(frame);
  return frame;
}

/** Puts a prefix before a payload. */
export function frameOf(payload: Uint8Array, compressed: boolean): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  frame.set(payload, FRAME_HEADER_BYTES);
  frame[0] = compressed ? FLAG_COMPRESSED : FLAG_PLAIN;
  setPayloadLength(frame);
  return frame;
}

/** The prefix of an uncompressed message, to be followed by its chunks. */
export function framePrefix({ bytes }: EncodedChunks): Uint8Array {
  invariant(bytes <= 0xffff_ffff, () => `framePrefix: ${bytes} bytes`);
  const prefix = new Uint8Array(FRAME_HEADER_BYTES);
  new DataView(prefix.buffer).setUint32(1, bytes);
  return prefix;
}

function setPayloadLength(frame: Uint8Array): void {
  const length = frame.length - FRAME_HEADER_BYTES;
  invariant(length <= 0xffff_ffff, () => `encodeFrame: ${length} bytes`);
  frame[1] = length >>> 24;
  frame[2] = length >>> 16;
  frame[3] = length >>> 8;
  frame[4] = length;
}
