/** A budget for what honest clients do seldom: a burst, refilled at a steady rate. */

export class RateBudget {
  readonly #burst: number;
  readonly #perMs: number;
  #left: number;
  #countedMs = -Infinity;

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1_000;
    this.#left = burst;
  }

  /** @returns whether this one is still within the budget */
  take(nowMs: number): boolean {
    if (nowMs > this.#countedMs) {
      const refill = (nowMs - this.#countedMs) * this.#perMs;
      this.#left = Math.min(this.#burst, this.#left + refill);
      this.#countedMs = nowMs;
    }
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
