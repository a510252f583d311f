/**
 * A first-in, first-out queue with a fixed bound.
 *
 * Invariants: `0 <= size <= capacity`; item i is in slot `(head + i) % capacity`; slots that hold
 * no item are undefined, so nothing taken out is kept alive.
 */

import { invariant } from "./errors.ts";

export class RingBuffer<T> {
  readonly capacity: number;
  readonly #slots: (T | undefined)[] = [];
  #head = 0;
  #size = 0;

  constructor(capacity: number) {
    invariant(Number.isSafeInteger(capacity) && capacity > 0, () => `RingBuffer: ${capacity}`);
    this.capacity = capacity;
  }

  get size(): number {
    return this.#size;
  }

  /** Adds `item` at the back; false, and nothing changes, when full. */
  push(item: T): boolean {
    if (this.#size === this.capacity) return false;
    this.#slots[(this.#head + this.#size) % this.capacity] = item;
    this.#size++;
    return true;
  }

  /** Takes the item at the front; undefined when empty. */
  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#slots[this.#head];
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) % this.capacity;
    this.#size--;
    return item;
  }

  /** The item `i` places behind the front; undefined at or past `size`. */
  at(i: number): T | undefined {
    if (i < 0 || i >= this.#size) return undefined;
    return this.#slots[(this.#head + i) % this.capacity];
  }

  clear(): void {
    this.#slots.length = 0;
    this.#head = 0;
    this.#size = 0;
  }
}
