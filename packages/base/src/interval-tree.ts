/**
 * Values on half-open ranges of keys, found by a point or by a range: watchers, permissions.
 *
 * A balanced search tree (AVL: Adelson-Velsky and Landis, 1962) ordered by begin and then end,
 * one node a distinct range, each node knowing the largest end below it (Cormen et al., "Interval
 * trees"). Keys are latin-1 strings, one byte a character, so they order as their bytes do.
 *
 * Invariants:
 * - Every range has `begin < end`; no end stands for "unbounded".
 * - `node.max` is the largest end in the subtree of `node`.
 * - The heights of two siblings differ by at most one.
 * - A node holds at least one value, each at most once, in the order they were inserted.
 *
 * Insertion and removal take O(log n) for n distinct ranges; a query with h hits visits
 * O((h + 1) log n) nodes at worst, and O(log n + h) when the hits lie together.
 */

import { invariant } from "./errors.ts";

/** Above every latin-1 string. */
const UNBOUNDED = "\uffff";

/** From this many values on a range keeps them in a set, so that removal stays cheap. */
const VALUES_IN_ARRAY_MAX = 8;

type Node<V> = {
  readonly begin: string;
  readonly end: string;
  values: V[] | Set<V>;
  max: string;
  height: number;
  left: Node<V> | undefined;
  right: Node<V> | undefined;
};

export class IntervalTree<V> {
  #root: Node<V> | undefined = undefined;
  #size = 0;

  /** Number of values held, counted once a range. */
  get size(): number {
    return this.#size;
  }

  /**
   * Puts `value` on [begin, end). A value already on that range stays where it is.
   *
   * @param end - undefined for unbounded; must be above `begin`
   */
  insert(begin: string, end: string | undefined, value: V): void {
    const bound = end ?? UNBOUNDED;
    invariant(begin < bound, () => "IntervalTree.insert: the range is empty");
    const existing = this.#find(begin, bound);
    if (existing === undefined) {
      this.#root = insertNode(this.#root, begin, bound, value);
      this.#size++;
    } else if (addValue(existing, value)) this.#size++;
  }

  /** Takes `value` off [begin, end); false if it is not there. */
  remove(begin: string, end: string | undefined, value: V): boolean {
    const bound = end ?? UNBOUNDED;
    const node = this.#find(begin, bound);
    if (node === undefined || !removeValue(node, value)) return false;
    this.#size--;
    if (valueCount(node) === 0) this.#root = removeNode(this.#root, begin, bound);
    return true;
  }

