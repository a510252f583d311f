/**
 * A cursor: the path from the root of a bucket to one entry.
 *
 * Invariants:
 * - While `#place` is "on" and the bucket's version is `#version`, the path leads to the entry
 *   with `#key`. Otherwise the place is found again by key.
 * - Keys come in strict order across pages; a file in which they do not is refused, so that a
 *   walk ends whatever the file says.
 */

import { invariant } from "@etcd-ts/base";
import {
  type BranchHolder,
  type Holder,
  type LeafHolder,
  type TreeBucket,
  isLeafHolder,
  pageIDOf,
} from "./bucket.ts";
import { Page } from "./page.ts";
import type { CursorEntry, EntryVisit, PassingCursor } from "./types.ts";

/** "gap": between keys, where `#key` was; "start", "end": outside of all keys. */
type Place = "unset" | "on" | "gap" | "start" | "end";

/** Entries that `find` looks at before it searches the leaf. */
const NEAR_ENTRIES = 3;

export class TreeCursor implements PassingCursor {
  readonly #bucket: TreeBucket;
  #place: Place = "unset";
  #version = 0;
  #key: Uint8Array | undefined;
  readonly #branches: BranchHolder[] = [];
  readonly #positions: number[] = [];
  #leaf: LeafHolder | undefined;
  #i = 0;
  /** Leaves pass by: they are not kept in the cache, and their bytes are soon written over. */
  readonly #isPassing: boolean;
  /** Branches above each leaf, once one was reached; of a passing cursor. */
  #leafDepth = -1;
  #windowVersion = 0;

  constructor(bucket: TreeBucket, isPassing = false) {
    this.#bucket = bucket;
    this.#isPassing = isPassing;
  }

  first(): CursorEntry | undefined {
    this.#restart();
    this.#descend(this.#bucket.root(), false);
    return this.#settle(this.#leaf!.count > 0 || this.#nextLeaf(undefined), "end");
  }

  last(): CursorEntry | undefined {
    this.#restart();
    this.#descend(this.#bucket.root(), true);
    return this.#settle(this.#leaf!.count > 0 || this.#previousLeaf(undefined), "start");
  }

  seek(key: Uint8Array): CursorEntry | undefined {
    return this.#settle(this.#find(key), "end");
  }

