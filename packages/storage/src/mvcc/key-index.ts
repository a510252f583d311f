/**
 * The history of every key, in memory and in key order.
 *
 * A key's life is a sequence of generations: a generation begins with a put, counts versions, and
 * ends with a tombstone. Only the newest generation is ever written to, so of older ones the
 * index keeps nothing but revisions; create revision and version of an old state are in the
 * stored KeyValue.
 *
 * One key is found through a hash map. The order is kept in blocks of up to `BLOCK_KEYS_MAX` keys,
 * found by binary search over their first keys. With a million keys that is a list of a few
 * thousand blocks: cheap to search, cheap to shift when a block is split, and there are no
 * pointers between keys.
 *
 * Invariants:
 * - Keys are latin-1 strings, strictly increasing within a block and across blocks.
 * - `firsts[i] <= blocks[i].keys[0]`, and `firsts[i]` is above all keys of block `i - 1`;
 *   `firsts[0]` is "". There is at least one block; only the first may be empty.
 * - `#byKey` holds exactly the keys of the blocks, with the same records.
 * - `block.live` counts its keys whose newest change is a put; `#live` is their sum.
 * - The revisions of a key increase; the newest is in the record, the rest in `older`.
 */

import { invariant } from "@etcd-ts/base";
import { KeyMap } from "./key-map.ts";

export const BLOCK_KEYS_MAX = 256;

/** Past revisions of one key: pairs of main and `sub * 2 + (tombstone ? 1 : 0)`, ascending. */
type PastRevisions = number[];

export class KeyRecord {
  /** Of the newest change. */
  main: number;
  sub: number;
  /** Revision that began the newest generation; 0 if that has ended. */
  createRevision: number;
  /** Puts in the newest generation; 0 if that has ended: the newest change is a tombstone. */
  version: number;
  older: PastRevisions | undefined;

  constructor(main: number, sub: number, createRevision: number, version: number) {
    this.main = main;
    this.sub = sub;
    this.createRevision = createRevision;
    this.version = version;
    this.older = undefined;
  }
}

export interface KeyBlock {
  keys: string[];
  records: KeyRecord[];
  live: number;
}

/** Where `KeyIndex.locate` puts what it found. */
export class Located {
  main = 0;
  sub = 0;
  isTombstone = false;
}

export class KeyIndex {
  #blocks: KeyBlock[] = [{ keys: [], records: [], live: 0 }];
  #firsts: string[] = [""];
  #byKey = new KeyMap<KeyRecord>();
  #live = 0;

  /**
   * An index of blocks that are already in order.
   *
   * @param byKey - every record of `blocks` under its key; the index takes both over
   */
  static adopt(byKey: KeyMap<KeyRecord>, blocks: KeyBlock[]): KeyIndex {
    const index = new KeyIndex();
    if (blocks.length === 0) return index;
    index.#byKey = byKey;
    index.#blocks = blocks;
    index.#firsts = blocks.map((block, at) => (at === 0 ? "" : block.keys[0]!));
    for (const block of blocks) index.#live += block.live;
    return index;
  }

  /** Keys with any history, deleted ones too. */
  get size(): number {
    return this.#byKey.size;
  }

  /** Keys that exist now. */
  get live(): number {
    return this.#live;
  }

  find(key: string): KeyRecord | undefined {
    return this.#byKey.get(key);
  }

  /** Adds a put. The revision must be above all of the key's. Returns the record as it is then. */
  put(key: string, main: number, sub: number): KeyRecord {
    const record = this.#byKey.get(key);
    if (record === undefined) return this.#insert(key, new KeyRecord(main, sub, main, 1));
    if (record.version === 0) {
      this.#addLive(key, 1);
      pushNewest(record, main, sub, main, 1);
    } else pushNewest(record, main, sub, record.createRevision, record.version + 1);
    return record;
  }

  /** Ends the newest generation of `key`; false if the key does not exist now. */
  tombstone(key: string, main: number, sub: number): boolean {
    const record = this.#byKey.get(key);
    if (record === undefined || record.version === 0) return false;
    this.#addLive(key, -1);
    pushNewest(record, main, sub, 0, 0);
    return true;
  }