  /** Values of all ranges that hold `point`, ordered by range. */
  stab(point: string): V[] {
    const hits: V[] = [];
    visitOverlaps(this.#root, point, undefined, (node) => collect(node, hits));
    return hits;
  }

  /** Values of all ranges that share a key with [begin, end), ordered by range. */
  overlaps(begin: string, end: string | undefined): V[] {
    const hits: V[] = [];
    const bound = end ?? UNBOUNDED;
    if (begin >= bound) return hits;
    visitOverlaps(this.#root, begin, bound, (node) => collect(node, hits));
    return hits;
  }

  /** Whether any range shares a key with [begin, end). */
  hasOverlap(begin: string, end: string | undefined): boolean {
    const bound = end ?? UNBOUNDED;
    if (begin >= bound) return false;
    return !visitOverlaps(this.#root, begin, bound, () => false);
  }

  /** Whether the ranges together hold every key of [begin, end); false for an empty range. */
  covers(begin: string, end: string | undefined): boolean {
    const bound = end ?? UNBOUNDED;
    if (begin >= bound) return false;
    let reached = begin;
    visitOverlaps(this.#root, begin, bound, (node) => {
      if (node.begin > reached) return false;
      if (node.end > reached) reached = node.end;
      return reached < bound;
    });
    return reached >= bound;
  }

  /** Every range with its values, ordered by range. */
  *entries(): Generator<{ begin: string; end: string | undefined; value: V }> {
    const path: Node<V>[] = [];
    for (let node = this.#root; node !== undefined || path.length > 0;) {
      for (; node !== undefined; node = node.left) path.push(node);
      const { begin, end, values, right } = path.pop()!;
      for (const value of values) {
        yield { begin, end: end === UNBOUNDED ? undefined : end, value };
      }
      node = right;
    }
  }

  clear(): void {
    this.#root = undefined;
    this.#size = 0;
  }

  /** Checks the invariants of every node; O(n), for tests. */
  verify(): void {
    let values = 0;
    const check = (node: Node<V> | undefined): number => {
      if (node === undefined) return 0;
      const left = check(node.left);
      const right = check(node.right);
      values += valueCount(node);
      invariant(valueCount(node) > 0, () => "IntervalTree.verify: a node without values");
      invariant(Math.abs(left - right) <= 1, () => "IntervalTree.verify: out of balance");
      invariant(node.height === 1 + Math.max(left, right), () => "IntervalTree.verify: height");
      invariant(node.max === maxEnd(node), () => "IntervalTree.verify: max");
      for (const [low, high] of [
        [node.left, node],
        [node, node.right],
      ] as const) {
        if (low === undefined || high === undefined) continue;
        invariant(order(low.begin, low.end, high) < 0, () => "IntervalTree.verify: order");
      }
      return node.height;
    };
    check(this.#root);
    invariant(values === this.#size, () => `IntervalTree.verify: ${values} of ${this.#size}`);
  }

  #find(begin: string, end: string): Node<V> | undefined {
    let node = this.#root;
    while (node !== undefined) {
      const direction = order(begin, end, node);
      if (direction === 0) return node;
      node = direction < 0 ? node.left : node.right;
    }
    return undefined;
  }
}

function order<V>(begin: string, end: string, node: Node<V>): number {
  if (begin !== node.begin) return begin < node.begin ? -1 : 1;
  if (end !== node.end) return end < node.end ? -1 : 1;
  return 0;
}

/**
 * Visits nodes overlapping [begin, end) in order; with `end` undefined those holding `begin`.
 * Stops early, and returns false, once `visit` returns false.
 */
function visitOverlaps<V>(
  node: Node<V> | undefined,
  begin: string,
  end: string | undefined,
  visit: (node: Node<V>) => boolean,
): boolean {
  if (node === undefined || node.max <= begin) return true;
  if (!visitOverlaps(node.left, begin, end, visit)) return false;
  // Every range from here on begins at or after this one.
  if (end === undefined ? node.begin > begin : node.begin >= end) return true;
  if (node.end > begin && !visit(node)) return false;
  return visitOverlaps(node.right, begin, end, visit);
}

function collect<V>(node: Node<V>, hits: V[]): boolean {
  for (const value of node.values) hits.push(value);
  return true;
}

function valueCount<V>(node: Node<V>): number {
  return Array.isArray(node.values) ? node.values.length : node.values.size;
}

function addValue<V>(node: Node<V>, value: V): boolean {
  if (Array.isArray(node.values)) {
    if (node.values.includes(value)) return false;
    node.values.push(value);
    if (node.values.length > VALUES_IN_ARRAY_MAX) node.values = new Set(node.values);
    return true;
  }
  if (node.values.has(value)) return false;
  node.values.add(value);
  return true;
}

function removeValue<V>(node: Node<V>, value: V): boolean {
  if (!Array.isArray(node.values)) return node.values.delete(value);
  const position = node.values.indexOf(value);
  if (position < 0) return false;
  node.values.splice(position, 1);
  return true;
}

function insertNode<V>(node: Node<V> | undefined, begin: string, end: string, value: V): Node<V> {
  if (node === undefined) {
    return { begin, end, values: [value], max: end, height: 1, left: undefined, right: undefined };
  }
  if (order(begin, end, node) < 0) node.left = insertNode(node.left, begin, end, value);
  else node.right = insertNode(node.right, begin, end, value);
  return balance(node);
}

function removeNode<V>(node: Node<V> | undefined, begin: string, end: string): Node<V> | undefined {
  invariant(node !== undefined, () => "IntervalTree: the node to remove is missing");
  const direction = order(begin, end, node);
  if (direction < 0) node.left = removeNode(node.left, begin, end);
  else if (direction > 0) node.right = removeNode(node.right, begin, end);
  else {
    if (node.left === undefined) return node.right;
    if (node.right === undefined) return node.left;
    let successor = node.right;
    while (successor.left !== undefined) successor = successor.left;
    // The successor takes the place of the node; it has no left child of its own.
    const right = removeNode(node.right, successor.begin, successor.end);
    successor.left = node.left;
    successor.right = right;
    return balance(successor);
  }
  return balance(node);
}

function height<V>(node: Node<V> | undefined): number {
  return node === undefined ? 0 : node.height;
}

function maxEnd<V>(node: Node<V>): string {
  let max = node.end;
  if (node.left !== undefined && node.left.max > max) max = node.left.max;
  if (node.right !== undefined && node.right.max > max) max = node.right.max;
  return max;
}

function refresh<V>(node: Node<V>): void {
  node.height = 1 + Math.max(height(node.left), height(node.right));
  node.max = maxEnd(node);
}

function rotateRight<V>(node: Node<V>): Node<V> {
  const top = node.left!;
  node.left = top.right;
  top.right = node;
  refresh(node);
  refresh(top);
  return top;
}

function rotateLeft<V>(node: Node<V>): Node<V> {
  const top = node.right!;
  node.right = top.left;
  top.left = node;
  refresh(node);
  refresh(top);
  return top;
}

/** Restores balance and `max` at `node`, whose subtrees are balanced; returns the new top. */
function balance<V>(node: Node<V>): Node<V> {
  const lean = height(node.left) - height(node.right);
  if (lean > 1) {
    const left = node.left!;
    if (height(left.left) < height(left.right)) node.left = rotateLeft(left);
    return rotateRight(node);
  }
  if (lean < -1) {
    const right = node.right!;
    if (height(right.right) < height(right.left)) node.right = rotateRight(right);
    return rotateLeft(node);
  }
  refresh(node);
  return node;
}
