/**
 * One bucket as a transaction sees it: a tree of pages, over which a writer lays nodes in memory.
 *
 * Invariants:
 * - The root is `rootNode` if there is one, else the inline page, else page `rootPageID`.
 * - A nested bucket that was opened is in `opened`, so that there is one state of it.
 * - `version` grows with each change; cursors use it to find their place again.
 */

import { type CorruptionError, bytesFromLatin1, invariant, latin1FromBytes } from "@etcd-ts/base";
import { TreeCursor } from "./cursor.ts";
import { DatabaseError } from "./errors.ts";
import {
  BUCKET_HEADER_BYTES,
  KEY_BYTES_MAX,
  KIND_LEAF,
  PAGE_HEADER_BYTES,
  TREE_DEPTH_MAX,
  VALUE_BYTES_MAX,
  readUint64,
  writePageHeader,
  writeUint64,
} from "./format.ts";
import { BranchNode, BucketValue, type LeafNode, type TreeNode, nodeFromPage } from "./node.ts";
import { Page, parsePage } from "./page.ts";
import type { PageStore } from "./page-store.ts";
import type { Bucket, Cursor, PassingCursor, SortedRun } from "./types.ts";

/** What a bucket needs of its transaction. */
export interface TreeContext {
  readonly store: PageStore;
  readonly isWritable: boolean;
  /** @throws {DatabaseError} TX_CLOSED, DATABASE_NOT_OPEN */
  assertOpen(): void;
  /** Gives up pages of the state before. @throws {CorruptionError} if they are not in use */
  giveUp(firstPageID: number, pageCount: number): void;
}

/** Where entries are read from. */
export type Holder = Page | TreeNode;
export type LeafHolder = Page | LeafNode;
export type BranchHolder = Page | BranchNode;

export function isLeafHolder(holder: Holder): holder is LeafHolder {
  return holder.isLeaf;
}

const DEFAULT_FILL_PERCENT = 0.5;

export class TreeBucket implements Bucket {
  readonly context: TreeContext;
  /** Not the top level of the file, which is never inline. */
  readonly isNested: boolean;
  fillPercent = DEFAULT_FILL_PERCENT;
  /** 0 while the bucket is inline. */
  rootPageID: number;
  rootNode: TreeNode | undefined;
  /** Nested buckets by name, latin-1. */
  readonly opened = new Map<string, TreeBucket>();
  version = 0;
  foundPageID = 0;
  foundPosition = 0;
  isSequenceChanged = false;
  #rootPage: Page | undefined;
  #sequence: number;
  #isDeleted = false;
  /** The last leaf, once all on the way to it is in memory: keys in order go there directly. */
  #lastLeaf: LeafNode | undefined;

  constructor(
    context: TreeContext,
    rootPageID: number,
    sequence: number,
    inlinePage: Page | undefined,
    isNested = true,
  ) {
    this.context = context;
    this.isNested = isNested;
    this.rootPageID = rootPageID;
    this.#sequence = sequence;
    this.#rootPage = inlinePage;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.assertUsable();
    const leaf = this.#leafOf(key);
    const i = leaf.lowerBound(key);
    if (i >= leaf.count || leaf.compareKeyAt(i, key) !== 0 || leaf.isBucketAt(i)) return undefined;
    this.foundPageID = leaf instanceof Page ? leaf.id : 0;
    this.foundPosition = i;
    return leaf.valueAt(i);
  }