  /**
   * Finds the last change of a key at or below `revision`.
   *
   * @returns false if there is none; otherwise `found` holds it
   */
  locate(record: KeyRecord, revision: number, found: Located): boolean {
    if (record.main <= revision) {
      found.main = record.main;
      found.sub = record.sub;
      found.isTombstone = record.version === 0;
      return true;
    }
    const older = record.older;
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
  visit(
    begin: string,
    end: string | undefined,
    visit: (key: string, record: KeyRecord) => boolean,
  ): void {
    let at = this.#blockOf(begin);
    let position = lowerBound(this.#blocks[at]!.keys, begin);
    for (; at < this.#blocks.length; at++, position = 0) {
      const { keys, records } = this.#blocks[at]!;
      for (; position < keys.length; position++) {
        const key = keys[position]!;
        if (end !== undefined && key >= end) return;
        if (!visit(key, records[position]!)) return;
      }
    }
  }

  /** How many keys of [begin, end) exist now; does not visit them. */
  countLive(begin: string, end: string | undefined): number {
    if (end !== undefined && end <= begin) return 0;
    const from = this.#blockOf(begin);
    const to = end === undefined ? this.#blocks.length - 1 : this.#blockOf(end);
    let count = 0;
    for (let at = from; at <= to; at++) {
      const block = this.#blocks[at]!;
      const isEdge = at === from || (at === to && end !== undefined);
      count += isEdge ? countLiveInBlock(block, begin, end) : block.live;
    }
    return count;
  }

  /**
   * Drops what no read at or above `revision` can see, for some blocks of keys from `begin` on. A
   * tombstone at exactly `revision` stays, so that a watcher starting there sees it.
   *
   * @returns where to go on, undefined when all keys were seen
   */
  compactSome(begin: string, revision: number, blocksMax: number): string | undefined {
    let at = this.#blockOf(begin);
    for (let done = 0; at < this.#blocks.length && done < blocksMax; done++) {
      const block = this.#blocks[at]!;
      this.#compactBlock(block, revision);
      if (!this.#mergeIfSmall(at)) at++;
    }
    return this.#firsts[at];
  }

  /** Checks what the header promises; O(n). */
  verify(): void {
    let live = 0;
    let size = 0;
    let previous: string | undefined;
    invariant(
      this.#firsts[0] === "",
      () => "KeyIndex: first block does not start at the empty key",
    );
    invariant(this.#firsts.length === this.#blocks.length, () => "KeyIndex: firsts and blocks");
    for (const [at, block] of this.#blocks.entries()) {
      const { keys, records } = block;
      invariant(keys.length === records.length, () => `KeyIndex: block ${at} keys and records`);
      invariant(keys.length <= BLOCK_KEYS_MAX, () => `KeyIndex: block ${at} has ${keys.length}`);
      invariant(keys.length > 0 || at === 0, () => `KeyIndex: block ${at} is empty`);
      const first = this.#firsts[at]!;
      invariant(previous === undefined || first > previous, () => `KeyIndex: first of ${at}`);
      invariant(keys.length === 0 || keys[0]! >= first, () => `KeyIndex: block ${at} start`);
      const liveBefore = live;
      for (const [i, key] of keys.entries()) {
        invariant(previous === undefined || key > previous, () => `KeyIndex: order in ${at}`);
        previous = key;
        verifyRecord(records[i]!);
        invariant(this.#byKey.get(key) === records[i], () => `KeyIndex: map and block ${at}`);
        if (records[i]!.version > 0) live++;
      }
      size += keys.length;
      invariant(live - liveBefore === block.live, () => `KeyIndex: live of block ${at}`);
    }
    invariant(live === this.#live && size === this.#byKey.size, () => "KeyIndex: totals");
  }

  /** The block that holds `key` if any does. */
  #blockOf(key: string): number {
    const firsts = this.#firsts;
    let low = 1;
    let high = firsts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (firsts[middle]! <= key) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #addLive(key: string, by: number): void {
    this.#blocks[this.#blockOf(key)]!.live += by;
    this.#live += by;
  }

  /** Takes in a key that is not there. */
  #insert(key: string, record: KeyRecord): KeyRecord {
    const at = this.#blockOf(key);
    let block = this.#blocks[at]!;
    let position = lowerBound(block.keys, key);
    if (block.keys.length >= BLOCK_KEYS_MAX) {
      const isAppend = position === block.keys.length && at === this.#blocks.length - 1;
      const cut = isAppend ? position : BLOCK_KEYS_MAX / 2;
      this.#split(at, cut, key);
      // At the cut itself the key belongs to the left: it is below the right block's first.
      if (isAppend || position > cut) {
        block = this.#blocks[at + 1]!;
        position -= cut;
      }
    }
    block.keys.splice(position, 0, key);
    block.records.splice(position, 0, record);
    this.#byKey.set(key, record);
    if (record.version > 0) {
      block.live++;
      this.#live++;
    }
    return record;
  }

  /** Moves the keys from `cut` on into a new block; `key` is the first of it if it has none. */
  #split(at: number, cut: number, key: string): void {
    const block = this.#blocks[at]!;
    const keys = block.keys.slice(cut);
    const records = block.records.slice(cut);
    block.keys.length = cut;
    block.records.length = cut;
    let live = 0;
    for (const record of records) if (record.version > 0) live++;
    block.live -= live;
    this.#blocks.splice(at + 1, 0, { keys, records, live });
    this.#firsts.splice(at + 1, 0, keys[0] ?? key);
  }

  #compactBlock(block: KeyBlock, revision: number): void {
    const { keys, records } = block;
    let kept = 0;
    for (let i = 0; i < keys.length; i++) {
      const record = records[i]!;
      if (!compactRecord(record, revision)) {
        this.#byKey.delete(keys[i]!);
        continue;
      }
      if (kept !== i) {
        keys[kept] = keys[i]!;
        records[kept] = record;
      }
      kept++;
    }
    keys.length = kept;
    records.length = kept;
  }

  /** Joins block `at` into the one before it, or drops it, when it has become small. */
  #mergeIfSmall(at: number): boolean {
    if (at === 0) return false;
    const block = this.#blocks[at]!;
    const before = this.#blocks[at - 1]!;
    const joined = block.keys.length + before.keys.length;
    if (block.keys.length > 0 && joined > BLOCK_KEYS_MAX / 2) return false;
    for (const key of block.keys) before.keys.push(key);
    for (const record of block.records) before.records.push(record);
    before.live += block.live;
    this.#blocks.splice(at, 1);
    this.#firsts.splice(at, 1);
    return true;
  }
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function countLiveInBlock(block: KeyBlock, begin: string, end: string | undefined): number {
  const from = lowerBound(block.keys, begin);
  const to = end === undefined ? block.keys.length : lowerBound(block.keys, end);
  let count = 0;
  for (let i = from; i < to; i++) if (block.records[i]!.version > 0) count++;
  return count;
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

/** Makes a change the newest of `record`. */
export function pushNewest(
  record: KeyRecord,
  main: number,
  sub: number,
  createRevision: number,
  version: number,
): void {
  invariant(
    main > record.main || (main === record.main && sub > record.sub),
    () => `KeyIndex: ${main}.${sub} is not above ${record.main}.${record.sub}`,
  );
  const packed = record.sub * 2 + (record.version === 0 ? 1 : 0);
  if (record.older === undefined) record.older = [record.main, packed];
  else record.older.push(record.main, packed);
  record.main = main;
  record.sub = sub;
  record.createRevision = createRevision;
  record.version = version;
}

/** Drops what a read at or above `revision` cannot see; false if nothing is left. */
function compactRecord(record: KeyRecord, revision: number): boolean {
  if (record.main <= revision) {
    record.older = undefined;
    return record.version > 0 || record.main === revision;
  }
  const older = record.older;
  if (older === undefined) return true;
  const last = lastAtOrBelow(older, revision);
  if (last < 0) return true;
  const isTombstone = older[2 * last + 1]! % 2 === 1;
  const drop = isTombstone && older[2 * last]! < revision ? last + 1 : last;
  if (2 * drop === older.length) record.older = undefined;
  else if (drop > 0) record.older = older.slice(2 * drop);
  return true;
}

function verifyRecord(record: KeyRecord): void {
  const past = record.older ?? [];
  let main = 0;
  let sub = -1;
  const step = (nextMain: number, nextSub: number) => {
    const ascends = nextMain > main || (nextMain === main && nextSub > sub);
    invariant(ascends, () => `KeyIndex: ${nextMain}.${nextSub} after ${main}.${sub}`);
    main = nextMain;
    sub = nextSub;
  };
  for (let i = 0; i < past.length; i += 2) step(past[i]!, past[i + 1]! >>> 1);
  step(record.main, record.sub);
}
