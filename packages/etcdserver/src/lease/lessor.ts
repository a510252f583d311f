/**
 * Leases: which there are, which keys hang on them, and, on the leader, when they run out.
 *
 * Which leases exist changes only by entries of the log, so it is the same on every member. Time
 * passes only on the leader, the primary lessor: it offers what has expired, the server proposes
 * the revocation, and the revocation is applied like any other entry. It owns no timers.
 *
 * Invariants:
 * - A lease is in the `lease` bucket if and only if it is in memory.
 * - `leaseOf(key) === lease.id` if and only if `lease.keys` has `key`.
 * - On the primary every lease is in the expiry queue; elsewhere both queues are empty and no
 *   lease expires.
 */

import {
  MinHeap,
  bytesFromLatin1,
  EMPTY_BYTES,
  exponentialBuckets,
  hexFromID,
  invariant,
} from "@etcd-ts/base";
import type { Clock, Counter, Histogram, Logger, Metrics } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import type { LeaseCheckpoint } from "@etcd-ts/api";
import { deleteLease, readLeases, writeLease } from "@etcd-ts/storage";
import type { Backend, LeaseBook, WriteTxn } from "@etcd-ts/storage";
import { Lease, NEVER_MS } from "./lease.ts";
import { spreadDelaysMs } from "./spread.ts";

/** The longest a lease may live: 9,000,000,000 s is what fits Go's duration. */
export const LEASE_TTL_MAX_SECONDS = 9_000_000_000;
/** How often the server asks the primary for expired leases, and how many it takes at once. */
export const LEASE_EXPIRY_INTERVAL_MS = 500;
export const LEASES_EXPIRED_MAX = 500;
/** How many checkpoints go into one request. */
export const LEASE_CHECKPOINTS_MAX = 1000;
/** Leases that live no longer than this are not checkpointed; the others this often. */
export const LEASE_CHECKPOINT_INTERVAL_MS = 5 * 60 * 1000;
/** When an expired lease that is still there is offered again. */
const EXPIRED_RETRY_MS = 3_000;

export interface LessorOptions {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Shorter leases are granted this long. etcd: 1.5 election timeouts, rounded up. */
  readonly minTTLSeconds: number;
  /** Whether the primary takes checkpoints at all (feature gate LeaseCheckpoint). */
  readonly takesCheckpoints?: boolean;
  /** Whether a checkpoint is written to the backend: by gate, or from cluster version 3.6 on. */
  readonly persistsCheckpoints?: () => boolean;
  readonly checkpointIntervalMs?: number;
  readonly expiredRetryMs?: number;
}

export interface GrantedLease {
  readonly id: bigint;
  /** As granted, which may be longer than asked for. */
  readonly ttlSeconds: number;
}

/** How the wait for an expired lease ended. */
export type LeaseOutcome = "revoked" | "demoted";

export class Lessor implements LeaseBook {
  readonly #options: LessorOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #granted: Counter;
  readonly #revoked: Counter;
  readonly #renewed: Counter;
  readonly #ttlSeconds: Histogram;
  readonly #takesCheckpoints: boolean;
  readonly #expiredRetryMs: number;
  readonly #checkpointIntervalMs: number;
  #backend: Backend;
  #leases = new Map<bigint, Lease>();
  #leaseByKey = new Map<string, Lease>();
  #expiries = expiryQueue();
  #checkpoints = checkpointQueue();
  readonly #waiters = new Map<bigint, Set<(outcome: LeaseOutcome) => void>>();
  #isPrimary = false;
  #beginWrite: (() => WriteTxn) | undefined;

