/**
 * Turns the nodes of a writer into pages: small nodes are merged with a neighbour, large ones are
 * split, from the leaves up, nested buckets first.
 *
 * Invariants:
 * - Every page a node was read from is given up, once; every new page is written in full.
 * - The levels of a tree stay even: leaves merge with leaves and branches with branches.
 */

import { EMPTY_BYTES, invariant } from "@etcd-ts/base";
import { type TreeBucket, pageIDOf } from "./bucket.ts";
import { PAGE_HEADER_BYTES } from "./format.ts";
import { BranchNode, LeafNode, type NodePart, type TreeNode, splitEnds } from "./node.ts";
import { Page } from "./page.ts";
import type { PageStream } from "./page-stream.ts";
import type { Slices } from "./slices.ts";

export interface SpillContext {
  readonly pageBytes: number;
  readonly slices: Slices;
  /** The first of `pageCount` pages in a row nobody uses. */
  take(pageCount: number): number;
  giveUp(firstPageID: number, pageCount: number): void;
  /** Takes over a page to be written and kept in memory. */
  add(page: Page): void;
  /** For pages that are not kept. */
  readonly stream: PageStream;
}

/** Writes all changes below the top-level bucket and leaves its root in `rootPageID`. */
export async function spillRoot(root: TreeBucket, context: SpillContext): Promise<void> {
  await spillNested(root, context);
  await spillTree(root, context);
}

async function spillNested(bucket: TreeBucket, context: SpillContext): Promise<void> {
  for (const [name, nested] of bucket.opened) {
    const value = await spillBucket(nested, context);
    if (value !== undefined) bucket.replaceBucketValue(name, value);
  }
}

/** The new value of a nested bucket; undefined if it has not changed. */
async function spillBucket(
  bucket: TreeBucket,
  context: SpillContext,
): Promise<Uint8Array | undefined> {
  await spillNested(bucket, context);
  if (bucket.rootNode === undefined) {
    if (!bucket.isSequenceChanged) return undefined;
    if (bucket.rootPageID !== 0) return bucket.encodeValue(undefined);
    const root = bucket.materialise();
    invariant(root.isLeaf, () => "spillBucket: an inline branch");
    return bucket.encodeValue(root);
  }
  const inline = await spillTree(bucket, context);
  return bucket.encodeValue(inline);
}

/**
 * Writes the nodes of one bucket.
 *
 * @returns its only leaf if it is small enough to be stored in the bucket it is nested in
 */
async function spillTree(bucket: TreeBucket, context: SpillContext): Promise<LeafNode | undefined> {
  if (bucket.rootNode === undefined) return undefined;
  await rebalance(bucket, bucket.rootNode, context);
  const root: TreeNode | undefined = bucket.rootNode;
  if (root === undefined) return undefined;
  if (bucket.isNested && root.isLeaf && isInlineable(root, context.pageBytes)) {
    giveUpOrigin(root, context);
    bucket.rootPageID = 0;
    return root;
  }
  for (const level of levelsOf(root).reverse()) {
    for (const node of level) node.parts = await writeNode(node, bucket, context);
  }
  let parts = root.parts!;
  while (parts.length > 1) {
    const above = new BranchNode();
    for (const part of parts) above.push(part.key, part.pageID);
    parts = await writeNode(above, bucket, context);
  }
  bucket.rootPageID = parts[0]!.pageID;
  return undefined;
}

function isInlineable(leaf: LeafNode, pageBytes: number): boolean {
  if (leaf.sizeBytes > pageBytes / 4) return false;
  for (let i = 0; i < leaf.count; i++) if (leaf.isBucketAt(i)) return false;
  return true;
}

/** Nodes in memory by depth, the root first. */
function levelsOf(root: TreeNode): TreeNode[][] {
  const levels: TreeNode[][] = [];
  for (let level: TreeNode[] = [root]; level.length > 0;) {
    levels.push(level);
    const below: TreeNode[] = [];
    for (const node of level) {
      if (node.isLeaf) continue;
      for (let i = 0; i < node.count; i++) {
        const child = node.childAt(i);
        if (child !== undefined) below.push(child);
      }
    }
    level = below;
  }
  return levels;
}

