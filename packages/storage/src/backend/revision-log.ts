/**
 * New records of the `key` bucket that are not in the file yet, in the order of their revisions.
 *
 * Writers encode a record straight into a block of many; what is kept of it besides are numbers in
 * a few arrays. So ten thousand records that wait for a commit are hardly an object to the
 * collector, and cost one copy, into the page.
 *
 * Invariants:
 * - Revisions ascend strictly.
 * - A record lies behind its revision as a key, as in a page: what is neighbours here, a page takes
 *   in one copy.
 * - The bytes of a record are written once, by whoever appended it and before anybody reads it.
 */

import { compareBytes, EMPTY_BYTES, invariant } from "@etcd-ts/base";
import type { SortedRun } from "@etcd-ts/bbolt";
import {
  encodeRevision,
  REVISION_BYTES,
  TOMBSTONE_BYTES,
  writeRevision,
} from "../mvcc/revision.ts";
import { readUint64 } from "../schema/numbers.ts";
import type { Change, ChangeLayer } from "./write-buffer.ts";

/** Small enough that a view which outlives the commit keeps little alive. */
const BLOCK_BYTES = 64 * 1024;
/** A larger record has a block of its own. */
const SHARED_RECORD_BYTES_MAX = 16 * 1024;
const RECORDS_FIRST = 256;
/** Up to so many bytes are copied by hand, which needs no view. */
const COPY_BYTES_MAX = 64;
/** `sub` and the mark of a tombstone share 31 bits. */
const SUB_MAX = 2 ** 30 - 1;

export class RevisionLog implements ChangeLayer, SortedRun {
  /** Where the record that was appended last goes: `bytes` bytes of `block` from `offset` on. */
  block: Uint8Array = EMPTY_BYTES;
  offset = 0;
  #count = 0;
  #mains = new Float64Array(RECORDS_FIRST);
  /** `sub * 2 + (tombstone ? 1 : 0)`. */
  #subs = new Int32Array(RECORDS_FIRST);
  #blockOf = new Int32Array(RECORDS_FIRST);
  /** Where its key starts. */
  #starts = new Int32Array(RECORDS_FIRST);
  #lengths = new Int32Array(RECORDS_FIRST);
  readonly #blocks: Uint8Array[] = [];
  /** The block being filled, and how far. */
  #shared: Uint8Array = EMPTY_BYTES;
  #sharedAt = 0;
  #used = 0;

  get size(): number {
    return this.#count;
  }

  get count(): number {
    return this.#count;
  }

  /** The lowest main revision there is; Infinity if there is none. */
  get firstMain(): number {
    return this.#count === 0 ? Infinity : this.#mains[0]!;
  }

