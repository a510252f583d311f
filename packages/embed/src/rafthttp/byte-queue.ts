/**
 * Bytes as they arrive, to be taken in other portions than they came in.
 *
 * Invariants:
 * - `length` is what was pushed less what was taken; no chunk of it is empty.
 * - `take` copies only when the portion spans chunks; else it is a view of what was pushed.
 */

import { invariant } from "@etcd-ts/base";

const COUNTER_BYTES = 8;

/** The same bytes without the methods of Node's Buffer, whose `slice` does not copy. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

export class ByteQueue {
  readonly #chunks: Uint8Array[] = [];
  /** Taken from the first chunk. */
  #offset = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Keeps `chunk`, which must not change. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(plainBytes(chunk));
    this.#length += chunk.length;
  }

  /** The next `bytes`; there must be as many. */
  take(bytes: number): Uint8Array {
    invariant(bytes <= this.#length, () => `ByteQueue.take: ${bytes} of ${this.#length}`);
    const first = this.#chunks[0];
    if (first !== undefined && first.length - this.#offset >= bytes) {
      const view = first.subarray(this.#offset, this.#offset + bytes);
      this.#drop(bytes);
      return view;
    }
    const joined = new Uint8Array(bytes);
    let filled = 0;
    while (filled < bytes) {
      const chunk = this.#chunks[0]!;
      const part = chunk.subarray(this.#offset, this.#offset + bytes - filled);
      joined.set(part, filled);
      filled += part.length;
      this.#drop(part.length);
    }
    return joined;
  }

  takeByte(): number {
    return this.take(1)[0]!;
  }

  /** An unsigned big-endian number of 8 bytes; infinite above 2^53 - 1, which exceeds any bound. */
  takeCounter(): number {
    const bytes = this.take(COUNTER_BYTES);
    const view = new DataView(bytes.buffer, bytes.byteOffset, COUNTER_BYTES);
    const value = view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4);
    return Number.isSafeInteger(value) ? value : Infinity;
  }

  /** All that is left. */
  takeAll(): Uint8Array {
    return this.take(this.#length);
  }

  /** Drops bytes of the first chunk. */
  #drop(bytes: number): void {
    this.#offset += bytes;
    this.#length -= bytes;
    const first = this.#chunks[0];
    if (first === undefined || this.#offset < first.length) return;
    this.#chunks.shift();
    this.#offset = 0;
  }
}