  valueAt(pageID: number, position: number): Uint8Array {
    this.assertUsable();
    const page = this.context.store.page(pageID);
    invariant(
      page.isLeaf && position < page.count && !this.context.isWritable,
      () => `Bucket.valueAt: nothing was found at ${position} of page ${pageID}`,
    );
    return page.valueAt(position);
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#assertWritable();
    if (key.length === 0) throw new DatabaseError("KEY_REQUIRED");
    if (key.length > KEY_BYTES_MAX) throw new DatabaseError("KEY_TOO_LARGE");
    if (value.length > VALUE_BYTES_MAX) throw new DatabaseError("VALUE_TOO_LARGE");
    const last = this.#lastLeaf;
    if (last !== undefined && last.count > 0 && last.compareKeyAt(last.count - 1, key) < 0) {
      last.insertAt(last.count, key, value);
      this.version++;
      return;
    }
    const leaf = this.#leafNodeOf(key);
    const i = leaf.lowerBound(key);
    if (i < leaf.count && leaf.compareKeyAt(i, key) === 0) {
      if (leaf.isBucketAt(i)) throw new DatabaseError("INCOMPATIBLE_VALUE");
      leaf.replaceAt(i, value);
    } else leaf.insertAt(i, key, value);
    this.version++;
  }

  append(run: SortedRun): void {
    this.#assertWritable();
    if (run.count === 0) return;
    const first = run.key(0);
    const leaf = this.#leafNodeOf(first);
    const isAbove =
      leaf === this.#lastLeaf && (leaf.count === 0 || leaf.compareKeyAt(leaf.count - 1, first) < 0);
    if (isAbove && leaf.takeRun(run)) this.version++;
    else for (let i = 0; i < run.count; i++) this.put(run.key(i), run.value(i));
  }

  delete(key: Uint8Array): void {
    this.#assertWritable();
    const holder = this.#leafOf(key);
    const i = holder.lowerBound(key);
    if (i >= holder.count || holder.compareKeyAt(i, key) !== 0) return;
    if (holder.isBucketAt(i)) throw new DatabaseError("INCOMPATIBLE_VALUE");
    this.#leafNodeOf(key).removeAt(i);
    this.version++;
  }

  cursor(): Cursor {
    return this.treeCursor();
  }

  passingCursor(): PassingCursor {
    this.assertUsable();
    invariant(!this.context.isWritable, () => "passingCursor: the transaction writes");
    return new TreeCursor(this, true);
  }

  treeCursor(): TreeCursor {
    this.assertUsable();
    return new TreeCursor(this);
  }

  bucket(name: Uint8Array): TreeBucket | undefined {
    this.assertUsable();
    const text = latin1FromBytes(name);
    const opened = this.opened.get(text);
    if (opened !== undefined) return opened;
    const leaf = this.#leafOf(name);
    const i = leaf.lowerBound(name);
    if (i >= leaf.count || leaf.compareKeyAt(i, name) !== 0 || !leaf.isBucketAt(i)) {
      return undefined;
    }
    const bucket = openBucketValue(this.context, leaf.valueAt(i), pageIDOf(leaf));
    this.opened.set(text, bucket);
    return bucket;
  }

  createBucket(name: Uint8Array): TreeBucket {
    this.#assertWritable();
    if (name.length === 0) throw new DatabaseError("BUCKET_NAME_REQUIRED");
    if (name.length > KEY_BYTES_MAX) throw new DatabaseError("KEY_TOO_LARGE");
    const holder = this.#leafOf(name);
    const i = holder.lowerBound(name);
    if (i < holder.count && holder.compareKeyAt(i, name) === 0) {
      throw new DatabaseError(holder.isBucketAt(i) ? "BUCKET_EXISTS" : "INCOMPATIBLE_VALUE");
    }
    this.#leafNodeOf(name).insertAt(i, name, new BucketValue(emptyInlineBucket()));
    this.version++;
    const bucket = this.bucket(name);
    if (bucket === undefined) throw this.#unordered(holder);
    return bucket;
  }

  createBucketIfNotExists(name: Uint8Array): TreeBucket {
    this.#assertWritable();
    return this.bucket(name) ?? this.createBucket(name);
  }

  deleteBucket(name: Uint8Array): void {
    this.#assertWritable();
    const holder = this.#leafOf(name);
    const i = holder.lowerBound(name);
    if (i >= holder.count || holder.compareKeyAt(i, name) !== 0) {
      throw new DatabaseError("BUCKET_NOT_FOUND");
    }
    if (!holder.isBucketAt(i)) throw new DatabaseError("INCOMPATIBLE_VALUE");
    this.bucket(name)!.#giveUpAll();
    this.#leafNodeOf(name).removeAt(i);
    this.opened.delete(latin1FromBytes(name));
    this.version++;
  }

