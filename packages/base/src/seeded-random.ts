/**
 * Reproducible entropy for tests and the simulator: xoshiro128** (Blackman and Vigna, 2018).
 *
 * Invariants:
 * - The draws of a generator depend on its seed alone, and those of `split(name)` on the seed and
 *   the name alone: a draw added in one place never shifts the draws of another.
 * - The four state words are never all zero.
 */

import type { Random } from "./ports/random.ts";

type Words = readonly [number, number, number, number];

export class SeededRandom implements Random {
  #seed: Words;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed - any integer; it counts with its low 64 bits */
  constructor(seed: number | bigint) {
    const bits = BigInt.asUintN(64, BigInt(seed));
    this.#seed = mixWords([Number(bits & 0xffff_ffffn), Number(bits >> 32n), 0, 0]);
    [this.#a, this.#b, this.#c, this.#d] = this.#seed;
  }

  /** A generator of its own for `name`; independent of how much was drawn from this one. */
  split(name: string): SeededRandom {
    let words = this.#seed;
    for (let i = 0; i < name.length; i++) {
      words = mixWords([words[0] ^ name.charCodeAt(i), words[1], words[2], words[3]]);
    }
    words = mixWords([words[0], words[1] ^ name.length, words[2], words[3]]);
    const child = new SeededRandom(0);
    child.#seed = words;
    [child.#a, child.#b, child.#c, child.#d] = words;
    return child;
  }

  fill(target: Uint8Array): Uint8Array {
    for (let i = 0; i < target.length; i += 4) {
      let word = this.uint32();
      const end = Math.min(i + 4, target.length);
      for (let j = i; j < end; j++, word >>>= 8) target[j] = word & 0xff;
    }
    return target;
  }

  uint32(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotateLeft(this.#d, 11);
    return result;
  }

  /** Uniform in [0, 1) with 53 random bits. */
  float(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 0x400_0000 + low) / 0x20_0000_0000_0000;
  }
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

/** The finalizer of MurmurHash3 (Appleby): every input bit reaches every output bit. */
function avalanche(word: number): number {
  let x = word;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Spreads four words over each other; the constants are odd parts of the golden ratio. */
function mixWords(words: Words): Words {
  const a = avalanche(words[0] + 0x9e3779b9);
  const b = avalanche((words[1] ^ a) + 0x7f4a7c15);
  const c = avalanche((words[2] ^ b) + 0xf39cc061);
  const d = avalanche((words[3] ^ c) + 0x06a0e5d5);
  const e = avalanche(a ^ d);
  const mixed: Words = [e, (b ^ rotateLeft(e, 9)) >>> 0, (c ^ rotateLeft(e, 18)) >>> 0, d];
  return (mixed[0] | mixed[1] | mixed[2] | mixed[3]) === 0 ? [1, 0, 0, 0] : mixed;
}
