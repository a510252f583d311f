/**
 * Branches and leaves a writer has changed, in memory until commit splits them into pages.
 *
 * A node lies over the page it was read from: what has not changed is a position in that page, so
 * that changing one entry costs no memory for the others.
 *
 * Invariants:
 * - The arrays of a node run in parallel, in key order; a node may hold any number of entries.
 * - `sizeBytes` is the size of the page the node would make: header, elements, keys and values.
 * - A node in memory has all its ancestors in memory: what is not has not changed.
 * - Keys and values are never copied until they are written to a page.
 */

import { compareBytes, invariant } from "@etcd-ts/base";
import {
  ELEMENT_BYTES,
  ELEMENT_IS_BUCKET,
  KIND_BRANCH,
  KIND_LEAF,
  PAGE_HEADER_BYTES,
  writePageHeader,
  writeUint32,
  writeUint64,
} from "./format.ts";
import type { Page } from "./page.ts";
import type { SortedRun } from "./types.ts";

/** The value of a leaf entry that is a nested bucket: its header, and its page if it is inline. */
export class BucketValue {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export type LeafValue = Uint8Array | BucketValue;

export type TreeNode = LeafNode | BranchNode;

/** A page a node became, as its parent refers to it. */
export interface NodePart {
  readonly key: Uint8Array;
  readonly pageID: number;
}

/** The page a node was read from, to be given up when it is written anew; 0 for none. */
interface NodeOrigin {
  readonly id: number;
  readonly pageCount: number;
}

const NO_ORIGIN: NodeOrigin = { id: 0, pageCount: 0 };

interface LeafEntry {
  readonly key: Uint8Array;
  readonly value: LeafValue;
}

export class LeafNode {
  readonly isLeaf = true;
  readonly origin: NodeOrigin;
  sizeBytes = PAGE_HEADER_BYTES;
  /** Entries were removed: it may be too small. */
  isUnbalanced = false;
  /** Set by commit. */
  parts: readonly NodePart[] | undefined;
  readonly #base: Page | undefined;
  #run: SortedRun | undefined;
  /**
   * A number is a position in `#base`; a negative one, its complement is one in `#run`. Entries of
   * a run nobody has touched are not in it: they follow behind it.
   */
  #entries: (number | LeafEntry)[] = [];
  /** How many entries of `#run` follow behind `#entries`: all or none. */
  #runLeft = 0;

  /** @param base - a leaf page to lie over */
  constructor(base?: Page) {
    this.origin = base ?? NO_ORIGIN;
    this.#base = base;
    if (base === undefined) return;
    for (let i = 0; i < base.count; i++) {
      this.#entries.push(i);
      this.sizeBytes += base.entryBytesAt(i);
    }
  }

  get count(): number {
    return this.#entries.length + this.#runLeft;
  }

  /** Whether its last entries are those of a run, as they were handed over. */
  get endsInRun(): boolean {
    return this.#runLeft > 0;
  }

