/**
 * The history of every key, in memory and in key order.
 *
 * A key's life is a sequence of generations: a generation begins with a put, counts versions, and
 * ends with a tombstone. Only the newest generation is ever written to, so of older ones the
 * index keeps nothing but revisions; create revision and version of an old state are in the
 * stored KeyValue.
 *
 * One key is found through the hash table of `KeyTable`, which also holds the records; a key is
 * named by its slot there. The order is kept in blocks of up to `BLOCK_KEYS_MAX` slots, found by
 * binary search over their first keys. With a million keys that is a list of a few thousand
 * blocks: cheap to search, cheap to shift when a block is split, and there are no pointers between
 * keys.
 *
 * Invariants:
 * - Keys are strictly increasing within a block and across blocks.
 * - `firsts[i] <= blocks[i].keys[0]`, and `firsts[i]` is above all keys of block `i - 1`;
 *   `firsts[0]` is empty. There is at least one block; only the first may be empty.
 * - The table holds exactly the keys of the blocks.
 * - `block.live` counts its keys whose newest change is a put; `#live` is their sum.
 * - The revisions of a key increase; the newest is in the record, the rest in `older`.
 */

import { compareBytes, EMPTY_BYTES, invariant } from "@etcd-ts/base";
import { KeyTable, NO_SLOT } from "./key-table.ts";
import type { PastRevisions } from "./key-table.ts";

export const BLOCK_KEYS_MAX = 256;

/** Slots in the order of their keys. */
export class KeyBlock {
  readonly slots = new Uint32Array(BLOCK_KEYS_MAX);
  length = 0;
  live = 0;

  append(slots: Uint32Array): void {
    this.slots.set(slots, this.length);
    this.length += slots.length;
  }

  insert(position: number, slot: number): void {
    this.slots.copyWithin(position + 1, position, this.length);
    this.slots[position] = slot;
    this.length++;
  }
}

/** Where `KeyIndex.locate` puts what it found. */
export class Located {
  main = 0;
  sub = 0;
  isTombstone = false;
}

export class KeyIndex {
  readonly #table: KeyTable;
  readonly #blocks: KeyBlock[];
  readonly #firsts: Uint8Array[];
  #live = 0;

