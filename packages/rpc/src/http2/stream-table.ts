/**
 * The open streams of a connection by id.
 *
 * Ids only grow, and mostly few streams are open at a time: those whose numbers differ modulo the
 * number of slots are found there, without a hash. The rest is in a map, so that a client that
 * picks its ids gains nothing.
 *
 * Invariant: a stream is in the slot of its id or in the map, never in both.
 */

import type { FrameStream } from "./frame-stream.ts";

const SLOTS = 64;

/** Clients' ids are odd: the lowest bit says nothing. */
function slotOf(id: number): number {
  return (id >>> 1) & (SLOTS - 1);
}

export class StreamTable {
  readonly #slots: (FrameStream | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
  readonly #others = new Map<number, FrameStream>();
  #inSlots = 0;

  get size(): number {
    return this.#inSlots + this.#others.size;
  }

  get(id: number): FrameStream | undefined {
    const found = this.#slots[slotOf(id)];
    if (found?.id === id) return found;
    return this.#others.size === 0 ? undefined : this.#others.get(id);
  }

  /** Takes in a stream whose id is not there. */
  add(stream: FrameStream): void {
    const slot = slotOf(stream.id);
    if (this.#slots[slot] !== undefined) {
      this.#others.set(stream.id, stream);
      return;
    }
    this.#slots[slot] = stream;
    this.#inSlots++;
  }

  /** Fine if it is not there. */
  delete(id: number): void {
    const slot = slotOf(id);
    if (this.#slots[slot]?.id === id) {
      this.#slots[slot] = undefined;
      this.#inSlots--;
    } else if (this.#others.size > 0) this.#others.delete(id);
  }

  /** All streams, in no order. */
  all(): FrameStream[] {
    const all = [...this.#others.values()];
    for (const stream of this.#slots) if (stream !== undefined) all.push(stream);
    return all;
  }

  clear(): void {
    this.#slots.fill(undefined);
    this.#inSlots = 0;
    this.#others.clear();
  }
}
