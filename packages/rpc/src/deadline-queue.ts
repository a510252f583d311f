/**
 * Deadlines of many calls behind one timer.
 *
 * Deadlines are rounded up to a tick; a heap orders the ticks in use, and each tick holds its
 * entries in a set, so that adding and removing one cost a look-up however many there are.
 */

import { MinHeap } from "@etcd-ts/base";
import type { Clock, Timer } from "@etcd-ts/base";

/** How late a deadline may be noticed. */
const TICK_MS = 5;
/** Longer timers overflow Node's 32 bits; the queue looks again when one ends. */
const TIMER_MS_MAX = 2 ** 31 - 1;

interface Bucket {
  readonly tick: number;
  readonly entries: Set<() => void>;
}

export class DeadlineQueue {
  readonly #clock: Clock;
  readonly #buckets = new Map<number, Bucket>();
  readonly #heap = new MinHeap<Bucket>((a, b) => a.tick < b.tick);
  #timer: Timer | undefined;
  #timerTick = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Calls `expire` once `deadlineMs` (of the clock's monotonic time) has passed.
   *
   * @returns takes the deadline back; idempotent
   */
  add(deadlineMs: number, expire: () => void): () => void {
    const tick = Math.ceil(deadlineMs / TICK_MS);
    let bucket = this.#buckets.get(tick);
    if (bucket === undefined) {
      bucket = { tick, entries: new Set() };
      this.#buckets.set(tick, bucket);
      this.#heap.push(bucket);
    }
    const added = bucket;
    added.entries.add(expire);
    this.#arm();
    return () => this.#remove(added, expire);
  }

  /** An emptied tick goes at once: far deadlines must not pile up. */
  #remove(bucket: Bucket, expire: () => void): void {
    if (!bucket.entries.delete(expire) || bucket.entries.size > 0) return;
    if (this.#heap.remove(bucket)) this.#buckets.delete(bucket.tick);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerTick = Infinity;
    this.#buckets.clear();
    while (this.#heap.pop() !== undefined);
  }

  #arm(): void {
    const first = this.#heap.peek();
    if (first === undefined || first.tick >= this.#timerTick) return;
    this.#timer?.cancel();
    this.#timerTick = first.tick;
    const delayMs = Math.max(0, first.tick * TICK_MS - this.#clock.monotonicMs());
    this.#timer = this.#clock.setTimer(Math.min(delayMs, TIMER_MS_MAX), () => this.#run());
  }

  #run(): void {
    this.#timer = undefined;
    this.#timerTick = Infinity;
    const nowMs = this.#clock.monotonicMs();
    for (let first = this.#heap.peek(); first !== undefined; first = this.#heap.peek()) {
      if (first.tick * TICK_MS > nowMs) break;
      this.#heap.pop();
      this.#buckets.delete(first.tick);
      for (const expire of first.entries) expire();
    }
    this.#arm();
  }
}
