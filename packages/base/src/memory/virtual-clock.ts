/**
 * A clock that moves only when told to.
 *
 * Invariants:
 * - Time never goes back; while a timer runs, the time is the one it was set for.
 * - Timers run in order of their time. Equal times run in the order they were set or, with a
 *   `random`, in an order drawn when they were set, so that a test does not lean on one order.
 * - Work of `nextTurn` never runs inside the call that asked for it.
 */

import { invariant } from "../errors.ts";
import { MinHeap } from "../min-heap.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";

export interface VirtualClockOptions {
  /** Draws the order of timers set for the same time. */
  readonly random?: Random;
  /** Default: 2026-01-01T00:00:00Z. */
  readonly wallStartMs?: number;
  /**
   * Lets promises settle between two timers; used by the `...Settled` calls. The default waits
   * for `SETTLE_MICROTASKS` microtasks; a Node test may pass a `setImmediate`, which waits for all.
   */
  readonly settle?: () => Promise<void>;
  /**
   * Runs steps, each after all promises have settled, until one says that it was the last; takes
   * the place of `settle` in `advanceSettled`, where many steps at once are cheaper than one.
   */
  readonly pump?: (step: () => boolean) => Promise<void>;
}

type Entry = {
  readonly dueMs: number;
  readonly draw: number;
  readonly sequence: number;
  readonly run: () => void;
};

const WALL_START_MS = 1_767_225_600_000;
/** Long enough for the promise chains of one operation of the core; long loops need `settle`. */
const SETTLE_MICROTASKS = 256;
const TURNS_MAX = 10_000_000;

export class VirtualClock implements Clock {
  readonly #random: Random | undefined;
  readonly #settle: () => Promise<void>;
  readonly #pump: (step: () => boolean) => Promise<void>;
  readonly #timers = new MinHeap<Entry>(isBefore);
  #nowMs = 0;
  #wallOffsetMs: number;
  #sequence = 0;

  constructor(options: VirtualClockOptions = {}) {
    this.#random = options.random;
    this.#settle = options.settle ?? settleMicrotasks;
    this.#pump = options.pump ?? pumpBy(this.#settle);
    this.#wallOffsetMs = options.wallStartMs ?? WALL_START_MS;
  }

  wallMs(): number {
    return this.#wallOffsetMs + Math.floor(this.#nowMs);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, run: () => void): Timer {
    invariant(!Number.isNaN(delayMs), () => "VirtualClock.setTimer: delay is not a number");
    const entry = {
      dueMs: this.#nowMs + Math.max(0, delayMs),
      draw: this.#random === undefined ? 0 : this.#random.uint32(),
      sequence: this.#sequence++,
      run,
    };
    this.#timers.push(entry);
    return { cancel: () => void this.#timers.remove(entry) };
  }

  nextTurn(run: () => void): Timer {
    return this.setTimer(0, run);
  }

  /** Timers and turns waiting. */
  get pending(): number {
    return this.#timers.size;
  }

  /** When the next timer is due, in `monotonicMs`; undefined if none waits. */
  nextDueMs(): number | undefined {
    return this.#timers.peek()?.dueMs;
  }

  /** Moves the wall clock by `byMs` (may be negative); timers do not care. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** Moves time to the next timer and runs it; false if none waits. */
  runNext(): boolean {
    const entry = this.#timers.pop();
    if (entry === undefined) return false;
    invariant(entry.dueMs >= this.#nowMs, () => "VirtualClock: time would go back");
    this.#nowMs = entry.dueMs;
    entry.run();
    return true;
  }

  /** Moves time by `byMs`, running what falls due. Promises settle only after the call. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    invariant(byMs >= 0, () => `VirtualClock.advance: ${byMs}`);
    for (let turns = 0; this.#isDueBy(endMs); turns++) {
      invariant(turns < TURNS_MAX, () => "VirtualClock.advance: timers never run dry");
      this.runNext();
    }
    this.#nowMs = endMs;
  }

  /**
   * As `advance`, and lets promises settle before, between and after the timers.
   *
   * @param isEnough - asked before each timer; ends it sooner
   */
  async advanceSettled(byMs: number, isEnough: () => boolean = () => false): Promise<void> {
    const endMs = this.#nowMs + byMs;
    invariant(byMs >= 0, () => `VirtualClock.advanceSettled: ${byMs}`);
    let isEnded = false;
    await this.#pump(() => {
      isEnded = isEnough();
      return !isEnded && this.#isDueBy(endMs) && this.runNext();
    });
    if (!isEnded) this.#nowMs = Math.max(this.#nowMs, endMs);
  }

  /** Runs until nothing waits; does not return while timers set themselves again. */
  async runUntilIdle(): Promise<void> {
    await this.#settle();
    while (this.runNext()) await this.#settle();
  }

  /** Runs until `promise` settles, and returns or throws what it does. */
  async runUntil<T>(promise: Promise<T>): Promise<T> {
    const outcome = { isKnown: false };
    const mark = (): void => {
      outcome.isKnown = true;
    };
    promise.then(mark, mark);
    await this.#settle();
    while (!outcome.isKnown) {
      const ran = this.runNext();
      await this.#settle();
      invariant(ran || outcome.isKnown, () => "VirtualClock.runUntil: nothing left to run");
    }
    return promise;
  }

  #isDueBy(endMs: number): boolean {
    const dueMs = this.nextDueMs();
    return dueMs !== undefined && dueMs <= endMs;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  if (a.dueMs !== b.dueMs) return a.dueMs < b.dueMs;
  if (a.draw !== b.draw) return a.draw < b.draw;
  return a.sequence < b.sequence;
}

function pumpBy(settle: () => Promise<void>): (step: () => boolean) => Promise<void> {
  return async (step) => {
    do await settle();
    while (step());
  };
}

async function settleMicrotasks(): Promise<void> {
  for (let i = 0; i < SETTLE_MICROTASKS; i++) await Promise.resolve();
}
