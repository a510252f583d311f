/**
 * What a lease promises: while it is kept alive, its keys stay; it never expires before the time
 * granted, counted from the call of the last renewal that was answered; in a cluster at rest it does
 * end, and its keys go with it.
 */

import { ViolationError } from "../violation.ts";

/** How late a lease may end in a cluster at rest: an election extends all of them. */
export const OVERDUE_MS = 20_000;

interface LeaseRecord {
  readonly ttlMs: number;
  /** True time before which it may not expire. */
  notBeforeMs: number;
  /** A client asked for its end: it may go at any time. */
  isRevoked: boolean;
  isGone: boolean;
}

export class LeaseCheck {
  readonly #leases = new Map<bigint, LeaseRecord>();
  readonly #fastest: number;
  expiries = 0;

  /** @param driftPerMille - how much faster than true time a member's clock may be */
  constructor(driftPerMille: number) {
    this.#fastest = 1 + driftPerMille / 1000;
  }

  granted(id: bigint, ttlSeconds: number, callMs: number): void {
    const ttlMs = (ttlSeconds * 1000) / this.#fastest;
    this.#leases.set(id, { ttlMs, notBeforeMs: callMs + ttlMs, isRevoked: false, isGone: false });
  }

  renewed(id: bigint, ttlSeconds: number, callMs: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.notBeforeMs = Math.max(lease.notBeforeMs, callMs + (ttlSeconds * 1000) / this.#fastest);
  }

  revoking(id: bigint): void {
    const lease = this.#leases.get(id);
    if (lease !== undefined) lease.isRevoked = true;
  }

  /** A key of the lease was deleted, or the lease was not found, and no client had asked for it. */
  gone(id: bigint, atMs: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined || lease.isRevoked || lease.isGone) return;
    if (atMs < lease.notBeforeMs) {
      throw new ViolationError(
        "lease",
        `${id.toString(16)} was gone at ${atMs} ms, promised until ${lease.notBeforeMs} ms`,
      );
    }
    lease.isGone = true;
    this.expiries++;
  }

  /** A key is still there with the lease, long after nobody renews any more. */
  left(id: bigint, key: string, atMs: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined || atMs < lease.notBeforeMs + OVERDUE_MS) return;
    throw new ViolationError("lease", `${id.toString(16)} still holds ${key} at ${atMs} ms`);
  }
}
