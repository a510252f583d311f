/** Breaks long work into slices, between which the rest of the program runs. */

import { type Clock, yieldTurn } from "@etcd-ts/base";

/** Well below the 10 ms in which nothing else may run. */
const SLICE_MS = 2;

export class Slices {
  readonly #clock: Clock | undefined;
  #endMs: number;

  /** @param clock - undefined: the work runs in one go */
  constructor(clock: Clock | undefined) {
    this.#clock = clock;
    this.#endMs = clock === undefined ? Infinity : clock.monotonicMs() + SLICE_MS;
  }

  isDue(): boolean {
    return this.#clock !== undefined && this.#clock.monotonicMs() >= this.#endMs;
  }

  /** Lets others run; call it when `isDue`. */
  async pause(): Promise<void> {
    if (this.#clock === undefined) return;
    await yieldTurn(this.#clock);
    this.#endMs = this.#clock.monotonicMs() + SLICE_MS;
  }
}
