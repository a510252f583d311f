/** Callers that wait for something to come about, each with a time after which it gives up. */

import type { EtcdError } from "@etcd-ts/base";

import type { Completion } from "./server-api.ts";

interface Waiter {
  /** What it waits for has come about when this was reached. */
  readonly goal: number;
  readonly deadlineMs: number;
  readonly done: Completion<void>;
}

export class Waiters {
  #waiters: Waiter[] = [];

  get size(): number {
    return this.#waiters.length;
  }

  add(goal: number, deadlineMs: number, done: Completion<void>): void {
    this.#waiters.push({ goal, deadlineMs, done });
  }

  /** Tells everybody whose goal is at or below `value`. */
  reached(value: number): void {
    if (this.#waiters.length > 0) this.#settle(({ goal }) => goal <= value, undefined);
  }

  expire(nowMs: number, error: EtcdError): void {
    if (this.#waiters.length > 0) this.#settle(({ deadlineMs }) => deadlineMs <= nowMs, error);
  }

  failAll(error: EtcdError): void {
    this.#settle(() => true, error);
  }

  #settle(isOver: (waiter: Waiter) => boolean, error: EtcdError | undefined): void {
    const over = this.#waiters.filter(isOver);
    if (over.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => !isOver(waiter));
    for (const { done } of over) done(error, undefined);
  }
}
