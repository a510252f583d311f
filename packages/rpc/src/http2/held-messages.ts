/**
 * Bytes of a stream that are not whole messages yet, or not wanted yet.
 *
 * Invariant: bytes once given out in a view are never written over; room is made by moving what
 * is left, not what was taken.
 */

const CAPACITY_BYTES_MIN = 1024;

export class HeldMessages {
  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;
  #end = 0;

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Held bytes are `bytes[start, end)`. */
  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#end;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  /** Adds a copy of `bytes[start, end)`. */
  append(bytes: Uint8Array, start: number, end: number): void {
    const added = end - start;
    if (this.#end + added > this.#bytes.length) {
      const needed = this.length + added;
      const grown = new Uint8Array(Math.max(CAPACITY_BYTES_MIN, 2 * needed));
      grown.set(this.#bytes.subarray(this.#start, this.#end));
      this.#end = this.length;
      this.#start = 0;
      this.#bytes = grown;
    }
    this.#bytes.set(bytes.subarray(start, end), this.#end);
    this.#end += added;
  }

  /** Takes `count` bytes off the front. */
  take(count: number): void {
    this.#start += count;
    if (this.#start < this.#end) return;
    this.#bytes = new Uint8Array(0);
    this.#start = 0;
    this.#end = 0;
  }
}
