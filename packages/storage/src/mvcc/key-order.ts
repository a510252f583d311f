/**
 * Puts the keys of a table into order, in slices.
 *
 * While there are many: what all share is skipped, the six bytes behind it are made two numbers,
 * and those are sorted by radix from their low end, in arrays of their own. So the keys, which lie
 * all over the memory, are looked at once and in the order they came in. Some ten thousand are
 * sorted in one go, as numbers made of four bytes of the key and a position. Keys whose numbers are
 * equal are sorted again by what follows.
 */

import type { Slice } from "../backend/slice.ts";
import { WORD_BYTES } from "./key-table.ts";
import type { KeyTable } from "./key-table.ts";

/** Sorted in one go: some milliseconds. */
const RUN_KEYS = 32_768;
/** Bytes of a key that are sorted along with a position. */
const HEAD_BYTES = 4;
/** Such a head is below 257 ** 4, so that `head * POSITIONS + position` is a safe integer. */
const POSITIONS = 2 ** 20;
/** Ties up to this many are put in order by insertion. */
const FEW_KEYS = 12;

const DIGIT_BITS = 13;
const DIGITS = 1 << DIGIT_BITS;
/** Two for each of the two words. */
const PASSES = 4;
/** Looked at without a look at the clock: half a millisecond. */
const STEP_KEYS = 4096;

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
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    if (part.to - part.from <= runKeys) sortRun(table, slots, part.from, part.to, part.depth);
    else await sortByHeads(table, slots, part, parts, slice);
    if (slice.isOver(part.to - part.from)) await slice.pause();
  }
}

/** Slots with the words their keys begin with. */
interface Heads {
  readonly slots: Uint32Array;
  readonly high: Uint32Array;
  readonly low: Uint32Array;
}

const headsOf = (length: number): Heads => ({
  slots: new Uint32Array(length),
  high: new Uint32Array(length),
  low: new Uint32Array(length),
});

/** Sorts a part by the bytes behind what it shares; those that are still the same become parts. */
async function sortByHeads(
  table: KeyTable,
  slots: Uint32Array,
  { from, to, depth }: Part,
  parts: Part[],
  slice: Slice,
): Promise<void> {
  let heads = headsOf(to - from);
  heads.slots.set(slots.subarray(from, to));
  let shared = Infinity;
  for (let at = 0; at < heads.slots.length && shared > depth; at += STEP_KEYS) {
    const end = Math.min(at + STEP_KEYS, heads.slots.length);
    shared = table.sharedByAll(heads.slots, at, end, depth, shared);
    if (slice.isOver(STEP_KEYS)) await slice.pause();
  }
  for (let at = 0; at < heads.slots.length; at += STEP_KEYS) {
    const end = Math.min(at + STEP_KEYS, heads.slots.length);
    table.readHeads(heads.slots, at, end, shared, heads.high, heads.low);
    if (slice.isOver(STEP_KEYS)) await slice.pause();
  }
  let spare = headsOf(to - from);
  for (let pass = 0; pass < PASSES; pass++) {
    const isMoved = await sortByDigit(heads, spare, pass, slice);
    if (isMoved) [heads, spare] = [spare, heads];
  }
  slots.set(heads.slots, from);
  const { high, low } = heads;
  for (let i = 1, tie = 0; i <= high.length; i++) {
    if (i < high.length && high[i] === high[tie] && low[i] === low[tie]) continue;
    const part = { from: from + tie, to: from + i, depth: shared + 2 * WORD_BYTES };
    if (part.to - part.from > 1) parts.push(part);
    tie = i;
    if (slice.isOver()) await slice.pause();
  }
}

/** One pass, keeping the order of equal digits; false if all are equal and nothing was done. */
async function sortByDigit(
  heads: Heads,
  into: Heads,
  pass: number,
  slice: Slice,
): Promise<boolean> {
  const words = pass < PASSES / 2 ? heads.low : heads.high;
  const shift = (pass % (PASSES / 2)) * DIGIT_BITS;
  const next = new Uint32Array(DIGITS);
  for (let i = 0; i < words.length; i++) next[(words[i]! >>> shift) & (DIGITS - 1)]!++;
  if (slice.isOver(words.length)) await slice.pause();
  if (next[(words[0]! >>> shift) & (DIGITS - 1)] === words.length) return false;
  for (let digit = 0, start = 0; digit < DIGITS; digit++) {
    const count = next[digit]!;
    next[digit] = start;
    start += count;
  }
  for (let at = 0; at < words.length; at += STEP_KEYS) {
    move(heads, into, words, shift, next, at, Math.min(at + STEP_KEYS, words.length));
    if (slice.isOver(STEP_KEYS)) await slice.pause();
  }
  return true;
}

function move(
  heads: Heads,
  into: Heads,
  words: Uint32Array,
  shift: number,
  next: Uint32Array,
  from: number,
  end: number,
): void {
  const { slots, high, low } = heads;
  for (let i = from; i < end; i++) {
    const at = next[(words[i]! >>> shift) & (DIGITS - 1)]!++;
    into.slots[at] = slots[i]!;
    into.high[at] = high[i]!;
    into.low[at] = low[i]!;
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
    if (i - tie > 1) sortRun(table, slots, from + tie, from + i, shared + HEAD_BYTES);
    tie = i;
  }
  if (heads.length - tie > 1) sortRun(table, slots, from + tie, to, shared + HEAD_BYTES);
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