  bucketNames(): Uint8Array[] {
    const names: Uint8Array[] = [];
    const cursor = this.cursor();
    for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
      if (entry.value === undefined) names.push(entry.key);
    }
    return names;
  }

  sequence(): number {
    this.assertUsable();
    return this.#sequence;
  }

  setSequence(value: number): void {
    this.#assertWritable();
    invariant(Number.isSafeInteger(value) && value >= 0, () => `setSequence: ${value}`);
    this.#sequence = value;
    this.isSequenceChanged = true;
  }

  /** Where a look-up begins. */
  root(): Holder {
    if (this.rootNode !== undefined) return this.rootNode;
    this.#rootPage ??= this.context.store.page(this.rootPageID);
    return this.#rootPage;
  }

  /** The root in memory, to be changed. */
  materialise(): TreeNode {
    this.rootNode ??= nodeFromPage(this.root() as Page);
    return this.rootNode;
  }

  childOf(branch: BranchHolder, i: number): Holder {
    if (branch instanceof BranchNode) {
      const child = branch.childAt(i);
      if (child !== undefined) return child;
    }
    return this.context.store.page(branch.childIDAt(i));
  }

  /** Child `i` in memory, to be changed. */
  childNodeOf(branch: BranchNode, i: number): TreeNode {
    let child = branch.childAt(i);
    if (child === undefined) {
      child = nodeFromPage(this.context.store.page(branch.childIDAt(i)));
      branch.setChildAt(i, child);
    }
    return child;
  }

  /** The value that stands for this bucket in the one it is nested in. */
  encodeValue(inline: LeafNode | undefined): Uint8Array {
    const value = new Uint8Array(BUCKET_HEADER_BYTES + (inline?.sizeBytes ?? 0));
    writeUint64(value, 0, this.rootPageID);
    writeUint64(value, 8, this.#sequence);
    if (inline !== undefined) {
      inline.encode(0, inline.count, 0, 0, value.subarray(BUCKET_HEADER_BYTES));
    }
    return value;
  }

  /** Stores a new state of the nested bucket `name`. */
  replaceBucketValue(name: string, value: Uint8Array): void {
    const key = bytesFromLatin1(name);
    const leaf = this.#leafNodeOf(key);
    const i = leaf.lowerBound(key);
    const isThere = i < leaf.count && leaf.compareKeyAt(i, key) === 0 && leaf.isBucketAt(i);
    if (!isThere) throw this.#unordered(leaf);
    leaf.replaceAt(i, new BucketValue(value));
  }

  assertUsable(): void {
    this.context.assertOpen();
    if (this.#isDeleted) throw new DatabaseError("BUCKET_NOT_FOUND");
  }

  /** For a descent that does not end: a branch is its own descendant. */
  assertDepth(depth: number, holder: Holder): void {
    if (depth < TREE_DEPTH_MAX) return;
    const id = pageIDOf(holder);
    throw this.context.store.fault(id, `page ${id}: tree is deeper than ${TREE_DEPTH_MAX}`);
  }

  /** For a look-up that misses what is there. */
  #unordered(holder: Holder): CorruptionError {
    const id = pageIDOf(holder);
    return this.context.store.fault(id, `page ${id}: keys are not in order`);
  }

  #assertWritable(): void {
    this.assertUsable();
    if (!this.context.isWritable) throw new DatabaseError("TX_NOT_WRITABLE");
  }

  #leafOf(key: Uint8Array): LeafHolder {
    let holder = this.root();
    for (let depth = 0; !isLeafHolder(holder); depth++) {
      this.assertDepth(depth, holder);
      holder = this.childOf(holder, holder.childPosition(key));
    }
    return holder;
  }

  /** The leaf for `key`, in memory with all its ancestors. */
  #leafNodeOf(key: Uint8Array): LeafNode {
    let node = this.materialise();
    let isLast = true;
    for (let depth = 0; !node.isLeaf; depth++) {
      this.assertDepth(depth, node);
      const i = node.childPosition(key);
      isLast &&= i === node.count - 1;
      node = this.childNodeOf(node, i);
    }
    if (isLast) this.#lastLeaf = node;
    return node;
  }

  /** Gives up all pages of the bucket and those nested in it; it is not usable afterwards. */
  #giveUpAll(): void {
    const root = this.root();
    if (!(root instanceof Page)) this.#giveUpNode(root, 0);
    else if (this.rootPageID !== 0) this.#giveUpPage(this.rootPageID, 0);
    else this.#giveUpNested(root);
    this.#isDeleted = true;
    this.opened.clear();
  }

  #giveUpNode(node: TreeNode, depth: number): void {
    this.assertDepth(depth, node);
    if (node.origin.id !== 0) this.context.giveUp(node.origin.id, node.origin.pageCount);
    if (node.isLeaf) {
      this.#giveUpNested(node);
      return;
    }
    for (let i = 0; i < node.count; i++) {
      const child = node.childAt(i);
      if (child === undefined) this.#giveUpPage(node.childIDAt(i), depth + 1);
      else this.#giveUpNode(child, depth + 1);
    }
  }

  #giveUpPage(id: number, depth: number): void {
    const page = this.context.store.page(id);
    this.assertDepth(depth, page);
    this.context.giveUp(id, page.pageCount);
    if (page.isLeaf) this.#giveUpNested(page);
    else for (let i = 0; i < page.count; i++) this.#giveUpPage(page.childIDAt(i), depth + 1);
  }

  #giveUpNested(leaf: LeafHolder): void {
    for (let i = 0; i < leaf.count; i++) {
      if (!leaf.isBucketAt(i)) continue;
      const opened = this.opened.get(latin1FromBytes(leaf.keyAt(i)));
      const nested = opened ?? openBucketValue(this.context, leaf.valueAt(i), pageIDOf(leaf));
      nested.#giveUpAll();
    }
  }
}