  /** The first position whose key is not below `key`; `count` if there is none. */
  lowerBound(key: Uint8Array): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compareKeyAt(middle, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  compareKeyAt(i: number, key: Uint8Array): number {
    const entry = this.#at(i);
    if (typeof entry !== "number") return compareBytes(entry.key, key);
    if (entry < 0) return compareBytes(this.#run!.key(~entry), key);
    return this.#base!.compareKeyAt(entry, key);
  }

  keyAt(i: number): Uint8Array {
    const entry = this.#at(i);
    if (typeof entry !== "number") return entry.key;
    return entry < 0 ? this.#run!.key(~entry) : this.#base!.keyAt(entry);
  }

  valueAt(i: number): Uint8Array {
    const entry = this.#at(i);
    if (typeof entry === "number") {
      return entry < 0 ? this.#run!.value(~entry) : this.#base!.valueAt(entry);
    }
    return entry.value instanceof BucketValue ? entry.value.bytes : entry.value;
  }

  isBucketAt(i: number): boolean {
    const entry = this.#at(i);
    if (typeof entry === "number") return entry >= 0 && this.#base!.isBucketAt(entry);
    return entry.value instanceof BucketValue;
  }

  entryBytesAt(i: number): number {
    const entry = this.#at(i);
    if (typeof entry !== "number") return ELEMENT_BYTES + entry.key.length + lengthOf(entry.value);
    if (entry >= 0) return this.#base!.entryBytesAt(entry);
    const run = this.#run!;
    return ELEMENT_BYTES + run.keyBytes(~entry) + run.valueBytes(~entry);
  }

  /** Lays a run behind the last entry, whose key is below all of it; false if there is one. */
  takeRun(run: SortedRun): boolean {
    if (this.#run !== undefined) return false;
    this.#run = run;
    this.#runLeft = run.count;
    let bytes = run.count * ELEMENT_BYTES;
    for (let i = 0; i < run.count; i++) bytes += run.keyBytes(i) + run.valueBytes(i);
    this.sizeBytes += bytes;
    return true;
  }

  insertAt(i: number, key: Uint8Array, value: LeafValue): void {
    this.#spreadRun();
    if (i === this.#entries.length) this.#entries.push({ key, value });
    else this.#entries.splice(i, 0, { key, value });
    this.sizeBytes += ELEMENT_BYTES + key.length + lengthOf(value);
  }

  replaceAt(i: number, value: LeafValue): void {
    this.#spreadRun();
    this.sizeBytes -= this.entryBytesAt(i);
    this.#entries[i] = { key: this.keyAt(i), value };
    this.sizeBytes += this.entryBytesAt(i);
  }

  removeAt(i: number): void {
    this.#spreadRun();
    this.sizeBytes -= this.entryBytesAt(i);
    this.#entries.splice(i, 1);
    this.isUnbalanced = true;
  }

  /** Takes over the entries of the next leaf. */
  append(right: LeafNode): void {
    this.#spreadRun();
    right.#spreadRun();
    const entries = right.#entries.map((_, i) => right.#entryAt(i));
    this.#entries = this.#entries.concat(entries);
    this.sizeBytes += right.sizeBytes - PAGE_HEADER_BYTES;
  }

  /** Writes entries [start, end) as a page into `target`, which is zeros. */
  encode(start: number, end: number, id: number, overflow: number, target: Uint8Array): void {
    writePageHeader(target, id, KIND_LEAF, end - start, overflow);
    let element = PAGE_HEADER_BYTES;
    let at = PAGE_HEADER_BYTES + (end - start) * ELEMENT_BYTES;
    const runStart = this.#entries.length;
    const listed = Math.min(end, runStart);
    for (let i = start; i < listed; i++, element += ELEMENT_BYTES) {
      const entry = this.#entries[i]!;
      if (typeof entry === "number") {
        at =
          entry < 0
            ? copyRun(this.#run!, ~entry, ~entry + 1, target, element, at)
            : this.#base!.copyEntry(entry, target, element, at);
        continue;
      }
      const isBucket = entry.value instanceof BucketValue;
      const value = isBucket ? entry.value.bytes : entry.value;
      if (isBucket) target[element] = ELEMENT_IS_BUCKET;
      writeUint32(target, element + 4, at - element);
      writeUint32(target, element + 8, entry.key.length);
      writeUint32(target, element + 12, value.length);
      target.set(entry.key, at);
      at += entry.key.length;
      target.set(value, at);
      at += value.length;
    }
    const from = Math.max(start, runStart);
    if (from < end) copyRun(this.#run!, from - runStart, end - runStart, target, element, at);
  }

  /** As an entry of `#entries`, though it may be one of the run behind it. */
  #at(i: number): number | LeafEntry {
    const listed = this.#entries.length;
    return i < listed ? this.#entries[i]! : ~(i - listed);
  }

  /** Lists the entries of the run one by one, so that each can change. */
  #spreadRun(): void {
    const count = this.#runLeft;
    this.#runLeft = 0;
    for (let i = 0; i < count; i++) this.#entries.push(~i);
  }

  #entryAt(i: number): LeafEntry {
    const entry = this.#entries[i]!;
    if (typeof entry !== "number") return entry;
    const bytes = this.valueAt(i);
    return { key: this.keyAt(i), value: this.isBucketAt(i) ? new BucketValue(bytes) : bytes };
  }
}

/** As `Page.copyEntry` for entries [from, to). */
function copyRun(
  run: SortedRun,
  from: number,
  to: number,
  target: Uint8Array,
  firstElement: number,
  firstByte: number,
): number {
  let element = firstElement;
  let at = firstByte;
  for (let i = from; i < to; i++, element += ELEMENT_BYTES) {
    const keyBytes = run.keyBytes(i);
    const valueBytes = run.valueBytes(i);
    writeUint32(target, element + 4, at - element);
    writeUint32(target, element + 8, keyBytes);
    writeUint32(target, element + 12, valueBytes);
    at += keyBytes + valueBytes;
  }
  run.copyEntries(from, to, target, firstByte);
  return at;
}

export class BranchNode {
  readonly isLeaf = false;
  readonly origin: NodeOrigin;
  sizeBytes = PAGE_HEADER_BYTES;
  isUnbalanced = false;
  parts: readonly NodePart[] | undefined;
  readonly #base: Page | undefined;
  /** A number is a position in `#base`. */
  #keys: (number | Uint8Array)[] = [];
  #childIDs: number[] = [];
  /** The children in memory; the page id of such a child is out of date. */
  #children: (TreeNode | undefined)[] = [];

  /**
   * @param base - a branch page to lie over
   * @param takesEntries - begins with all entries of `base`, else with none
   */
  constructor(base?: Page, takesEntries = true) {
    this.origin = base ?? NO_ORIGIN;
    this.#base = base;
    if (base === undefined || !takesEntries) return;
    for (let i = 0; i < base.count; i++) {
      this.#keys.push(i);
      this.#childIDs.push(base.childIDAt(i));
      this.#children.push(undefined);
      this.sizeBytes += base.entryBytesAt(i);
    }
  }

  get count(): number {
    return this.#keys.length;
  }

  /** The child whose range holds `key`. */
  childPosition(key: Uint8Array): number {
    let low = 1;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compareKeyAt(middle, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  compareKeyAt(i: number, key: Uint8Array): number {
    const own = this.#keys[i]!;
    if (typeof own === "number") return this.#base!.compareKeyAt(own, key);
    return compareBytes(own, key);
  }

  keyAt(i: number): Uint8Array {
    const own = this.#keys[i]!;
    return typeof own === "number" ? this.#base!.keyAt(own) : own;
  }

  childIDAt(i: number): number {
    return this.#childIDs[i]!;
  }

  /** The child if it is in memory. */
  childAt(i: number): TreeNode | undefined {
    return this.#children[i];
  }

  setChildAt(i: number, child: TreeNode): void {
    this.#children[i] = child;
  }

  entryBytesAt(i: number): number {
    const own = this.#keys[i]!;
    if (typeof own === "number") return this.#base!.entryBytesAt(own);
    return ELEMENT_BYTES + own.length;
  }

  push(key: Uint8Array, childID: number): void {
    this.#push(key, childID);
    this.sizeBytes += ELEMENT_BYTES + key.length;
  }

  removeAt(i: number): void {
    this.sizeBytes -= this.entryBytesAt(i);
    this.#keys.splice(i, 1);
    this.#childIDs.splice(i, 1);
    this.#children.splice(i, 1);
    this.isUnbalanced = true;
  }

  /** Takes over the entries of the next branch. */
  append(right: BranchNode): void {
    const keys = right.#keys.map((_, i) => right.keyAt(i));
    this.#keys = this.#keys.concat(keys);
    this.#childIDs = this.#childIDs.concat(right.#childIDs);
    this.#children = this.#children.concat(right.#children);
    this.sizeBytes += right.sizeBytes - PAGE_HEADER_BYTES;
  }

  /** This branch with the pages its children became in the place of those in memory. */
  withWrittenChildren(): BranchNode {
    const written = new BranchNode(this.#base, false);
    for (let i = 0; i < this.count; i++) {
      const child = this.#children[i];
      if (child === undefined) {
        written.#push(this.#keys[i]!, this.#childIDs[i]!);
        written.sizeBytes += this.entryBytesAt(i);
      } else for (const part of child.parts!) written.push(part.key, part.pageID);
    }
    return written;
  }

  encode(start: number, end: number, id: number, overflow: number, target: Uint8Array): void {
    writePageHeader(target, id, KIND_BRANCH, end - start, overflow);
    let element = PAGE_HEADER_BYTES;
    let at = PAGE_HEADER_BYTES + (end - start) * ELEMENT_BYTES;
    for (let i = start; i < end; i++, element += ELEMENT_BYTES) {
      const own = this.#keys[i]!;
      if (typeof own === "number") at = this.#base!.copyEntry(own, target, element, at);
      else {
        writeUint32(target, element, at - element);
        writeUint32(target, element + 4, own.length);
        target.set(own, at);
        at += own.length;
      }
      writeUint64(target, element + 8, this.#childIDs[i]!);
    }
  }

  #push(key: number | Uint8Array, childID: number): void {
    this.#keys.push(key);
    this.#childIDs.push(childID);
    this.#children.push(undefined);
  }
}

/** Takes a page into memory to change it. */
export function nodeFromPage(page: Page): TreeNode {
  return page.isLeaf ? new LeafNode(page) : new BranchNode(page);
}

/**
 * Where a node is cut into pages.
 *
 * A page is closed once the next entry would take it over `fill` of the page size, if it has two
 * entries, or over the page size, if it has the fewest it may: one in a leaf, two in a branch.
 *
 * @returns the end of each part; the last is `node.count`
 */
export function splitEnds(node: TreeNode, pageBytes: number, fill: number): number[] {
  const { count } = node;
  const entriesMin = node.isLeaf ? 1 : 2;
  if (node.sizeBytes <= pageBytes || count < 2 * entriesMin) return [count];
  const threshold = Math.floor(pageBytes * Math.min(1, Math.max(0.1, fill)));
  const ends: number[] = [];
  let start = 0;
  let size = PAGE_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    const entry = node.entryBytesAt(i);
    const limit = i - start >= 2 ? threshold : pageBytes;
    if (size + entry > limit && i - start >= entriesMin && count - i >= entriesMin) {
      ends.push(i);
      start = i;
      size = PAGE_HEADER_BYTES;
    }
    size += entry;
  }
  ends.push(count);
  invariant(ends.length < count + 1, () => `splitEnds: ${ends.length} parts of ${count}`);
  return ends;
}

function lengthOf(value: LeafValue): number {
  return value instanceof BucketValue ? value.bytes.length : value.length;
}
