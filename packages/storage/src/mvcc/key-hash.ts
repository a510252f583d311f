/**
 * HalfSipHash: a keyed hash of short byte strings (Aumasson and Bernstein, SipHash's 32-bit form).
 *
 * Who may write keys must not be able to choose keys that fall into one place of a hash table;
 * without the hash key he cannot know which do.
 */

/** Rounds for each word and at the end: 1 and 3 are what hash tables use. */
const WORD_ROUNDS = 1;
const FINAL_ROUNDS = 3;

export interface HashKey {
  /** Two unsigned 32-bit words. */
  readonly low: number;
  readonly high: number;
}

/** @returns an unsigned 32-bit hash of `bytes[start, end)` */
export function halfSipHash(
  { low, high }: HashKey,
  bytes: Uint8Array,
  start: number,
  end: number,
  wordRounds: number = WORD_ROUNDS,
  finalRounds: number = FINAL_ROUNDS,
): number {
  let v0 = low | 0;
  let v1 = high | 0;
  let v2 = (0x6c796765 ^ low) | 0;
  let v3 = (0x74656462 ^ high) | 0;
  const length = end - start;
  const words = (length >>> 2) + 1;
  let at = start;
  for (let word = 0; word <= words; word++) {
    let m = 0;
    let rounds = wordRounds;
    if (word < words - 1) {
      m = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
      at += 4;
    } else if (word < words) {
      m = length << 24;
      for (let shift = 0; at < end; shift += 8) m |= bytes[at++]! << shift;
    } else {
      v2 ^= 0xff;
      rounds = finalRounds;
    }
    v3 ^= m;
    for (; rounds > 0; rounds--) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    v0 ^= m;
  }
  return (v1 ^ v3) >>> 0;
}
