/**
 * Branches and leaves a writer has changed, in memory until commit splits them into pages.
 *
 * Invariants:
 * - The arrays of a node run in parallel, in key order; a node may hold any number of entries.
 * - `sizeBytes` is the size of the page the node would make: header, elements, keys and values.
 * - A node in memory has all its ancestors in memory: what is not has not changed.
 * - Keys and values are views, never copied until they are written to a page.
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

/** The value of a leaf entry that is a nested bucket: its header, and its page if it is inline. */
export class BucketValue {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export type LeafValue = Uint8Array | BucketValue;

export type TreeNode = LeafNode | BranchNode;

/** The page a node was read from, to be given up when it is written anew; 0 for none. */
interface NodeOrigin {
  readonly id: number;
  readonly pageCount: number;
}

/** A page a node became, as its parent refers to it. */
export interface NodePart {
  readonly key: Uint8Array;
  readonly pageID: number;
}

const NO_ORIGIN: NodeOrigin = { id: 0, pageCount: 0 };

export class LeafNode {
  readonly isLeaf = true;
  origin: NodeOrigin;
  keys: Uint8Array[] = [];
  values: LeafValue[] = [];
  sizeBytes = PAGE_HEADER_BYTES;
  /** Entries were removed: it may be too small. */
  isUnbalanced = false;
  /** Set by commit. */
  parts: readonly NodePart[] | undefined;

  constructor(origin: NodeOrigin = NO_ORIGIN) {
    this.origin = origin;
  }

  get count(): number {
    return this.keys.length;
  }

  lowerBound(key: Uint8Array): number {
    return lowerBound(this.keys, key);
  }

  compareKeyAt(i: number, key: Uint8Array): number {
    return compareBytes(this.keys[i]!, key);
  }

  keyAt(i: number): Uint8Array {
    return this.keys[i]!;
  }

  valueAt(i: number): Uint8Array {
    const value = this.values[i]!;
    return value instanceof BucketValue ? value.bytes : value;
  }

  isBucketAt(i: number): boolean {
    return this.values[i] instanceof BucketValue;
  }

  insertAt(i: number, key: Uint8Array, value: LeafValue): void {
    if (i === this.keys.length) {
      this.keys.push(key);
      this.values.push(value);
    } else {
      this.keys.splice(i, 0, key);
      this.values.splice(i, 0, value);
    }
    this.sizeBytes += ELEMENT_BYTES + key.length + lengthOf(value);
  }

  replaceAt(i: number, value: LeafValue): void {
    this.sizeBytes += lengthOf(value) - lengthOf(this.values[i]!);
    this.values[i] = value;
  }

  removeAt(i: number): void {
    this.sizeBytes -= this.entryBytes(i);
    this.keys.splice(i, 1);
    this.values.splice(i, 1);
    this.isUnbalanced = true;
  }

  /** Takes over the entries of the next leaf. */
  append(right: LeafNode): void {
    this.keys = this.keys.concat(right.keys);
    this.values = this.values.concat(right.values);
    this.sizeBytes += right.sizeBytes - PAGE_HEADER_BYTES;
  }

  entryBytes(i: number): number {
    return ELEMENT_BYTES + this.keys[i]!.length + lengthOf(this.values[i]!);
  }

  /** Writes entries [start, end) as a page into `target`, which is zeros. */
  encode(start: number, end: number, id: number, overflow: number, target: Uint8Array): void {
    writePageHeader(target, id, KIND_LEAF, end - start, overflow);
    let element = PAGE_HEADER_BYTES;
    let at = PAGE_HEADER_BYTES + (end - start) * ELEMENT_BYTES;
    for (let i = start; i < end; i++, element += ELEMENT_BYTES) {
      const key = this.keys[i]!;
      const value = this.values[i]!;
      const isBucket = value instanceof BucketValue;
      const bytes = isBucket ? value.bytes : value;
      if (isBucket) target[element] = ELEMENT_IS_BUCKET;
      writeUint32(target, element + 4, at - element);
      writeUint32(target, element + 8, key.length);
      writeUint32(target, element + 12, bytes.length);
      target.set(key, at);
      at += key.length;
      target.set(bytes, at);
      at += bytes.length;
    }
  }
}

export class BranchNode {
  readonly isLeaf = false;
  origin: NodeOrigin;
  keys: Uint8Array[] = [];
  childIDs: number[] = [];
  /** The children in memory; the page id of such a child is out of date. */
  children: (TreeNode | undefined)[] = [];
  sizeBytes = PAGE_HEADER_BYTES;
  isUnbalanced = false;
  /** Set by commit. */
  parts: readonly NodePart[] | undefined;

  constructor(origin: NodeOrigin = NO_ORIGIN) {
    this.origin = origin;
  }

  get count(): number {
    return this.keys.length;
  }

  childPosition(key: Uint8Array): number {
    const i = lowerBound(this.keys, key);
    if (i < this.keys.length && compareBytes(this.keys[i]!, key) === 0) return i;
    return i === 0 ? 0 : i - 1;
  }

  compareKeyAt(i: number, key: Uint8Array): number {
    return compareBytes(this.keys[i]!, key);
  }

  keyAt(i: number): Uint8Array {
    return this.keys[i]!;
  }

  childIDAt(i: number): number {
    return this.childIDs[i]!;
  }

  push(key: Uint8Array, childID: number, child: TreeNode | undefined): void {
    this.keys.push(key);
    this.childIDs.push(childID);
    this.children.push(child);
    this.sizeBytes += ELEMENT_BYTES + key.length;
  }

  removeAt(i: number): void {
    this.sizeBytes -= this.entryBytes(i);
    this.keys.splice(i, 1);
    this.childIDs.splice(i, 1);
    this.children.splice(i, 1);
    this.isUnbalanced = true;
  }

  append(right: BranchNode): void {
    this.keys = this.keys.concat(right.keys);
    this.childIDs = this.childIDs.concat(right.childIDs);
    this.children = this.children.concat(right.children);
    this.sizeBytes += right.sizeBytes - PAGE_HEADER_BYTES;
  }

  entryBytes(i: number): number {
    return ELEMENT_BYTES + this.keys[i]!.length;
  }

  encode(start: number, end: number, id: number, overflow: number, target: Uint8Array): void {
    writePageHeader(target, id, KIND_BRANCH, end - start, overflow);
    let element = PAGE_HEADER_BYTES;
    let at = PAGE_HEADER_BYTES + (end - start) * ELEMENT_BYTES;
    for (let i = start; i < end; i++, element += ELEMENT_BYTES) {
      const key = this.keys[i]!;
      writeUint32(target, element, at - element);
      writeUint32(target, element + 4, key.length);
      writeUint64(target, element + 8, this.childIDs[i]!);
      target.set(key, at);
      at += key.length;
    }
  }
}

/** Takes a page into memory to change it. */
export function nodeFromPage(page: Page): TreeNode {
  const node = page.isLeaf ? new LeafNode(page) : new BranchNode(page);
  if (node.isLeaf) {
    for (let i = 0; i < page.count; i++) {
      const value = page.valueAt(i);
      node.keys.push(page.keyAt(i));
      node.values.push(page.isBucketAt(i) ? new BucketValue(value) : value);
      node.sizeBytes += node.entryBytes(i);
    }
  } else {
    for (let i = 0; i < page.count; i++) node.push(page.keyAt(i), page.childIDAt(i), undefined);
  }
  return node;
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
    const entry = node.entryBytes(i);
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

function lowerBound(keys: readonly Uint8Array[], key: Uint8Array): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(keys[middle]!, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
