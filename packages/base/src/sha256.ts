/**
 * SHA-256 (FIPS 180-4), fed piece by piece: the trailer of a snapshot file.
 *
 * Invariant: `#used` bytes of `#block` are fed and not yet mixed; `#used` < 64.
 */

import { invariant } from "./errors.ts";

const BLOCK_BYTES = 64;
const LENGTH_BYTES = 8;
export const SHA256_BYTES = 32;

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const ROUND_CONSTANTS = fractionalRoots(64, Math.cbrt);
/** The same of the square roots of the first 8 primes. */
const START = fractionalRoots(8, Math.sqrt);

export class Sha256 {
  readonly #state = Uint32Array.from(START);
  readonly #schedule = new Uint32Array(64);
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #used = 0;
  #fedBytes = 0;
  #isFinished = false;

  /** Takes in more bytes; they are not kept. */
  update(bytes: Uint8Array): this {
    invariant(!this.#isFinished, () => "Sha256.update: after digest");
    this.#fedBytes += bytes.length;
    let at = 0;
    if (this.#used > 0) {
      at = Math.min(BLOCK_BYTES - this.#used, bytes.length);
      this.#block.set(bytes.subarray(0, at), this.#used);
      this.#used += at;
      if (this.#used < BLOCK_BYTES) return this;
      this.#mix(this.#block, 0);
      this.#used = 0;
    }
    for (; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) this.#mix(bytes, at);
    this.#block.set(bytes.subarray(at));
    this.#used = bytes.length - at;
    return this;
  }

  /** The 32-byte digest of all bytes fed; ends this hash. */
  digest(): Uint8Array {
    invariant(!this.#isFinished, () => "Sha256.digest: called twice");
    const fedBits = BigInt(this.#fedBytes) * 8n;
    const zeros = (2 * BLOCK_BYTES - 1 - LENGTH_BYTES - this.#used) % BLOCK_BYTES;
    const tail = new Uint8Array(1 + zeros + LENGTH_BYTES);
    tail[0] = 0x80;
    new DataView(tail.buffer).setBigUint64(1 + zeros, fedBits);
    this.update(tail);
    this.#isFinished = true;
    invariant(this.#used === 0, () => `Sha256.digest: ${this.#used} bytes left`);
    const digest = new Uint8Array(SHA256_BYTES);
    const view = new DataView(digest.buffer);
    this.#state.forEach((word, i) => view.setUint32(4 * i, word));
    return digest;
  }

  #mix(bytes: Uint8Array, start: number): void {
    const w = this.#schedule;
    for (let i = 0, at = start; i < 16; i++, at += 4) {
      w[i] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
    }
    for (let i = 16; i < 64; i++) {
      const early = w[i - 15]!;
      const late = w[i - 2]!;
      const s0 = rotateRight(early, 7) ^ rotateRight(early, 18) ^ (early >>> 3);
      const s1 = rotateRight(late, 17) ^ rotateRight(late, 19) ^ (late >>> 10);
      w[i] = w[i - 16]! + s0 + w[i - 7]! + s1;
    }
    this.#mixRounds(w);
  }

  #mixRounds(w: Uint32Array): void {
    const state = this.#state;
    let a = state[0]! | 0;
    let b = state[1]! | 0;
    let c = state[2]! | 0;
    let d = state[3]! | 0;
    let e = state[4]! | 0;
    let f = state[5]! | 0;
    let g = state[6]! | 0;
    let h = state[7]! | 0;
    for (let i = 0; i < 64; i++) {
      const s1 = rotateRight(e, 6) ^ rotateRight(e, 11) ^ rotateRight(e, 25);
      const choice = (e & f) ^ (~e & g);
      const t1 = (h + s1 + choice + ROUND_CONSTANTS[i]! + w[i]!) | 0;
      const s0 = rotateRight(a, 2) ^ rotateRight(a, 13) ^ rotateRight(a, 22);
      const majority = (a & b) ^ (a & c) ^ (b & c);
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + s0 + majority) | 0;
    }
    state[0]! += a;
    state[1]! += b;
    state[2]! += c;
    state[3]! += d;
    state[4]! += e;
    state[5]! += f;
    state[6]! += g;
    state[7]! += h;
  }
}

/** The 32-byte digest of `message`. */
export function sha256(message: Uint8Array): Uint8Array {
  return new Sha256().update(message).digest();
}

function rotateRight(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}

function fractionalRoots(count: number, root: (prime: number) => number): Uint32Array {
  const roots = new Uint32Array(count);
  for (let found = 0, candidate = 2; found < count; candidate++) {
    let isPrime = true;
    for (let d = 2; d * d <= candidate && isPrime; d++) isPrime = candidate % d !== 0;
    if (isPrime) roots[found++] = Math.floor((root(candidate) % 1) * 0x1_0000_0000);
  }
  return roots;
}
