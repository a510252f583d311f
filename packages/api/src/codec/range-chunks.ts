/**
 * A RangeResponse in wire form, put together pair by pair from stored records.
 *
 * A long list is never held as messages, nor encoded in one go: pairs are copied into chunks of
 * bounded size as they are read, and the chunks leave as the connection takes them.
 *
 * Invariant: header, pairs in the order they were added, and tail are in field order, so the
 * chunks joined are what `RangeResponseCodec` would write.
 */

import { encodeMessage, invariant, varintLength, WireReader, WireWriter } from "@etcd-ts/base";

import { writeBool, writeMessage, writeNumber } from "./fields.ts";
import { KeyValueCodec } from "./key-value.ts";
import type { KeyValue } from "./key-value.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import type { ResponseHeader } from "./response-header.ts";

/** The first chunk is small, since most ranges are; each new one is twice the one before. */
const CHUNK_BYTES_MIN = 1024;
const CHUNK_BYTES_MAX = 64 * 1024;

/** RangeResponse.kvs: field 2, length-delimited. */
const KVS_TAG = 0x12;
/** KeyValue.value. */
const VALUE_FIELD = 5;

/** A message in wire form: `chunks` joined, `bytes` in all. Whoever gets it owns the chunks. */
export interface EncodedChunks {
  readonly bytes: number;
  readonly chunks: readonly Uint8Array[];
  /** Takes back a chunk of which nobody has a view any more, to be used again. */
  readonly recycle?: ((chunk: Uint8Array) => void) | undefined;
}

/** Chunks of the largest size that are of no more use where they were; a MiB at most. */
const spareChunks: Uint8Array[] = [];
const SPARE_CHUNKS_MAX = 16;
/** The memory of chunks that are in use: other parts of a message lie in memory of others. */
const lentMemory = new WeakSet<ArrayBufferLike>();

function largestChunk(): Uint8Array {
  const chunk = spareChunks.pop() ?? new Uint8Array(CHUNK_BYTES_MAX);
  lentMemory.add(chunk.buffer);
  return chunk;
}

function recycle({ buffer }: Uint8Array): void {
  if (!lentMemory.delete(buffer) || spareChunks.length >= SPARE_CHUNKS_MAX) return;
  spareChunks.push(new Uint8Array(buffer));
}

/** The pairs of one response. */
export class RangeChunks {
  /** Pairs added. */
  pairs = 0;
  #bytes = 0;
  #chunks: Uint8Array[] = [];
  #chunk: Uint8Array = new Uint8Array(CHUNK_BYTES_MIN);
  #used = 0;

  /** Adds the record at [start, end) of `source`, a KeyValue as stored. */
  addStored(source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.#begin(length);
    this.#append(source, start, end);
  }

  /**
   * The same without the value.
   *
   * @throws {WireFormatError} if the record is no KeyValue
   */
  addStoredKey(source: Uint8Array, start: number, end: number): void {
    const reader = new WireReader(source, start, end);
    let valueStart = end;
    let valueEnd = end;
    for (let at = start; reader.next(); at = reader.offset) {
      reader.skip();
      if (reader.field !== VALUE_FIELD) continue;
      valueStart = at;
      valueEnd = reader.offset;
    }
    this.#begin(valueStart - start + (end - valueEnd));
    this.#append(source, start, valueStart);
    this.#append(source, valueEnd, end);
  }

  add(kv: KeyValue): void {
    const stored = kv.encoded ?? encodeMessage(KeyValueCodec, kv);
    this.addStored(stored, 0, stored.length);
  }

  /** The whole response; nothing may be added afterwards. */
  finish(header: ResponseHeader | undefined, more: boolean, count: number): EncodedChunks {
    const head = new WireWriter(64);
    writeMessage(head, 1, ResponseHeaderCodec, header);
    const tail = new WireWriter(16);
    writeBool(tail, 3, more);
    writeNumber(tail, 4, count);
    this.#closeChunk();
    const chunks = this.#chunks;
    this.#chunks = [];
    const bytes = head.length + this.#bytes + tail.length;
    if (head.length > 0) chunks.unshift(head.finish());
    if (tail.length > 0) chunks.push(tail.finish());
    return { bytes, chunks, recycle };
  }

  /** Makes room for a pair of `length` bytes in one piece and writes what stands before it. */
  #begin(length: number): void {
    const needed = 1 + varintLength(length) + length;
    if (this.#used + needed > this.#chunk.length) {
      this.#closeChunk();
      this.#chunk = this.#nextChunk(needed);
    }
    const chunk = this.#chunk;
    let at = this.#used;
    chunk[at++] = KVS_TAG;
    let rest = length;
    while (rest >= 0x80) {
      chunk[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    chunk[at++] = rest;
    this.#used = at;
    this.#bytes += needed;
    this.pairs++;
  }

  #nextChunk(bytesMin: number): Uint8Array {
    const next = Math.max(bytesMin, Math.min(CHUNK_BYTES_MAX, this.#chunk.length * 2));
    const isLent =
      bytesMin <= CHUNK_BYTES_MAX && (spareChunks.length > 0 || next === CHUNK_BYTES_MAX);
    return isLent ? largestChunk() : new Uint8Array(next);
  }

  #append(source: Uint8Array, start: number, end: number): void {
    invariant(this.#used + end - start <= this.#chunk.length, () => "RangeChunks: no room");
    const isWhole = start === 0 && end === source.length;
    this.#chunk.set(isWhole ? source : source.subarray(start, end), this.#used);
    this.#used += end - start;
  }

  #closeChunk(): void {
    if (this.#used === 0) return;
    this.#chunks.push(this.#chunk.subarray(0, this.#used));
    this.#used = 0;
  }
}
