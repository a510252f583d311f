/**
 * Every key's record, found by the key: a hash table over records that are numbers in typed arrays
 * and not objects, so that a million of them are nothing to the garbage collector.
 *
 * A record has a slot, a number that stays the same as long as the key is in the table and is given
 * to another key after that. 40 bytes a record, 8 bytes a place of the hash table (which is between
 * a third and seven tenths full), and the key itself.
 *
 * Invariants:
 * - A place of a shard is (slot + 1, hash), or (0, 0) if empty. From the place a key's hash names
 *   to the place where the key is, none is empty.
 * - `older` of a slot is absent or not empty, and its revisions ascend to below the record's.
 */

import { invariant } from "@etcd-ts/base";
import { KeyArena } from "./key-arena.ts";
import { halfSipHash } from "./key-hash.ts";
import type { HashKey } from "./key-hash.ts";

/** Stands for no slot. */
export const NO_SLOT = -1;

/** Past revisions of one key: pairs of main and `sub * 2 + (tombstone ? 1 : 0)`, ascending. */
export type PastRevisions = number[];

const CHUNK_BITS = 14;
const CHUNK_SLOTS = 1 << CHUNK_BITS;
/** Doubles of a record: main, createRevision, version, address; then the words sub and length. */
const NUMBERS = 5;
const WORDS = 2 * NUMBERS;
const CREATED = 1;
const VERSION = 2;
const ADDRESS = 3;
const SUB = 8;
const LENGTH = 9;

/** A table grows by moving all its places at once; each shard moves only its own few. */
const SHARD_BITS = 8;
const SHARD_PLACES_MIN = 16;
const FULL_SHARE = 0.7;

/** Digits in one word, in base 257 because a key may end: below 2 ** 25. */
export const WORD_BYTES = 3;

const DEFAULT_HASH_KEY: HashKey = { low: 0x9e3779b9, high: 0x7f4a7c15 };

interface Chunk {
  readonly numbers: Float64Array;
  readonly words: Uint32Array;
  /** Made when the first of its keys gets a past. */
  older: (PastRevisions | undefined)[] | undefined;
}

interface Shard {
  places: Uint32Array;
  used: number;
}

export class KeyTable {
  readonly #hashKey: HashKey;
  readonly #arena = new KeyArena();
  readonly #chunks: Chunk[] = [];
  readonly #shards: Shard[];
  readonly #freeSlots: number[] = [];
  #slots = 0;

