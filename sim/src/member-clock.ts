/**
 * The clock of one life of one member: its own rate, its own wall time, and a stop.
 *
 * Invariants:
 * - After `kill` nothing runs any more: the process is gone.
 * - While it is paused nothing runs; what fell due meanwhile runs in later turns, in order.
 * - Monotonic time never goes back, whatever the wall does.
 */

import type { Clock, Timer, VirtualClock } from "@etcd-ts/base";

export class MemberClock implements Clock {
  readonly #world: VirtualClock;
  /** Its seconds in a true second. */
  readonly #rate: number;
  #wallOffsetMs = 0;
  #held: (() => void)[] | undefined;
  /** What outsiders asked for while it is paused. */
  #asked: (() => void)[] = [];
  #isDead = false;

  constructor(world: VirtualClock, rate = 1, wallOffsetMs = 0) {
    this.#world = world;
    this.#rate = rate;
    this.#wallOffsetMs = wallOffsetMs;
  }

  wallMs(): number {
    return this.#world.wallMs() + this.#wallOffsetMs;
  }

  monotonicMs(): number {
    return this.#world.monotonicMs() * this.#rate;
  }

  get wallOffsetMs(): number {
    return this.#wallOffsetMs;
  }

  get isPaused(): boolean {
    return this.#held !== undefined;
  }

  setTimer(delayMs: number, run: () => void): Timer {
    let isCancelled = false;
    const timer = this.#world.setTimer(Math.max(0, delayMs) / this.#rate, () => {
      if (this.#isDead) return;
      const fire = (): void => {
        if (!isCancelled && !this.#isDead) run();
      };
      if (this.#held === undefined) fire();
      else this.#held.push(fire);
    });
    return {
      cancel: () => {
        isCancelled = true;
        timer.cancel();
      },
    };
  }

  nextTurn(run: () => void): Timer {
    return this.setTimer(0, run);
  }

  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  pause(): void {
    this.#held ??= [];
  }

  /** Runs now, or once the pause at hand has ended. */
  ask(run: () => void): void {
    if (this.#held === undefined) run();
    else this.#asked.push(run);
  }

  /** @param askedFirst - whether what outsiders asked for comes before what fell due, or with it */
  resume(askedFirst = false): void {
    const held = this.#held ?? [];
    const asked = this.#asked;
    this.#held = undefined;
    this.#asked = [];
    this.#world.nextTurn(() => {
      if (askedFirst) this.#runAll(asked);
      else held.push(() => this.#runAll(asked));
      for (const run of held) this.#world.nextTurn(run);
    });
  }

  #runAll(asked: readonly (() => void)[]): void {
    for (const run of asked) if (!this.#isDead) run();
  }

  kill(): void {
    this.#isDead = true;
    this.#held = undefined;
    this.#asked = [];
  }
}