  /**
   * An index of blocks that are already in order.
   *
   * @param table - holds the keys of `blocks` and no others; the index takes both over
   */
  constructor(table: KeyTable = new KeyTable(), blocks: KeyBlock[] = []) {
    this.#table = table;
    this.#blocks = blocks.length === 0 ? [new KeyBlock()] : blocks;
    this.#firsts = this.#blocks.map((block, at) =>
      at === 0 ? EMPTY_BYTES : table.keyOf(block.slots[0]!),
    );
    for (const block of blocks) this.#live += block.live;
  }

  /** Keys with any history, deleted ones too. */
  get size(): number {
    return this.#table.size;
  }

  /** Keys that exist now. */
  get live(): number {
    return this.#live;
  }

  /** The slot of a key, which names it as long as compaction does not drop it; or `NO_SLOT`. */
  find(key: Uint8Array, start = 0, end: number = key.length): number {
    return this.#table.find(this.#table.hashOf(key, start, end), key, start, end);
  }

  /**
   * As `find` without looking at the key: the slot is that of `bytes[start, end)` or, seldom, of
   * another key, which the caller has to find out. `NO_SLOT` is certain.
   */
  candidate(bytes: Uint8Array, start: number, end: number): number {
    return this.#table.candidate(this.#table.hashOf(bytes, start, end));
  }

  /** A copy of the key. */
  keyOf(slot: number): Uint8Array {
    return this.#table.keyOf(slot);
  }

  /** Length of the key. */
  keyBytes(slot: number): number {
    return this.#table.keyBytes(slot);
  }

  copyKey(slot: number, target: Uint8Array, at: number): void {
    this.#table.copyKey(slot, target, at);
  }

  /** Whether `bytes[start, end)` is the key of `slot`. */
  isKey(slot: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#table.isKey(slot, bytes, start, end);
  }

  /** Whether what was located is the newest change of the key. */
  isNewest(slot: number, { main, sub }: Located): boolean {
    return this.#table.main(slot) === main && this.#table.sub(slot) === sub;
  }

  /** Whether the newest change of a key is a put. */
  isLive(slot: number): boolean {
    return this.#table.version(slot) > 0;
  }

  /** Revision that began the newest generation; 0 if that has ended. */
  createRevision(slot: number): number {
    return this.#table.createRevision(slot);
  }

  /** Puts in the newest generation; 0 if that has ended. */
  version(slot: number): number {
    return this.#table.version(slot);
  }

  /** Adds a put. The revision must be above all of the key's. */
  put(key: Uint8Array, main: number, sub: number): number {
    const table = this.#table;
    const hash = table.hashOf(key, 0, key.length);
    const slot = table.find(hash, key, 0, key.length);
    if (slot === NO_SLOT) return this.#insert(hash, key, main, sub);
    const version = table.version(slot);
    if (version === 0) {
      this.#addLive(key, 1);
      table.pushNewest(slot, main, sub, main, 1);
    } else table.pushNewest(slot, main, sub, table.createRevision(slot), version + 1);
    return slot;
  }

  /** Ends the newest generation of `key`. @returns its slot; `NO_SLOT` if it does not exist now */
  tombstone(key: Uint8Array, main: number, sub: number): number {
    const slot = this.find(key);
    if (slot === NO_SLOT || !this.isLive(slot)) return NO_SLOT;
    this.#addLive(key, -1);
    this.#table.pushNewest(slot, main, sub, 0, 0);
    return slot;
  }

  /**
   * Ends the newest generation of every key of [begin, end) that exists now, in key order.
   *
   * @param firstSub - of the first key; each one after it has the next
   * @param ended - told of each key; may not change the index
   */
  tombstoneRange(
    begin: Uint8Array,
    end: Uint8Array | undefined,
    main: number,
    firstSub: number,
    ended: (slot: number) => void,
  ): void {
    let sub = firstSub;
    let at = this.#blockOf(begin);
    let position = this.#lowerBound(this.#blocks[at]!, begin);
    for (; at < this.#blocks.length; at++, position = 0) {
      const block = this.#blocks[at]!;
      const isLast = end !== undefined && this.#reaches(at, end);
      const to = isLast ? this.#lowerBound(block, end) : block.length;
      for (; position < to; position++) {
        const slot = block.slots[position]!;
        if (!this.isLive(slot)) continue;
        block.live--;
        this.#live--;
        this.#table.pushNewest(slot, main, sub++, 0, 0);
        ended(slot);
      }
      if (isLast) return;
    }
  }

  /**
   * Finds the last change of a key at or below `revision`.
   *
   * @returns false if there is none; otherwise `found` holds it
   */
  locate(slot: number, revision: number, found: Located): boolean {
    const table = this.#table;
    const main = table.main(slot);
    if (main <= revision) {
      found.main = main;
      found.sub = table.sub(slot);
      found.isTombstone = table.version(slot) === 0;
      return true;
    }
    const older = table.older(slot);
    if (older === undefined) return false;
    const pair = lastAtOrBelow(older, revision);
    if (pair < 0) return false;
    const packed = older[2 * pair + 1]!;
    found.main = older[2 * pair]!;
    found.isTombstone = packed % 2 === 1;
    found.sub = (packed - (packed % 2)) / 2;
    return true;
  }

  /**
   * Visits [begin, end) in key order, deleted keys too, until `visit` returns false. The index
   * may not gain or lose keys meanwhile.
   *
   * @param end - undefined for no upper bound
   */
  visit(begin: Uint8Array, end: Uint8Array | undefined, visit: (slot: number) => boolean): void {
    let at = this.#blockOf(begin);
    let position = this.#lowerBound(this.#blocks[at]!, begin);
    for (; at < this.#blocks.length; at++, position = 0) {
      const block = this.#blocks[at]!;
      const isLast = end !== undefined && this.#reaches(at, end);
      const to = isLast ? this.#lowerBound(block, end) : block.length;
      for (; position < to; position++) if (!visit(block.slots[position]!)) return;
      if (isLast) return;
    }
  }

  /** How many keys of [begin, end) exist now; does not visit them. */
  countLive(begin: Uint8Array, end: Uint8Array | undefined): number {
    if (end !== undefined && compareBytes(end, begin) <= 0) return 0;
    const from = this.#blockOf(begin);
    const to = end === undefined ? this.#blocks.length - 1 : this.#blockOf(end);
    let count = 0;
    for (let at = from; at <= to; at++) {
      const block = this.#blocks[at]!;
      const isEdge = at === from || (at === to && end !== undefined);
      count += isEdge ? this.#countLiveInBlock(block, begin, end) : block.live;
    }
    return count;
  }

  /**
   * Drops what no read at or above `revision` can see, for some blocks of keys from `begin` on. A
   * tombstone at exactly `revision` stays, so that a watcher starting there sees it.
   *
   * @returns where to go on, undefined when all keys were seen
   */
  compactSome(begin: Uint8Array, revision: number, blocksMax: number): Uint8Array | undefined {
    let at = this.#blockOf(begin);
    for (let done = 0; at < this.#blocks.length && done < blocksMax; done++) {
      this.#compactBlock(this.#blocks[at]!, revision);
      if (!this.#mergeIfSmall(at)) at++;
    }
    return this.#firsts[at];
  }

  /** Checks what the header promises; O(n). */
  verify(): void {
    const table = this.#table;
    let live = 0;
    let size = 0;
    let previous: Uint8Array | undefined;
    const firsts = this.#firsts;
    invariant(firsts[0]!.length === 0, () => "KeyIndex: first block starts at a key");
    invariant(firsts.length === this.#blocks.length, () => "KeyIndex: firsts and blocks");
    for (const [at, block] of this.#blocks.entries()) {
      const { slots, length } = block;
      invariant(length > 0 || at === 0, () => `KeyIndex: block ${at} is empty`);
      const first = firsts[at]!;
      invariant(
        previous === undefined || compareBytes(first, previous) > 0,
        () => `KeyIndex: first of ${at}`,
      );
      const liveBefore = live;
      for (const slot of slots.subarray(0, length)) {
        const key = table.keyOf(slot);
        invariant(compareBytes(key, first) >= 0, () => `KeyIndex: block ${at} start`);
        invariant(
          previous === undefined || compareBytes(key, previous) > 0,
          () => `KeyIndex: order in ${at}`,
        );
        previous = key;
        this.#verifyHistory(slot);
        invariant(this.find(key) === slot, () => `KeyIndex: table and block ${at}`);
        if (this.isLive(slot)) live++;
      }
      size += length;
      invariant(live - liveBefore === block.live, () => `KeyIndex: live of block ${at}`);
    }
    invariant(live === this.#live && size === table.size, () => "KeyIndex: totals");
  }

  #verifyHistory(slot: number): void {
    const past = this.#table.older(slot) ?? [];
    let main = 0;
    let sub = -1;
    const step = (nextMain: number, nextSub: number) => {
      const ascends = nextMain > main || (nextMain === main && nextSub > sub);
      invariant(ascends, () => `KeyIndex: ${nextMain}.${nextSub} after ${main}.${sub}`);
      main = nextMain;
      sub = nextSub;
    };
    for (let i = 0; i < past.length; i += 2) step(past[i]!, past[i + 1]! >>> 1);
    step(this.#table.main(slot), this.#table.sub(slot));
  }

  /** The block that holds `key` if any does. */
  #blockOf(key: Uint8Array): number {
    const firsts = this.#firsts;
    let low = 1;
    let high = firsts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(firsts[middle]!, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Whether block `at` is the last that can have keys below `end`. */
  #reaches(at: number, end: Uint8Array): boolean {
    const next = this.#firsts[at + 1];
    return next === undefined || compareBytes(next, end) >= 0;
  }

  /** Position of the first key of `block` at or above `key`. */
  #lowerBound({ slots, length }: KeyBlock, key: Uint8Array): number {
    let low = 0;
    let high = length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#table.compare(slots[middle]!, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #countLiveInBlock(block: KeyBlock, begin: Uint8Array, end: Uint8Array | undefined): number {
    const from = this.#lowerBound(block, begin);
    const to = end === undefined ? block.length : this.#lowerBound(block, end);
    let count = 0;
    for (let at = from; at < to; at++) if (this.isLive(block.slots[at]!)) count++;
    return count;
  }

  #addLive(key: Uint8Array, by: number): void {
    this.#blocks[this.#blockOf(key)]!.live += by;
    this.#live += by;
  }

  /** Takes in a key that is not there, with its first put. */
  #insert(hash: number, key: Uint8Array, main: number, sub: number): number {
    const slot = this.#table.add(hash, key, 0, key.length, main, sub, main, 1);
    const at = this.#blockOf(key);
    let block = this.#blocks[at]!;
    let position = this.#lowerBound(block, key);
    if (block.length >= BLOCK_KEYS_MAX) {
      const isAppend = position === block.length && at === this.#blocks.length - 1;
      const cut = isAppend ? position : BLOCK_KEYS_MAX / 2;
      this.#split(at, cut, key);
      // At the cut itself the key belongs to the left: it is below the right block's first.
      if (isAppend || position > cut) {
        block = this.#blocks[at + 1]!;
        position -= cut;
      }
    }
    block.insert(position, slot);
    block.live++;
    this.#live++;
    return slot;
  }

  /** Moves the keys from `cut` on into a new block; `key` is the first of it if it has none. */
  #split(at: number, cut: number, key: Uint8Array): void {
    const block = this.#blocks[at]!;
    const right = new KeyBlock();
    right.append(block.slots.subarray(cut, block.length));
    block.length = cut;
    for (let i = 0; i < right.length; i++) if (this.isLive(right.slots[i]!)) right.live++;
    block.live -= right.live;
    const first = right.length > 0 ? this.#table.keyOf(right.slots[0]!) : key.slice();
    this.#blocks.splice(at + 1, 0, right);
    this.#firsts.splice(at + 1, 0, first);
  }

  #compactBlock(block: KeyBlock, revision: number): void {
    const { slots, length } = block;
    let kept = 0;
    for (let i = 0; i < length; i++) {
      const slot = slots[i]!;
      if (this.#compactHistory(slot, revision)) {
        this.#table.tidy(slot);
        slots[kept++] = slot;
      } else this.#table.remove(slot);
    }
    block.length = kept;
  }

  /** Drops what a read at or above `revision` cannot see; false if nothing is left. */
  #compactHistory(slot: number, revision: number): boolean {
    const table = this.#table;
    const main = table.main(slot);
    const older = table.older(slot);
    if (main <= revision) {
      if (older !== undefined) table.setOlder(slot, undefined);
      return this.isLive(slot) || main === revision;
    }
    if (older === undefined) return true;
    const last = lastAtOrBelow(older, revision);
    if (last < 0) return true;
    const isTombstone = older[2 * last + 1]! % 2 === 1;
    const drop = isTombstone && older[2 * last]! < revision ? last + 1 : last;
    if (2 * drop === older.length) table.setOlder(slot, undefined);
    else if (drop > 0) table.setOlder(slot, older.slice(2 * drop));
    return true;
  }

  /** Joins block `at` into the one before it, or drops it, when it has become small. */
  #mergeIfSmall(at: number): boolean {
    if (at === 0) return false;
    const block = this.#blocks[at]!;
    const before = this.#blocks[at - 1]!;
    const joined = block.length + before.length;
    if (block.length > 0 && joined > BLOCK_KEYS_MAX / 2) return false;
    before.append(block.slots.subarray(0, block.length));
    before.live += block.live;
    this.#blocks.splice(at, 1);
    this.#firsts.splice(at, 1);
    return true;
  }
}

/** Pair number of the last revision at or below `revision`, -1 if there is none. */
function lastAtOrBelow(older: PastRevisions, revision: number): number {
  let low = 0;
  let high = older.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (older[2 * middle]! <= revision) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