  find(key: Uint8Array): Uint8Array | undefined {
    this.#bucket.assertUsable();
    const near = this.#nearAhead(key);
    if (near >= 0) this.#i = near;
    else {
      if (!this.#isOnLeafOf(key)) this.#descendTo(key);
      this.#i = this.#leaf!.lowerBound(key);
    }
    this.#place = "unset";
    const i = this.#i;
    const leaf = this.#leaf!;
    if (i >= leaf.count || leaf.isBucketAt(i)) return undefined;
    if (near < 0 && leaf.compareKeyAt(i, key) !== 0) return undefined;
    return leaf.valueAt(i);
  }

  /** For keys that come in order: the position of `key` if it is just behind the last one. */
  #nearAhead(key: Uint8Array): number {
    const leaf = this.#leaf;
    if (leaf === undefined || !this.#isLeafCurrent()) return -1;
    const end = Math.min(leaf.count, this.#i + 1 + NEAR_ENTRIES);
    for (let i = this.#i + 1; i < end; i++) {
      const order = leaf.compareKeyAt(i, key);
      if (order === 0) return i;
      if (order > 0) return -1;
    }
    return -1;
  }

  next(): CursorEntry | undefined {
    this.#bucket.assertUsable();
    if (this.#place === "unset" || this.#place === "start") return this.first();
    if (this.#place === "end") return undefined;
    if (this.#isPassing) this.#assertPassing();
    let key = this.#key!;
    if (this.#place === "on" && this.#version === this.#bucket.version) this.#i++;
    else {
      if (!this.#find(key)) return this.#settle(false, "end");
      if (this.#leaf!.compareKeyAt(this.#i, key) === 0) this.#i++;
    }
    // The key is compared with the next leaf's, which may be read over it.
    if (this.#isPassing && this.#i >= this.#leaf!.count) key = key.slice();
    return this.#settle(this.#i < this.#leaf!.count || this.#nextLeaf(key), "end");
  }

  walk(begin: Uint8Array, end: Uint8Array | undefined, visit: EntryVisit): void {
    for (let isFound = this.#find(begin); isFound;) {
      const leaf = this.#leaf!;
      invariant(leaf instanceof Page, () => "Cursor.walk: the transaction writes");
      const lastKey = leaf.keyAt(leaf.count - 1).slice();
      const isLast = end !== undefined && leaf.compareKeyAt(leaf.count - 1, end) >= 0;
      for (let i = this.#i; i < leaf.count; i++) {
        if (isLast && leaf.compareKeyAt(i, end) >= 0) break;
        if (leaf.isBucketAt(i)) continue;
        if (!leaf.visitAt(i, visit)) {
          this.#place = "unset";
          return;
        }
        this.#assertPassing();
      }
      isFound = !isLast && this.#nextLeaf(lastKey);
    }
    this.#place = "unset";
  }

  previous(): CursorEntry | undefined {
    this.#bucket.assertUsable();
    invariant(!this.#isPassing, () => "Cursor.previous: leaves pass by in order only");
    if (this.#place === "unset" || this.#place === "end") return this.last();
    if (this.#place === "start") return undefined;
    const key = this.#key!;
    if (this.#place !== "on" || this.#version !== this.#bucket.version) {
      if (!this.#find(key)) return this.last();
    }
    this.#i--;
    return this.#settle(this.#i >= 0 || this.#previousLeaf(key), "start");
  }

  delete(): void {
    invariant(this.#place === "on", () => "Cursor.delete: not on an entry");
    this.#bucket.delete(this.#key!);
    this.#place = "gap";
  }

  /** Goes to the first entry at or after `key`; false if there is none. */
  #find(key: Uint8Array): boolean {
    const leaf = this.#descendTo(key);
    this.#i = leaf.lowerBound(key);
    return this.#i < leaf.count || this.#nextLeaf(undefined);
  }

  /** Goes to the leaf that holds `key` if any does. */
  #descendTo(key: Uint8Array): LeafHolder {
    this.#restart();
    let holder: Holder = this.#bucket.root();
    while (!isLeafHolder(holder)) {
      const i = holder.childPosition(key);
      holder = this.#enter(holder, i);
    }
    this.#reach(holder);
    return holder;
  }

  /** Whether `key` lies between keys of the leaf at hand, so that no other can hold it. */
  #isOnLeafOf(key: Uint8Array): boolean {
    const leaf = this.#leaf;
    if (leaf === undefined || leaf.count === 0 || !this.#isLeafCurrent()) return false;
    return leaf.compareKeyAt(0, key) <= 0 && leaf.compareKeyAt(leaf.count - 1, key) >= 0;
  }

  /** Whether the leaf at hand is as the bucket has it, its bytes included. */
  #isLeafCurrent(): boolean {
    if (this.#version !== this.#bucket.version) return false;
    return !this.#isPassing || this.#windowVersion === this.#bucket.context.store.windowVersion;
  }

  #restart(): void {
    this.#bucket.assertUsable();
    this.#version = this.#bucket.version;
    this.#branches.length = 0;
    this.#positions.length = 0;
  }

  /** Adds a branch to the path and returns its child `i`. */
  #enter(branch: BranchHolder, i: number): Holder {
    this.#bucket.assertDepth(this.#branches.length, branch);
    this.#branches.push(branch);
    this.#positions.push(i);
    return this.#child(branch, i);
  }

  /** Child `i` of the last branch of the path. */
  #child(branch: BranchHolder, i: number): Holder {
    if (this.#isPassing && this.#branches.length === this.#leafDepth) {
      const page = this.#bucket.context.store.passingPage(branch.childIDAt(i));
      // In a sound file it is a leaf; a branch would have to outlive the window.
      if (page.isLeaf) return page;
    }
    return this.#bucket.childOf(branch, i);
  }

  #reach(leaf: LeafHolder): void {
    this.#leaf = leaf;
    if (!this.#isPassing) return;
    this.#leafDepth = this.#branches.length;
    this.#windowVersion = this.#bucket.context.store.windowVersion;
  }

  #assertPassing(): void {
    invariant(
      this.#leaf === undefined || this.#windowVersion === this.#bucket.context.store.windowVersion,
      () => "Cursor.next: something else was read while leaves pass by",
    );
  }

  /** Follows the first or the last children down to a leaf. */
  #descend(from: Holder, toLast: boolean): void {
    let holder = from;
    while (!isLeafHolder(holder)) holder = this.#enter(holder, toLast ? holder.count - 1 : 0);
    this.#reach(holder);
    this.#i = toLast ? holder.count - 1 : 0;
  }

  /** Goes to the first entry of the next leaf that has one. */
  #nextLeaf(after: Uint8Array | undefined): boolean {
    for (let passed = 0; ; passed++) {
      let level = this.#branches.length - 1;
      while (level >= 0 && this.#positions[level]! + 1 >= this.#branches[level]!.count) level--;
      if (level < 0) return false;
      this.#branches.length = level + 1;
      this.#positions.length = level + 1;
      this.#positions[level]! += 1;
      this.#descend(this.#child(this.#branches[level]!, this.#positions[level]!), false);
      if (this.#leaf!.count > 0) break;
      this.#assertPassed(passed);
    }
    if (after !== undefined && this.#leaf!.compareKeyAt(this.#i, after) <= 0)
      throw this.#unordered();
    return true;
  }

  /** Goes to the last entry of the leaf before that has one. */
  #previousLeaf(before: Uint8Array | undefined): boolean {
    for (let passed = 0; ; passed++) {
      let level = this.#branches.length - 1;
      while (level >= 0 && this.#positions[level] === 0) level--;
      if (level < 0) return false;
      this.#branches.length = level + 1;
      this.#positions.length = level + 1;
      this.#positions[level]! -= 1;
      this.#descend(this.#bucket.childOf(this.#branches[level]!, this.#positions[level]!), true);
      if (this.#leaf!.count > 0) break;
      this.#assertPassed(passed);
    }
    if (before !== undefined && this.#leaf!.compareKeyAt(this.#i, before) >= 0) {
      throw this.#unordered();
    }
    return true;
  }

  /** Empty leaves do not show in the key order; there cannot be more than pages. */
  #assertPassed(leaves: number): void {
    const { store } = this.#bucket.context;
    if (leaves <= store.filePages) return;
    const id = pageIDOf(this.#leaf!);
    throw store.fault(id, `page ${id}: more empty leaves than pages`);
  }

  #unordered(): Error {
    const id = pageIDOf(this.#leaf!);
    return this.#bucket.context.store.fault(id, `page ${id}: keys are not in order`);
  }

  #settle(found: boolean, otherwise: Place): CursorEntry | undefined {
    if (!found) {
      this.#place = otherwise;
      return undefined;
    }
    const leaf = this.#leaf!;
    this.#place = "on";
    const key = leaf.keyAt(this.#i);
    this.#key = key;
    return { key, value: leaf.isBucketAt(this.#i) ? undefined : leaf.valueAt(this.#i) };
  }
}
