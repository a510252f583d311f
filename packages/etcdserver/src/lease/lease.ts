/** One lease: its time to live and the keys that go with it. */

/** The expiry of a lease nobody counts down: that of a follower. */
export const NEVER_MS: number = Number.POSITIVE_INFINITY;

/**
 * Invariant: `expiryMs` is finite only while this member is the primary lessor. All but the lessor
 * treat a lease as read-only.
 */
export class Lease {
  readonly id: bigint;
  /** Seconds, as granted. */
  readonly ttlSeconds: number;
  /** Seconds left at the last checkpoint; 0 without one. */
  checkpointSeconds: number;
  /** When it runs out, in `Clock.monotonicMs`. */
  expiryMs: number = NEVER_MS;
  /** When the primary last decided to take a checkpoint of it; undefined if it will not. */
  checkpointDueMs: number | undefined;
  /** When it is next offered as expired; only while it is held by the expiry queue. */
  offerMs: number = NEVER_MS;
  /** Attached keys, latin-1. */
  readonly keys = new Set<string>();

  constructor(id: bigint, ttlSeconds: number, checkpointSeconds: number) {
    this.id = id;
    this.ttlSeconds = ttlSeconds;
    this.checkpointSeconds = checkpointSeconds;
  }

  /** Seconds a countdown starts from. */
  get startSeconds(): number {
    return this.checkpointSeconds > 0 ? this.checkpointSeconds : this.ttlSeconds;
  }

  isExpired(nowMs: number): boolean {
    return this.expiryMs <= nowMs;
  }

  /** Seconds left; infinite where nobody counts down, negative once expired. */
  remainingSeconds(nowMs: number): number {
    return (this.expiryMs - nowMs) / 1000;
  }

  /** Attached keys in byte order. */
  sortedKeys(): string[] {
    return [...this.keys].sort();
  }
}
