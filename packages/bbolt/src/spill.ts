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

/** A leaf of new entries is joined with the next ones up to this size. */
const JOINED_PAGES_MAX = 4;
/** One that fills this share of its pages is left as it is. */
const WELL_FILLED = 0.75;

export interface SpillContext {
  readonly pageBytes: number;
  readonly slices: Slices;
  /** The first of `pageCount` pages in a row nobody uses. */
  take(pageCount: number): number;
  /** The same, but undefined while there are many free pages and none of them in such a row. */
  takeRow(pageCount: number): number | undefined;
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
  const ends = splitEnds(whole, pageBytes, bucket.fillPercent);
  const parts: NodePart[] = [];
  let start = 0;
  let next = 0;
  if (whole.isLeaf && whole.endsInRun) {
    // Of new entries at the end of a bucket only the last page is likely to be needed soon: by the
    // next commit. The others are read again if somebody asks for them.
    const { stream } = context;
    const last = ends.length - 1;
    while (next < last) {
      const part = streamedPart(whole, ends, next, start, context);
      const isStreamed = stream.takes(part.pageCount);
      if (isStreamed && !stream.hasRoom(part.pageCount)) await stream.turn();
      const room = isStreamed ? stream.room(part.pageID, part.pageCount) : undefined;
      parts.push(
        writePart(whole, start, ends[part.last]!, part.pageID, part.pageCount, room, context),
      );
      start = ends[part.last]!;
      next = part.last + 1;
      if (slices.isDue()) await slices.pause();
    }
  }
  for (; next < ends.length; next++) {
    const end = ends[next]!;
    const pageCount = pagesOf(whole, start, end, pageBytes);
    const pageID = context.take(pageCount);
    parts.push(writePart(whole, start, end, pageID, pageCount, undefined, context));
    start = end;
    if (slices.isDue()) await slices.pause();
  }
  return parts;
}

/** @param room - where the page is made if it is not kept */
function writePart(
  node: TreeNode,
  start: number,
  end: number,
  pageID: number,
  pageCount: number,
  room: Uint8Array | undefined,
  context: SpillContext,
): NodePart {
  invariant(end - start < 0xffff, () => `writePart: ${end - start} entries in a page`);
  const bytes = room ?? new Uint8Array(pageCount * context.pageBytes);
  node.encode(start, end, pageID, pageCount - 1, bytes);
  if (room === undefined) {
    context.add(new Page(pageID, bytes, node.isLeaf, end - start, pageCount));
  }
  return { key: start < node.count ? node.keyAt(start) : EMPTY_BYTES, pageID };
}

/** A part of a leaf from `start` on that goes up to `ends[last]`, and the pages for it. */
interface StreamedPart {
  readonly last: number;
  readonly pageID: number;
  readonly pageCount: number;
}

/**
 * The part that ends at `ends[first]`, or with it the next ones in a run of pages where that takes
 * fewer: two entries of 2 KB do not fit a page, but seven fit four.
 */
function streamedPart(
  leaf: LeafNode,
  ends: readonly number[],
  first: number,
  start: number,
  context: SpillContext,
): StreamedPart {
  const { pageBytes } = context;
  let bytes = bytesOf(leaf, start, ends[first]!);
  const pageCount = Math.ceil(bytes / pageBytes);
  if (bytes < WELL_FILLED * pageCount * pageBytes) {
    let last = first;
    let apart = pageCount;
    let together = pageCount;
    // The very last part stays by itself: the next commit writes it again.
    while (last + 2 < ends.length) {
      const more = bytesOf(leaf, ends[last]!, ends[last + 1]!);
      const pages = Math.ceil((bytes + more - PAGE_HEADER_BYTES) / pageBytes);
      if (pages > JOINED_PAGES_MAX) break;
      apart += Math.ceil(more / pageBytes);
      together = pages;
      bytes += more - PAGE_HEADER_BYTES;
      last++;
    }
    const pageID = together < apart ? context.takeRow(together) : undefined;
    if (pageID !== undefined) return { last, pageID, pageCount: together };
  }
  return { last: first, pageID: context.take(pageCount), pageCount };
}

function pagesOf(node: TreeNode, start: number, end: number, pageBytes: number): number {
  return Math.ceil(bytesOf(node, start, end) / pageBytes);
}

/** Bytes of a page with entries [start, end). */
function bytesOf(node: TreeNode, start: number, end: number): number {
  let bytes = PAGE_HEADER_BYTES;
  for (let i = start; i < end; i++) bytes += node.entryBytesAt(i);
  return bytes;
}

function giveUpOrigin(node: TreeNode, context: SpillContext): void {
  if (node.origin.id !== 0) context.giveUp(node.origin.id, node.origin.pageCount);
}