async function rebalance(
  bucket: TreeBucket,
  start: TreeNode,
  context: SpillContext,
): Promise<void> {
  for (const level of levelsOf(start).reverse()) {
    for (const node of level) {
      if (!node.isLeaf) mergeChildren(bucket, node, context);
      if (context.slices.isDue()) await context.slices.pause();
    }
  }
  let root = start;
  while (!root.isLeaf && root.count <= 1) {
    giveUpOrigin(root, context);
    const child = root.count === 0 ? undefined : root.childAt(0);
    if (root.count === 1 && child === undefined) {
      bucket.rootPageID = root.childIDAt(0);
      bucket.rootNode = undefined;
      return;
    }
    root = child ?? new LeafNode();
  }
  bucket.rootNode = root;
}

/** Removes children without entries and merges small ones with a neighbour. */
function mergeChildren(bucket: TreeBucket, parent: BranchNode, context: SpillContext): void {
  const small = Math.floor(context.pageBytes * bucket.fillPercent) / 2;
  for (let i = 0; i < parent.count;) {
    const child = parent.childAt(i);
    if (child === undefined || !child.isUnbalanced) {
      i++;
      continue;
    }
    if (child.count === 0) {
      giveUpOrigin(child, context);
      parent.removeAt(i);
      continue;
    }
    child.isUnbalanced = false;
    const isFine = child.sizeBytes > small && child.count >= (child.isLeaf ? 1 : 2);
    if (isFine || parent.count === 1) {
      i++;
      continue;
    }
    i = Math.max(0, i - 1);
    const left = bucket.childNodeOf(parent, i);
    const right = bucket.childNodeOf(parent, i + 1);
    merge(bucket, left, right);
    giveUpOrigin(right, context);
    parent.removeAt(i + 1);
    left.isUnbalanced = true;
  }
}

function merge(bucket: TreeBucket, left: TreeNode, right: TreeNode): void {
  if (left.isLeaf && right.isLeaf) left.append(right);
  else if (!left.isLeaf && !right.isLeaf) left.append(right);
  else {
    const id = pageIDOf(right);
    throw bucket.context.store.fault(id, `page ${id}: leaves are at different depths`);
  }
}

/** Splits a node, whose children are written, and hands over its pages. */
async function writeNode(
  node: TreeNode,
  bucket: TreeBucket,
  context: SpillContext,
): Promise<NodePart[]> {
  const { pageBytes, slices } = context;
  const whole = node.isLeaf ? node : node.withWrittenChildren();
  giveUpOrigin(node, context);
  const parts: NodePart[] = [];
  // Of new entries at the end of a bucket only the last page is likely to be needed soon: by the
  // next commit. The others are read again if somebody asks for them.
  const isPassing = whole.isLeaf && whole.endsInRun;
  let start = 0;
  for (const end of splitEnds(whole, pageBytes, bucket.fillPercent)) {
    let size = PAGE_HEADER_BYTES;
    for (let i = start; i < end; i++) size += whole.entryBytesAt(i);
    invariant(end - start < 0xffff, () => `writeNode: ${end - start} entries in a page`);
    const pageCount = Math.ceil(size / pageBytes);
    const pageID = context.take(pageCount);
    const isStreamed = isPassing && end < whole.count && context.stream.takes(pageCount);
    let room = isStreamed ? context.stream.room(pageID, pageCount) : undefined;
    if (isStreamed && room === undefined) {
      await context.stream.turn();
      room = context.stream.room(pageID, pageCount);
    }
    const bytes = room ?? new Uint8Array(pageCount * pageBytes);
    whole.encode(start, end, pageID, pageCount - 1, bytes);
    if (room === undefined) {
      context.add(new Page(pageID, bytes, whole.isLeaf, end - start, pageCount));
    }
    parts.push({ key: start < whole.count ? whole.keyAt(start) : EMPTY_BYTES, pageID });
    start = end;
    if (slices.isDue()) await slices.pause();
  }
  return parts;
}

function giveUpOrigin(node: TreeNode, context: SpillContext): void {
  if (node.origin.id !== 0) context.giveUp(node.origin.id, node.origin.pageCount);
}
