/**
 * A range read straight into its wire form, in slices: for lists, long or short.
 *
 * No KeyValue is made. A batch of keys is located in the index; its records are then read in the
 * order of their revisions, which is the order they have in the file, so that each page is looked
 * up once; at last they are copied to the response in key order.
 *
 * Invariants:
 * - The revision is pinned from the first pause to the end: what was located can still be read.
 * - A record is checked to be of the key it was located for.
 */

import { CorruptionError, invariant } from "@etcd-ts/base";
import { RangeChunks } from "@etcd-ts/api";
import { Slice } from "../backend/slice.ts";
import type { MvccCore } from "./core.ts";
import { Located } from "./key-index.ts";
import type { KeyIndex } from "./key-index.ts";
import { keyAfter, keyRangeFrom } from "./key-range.ts";
import type { KeyRange } from "./key-range.ts";
import { REVISION_BYTES, writeRevision } from "./revision.ts";
import { isRecordOf } from "./stored-key-value.ts";
import type { EncodedRangeOptions, EncodedRangeResult } from "./types.ts";

/** Keys of one batch: the first one, and the most if records are small. */
const BATCH_KEYS_MIN = 1024;
const BATCH_KEYS_MAX = 32 * 1024;
/** What the records of a batch should come to. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Below this, reading in file order does not pay for sorting. */
const SORTED_KEYS_MIN = 512;

/** Two positions in a batch differ by less than this. */
const POSITIONS = BATCH_KEYS_MAX;
/** Subs are told apart up to here; a sort order need not be exact to be useful. */
const SUBS = 128;
/** So that `(main * SUBS + sub) * POSITIONS + position` stays a safe integer. */
const SPAN_MAX = 2 ** 53 / (SUBS * POSITIONS) - 1;

/** @throws {ServerError} if the revision is compacted or does not exist yet */
export async function rangeEncoded(
  core: MvccCore,
  key: Uint8Array,
  rangeEnd: Uint8Array,
  options: EncodedRangeOptions,
): Promise<EncodedRangeResult> {
  core.metrics.rangeTotal.inc();
  const newest = core.currentRevision;
  const revision = core.readRevision(options.revision, newest);
  const reader = new EncodedRange(core, keyRangeFrom(key, rangeEnd), options, revision);
  const slice = new Slice(core.clock);
  if (!reader.run(slice)) {
    core.pins.pin(revision);
    try {
      do await slice.pause();
      while (!reader.run(slice));
    } finally {
      core.pins.unpin(revision);
    }
  }
  const { pairs, count } = reader;
  return { pairs, more: count > pairs.pairs, count, revision: newest };
}

class EncodedRange {
  readonly pairs = new RangeChunks();
  /** Keys seen so far, or all of them if `#isCountKnown`. */
  count = 0;
  readonly #core: MvccCore;
  /** The index as it was at the start, which a snapshot may replace: slots are of this one. */
  readonly #index: KeyIndex;
  readonly #range: KeyRange;
  readonly #options: EncodedRangeOptions;
  readonly #revision: number;
  readonly #isCountKnown: boolean;
  readonly #batch = new RecordBatch();
  readonly #found = new Located();
  /** Where the key of a look-up is written; nobody keeps it. */
  readonly #revisionKey = new Uint8Array(REVISION_BYTES);
  #begin: Uint8Array;
  #phase: "locate" | "read" | "copy" | "done" = "locate";
  #isLastBatch = false;
  #at = 0;

