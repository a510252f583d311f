/**
 * Work that comes back: each task has an owner that can end it, and never overlaps itself.
 */

import type { Clock, Timer } from "@etcd-ts/base";

export class PeriodicTasks {
  readonly #clock: Clock;
  readonly #timers = new Set<Timer>();
  readonly #running = new Set<Promise<void>>();
  readonly #failed: (error: unknown) => void;
  #isStopped = false;

  /** @param failed - told of whatever a task throws */
  constructor(clock: Clock, failed: (error: unknown) => void) {
    this.#clock = clock;
    this.#failed = failed;
  }

  /** Runs `task` every `intervalMs`, counted from the end of its last run. */
  every(intervalMs: number, task: () => void | Promise<void>): void {
    this.after(intervalMs, async () => {
      await task();
      if (!this.#isStopped) this.every(intervalMs, task);
    });
  }

  /** Runs `task` once. */
  after(delayMs: number, task: () => void | Promise<void>): void {
    if (this.#isStopped) return;
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      this.#run(task);
    });
    this.#timers.add(timer);
  }

  /** Starts nothing more and waits for what runs; idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    await Promise.all(this.#running);
  }

  #run(task: () => void | Promise<void>): void {
    let outcome: void | Promise<void>;
    try {
      outcome = task();
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (outcome === undefined) return;
    const running = outcome.catch((error: unknown) => this.#failed(error));
    this.#running.add(running);
    void running.then(() => this.#running.delete(running));
  }
}
