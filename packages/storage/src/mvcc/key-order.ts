/**
 * Puts the keys of a table into order, in slices.
 *
 * Radix sort from the front while there are many: what keys share is skipped, then they are parted
 * by a byte. Some ten thousand are sorted as numbers, made of four bytes of the key and a position;
 * those of equal bytes are sorted again by what follows.
 */

import type { Slice } from "../backend/slice.ts";
import type { KeyTable } from "./key-table.ts";

/** Sorted in one go: some milliseconds. */
const RUN_KEYS = 32_768;
/** A head is below 257 ** 4, so that `head * POSITIONS + position` is a safe integer. */
const POSITIONS = 2 ** 20;
/** Ties up to this many are put in order by insertion. */
const FEW_KEYS = 12;
const DIGITS = 257;

/** Keys `[from, to)` of the slots to sort; they share `depth` bytes. */
interface Part {
  readonly from: number;
  readonly to: number;
  readonly depth: number;
}

/** Sorts `slots` by key. No two may have the same. */
export async function sortSlots(
  table: KeyTable,
  slots: Uint32Array,
  slice: Slice,
  runKeys: number = RUN_KEYS,
): Promise<void> {
  const parts: Part[] = [{ from: 0, to: slots.length, depth: 0 }];
  const spare = slots.length > runKeys ? new Uint32Array(slots.length) : slots;
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    if (part.to - part.from <= runKeys) sortRun(table, slots, part.from, part.to, part.depth);
    else await partByDigit(table, slots, spare, part, parts, slice);
    if (slice.isOver(part.to - part.from)) await slice.pause();
  }
}

async function partByDigit(
  table: KeyTable,
  slots: Uint32Array,
  spare: Uint32Array,
  { from, to, depth }: Part,
  parts: Part[],
  slice: Slice,
): Promise<void> {
  let shared = Infinity;
  for (let i = from + 1; i < to && shared > depth; i++) {
    shared = table.sharedPrefix(slots[from]!, slots[i]!, depth, shared);
    if (slice.isOver()) await slice.pause();
  }
  const starts = new Uint32Array(DIGITS + 1);
  for (let i = from; i < to; i++) {
    starts[table.digit(slots[i]!, shared) + 1]!++;
    if (slice.isOver()) await slice.pause();
  }
  starts[0] = from;
  for (let digit = 1; digit <= DIGITS; digit++) starts[digit]! += starts[digit - 1]!;
  const next = starts.slice();
  for (let i = from; i < to; i++) {
    spare[next[table.digit(slots[i]!, shared)]!++] = slots[i]!;
    if (slice.isOver()) await slice.pause();
  }
  slots.set(spare.subarray(from, to), from);
  for (let digit = 0; digit < DIGITS; digit++) {
    const part = { from: starts[digit]!, to: starts[digit + 1]!, depth: shared + 1 };
    if (part.to - part.from > 1) parts.push(part);
  }
}

function sortRun(
  table: KeyTable,
  slots: Uint32Array,
  from: number,
  to: number,
  depth: number,
): void {
  if (to - from <= FEW_KEYS) {
    sortFew(table, slots, from, to, depth);
    return;
  }
  let shared = Infinity;
  for (let i = from + 1; i < to && shared > depth; i++) {
    shared = table.sharedPrefix(slots[from]!, slots[i]!, depth, shared);
  }
  const heads = new Float64Array(to - from);
  for (let i = 0; i < heads.length; i++) {
    heads[i] = table.head(slots[from + i]!, shared) * POSITIONS + i;
  }
  heads.sort();
  const before = slots.slice(from, to);
  let tie = 0;
  for (let i = 0; i < heads.length; i++) {
    slots[from + i] = before[heads[i]! % POSITIONS]!;
    if (Math.floor(heads[i]! / POSITIONS) === Math.floor(heads[tie]! / POSITIONS)) continue;
    if (i - tie > 1) sortRun(table, slots, from + tie, from + i, shared + 4);
    tie = i;
  }
  if (heads.length - tie > 1) sortRun(table, slots, from + tie, to, shared + 4);
}

function sortFew(
  table: KeyTable,
  slots: Uint32Array,
  from: number,
  to: number,
  depth: number,
): void {
  for (let i = from + 1; i < to; i++) {
    const slot = slots[i]!;
    let at = i;
    while (at > from && table.compareSlots(slots[at - 1]!, slot, depth) > 0) {
      slots[at] = slots[at - 1]!;
      at--;
    }
    slots[at] = slot;
  }
}
