/** Time as the core sees it. */

/** A timer or deferred call that can be taken back; `cancel` is idempotent. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch; may jump. */
  wallMs(): number;
  /** Milliseconds since an arbitrary start; never goes back; sub-millisecond fractions. */
  monotonicMs(): number;
  /** Calls `run` once, no sooner than `delayMs` from now. */
  setTimer(delayMs: number, run: () => void): Timer;
  /** Calls `run` in a later turn, after input that is already waiting has been taken. */
  nextTurn(run: () => void): Timer;
}

/** Resolves after `delayMs`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(delayMs, resolve));
}

/** Resolves in a later turn: how long work lets others run between two slices. */
export function yieldTurn(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.nextTurn(resolve));
}
