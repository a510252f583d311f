/**
 * Watchers found by key: a map for those of one key, an interval tree for those of a range.
 *
 * Invariant: a watcher is in `#all` and in exactly one of `#byKey` and `#ranges`.
 */

import { IntervalTree } from "@etcd-ts/base";
import type { Watcher } from "./watcher.ts";

export class WatcherGroup {
  readonly #all = new Set<Watcher>();
  readonly #byKey = new Map<string, Set<Watcher>>();
  readonly #ranges = new IntervalTree<Watcher>();

  get size(): number {
    return this.#all.size;
  }

  [Symbol.iterator](): Iterator<Watcher> {
    return this.#all.values();
  }

  has(watcher: Watcher): boolean {
    return this.#all.has(watcher);
  }

  add(watcher: Watcher): void {
    if (this.#all.has(watcher)) return;
    this.#all.add(watcher);
    const { begin, end, isSingle } = watcher.range;
    if (!isSingle) {
      this.#ranges.insert(begin, end, watcher);
      return;
    }
    const sameKey = this.#byKey.get(begin);
    if (sameKey === undefined) this.#byKey.set(begin, new Set([watcher]));
    else sameKey.add(watcher);
  }

  /** False if it is not in the group. */
  delete(watcher: Watcher): boolean {
    if (!this.#all.delete(watcher)) return false;
    const { begin, end, isSingle } = watcher.range;
    if (!isSingle) {
      this.#ranges.remove(begin, end, watcher);
      return true;
    }
    const sameKey = this.#byKey.get(begin);
    if (sameKey?.delete(watcher) && sameKey.size === 0) this.#byKey.delete(begin);
    return true;
  }

  /** Calls `visit` for each watcher whose range holds `key`. */
  match(key: string, visit: (watcher: Watcher) => void): void {
    const sameKey = this.#byKey.get(key);
    if (sameKey !== undefined) for (const watcher of sameKey) visit(watcher);
    if (this.#ranges.size === 0) return;
    for (const watcher of this.#ranges.stab(key)) visit(watcher);
  }
}