  constructor(core: MvccCore, range: KeyRange, options: EncodedRangeOptions, revision: number) {
    this.#core = core;
    this.#index = core.index;
    this.#range = range;
    this.#options = options;
    this.#revision = revision;
    this.#begin = range.begin;
    // What exists now need not be visited to be counted.
    this.#isCountKnown = revision >= core.indexRevision;
    if (this.#isCountKnown) this.count = this.#index.countLive(range.begin, range.end);
  }

  /** Works on until all is done (true) or the slice is over (false). */
  run(slice: Slice): boolean {
    for (;;) {
      const isOver = this.#step(slice);
      if (this.#phase === "done") return true;
      if (isOver) return false;
    }
  }

  /** Works on the phase at hand and goes to the next at its end; whether the slice is over. */
  #step(slice: Slice): boolean {
    switch (this.#phase) {
      case "locate":
        if (!this.#locate(slice)) return true;
        this.#batch.arrange();
        this.#phase = "read";
        break;
      case "read":
        if (!this.#read(slice)) return true;
        this.#phase = "copy";
        break;
      default:
        if (!this.#copy(slice)) return true;
        this.#batch.clear();
        this.#phase = this.#isLastBatch ? "done" : "locate";
    }
    this.#at = 0;
    return slice.isOver(0);
  }

  /** Fills the batch, or only counts if no more pairs are wanted; false if it stopped half way. */
  #locate(slice: Slice): boolean {
    const batch = this.#batch;
    const index = this.#index;
    const { limit } = this.#options;
    let wanted = limit > 0 ? limit - this.pairs.pairs - batch.slots.length : Infinity;
    let isDone = true;
    this.#isLastBatch = true;
    if (wanted <= 0 && this.#isCountKnown) return true;
    const found = this.#found;
    index.visit(this.#begin, this.#range.end, (slot) => {
      const isFound = index.locate(slot, this.#revision, found);
      if (isFound && !found.isTombstone) {
        if (!this.#isCountKnown) this.count++;
        if (wanted > 0) {
          wanted--;
          batch.add(slot, found.main, found.sub);
          if (wanted === 0 && this.#isCountKnown) return false;
        }
      }
      const isFull = wanted > 0 && batch.isFull;
      const isOver = slice.isOver();
      if (!isFull && !isOver) return true;
      this.#begin = keyAfter(index.keyOf(slot));
      this.#isLastBatch = false;
      isDone = isFull;
      return false;
    });
    return isDone;
  }

  #read(slice: Slice): boolean {
    const { backend } = this.#core;
    const batch = this.#batch;
    const find = backend.finder("key", !batch.isInFileOrder);
    const revisionKey = this.#revisionKey;
    for (let i = this.#at; i < batch.slots.length; i++) {
      const position = batch.positionAt(i);
      const main = batch.mains[position]!;
      const sub = batch.subs[position]!;
      writeRevision(revisionKey, 0, main, sub, false);
      const stored = find(revisionKey);
      if (stored === undefined || !isRecordOf(this.#index, batch.slots[position]!, stored)) {
        const what = stored === undefined ? "no record" : "a record of another key";
        const message = `${what} of revision ${main}.${sub}`;
        throw new CorruptionError(message, backend.path, 0);
      }
      if (batch.isInFileOrder) this.#take(stored, 0, stored.length);
      else batch.keep(position, stored);
      if (!slice.isOver(1 + (stored.length >>> 10))) continue;
      this.#at = i + 1;
      return false;
    }
    return true;
  }

  #copy(slice: Slice): boolean {
    const batch = this.#batch;
    if (batch.isInFileOrder) return true;
    for (let i = this.#at; i < batch.slots.length; i++) {
      const end = batch.ends[i]!;
      const start = end - batch.lengths[i]!;
      this.#take(batch.bytes, start, end);
      if (!slice.isOver(1 + ((end - start) >>> 10))) continue;
      this.#at = i + 1;
      return false;
    }
    return true;
  }

  #take(source: Uint8Array, start: number, end: number): void {
    if (this.#options.keysOnly) this.pairs.addStoredKey(source, start, end);
    else this.pairs.addStored(source, start, end);
  }
}

/** Keys of a batch in key order, where their records are, and the records once they are read. */
class RecordBatch {
  slots: number[] = [];
  mains: number[] = [];
  subs: number[] = [];
  /** Records are read in key order and need not be kept. */
  isInFileOrder = true;
  /** Records as they were read, one behind the other. */
  bytes = new Uint8Array(0);
  readonly ends: number[] = [];
  readonly lengths: number[] = [];
  #used = 0;
  #keysMax = BATCH_KEYS_MIN;
  #minMain = Infinity;
  #maxMain = 0;
  /** Positions in the order of revisions, each the rest modulo `POSITIONS`. */
  #order: Float64Array | undefined;

  get isFull(): boolean {
    return this.slots.length >= this.#keysMax;
  }

  add(slot: number, main: number, sub: number): void {
    const last = this.slots.length - 1;
    if (last >= 0) {
      const ascends =
        main > this.mains[last]! || (main === this.mains[last]! && sub > this.subs[last]!);
      if (!ascends) this.isInFileOrder = false;
    }
    this.slots.push(slot);
    this.mains.push(main);
    this.subs.push(sub);
    if (main < this.#minMain) this.#minMain = main;
    if (main > this.#maxMain) this.#maxMain = main;
  }

  /** Settles the order to read in. */
  arrange(): void {
    const { length } = this.slots;
    invariant(length <= POSITIONS, () => `RecordBatch: ${length} keys`);
    const isSpanned = this.#maxMain - this.#minMain < SPAN_MAX;
    if (length < SORTED_KEYS_MIN || !isSpanned) this.isInFileOrder = true;
    if (this.isInFileOrder) return;
    const order = new Float64Array(length);
    for (let i = 0; i < length; i++) {
      const revision = (this.mains[i]! - this.#minMain) * SUBS + Math.min(this.subs[i]!, SUBS - 1);
      order[i] = revision * POSITIONS + i;
    }
    this.#order = order.sort();
  }

  /** The position of the `i`th key to read. */
  positionAt(i: number): number {
    return this.#order === undefined ? i : this.#order[i]! % POSITIONS;
  }

  keep(position: number, stored: Uint8Array): void {
    const end = this.#used + stored.length;
    if (end > this.bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.bytes.length * 2, 256 * this.slots.length));
      grown.set(this.bytes.subarray(0, this.#used));
      this.bytes = grown;
    }
    this.bytes.set(stored, this.#used);
    this.#used = end;
    this.ends[position] = end;
    this.lengths[position] = stored.length;
  }

  /** Makes ready for the next batch, of a size that suits the records seen. */
  clear(): void {
    const { length } = this.slots;
    if (length > 0) {
      const recordBytes = Math.max(1, this.#used / length);
      const fitting = this.#used === 0 ? length * 4 : Math.floor(BATCH_BYTES / recordBytes);
      const keysMax = Math.min(length * 8, fitting, BATCH_KEYS_MAX);
      this.#keysMax = Math.max(BATCH_KEYS_MIN, keysMax);
    }
    this.slots = [];
    this.mains = [];
    this.subs = [];
    this.isInFileOrder = true;
    this.#used = 0;
    this.#minMain = Infinity;
    this.#maxMain = 0;
    this.#order = undefined;
  }
}
