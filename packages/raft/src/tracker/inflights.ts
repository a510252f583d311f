/**
 * The MsgApp a leader has sent to one follower and not yet seen answered: a window bounded in
 * messages and bytes.
 *
 * Invariants:
 * - Indexes rise from the oldest to the newest.
 * - `#count` never exceeds `messagesMax`; `#bytes` is the sum over the window.
 * - The byte bound is soft: one message may cross it, none follows.
 */

import { invariant } from "@etcd-ts/base";

export class Inflights {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  /** Rings of equal length, a power of two that grows on demand up to the bound. */
  #indexes: number[] = [];
  #sizes: number[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;

  /** @param bytesMax - 0 for no bound */
  constructor(messagesMax: number, bytesMax: number) {
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax === 0 ? Number.POSITIVE_INFINITY : bytesMax;
  }

  /** Messages in the window. */
  get count(): number {
    return this.#count;
  }

  /** Bytes in the window. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether nothing more may be sent until an answer comes. */
  isFull(): boolean {
    return this.#count === this.#messagesMax || this.#bytes >= this.#bytesMax;
  }

  /**
   * Adds a message to the window, which must not be full.
   *
   * @param index - its last entry, not below those of the messages before
   * @param bytes - size of its proposals
   */
  add(index: number, bytes: number): void {
    invariant(!this.isFull(), () => "cannot add into a Full inflights");
    if (this.#count === this.#indexes.length) this.#grow();
    const mask = this.#indexes.length - 1;
    const position = (this.#start + this.#count) & mask;
    invariant(
      this.#count === 0 || this.#indexes[(position - 1) & mask]! <= index,
      () => `Inflights.add: ${index} is below the newest`,
    );
    this.#indexes[position] = index;
    this.#sizes[position] = bytes;
    this.#count++;
    this.#bytes += bytes;
  }

  /** Takes the messages up to and with `index` out of the window. */
  freeTo(index: number): void {
    const mask = this.#indexes.length - 1;
    while (this.#count > 0 && this.#indexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!;
      this.#start = (this.#start + 1) & mask;
      this.#count--;
    }
  }

  reset(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  clone(): Inflights {
    const copy = new Inflights(this.#messagesMax, this.#bytesMax);
    copy.#indexes = [...this.#indexes];
    copy.#sizes = [...this.#sizes];
    copy.#start = this.#start;
    copy.#count = this.#count;
    copy.#bytes = this.#bytes;
    return copy;
  }

  #grow(): void {
    const length = this.#indexes.length;
    const indexes: number[] = [];
    const sizes: number[] = [];
    for (let i = 0; i < this.#count; i++) {
      const position = (this.#start + i) & (length - 1);
      indexes.push(this.#indexes[position]!);
      sizes.push(this.#sizes[position]!);
    }
    const grown = Math.max(1, length * 2);
    while (indexes.length < grown) {
      indexes.push(0);
      sizes.push(0);
    }
    this.#indexes = indexes;
    this.#sizes = sizes;
    this.#start = 0;
  }
}