  constructor(hashKey: HashKey = DEFAULT_HASH_KEY) {
    this.#hashKey = hashKey;
    this.#shards = Array.from({ length: 1 << SHARD_BITS }, () => ({
      places: new Uint32Array(2 * SHARD_PLACES_MIN),
      used: 0,
    }));
  }

  get size(): number {
    return this.#slots - this.#freeSlots.length;
  }

  /** Bytes of typed arrays; what lists of past revisions take is not in it. */
  get sizeBytes(): number {
    let bytes = this.#arena.sizeBytes + this.#chunks.length * CHUNK_SLOTS * NUMBERS * 8;
    for (const { places } of this.#shards) bytes += places.byteLength;
    return bytes;
  }

  /** What `find` and `add` want to know of a key. */
  hashOf(bytes: Uint8Array, start: number, end: number): number {
    return halfSipHash(this.#hashKey, bytes, start, end);
  }

  /** The slot of key `bytes[start, end)`, which has `hash`; `NO_SLOT` if it has none. */
  find(hash: number, bytes: Uint8Array, start: number, end: number): number {
    const { places } = this.#shardOf(hash);
    const mask = places.length - 1;
    for (let at = placeOf(hash, mask); places[at] !== 0; at = (at + 2) & mask) {
      if (places[at + 1] !== hash) continue;
      const slot = places[at]! - 1;
      if (this.isKey(slot, bytes, start, end)) return slot;
    }
    return NO_SLOT;
  }

  /** The slot of some key with `hash`, mostly the only one; `NO_SLOT` if there is none. */
  candidate(hash: number): number {
    const { places } = this.#shardOf(hash);
    const mask = places.length - 1;
    for (let at = placeOf(hash, mask); places[at] !== 0; at = (at + 2) & mask) {
      if (places[at + 1] === hash) return places[at]! - 1;
    }
    return NO_SLOT;
  }

  /** Takes in a key that is not there. */
  add(
    hash: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    createRevision: number,
    version: number,
  ): number {
    const slot = this.#freeSlots.pop() ?? this.#newSlot();
    const { numbers, words } = this.#chunks[slot >>> CHUNK_BITS]!;
    const at = (slot & (CHUNK_SLOTS - 1)) * NUMBERS;
    numbers[at] = main;
    numbers[at + CREATED] = createRevision;
    numbers[at + VERSION] = version;
    numbers[at + ADDRESS] = this.#arena.add(bytes, start, end);
    words[2 * at + SUB] = sub;
    words[2 * at + LENGTH] = end - start;
    this.#insert(slot, hash);
    return slot;
  }

  /** Forgets a key; its slot may be another key's from now on. */
  remove(slot: number): void {
    const { numbers, words, older } = this.#chunks[slot >>> CHUNK_BITS]!;
    const at = (slot & (CHUNK_SLOTS - 1)) * NUMBERS;
    const length = words[2 * at + LENGTH]!;
    const address = numbers[at + ADDRESS]!;
    const start = this.#arena.startOf(address);
    const bytes = this.#arena.chunkOf(address);
    this.#withdraw(slot, this.hashOf(bytes, start, start + length));
    this.#arena.remove(address, length);
    if (older !== undefined) older[slot & (CHUNK_SLOTS - 1)] = undefined;
    this.#freeSlots.push(slot);
  }

  /** Revision of the newest change. */
  main(slot: number): number {
    return this.#chunks[slot >>> CHUNK_BITS]!.numbers[(slot & (CHUNK_SLOTS - 1)) * NUMBERS]!;
  }

  sub(slot: number): number {
    return this.#chunks[slot >>> CHUNK_BITS]!.words[(slot & (CHUNK_SLOTS - 1)) * WORDS + SUB]!;
  }

  /** Revision that began the newest generation; 0 if that has ended. */
  createRevision(slot: number): number {
    const at = (slot & (CHUNK_SLOTS - 1)) * NUMBERS;
    return this.#chunks[slot >>> CHUNK_BITS]!.numbers[at + CREATED]!;
  }

  /** Puts in the newest generation; 0 if that has ended: the newest change is a tombstone. */
  version(slot: number): number {
    const at = (slot & (CHUNK_SLOTS - 1)) * NUMBERS;
    return this.#chunks[slot >>> CHUNK_BITS]!.numbers[at + VERSION]!;
  }

  older(slot: number): PastRevisions | undefined {
    return this.#chunks[slot >>> CHUNK_BITS]!.older?.[slot & (CHUNK_SLOTS - 1)];
  }

  setOlder(slot: number, older: PastRevisions | undefined): void {
    const chunk = this.#chunks[slot >>> CHUNK_BITS]!;
    if (chunk.older === undefined) {
      if (older === undefined) return;
      chunk.older = Array.from({ length: CHUNK_SLOTS }, () => undefined);
    }
    chunk.older[slot & (CHUNK_SLOTS - 1)] = older;
  }

  /** Makes a change the newest of a key; the one before becomes its past. */
  pushNewest(
    slot: number,
    main: number,
    sub: number,
    createRevision: number,
    version: number,
  ): void {
    const { numbers, words } = this.#chunks[slot >>> CHUNK_BITS]!;
    const at = (slot & (CHUNK_SLOTS - 1)) * NUMBERS;
    const mainBefore = numbers[at]!;
    const subBefore = words[2 * at + SUB]!;
    invariant(
      main > mainBefore || (main === mainBefore && sub > subBefore),
      () => `KeyIndex: ${main}.${sub} is not above ${mainBefore}.${subBefore}`,
    );
    const packed = subBefore * 2 + (numbers[at + VERSION] === 0 ? 1 : 0);
    const older = this.older(slot);
    if (older === undefined) this.setOlder(slot, [mainBefore, packed]);
    else older.push(mainBefore, packed);
    numbers[at] = main;
    numbers[at + CREATED] = createRevision;
    numbers[at + VERSION] = version;
    words[2 * at + SUB] = sub;
  }

  /** A copy of the key. */
  keyOf(slot: number): Uint8Array {
    const address = this.#addressOf(slot);
    const start = this.#arena.startOf(address);
    return this.#arena.chunkOf(address).slice(start, start + this.#lengthOf(slot));
  }

  /** Length of the key. */
  keyBytes(slot: number): number {
    return this.#lengthOf(slot);
  }

  copyKey(slot: number, target: Uint8Array, at: number): void {
    const address = this.#addressOf(slot);
    const chunk = this.#arena.chunkOf(address);
    const start = this.#arena.startOf(address);
    const length = this.#lengthOf(slot);
    for (let i = 0; i < length; i++) target[at + i] = chunk[start + i]!;
  }

  /** Whether `bytes[start, end)` is the key of `slot`. */
  isKey(slot: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#lengthOf(slot) !== end - start) return false;
    const address = this.#addressOf(slot);
    const chunk = this.#arena.chunkOf(address);
    let at = this.#arena.startOf(address);
    for (let i = start; i < end; i++) if (chunk[at++] !== bytes[i]) return false;
    return true;
  }

  /** Orders the key of `slot` against `key`: negative, zero or positive. */
  compare(slot: number, key: Uint8Array): number {
    const length = this.#lengthOf(slot);
    const address = this.#addressOf(slot);
    const chunk = this.#arena.chunkOf(address);
    const start = this.#arena.startOf(address);
    const shared = Math.min(length, key.length);
    for (let i = 0; i < shared; i++) {
      const difference = chunk[start + i]! - key[i]!;
      if (difference !== 0) return difference;
    }
    return length - key.length;
  }

  /** Orders the keys of two slots, which share `from` bytes. */
  compareSlots(a: number, b: number, from: number): number {
    const shared = this.sharedPrefix(a, b, from, Infinity);
    return this.digit(a, shared) - this.digit(b, shared);
  }

  /** How far the keys of two slots, which share `from` bytes, are the same; at most `max`. */
  sharedPrefix(a: number, b: number, from: number, max: number): number {
    const addressA = this.#addressOf(a);
    const addressB = this.#addressOf(b);
    const chunkA = this.#arena.chunkOf(addressA);
    const chunkB = this.#arena.chunkOf(addressB);
    const startA = this.#arena.startOf(addressA);
    const startB = this.#arena.startOf(addressB);
    const end = Math.min(max, this.#lengthOf(a), this.#lengthOf(b));
    let i = from;
    while (i < end && chunkA[startA + i] === chunkB[startB + i]) i++;
    return i;
  }

  /** The byte of a key at `depth`, plus 1; 0 behind its end. */
  digit(slot: number, depth: number): number {
    if (depth >= this.#lengthOf(slot)) return 0;
    const address = this.#addressOf(slot);
    return this.#arena.chunkOf(address)[this.#arena.startOf(address) + depth]! + 1;
  }

  /** Four digits from `depth` on as one number to base 257: in the order of keys. */
  head(slot: number, depth: number): number {
    const length = this.#lengthOf(slot);
    const address = this.#addressOf(slot);
    const chunk = this.#arena.chunkOf(address);
    const start = this.#arena.startOf(address);
    let head = 0;
    for (let i = depth; i < depth + 4; i++) {
      head = head * 257 + (i < length ? chunk[start + i]! + 1 : 0);
    }
    return head;
  }

  /** How far the keys of `slots[from, to)`, which share `depth` bytes, are the same; at most `max`. */
  sharedByAll(slots: Uint32Array, from: number, to: number, depth: number, max: number): number {
    let shared = max;
    for (let i = from; i < to && shared > depth; i++) {
      shared = this.sharedPrefix(slots[0]!, slots[i]!, depth, shared);
    }
    return shared;
  }

  /** For each of `slots[from, to)` two words of the digits from `depth` on. */
  readHeads(
    slots: Uint32Array,
    from: number,
    to: number,
    depth: number,
    high: Uint32Array,
    low: Uint32Array,
  ): void {
    for (let i = from; i < to; i++) {
      const slot = slots[i]!;
      const address = this.#addressOf(slot);
      const chunk = this.#arena.chunkOf(address);
      const start = this.#arena.startOf(address);
      const end = start + this.#lengthOf(slot);
      let at = start + depth;
      let word = 0;
      for (let k = 0; k < WORD_BYTES; k++, at++)
        word = word * 257 + (at < end ? chunk[at]! + 1 : 0);
      high[i] = word;
      word = 0;
      for (let k = 0; k < WORD_BYTES; k++, at++)
        word = word * 257 + (at < end ? chunk[at]! + 1 : 0);
      low[i] = word;
    }
  }

  /** Moves the key's bytes together with others' if it is one of few left where it is. */
  tidy(slot: number): void {
    const address = this.#addressOf(slot);
    if (!this.#arena.isSparse(address)) return;
    const chunk = this.#arena.chunkOf(address);
    const start = this.#arena.startOf(address);
    const length = this.#lengthOf(slot);
    const at = (slot & (CHUNK_SLOTS - 1)) * NUMBERS;
    const moved = this.#arena.add(chunk, start, start + length);
    this.#chunks[slot >>> CHUNK_BITS]!.numbers[at + ADDRESS] = moved;
    this.#arena.remove(address, length);
  }

  #addressOf(slot: number): number {
    const at = (slot & (CHUNK_SLOTS - 1)) * NUMBERS;
    return this.#chunks[slot >>> CHUNK_BITS]!.numbers[at + ADDRESS]!;
  }

  #lengthOf(slot: number): number {
    return this.#chunks[slot >>> CHUNK_BITS]!.words[(slot & (CHUNK_SLOTS - 1)) * WORDS + LENGTH]!;
  }

  #newSlot(): number {
    if (this.#slots === this.#chunks.length << CHUNK_BITS) {
      const numbers = new Float64Array(CHUNK_SLOTS * NUMBERS);
      const words = new Uint32Array(numbers.buffer);
      this.#chunks.push({ numbers, words, older: undefined });
    }
    return this.#slots++;
  }

  #shardOf(hash: number): Shard {
    return this.#shards[hash >>> (32 - SHARD_BITS)]!;
  }

  #insert(slot: number, hash: number): void {
    const shard = this.#shardOf(hash);
    shard.used++;
    if (2 * shard.used > shard.places.length * FULL_SHARE) grow(shard);
    put(shard.places, slot + 1, hash);
  }

  /** Empties the key's place, and closes the gap with those that were put behind it. */
  #withdraw(slot: number, hash: number): void {
    const shard = this.#shardOf(hash);
    const { places } = shard;
    const mask = places.length - 1;
    let gap = placeOf(hash, mask);
    while (places[gap] !== slot + 1) {
      invariant(places[gap] !== 0, () => `KeyTable: slot ${slot} is nowhere`);
      gap = (gap + 2) & mask;
    }
    for (let at = (gap + 2) & mask; places[at] !== 0; at = (at + 2) & mask) {
      const home = placeOf(places[at + 1]!, mask);
      // It may move into the gap unless its home lies between the gap and where it is.
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      places[gap] = places[at]!;
      places[gap + 1] = places[at + 1]!;
      gap = at;
    }
    places[gap] = 0;
    places[gap + 1] = 0;
    shard.used--;
  }
}

/** `mask` is the length of places less one; a place is two words. */
function placeOf(hash: number, mask: number): number {
  return (hash << 1) & mask;
}

function put(places: Uint32Array, entry: number, hash: number): void {
  const mask = places.length - 1;
  let at = placeOf(hash, mask);
  while (places[at] !== 0) at = (at + 2) & mask;
  places[at] = entry;
  places[at + 1] = hash;
}

function grow(shard: Shard): void {
  const before = shard.places;
  shard.places = new Uint32Array(2 * before.length);
  for (let at = 0; at < before.length; at += 2) {
    if (before[at] !== 0) put(shard.places, before[at]!, before[at + 1]!);
  }
}
