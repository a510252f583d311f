/**
 * The bytes of many keys, one behind the other in chunks.
 *
 * Bytes are never changed in place. A chunk whose keys have all gone is given back; one that is
 * mostly empty is emptied by whoever walks over the keys (`isSparse`).
 *
 * Invariant: `#live[i]` is the sum of the lengths of the keys in chunk `i` that were not removed.
 */

/** Also the factor between the number of a chunk and the addresses in it. */
const CHUNK_BYTES = 1 << 18;
/** A chunk with less than this share in use is worth emptying. */
const SPARSE_SHARE = 0.5;

const NOTHING = new Uint8Array(0);

export class KeyArena {
  readonly #chunks: Uint8Array[] = [];
  readonly #live: number[] = [];
  readonly #freeChunks: number[] = [];
  #current = -1;
  #used = CHUNK_BYTES;

  /** Chunk of the key at `address`, and where in it the key starts (`startOf`). */
  chunkOf(address: number): Uint8Array {
    return this.#chunks[Math.floor(address / CHUNK_BYTES)]!;
  }

  startOf(address: number): number {
    return address % CHUNK_BYTES;
  }

  /** @returns the address */
  add(source: Uint8Array, start: number, end: number): number {
    const length = end - start;
    if (length > CHUNK_BYTES / 4) return this.#addAlone(source, start, end);
    if (this.#used + length > CHUNK_BYTES) {
      if (this.#current >= 0 && this.#live[this.#current] === 0) this.#free(this.#current);
      this.#current = this.#newChunk(CHUNK_BYTES);
      this.#used = 0;
    }
    const chunk = this.#chunks[this.#current]!;
    let at = this.#used;
    const address = this.#current * CHUNK_BYTES + at;
    for (let i = start; i < end; i++) chunk[at++] = source[i]!;
    this.#used = at;
    this.#live[this.#current]! += length;
    return address;
  }

  remove(address: number, length: number): void {
    const at = Math.floor(address / CHUNK_BYTES);
    this.#live[at]! -= length;
    if (this.#live[at] === 0 && at !== this.#current) this.#free(at);
  }

  /** Whether the key at `address` had better be added anew and removed there. */
  isSparse(address: number): boolean {
    const at = Math.floor(address / CHUNK_BYTES);
    return at !== this.#current && this.#live[at]! < this.#chunks[at]!.length * SPARSE_SHARE;
  }

  /** Bytes held, in use or not. */
  get sizeBytes(): number {
    let bytes = 0;
    for (const chunk of this.#chunks) bytes += chunk.length;
    return bytes;
  }

  /** A long key has a chunk for itself. */
  #addAlone(source: Uint8Array, start: number, end: number): number {
    const at = this.#newChunk(end - start);
    this.#chunks[at]!.set(source.subarray(start, end));
    this.#live[at] = end - start;
    return at * CHUNK_BYTES;
  }

  #newChunk(bytes: number): number {
    const at = this.#freeChunks.pop() ?? this.#chunks.length;
    this.#chunks[at] = new Uint8Array(bytes);
    this.#live[at] = 0;
    return at;
  }

  #free(at: number): void {
    this.#chunks[at] = NOTHING;
    this.#freeChunks.push(at);
  }
}