/** The page an entry is on, for error texts; 0 if it was never on one. */
export function pageIDOf(holder: Holder): number {
  return holder instanceof Page ? holder.id : holder.origin.id;
}

/**
 * Opens a nested bucket.
 *
 * @param value - as stored in the leaf `leafPageID`
 * @throws {CorruptionError}
 */
export function openBucketValue(
  context: TreeContext,
  value: Uint8Array,
  leafPageID: number,
): TreeBucket {
  const { store } = context;
  const fault = (text: string): CorruptionError => store.fault(leafPageID, text);
  if (value.length < BUCKET_HEADER_BYTES) throw fault(`page ${leafPageID}: bucket header is cut`);
  const rootPageID = readUint64(value, 0);
  const sequence = readUint64(value, 8);
  if (!Number.isSafeInteger(sequence)) {
    throw fault(`page ${leafPageID}: bucket sequence is beyond 2^53-1`);
  }
  if (rootPageID !== 0) return new TreeBucket(context, rootPageID, sequence, undefined);
  const inline = value.subarray(BUCKET_HEADER_BYTES);
  if (inline.length < PAGE_HEADER_BYTES) throw fault(`page ${leafPageID}: inline bucket is cut`);
  const page = parsePage(inline, 0, 1, {
    path: store.path,
    offsetBytes: leafPageID * store.pageBytes,
    filePages: store.filePages,
  });
  if (!page.isLeaf) throw fault(`page ${leafPageID}: inline bucket is not a leaf`);
  return new TreeBucket(context, 0, sequence, page);
}

function emptyInlineBucket(): Uint8Array {
  const value = new Uint8Array(BUCKET_HEADER_BYTES + PAGE_HEADER_BYTES);
  writePageHeader(value.subarray(BUCKET_HEADER_BYTES), 0, KIND_LEAF, 0, 0);
  return value;
}
