/** Entropy; seeded in tests. */
export interface Random {
  /** Fills `target` and returns it. */
  fill(target: Uint8Array): Uint8Array;
  /** Uniform in [0, 2^32). */
  uint32(): number;
  /** Uniform in [0, 1). */
  float(): number;
}

/** Uniform in [0, bound); `bound` is at most 2^32. */
export function randomBelow(random: Random, bound: number): number {
  return Math.floor(random.float() * bound);
}
