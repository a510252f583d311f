/**
 * Requests on their way through the log, found again by id when their entry is applied.
 *
 * Invariants:
 * - Every request settles exactly once: by its result, by a failure, or by the common timeout.
 * - Requests stand in the order they came, and all have the same timeout, so the oldest expires
 *   first: looking for expired ones costs nothing but those.
 */

import type { EtcdError } from "@etcd-ts/base";

export type Settle<T> = (failure: EtcdError | undefined, result: T | undefined) => void;

interface PendingRequest<T> {
  readonly startMs: number;
  readonly settle: Settle<T>;
}

export class PendingRequests<T> {
  readonly #timeoutMs: number;
  readonly #requests = new Map<bigint, PendingRequest<T>>();

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  get size(): number {
    return this.#requests.size;
  }

  add(id: bigint, nowMs: number, settle: Settle<T>): void {
    this.#requests.set(id, { startMs: nowMs, settle });
  }

  has(id: bigint): boolean {
    return this.#requests.has(id);
  }

  /** Nothing happens if nobody waits for `id`. */
  succeed(id: bigint, result: T): void {
    const request = this.#take(id);
    request?.settle(undefined, result);
  }

  fail(id: bigint, failure: EtcdError): void {
    const request = this.#take(id);
    request?.settle(failure, undefined);
  }

  /** @param failureFor - chooses the error by when the request was made */
  expire(nowMs: number, failureFor: (startMs: number) => EtcdError): number {
    let expired = 0;
    for (const [id, { startMs }] of this.#requests) {
      if (nowMs - startMs < this.#timeoutMs) break;
      this.fail(id, failureFor(startMs));
      expired++;
    }
    return expired;
  }

  failAll(failure: EtcdError): void {
    for (const id of [...this.#requests.keys()]) this.fail(id, failure);
  }

  #take(id: bigint): PendingRequest<T> | undefined {
    const request = this.#requests.get(id);
    if (request !== undefined) this.#requests.delete(id);
    return request;
  }
}
