/**
 * Revisions that somebody still reads.
 *
 * A compaction takes effect for new readers at once, and deletes only when every reader below it
 * has ended; readers are bounded work, so that is soon.
 */

import { invariant } from "@etcd-ts/base";

export class RevisionPins {
  readonly #counts = new Map<number, number>();
  #waiters: { revision: number; resolve: () => void }[] = [];

  get size(): number {
    return this.#counts.size;
  }

  pin(revision: number): void {
    this.#counts.set(revision, (this.#counts.get(revision) ?? 0) + 1);
  }

  unpin(revision: number): void {
    const count = this.#counts.get(revision);
    invariant(count !== undefined, () => `RevisionPins.unpin: ${revision} is not pinned`);
    if (count > 1) {
      this.#counts.set(revision, count - 1);
      return;
    }
    this.#counts.delete(revision);
    const waiting = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiting) {
      if (this.#isPinnedBelow(waiter.revision)) this.#waiters.push(waiter);
      else waiter.resolve();
    }
  }

  /** Resolves when no revision below `revision` is pinned. */
  whenNoneBelow(revision: number): Promise<void> {
    if (!this.#isPinnedBelow(revision)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ revision, resolve }));
  }

  /** Wakes everybody who waits, whatever is pinned; they look for themselves why. */
  wakeAll(): void {
    const waiting = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiting) waiter.resolve();
  }

  #isPinnedBelow(revision: number): boolean {
    for (const pinned of this.#counts.keys()) if (pinned < revision) return true;
    return false;
  }
}