  /** Makes room for a record; the caller fills it before anything else happens. */
  append(main: number, sub: number, isTombstone: boolean, bytes: number): void {
    const i = this.#count;
    const packed = sub * 2 + (isTombstone ? 1 : 0);
    invariant(sub <= SUB_MAX, () => `RevisionLog.append: sub ${sub}`);
    invariant(
      i === 0 || this.#order(i - 1, main, packed) < 0,
      () => `RevisionLog.append: ${main}.${sub} after ${this.#mains[i - 1]}`,
    );
    if (i === this.#mains.length) this.#grow();
    const keyBytes = isTombstone ? TOMBSTONE_BYTES : REVISION_BYTES;
    const blockAt = this.#reserve(keyBytes + bytes);
    this.#mains[i] = main;
    this.#subs[i] = packed;
    this.#blockOf[i] = blockAt;
    this.#starts[i] = this.offset;
    this.#lengths[i] = bytes;
    writeRevision(this.block, this.offset, main, sub, isTombstone);
    this.offset += keyBytes;
    this.#count = i + 1;
  }

  isTombstoneAt(i: number): boolean {
    return (this.#subs[i]! & 1) === 1;
  }

  subAt(i: number): number {
    return this.#subs[i]! >>> 1;
  }

  // What waits for a commit, as readers look at it

  get(key: Uint8Array): Change | undefined {
    if (this.#count === 0) return undefined;
    const isTombstone = key.length === TOMBSTONE_BYTES;
    if (key.length !== REVISION_BYTES && !isTombstone) return undefined;
    const main = readUint64(key, 0);
    // Most reads are of what has long been committed.
    if (main === undefined || main < this.#mains[0]!) return undefined;
    const sub = readUint64(key, REVISION_BYTES - 8);
    if (sub === undefined || sub > SUB_MAX) return undefined;
    const packed = sub * 2 + (isTombstone ? 1 : 0);
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#order(middle, main, packed) < 0) low = middle + 1;
      else high = middle;
    }
    if (low === this.#count || this.#order(low, main, packed) !== 0) return undefined;
    return compareBytes(this.key(low), key) === 0 ? this.at(low) : undefined;
  }

  at(position: number): Change | undefined {
    if (position >= this.#count) return undefined;
    return { key: this.key(position), value: this.value(position) };
  }

  lowerBound(key: Uint8Array): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.key(middle), key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // The same, as the database takes it

  key(i: number): Uint8Array {
    return encodeRevision(this.#mains[i]!, this.subAt(i), this.isTombstoneAt(i));
  }

  value(i: number): Uint8Array {
    const start = this.#starts[i]! + this.keyBytes(i);
    return this.#blocks[this.#blockOf[i]!]!.subarray(start, start + this.#lengths[i]!);
  }

  keyBytes(i: number): number {
    return this.isTombstoneAt(i) ? TOMBSTONE_BYTES : REVISION_BYTES;
  }

  valueBytes(i: number): number {
    return this.#lengths[i]!;
  }

  copyEntries(from: number, to: number, target: Uint8Array, at: number): void {
    let next = at;
    for (let i = from; i < to;) {
      const blockAt = this.#blockOf[i]!;
      const start = this.#starts[i]!;
      let end = start;
      for (; i < to && this.#blockOf[i] === blockAt && this.#starts[i] === end; i++) {
        end += this.keyBytes(i) + this.#lengths[i]!;
      }
      copy(this.#blocks[blockAt]!, start, end, target, next);
      next += end - start;
    }
  }

  /** Negative if record `i` comes before the revision. */
  #order(i: number, main: number, packed: number): number {
    return this.#mains[i]! - main || this.#subs[i]! - packed;
  }

  /** Sets `block` and `offset`. @returns the block's place in the list */
  #reserve(bytes: number): number {
    if (bytes > SHARED_RECORD_BYTES_MAX) {
      this.block = new Uint8Array(bytes);
      this.offset = 0;
      return this.#blocks.push(this.block) - 1;
    }
    if (this.#shared.length === 0 || this.#used + bytes > this.#shared.length) {
      this.#shared = new Uint8Array(BLOCK_BYTES);
      this.#used = 0;
      this.#sharedAt = this.#blocks.push(this.#shared) - 1;
    }
    this.block = this.#shared;
    this.offset = this.#used;
    this.#used += bytes;
    return this.#sharedAt;
  }

  #grow(): void {
    const records = this.#mains.length * 2;
    const mains = new Float64Array(records);
    mains.set(this.#mains);
    this.#mains = mains;
    this.#subs = grown(this.#subs);
    this.#blockOf = grown(this.#blockOf);
    this.#starts = grown(this.#starts);
    this.#lengths = grown(this.#lengths);
  }
}

function copy(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  at: number,
): void {
  if (end - start > COPY_BYTES_MAX) {
    target.set(source.subarray(start, end), at);
    return;
  }
  for (let from = start, to = at; from < end; from++, to++) target[to] = source[from]!;
}

function grown(numbers: Int32Array): Int32Array<ArrayBuffer> {
  const more = new Int32Array(numbers.length * 2);
  more.set(numbers);
  return more;
}
