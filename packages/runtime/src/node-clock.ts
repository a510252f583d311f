/**
 * Time from Node.
 *
 * Invariant: a timer never runs before its time by `monotonicMs`. Node's own timers may be up to
 * a millisecond early, and turn a delay above `NODE_DELAY_MS_MAX` into 1 ms; both are made good.
 */

import type { Clock, Timer } from "@etcd-ts/base";
import { invariant } from "@etcd-ts/base";

/** The longest delay `setTimeout` keeps. */
const NODE_DELAY_MS_MAX = 0x7fff_ffff;

export class NodeClock implements Clock {
  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  setTimer(delayMs: number, run: () => void): Timer {
    invariant(!Number.isNaN(delayMs), () => "NodeClock.setTimer: delay is not a number");
    return new NodeTimer(delayMs, run);
  }

  nextTurn(run: () => void): Timer {
    const immediate = setImmediate(run);
    return { cancel: () => clearImmediate(immediate) };
  }
}

class NodeTimer implements Timer {
  readonly #dueMs: number;
  readonly #run: () => void;
  #timeout: NodeJS.Timeout;

  constructor(delayMs: number, run: () => void) {
    this.#dueMs = performance.now() + delayMs;
    this.#run = run;
    this.#timeout = this.#arm(delayMs);
  }

  cancel(): void {
    clearTimeout(this.#timeout);
  }

  #arm(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => this.#fire(), Math.min(Math.max(0, delayMs), NODE_DELAY_MS_MAX));
  }

  #fire(): void {
    const leftMs = this.#dueMs - performance.now();
    if (leftMs > 0) this.#timeout = this.#arm(Math.ceil(leftMs));
    else this.#run();
  }
}
