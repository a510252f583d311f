/**
 * A binary min-heap whose items can be moved and taken out by identity.
 *
 * Invariants:
 * - `less(items[i], items[parent(i)])` is false for every i > 0.
 * - `positions.get(items[i]) === i`; so an item is held at most once.
 */

import { invariant } from "./errors.ts";

export class MinHeap<T> {
  readonly #less: (a: T, b: T) => boolean;
  readonly #items: T[] = [];
  readonly #positions = new Map<T, number>();

  /** @param less - a strict weak order; equal items come out in no particular order */
  constructor(less: (a: T, b: T) => boolean) {
    this.#less = less;
  }

  get size(): number {
    return this.#items.length;
  }

  has(item: T): boolean {
    return this.#positions.has(item);
  }

  /** The smallest item; undefined when empty. */
  peek(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    invariant(!this.#positions.has(item), () => "MinHeap.push: the item is already held");
    this.#items.push(item);
    this.#siftUp(this.#items.length - 1, item);
  }

  /** Takes out the smallest item; undefined when empty. */
  pop(): T | undefined {
    if (this.#items.length === 0) return undefined;
    const smallest = this.#items[0]!;
    this.remove(smallest);
    return smallest;
  }

  /** Takes out `item`; false if it is not held. */
  remove(item: T): boolean {
    const position = this.#positions.get(item);
    if (position === undefined) return false;
    this.#positions.delete(item);
    const last = this.#items.pop()!;
    if (position < this.#items.length) this.#place(position, last);
    return true;
  }

  /** Restores the order after `item` changed; false if it is not held. */
  update(item: T): boolean {
    const position = this.#positions.get(item);
    if (position === undefined) return false;
    this.#place(position, item);
    return true;
  }

  clear(): void {
    this.#items.length = 0;
    this.#positions.clear();
  }

  /** All items, in no particular order. */
  values(): IterableIterator<T> {
    return this.#items.values();
  }

  #place(position: number, item: T): void {
    const parent = (position - 1) >> 1;
    if (position > 0 && this.#less(item, this.#items[parent]!)) this.#siftUp(position, item);
    else this.#siftDown(position, item);
  }

  #siftUp(start: number, item: T): void {
    let position = start;
    while (position > 0) {
      const parent = (position - 1) >> 1;
      const above = this.#items[parent]!;
      if (!this.#less(item, above)) break;
      this.#set(position, above);
      position = parent;
    }
    this.#set(position, item);
  }

  #siftDown(start: number, item: T): void {
    const count = this.#items.length;
    let position = start;
    for (;;) {
      let child = 2 * position + 1;
      if (child >= count) break;
      if (child + 1 < count && this.#less(this.#items[child + 1]!, this.#items[child]!)) child++;
      const below = this.#items[child]!;
      if (!this.#less(below, item)) break;
      this.#set(position, below);
      position = child;
    }
    this.#set(position, item);
  }

  #set(position: number, item: T): void {
    this.#items[position] = item;
    this.#positions.set(item, position);
  }
}