  constructor(options: LessorOptions) {
    this.#options = options;
    this.#backend = options.backend;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#takesCheckpoints = options.takesCheckpoints ?? false;
    this.#expiredRetryMs = options.expiredRetryMs ?? EXPIRED_RETRY_MS;
    this.#checkpointIntervalMs = options.checkpointIntervalMs ?? LEASE_CHECKPOINT_INTERVAL_MS;
    const { metrics } = options;
    this.#granted = metrics.counter({
      name: "etcd_debugging_lease_granted_total",
      help: "The total number of granted leases.",
    });
    this.#revoked = metrics.counter({
      name: "etcd_debugging_lease_revoked_total",
      help: "The total number of revoked leases.",
    });
    this.#renewed = metrics.counter({
      name: "etcd_debugging_lease_renewed_total",
      help: "The number of renewed leases seen by the leader.",
    });
    this.#ttlSeconds = metrics.histogram({
      name: "etcd_debugging_lease_ttl_total",
      help: "Bucketed histogram of lease TTLs.",
      buckets: exponentialBuckets(1, 2, 24),
    });
  }

  get isPrimary(): boolean {
    return this.#isPrimary;
  }

  get size(): number {
    return this.#leases.size;
  }

  /** How `revoke` deletes keys; to be set before the first entry is applied. */
  setWriter(beginWrite: () => WriteTxn): void {
    this.#beginWrite = beginWrite;
  }

  /**
   * Forgets everything and reads the leases of the backend. Keys are attached afterwards, by the
   * store when it is restored.
   *
   * @param backend - a new backend, when a snapshot replaced the old one
   * @throws {CorruptionError}
   */
  recover(backend: Backend = this.#backend): void {
    this.demote();
    this.#backend = backend;
    this.#leases = new Map();
    this.#leaseByKey = new Map();
    for (const { id, ttl, remainingTTL } of readLeases(backend)) {
      const ttlSeconds = Math.max(ttl, this.#options.minTTLSeconds);
      this.#leases.set(id, new Lease(id, ttlSeconds, Math.max(0, remainingTTL)));
    }
  }

  /**
   * Makes a lease.
   *
   * @param id - not 0n: the server chooses before it proposes
   * @throws {ServerError} `leaseExists`, `leaseTTLTooLarge`, `leaseNotFound` for id 0n
   */
  grant(id: bigint, ttlSeconds: number): GrantedLease {
    if (id === 0n) throw SERVER_ERRORS.leaseNotFound;
    if (ttlSeconds > LEASE_TTL_MAX_SECONDS) throw SERVER_ERRORS.leaseTTLTooLarge;
    if (this.#leases.has(id)) throw SERVER_ERRORS.leaseExists;
    const lease = new Lease(id, Math.max(ttlSeconds, this.#options.minTTLSeconds), 0);
    this.#leases.set(id, lease);
    this.#persist(lease);
    if (this.#isPrimary) {
      this.#startCountdown(lease, 0);
      this.#planCheckpoint(lease);
    }
    this.#ttlSeconds.observe(lease.ttlSeconds);
    this.#granted.inc();
    return { id, ttlSeconds: lease.ttlSeconds };
  }

  /**
   * Deletes the attached keys in byte order, in one transaction, and the lease with them.
   *
   * @throws {ServerError} `leaseNotFound`
   */
  revoke(id: bigint): void {
    const lease = this.#mustLookup(id);
    invariant(this.#beginWrite !== undefined, () => "Lessor.revoke: no writer is set");
    const txn = this.#beginWrite();
    for (const key of lease.sortedKeys()) txn.deleteRange(bytesFromLatin1(key), EMPTY_BYTES);
    this.#leases.delete(id);
    this.#expiries.remove(lease);
    this.#checkpoints.remove(lease);
    deleteLease(this.#backend, id);
    txn.end();
    invariant(lease.keys.size === 0, () => `Lessor.revoke: ${lease.keys.size} keys are left`);
    this.#revoked.inc();
    this.#settle(id, "revoked");
  }

  /**
   * Starts the countdown anew from the granted time. Only on the primary, for a lease that has not
   * expired (see `whenSettled`) and whose checkpoint was cleared through the log
   * (see `mustClearCheckpoint`).
   *
   * @returns the granted time to live, in seconds
   * @throws {ServerError} `leaseNotFound`, `notPrimaryLessor`
   */
  renew(id: bigint): number {
    if (!this.#isPrimary) throw SERVER_ERRORS.notPrimaryLessor;
    const lease = this.#mustLookup(id);
    lease.checkpointSeconds = 0;
    this.#startCountdown(lease, 0);
    this.#renewed.inc();
    return lease.ttlSeconds;
  }

  /** Whether the lease is there, has run out and awaits its revocation. */
  isExpired(id: bigint): boolean {
    return this.#leases.get(id)?.isExpired(this.#clock.monotonicMs()) ?? false;
  }

  /**
   * Whether a renewal must first clear the lease's checkpoint on all members: else a later leader
   * would count on from it.
   */
  mustClearCheckpoint(id: bigint): boolean {
    if (!this.#takesCheckpoints) return false;
    return (this.#leases.get(id)?.checkpointSeconds ?? 0) > 0;
  }

  /**
   * Calls `run` once, when the lease is revoked or this member stops being the primary.
   *
   * @returns takes the call back; idempotent
   */
  whenSettled(id: bigint, run: (outcome: LeaseOutcome) => void): () => void {
    const waiters = this.#waiters.get(id) ?? new Set();
    this.#waiters.set(id, waiters);
    waiters.add(run);
    return () => {
      waiters.delete(run);
      if (waiters.size === 0 && this.#waiters.get(id) === waiters) this.#waiters.delete(id);
    };
  }

  /** Undefined if there is none. */
  lookup(id: bigint): Lease | undefined {
    return this.#leases.get(id);
  }

  /** All leases, the one that expires first in front. */
  leases(): Lease[] {
    return [...this.#leases.values()].sort(
      (a, b) => compareTimes(a.expiryMs, b.expiryMs) || compareIDs(a.id, b.id),
    );
  }

  /** Takes over the seconds left at the leader; 0 clears. A missing lease is passed over. */
  checkpoint(id: bigint, remainingSeconds: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.checkpointSeconds = Math.max(0, remainingSeconds);
    if (this.#options.persistsCheckpoints?.() ?? false) this.#persist(lease);
    if (this.#isPrimary) this.#planCheckpoint(lease);
  }

  /** The checkpoints to propose now, at most `max`. Each is planned anew when it was applied. */
  dueCheckpoints(max: number = LEASE_CHECKPOINTS_MAX): LeaseCheckpoint[] {
    const nowMs = this.#clock.monotonicMs();
    const due: LeaseCheckpoint[] = [];
    while (due.length < max) {
      const lease = this.#checkpoints.peek();
      if (lease === undefined || lease.checkpointDueMs! > nowMs) break;
      this.#checkpoints.pop();
      lease.checkpointDueMs = undefined;
      if (lease.isExpired(nowMs)) continue;
      const remainingTTL = Math.ceil(lease.remainingSeconds(nowMs));
      if (remainingTTL >= lease.ttlSeconds) continue;
      due.push({ id: lease.id, remainingTTL });
    }
    return due;
  }

  /**
   * Becomes the primary: every lease starts anew, because nobody knows how much of its time passed
   * while there was no leader.
   *
   * @param extendMs - added to each lease; an election timeout
   */
  promote(extendMs: number): void {
    this.#isPrimary = true;
    for (const lease of this.#leases.values()) this.#startCountdown(lease, extendMs);
    const leases = this.leases();
    const nowMs = this.#clock.monotonicMs();
    const delays = spreadDelaysMs(leases.map((lease) => lease.expiryMs - nowMs));
    leases.forEach((lease, i) => {
      if (delays[i]! > 0) this.#startCountdown(lease, extendMs + delays[i]!);
      this.#planCheckpoint(lease);
    });
  }

  /** Stops being the primary: nothing expires here any more. */
  demote(): void {
    this.#isPrimary = false;
    this.#expiries = expiryQueue();
    this.#checkpoints = checkpointQueue();
    for (const lease of this.#leases.values()) {
      lease.expiryMs = NEVER_MS;
      lease.offerMs = NEVER_MS;
      lease.checkpointDueMs = undefined;
    }
    for (const id of [...this.#waiters.keys()]) this.#settle(id, "demoted");
  }

  /**
   * Leases to revoke now, at most `max`. One that is still there later is offered again.
   */
  expired(max: number = LEASES_EXPIRED_MAX): bigint[] {
    const nowMs = this.#clock.monotonicMs();
    const ids: bigint[] = [];
    while (ids.length < max) {
      const lease = this.#expiries.peek();
      if (lease === undefined || lease.offerMs > nowMs) break;
      lease.offerMs = nowMs + this.#expiredRetryMs;
      this.#expiries.update(lease);
      ids.push(lease.id);
    }
    return ids;
  }

  /** When `expired` will next have something, in `Clock.monotonicMs`; undefined: never. */
  nextExpiryMs(): number | undefined {
    return this.#expiries.peek()?.offerMs;
  }

  attach(leaseID: bigint, key: string): void {
    const lease = this.#leases.get(leaseID);
    if (lease === undefined) {
      this.#logger.error("failed to attach a lease to a key", { "lease-id": hexFromID(leaseID) });
      return;
    }
    const before = this.#leaseByKey.get(key);
    if (before !== undefined && before !== lease) before.keys.delete(key);
    lease.keys.add(key);
    this.#leaseByKey.set(key, lease);
  }

  detach(leaseID: bigint, key: string): void {
    const lease = this.#leaseByKey.get(key);
    if (lease?.id !== leaseID) return;
    lease.keys.delete(key);
    this.#leaseByKey.delete(key);
  }

  get isEmpty(): boolean {
    return this.#leaseByKey.size === 0;
  }

  leaseOf(key: string): bigint {
    return this.#leaseByKey.get(key)?.id ?? 0n;
  }

  #mustLookup(id: bigint): Lease {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw SERVER_ERRORS.leaseNotFound;
    return lease;
  }

  #persist(lease: Lease): void {
    const { id, ttlSeconds, checkpointSeconds } = lease;
    writeLease(this.#backend, { id, ttl: ttlSeconds, remainingTTL: checkpointSeconds });
  }

  #startCountdown(lease: Lease, extendMs: number): void {
    lease.expiryMs = this.#clock.monotonicMs() + extendMs + lease.startSeconds * 1000;
    lease.offerMs = lease.expiryMs;
    if (!this.#expiries.update(lease)) this.#expiries.push(lease);
  }

  #planCheckpoint(lease: Lease): void {
    if (!this.#takesCheckpoints) return;
    if (lease.startSeconds * 1000 <= this.#checkpointIntervalMs) return;
    lease.checkpointDueMs = this.#clock.monotonicMs() + this.#checkpointIntervalMs;
    if (!this.#checkpoints.update(lease)) this.#checkpoints.push(lease);
  }

  #settle(id: bigint, outcome: LeaseOutcome): void {
    const waiters = this.#waiters.get(id);
    if (waiters === undefined) return;
    this.#waiters.delete(id);
    for (const run of waiters) run(outcome);
  }
}

function expiryQueue(): MinHeap<Lease> {
  return new MinHeap((a, b) => a.offerMs < b.offerMs);
}

function checkpointQueue(): MinHeap<Lease> {
  return new MinHeap((a, b) => (a.checkpointDueMs ?? NEVER_MS) < (b.checkpointDueMs ?? NEVER_MS));
}

/** Infinities compare as equal. */
function compareTimes(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function compareIDs(a: bigint, b: bigint): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
