/** How long work runs before it lets others: a pause after each few milliseconds. */

import { yieldTurn } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";

/** Longest stretch of background work between two turns of the event loop. */
export const SLICE_MS = 2;

/** Steps between two looks at the clock. */
const STEPS_PER_LOOK = 64;

/**
 * Counts the steps of long work and says when to pause. The test is cheap and synchronous, so a
 * step that need not pause costs no promise:
 *
 *     if (slice.isOver()) await slice.pause();
 */
export class Slice {
  readonly #clock: Clock;
  readonly #sliceMs: number;
  #startMs: number;
  #steps = 0;

  constructor(clock: Clock, sliceMs: number = SLICE_MS) {
    this.#clock = clock;
    this.#sliceMs = sliceMs;
    this.#startMs = clock.monotonicMs();
  }

  /** Counts `steps` of work; whether it is time to pause. */
  isOver(steps = 1): boolean {
    this.#steps += steps;
    if (this.#steps < STEPS_PER_LOOK) return false;
    this.#steps = 0;
    return this.#clock.monotonicMs() - this.#startMs >= this.#sliceMs;
  }

  /** Lets a turn pass. */
  async pause(): Promise<void> {
    await yieldTurn(this.#clock);
    this.#startMs = this.#clock.monotonicMs();
    this.#steps = 0;
  }
}
