/**
 * The state that readers, the writer, compaction and watchers share.
 *
 * Invariants:
 * - `1 <= currentRevision`, `compactRevision <= currentRevision`; both only grow, except when the
 *   whole store is replaced by a snapshot.
 * - Every change at or below `currentRevision` that compaction kept is in the index and in the
 *   `key` bucket under the same revision. A change above it belongs to the open write transaction.
 */

import type { Clock, Logger, WireWriter } from "@etcd-ts/base";
import { CorruptionError } from "@etcd-ts/base";
import { SERVER_ERRORS, writeOnlyPair } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import type { Backend } from "../backend/backend.ts";
import { Slice } from "../backend/slice.ts";
import { KeyIndex, Located } from "./key-index.ts";
import type { HashKey } from "./key-hash.ts";
import { KeyTable, NO_SLOT } from "./key-table.ts";
import { keyAfter, keyRangeFrom } from "./key-range.ts";
import type { KeyRange } from "./key-range.ts";
import type { MvccMetrics } from "./metrics.ts";
import { RevisionPins } from "./revision-pins.ts";
import { isRecordOf, isStoredOf, StoredKeyValue, withoutValue } from "./stored-key-value.ts";
import type { KeyState, LeaseBook, RangeOptions, RangeResult } from "./types.ts";

/** The compact revision of a store nothing was ever compacted in; etcd reports it like that. */
export const NEVER_COMPACTED = -1;

export class MvccCore {
  backend: Backend;
  readonly hashKey: HashKey | undefined;
  index: KeyIndex;
  readonly leases: LeaseBook;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MvccMetrics;
  /** Takes an error that background work cannot hand to anybody else. */
  readonly onFatal: (error: Error) => void;
  readonly pins = new RevisionPins();
  currentRevision = 1;
  compactRevision = NEVER_COMPACTED;
  /** Revision of the newest change in the index: the open writer's, or `currentRevision`. */
  get indexRevision(): number {
    return this.isWriting ? this.currentRevision + 1 : this.currentRevision;
  }
  /** Whether an open write transaction has changed something. */
  isWriting = false;
  readonly #found = new Located();

  constructor(
    backend: Backend,
    leases: LeaseBook,
    clock: Clock,
    logger: Logger,
    metrics: MvccMetrics,
    onFatal: (error: Error) => void,
    hashKey: HashKey | undefined,
  ) {
    this.hashKey = hashKey;
    this.index = new KeyIndex(new KeyTable(hashKey));
    this.backend = backend;
    this.leases = leases;
    this.clock = clock;
    this.logger = logger;
    this.metrics = metrics;
    this.onFatal = onFatal;
  }

  /**
   * The revision a read at `requested` sees; 0 or below asks for `newest`.
   *
   * @throws {ServerError} if it is compacted or does not exist yet
   */
  readRevision(requested: number, newest: number, oldest: number = this.compactRevision): number {
    if (requested > newest) throw SERVER_ERRORS.futureRevision;
    const revision = requested <= 0 ? newest : requested;
    if (revision < oldest) throw SERVER_ERRORS.compacted;
    return revision;
  }

  /**
   * One range in one go.
   *
   * @param newest - the revision of the header; the writer's own changes count
   * @param oldest - the compact revision as the reader knows it
   */
  range(
    key: Uint8Array,
    rangeEnd: Uint8Array,
    options: RangeOptions,
    newest: number,
    oldest: number = this.compactRevision,
  ): RangeResult {
    this.metrics.rangeTotal.inc();
    const revision = this.readRevision(options.revision, newest, oldest);
    if (rangeEnd.length === 0) return this.#one(key, options, revision, newest);
    const gather = new RangeGather(this, keyRangeFrom(key, rangeEnd), options, revision, newest);
    gather.run(() => false);
    return gather.result();
  }

  /** What the index knows of a key at `revision`, which is not compacted. */
  stateOf(key: Uint8Array, revision: number): KeyState | undefined {
    this.metrics.rangeTotal.inc();
    const { index } = this;
    const slot = index.find(key);
    const found = slot === NO_SLOT ? undefined : this.locate(slot, revision);
    if (found === undefined || found.isTombstone) return undefined;
    // Of states before the newest the index has but the revision.
    if (!index.isNewest(slot, found)) return this.readStored(slot, found.main, found.sub);
    const createRevision = index.createRevision(slot);
    return { createRevision, modRevision: found.main, version: index.version(slot) };
  }

  /** The way of most reads, so it makes nothing but its answer. */
  #one(key: Uint8Array, options: RangeOptions, revision: number, newest: number): RangeResult {
    const slot = this.index.find(key);
    const found = slot === NO_SLOT ? undefined : this.locate(slot, revision);
    if (found === undefined || found.isTombstone) return { kvs: [], count: 0, revision: newest };
    if (options.countOnly) return { kvs: [], count: 1, revision: newest };
    const kv = this.readStored(slot, found.main, found.sub);
    const kvs = [options.keysOnly === true ? withoutValue(kv) : kv];
    return { kvs, count: 1, revision: newest };
  }

  /** One key at the current revision, straight into a response. */
  writeOne(writer: WireWriter, bytes: Uint8Array, start: number, end: number): void {
    this.metrics.rangeTotal.inc();
    const slot = this.index.candidate(bytes, start, end);
    const found = slot === NO_SLOT ? undefined : this.locate(slot, this.currentRevision);
    // The record tells whose it is, and is needed anyway; the key in the index is far from it.
    const stored =
      found === undefined || found.isTombstone
        ? undefined
        : this.backend.record(slot, found.main, found.sub);
    if (stored !== undefined && isStoredOf(stored, bytes, start, end)) {
      writeOnlyPair(writer, stored);
    } else if (slot !== NO_SLOT) this.#writeFound(writer, bytes, start, end);
  }

  #writeFound(writer: WireWriter, bytes: Uint8Array, start: number, end: number): void {
    const slot = this.index.find(bytes, start, end);
    const found = slot === NO_SLOT ? undefined : this.locate(slot, this.currentRevision);
    if (found === undefined || found.isTombstone) return;
    writeOnlyPair(writer, this.#storedBytes(slot, found.main, found.sub));
  }

  /** The same in slices; the revision is pinned until it ends. */
  async rangeSliced(
    key: Uint8Array,
    rangeEnd: Uint8Array,
    options: RangeOptions,
  ): Promise<RangeResult> {
    this.metrics.rangeTotal.inc();
    const newest = this.currentRevision;
    const revision = this.readRevision(options.revision, newest);
    if (rangeEnd.length === 0) return this.#one(key, options, revision, newest);
    const gather = new RangeGather(this, keyRangeFrom(key, rangeEnd), options, revision, newest);
    const slice = new Slice(this.clock);
    const isOver = (steps: number) => slice.isOver(steps);
    if (gather.run(isOver)) return gather.result();
    this.pins.pin(revision);
    try {
      do await slice.pause();
      while (!gather.run(isOver));
      return gather.result();
    } finally {
      this.pins.unpin(revision);
    }
  }

  /** The last change of a key at or below `revision`; undefined if there is none. */
  locate(slot: number, revision: number): Located | undefined {
    return this.index.locate(slot, revision, this.#found) ? this.#found : undefined;
  }

  /** @throws {CorruptionError} if the index and the file disagree */
  readStored(slot: number, main: number, sub: number): StoredKeyValue {
    return new StoredKeyValue(this.#storedBytes(slot, main, sub), this.backend.path);
  }

  #storedBytes(slot: number, main: number, sub: number): Uint8Array {
    const stored = this.backend.record(slot, main, sub);
    if (stored === undefined || !isRecordOf(this.index, slot, stored)) {
      const what = stored === undefined ? "no record" : "a record of another key";
      const message = `${what} of revision ${main}.${sub}`;
      throw new CorruptionError(message, this.backend.path, 0);
    }
    return stored;
  }
}

/** A range being read; may stop between two keys and go on after other work. */
class RangeGather {
  readonly #core: MvccCore;
  readonly #range: KeyRange;
  readonly #options: RangeOptions;
  readonly #revision: number;
  readonly #newest: number;
  readonly #kvs: KeyValue[] = [];
  /** Keys seen so far, or all of them if `#isCountKnown`. */
  #count = 0;
  #isCountKnown = false;
  #begin: Uint8Array;

  constructor(
    core: MvccCore,
    range: KeyRange,
    options: RangeOptions,
    revision: number,
    newest: number,
  ) {
    this.#core = core;
    this.#range = range;
    this.#options = options;
    this.#revision = revision;
    this.#newest = newest;
    this.#begin = range.begin;
    // What exists now need not be visited to be counted.
    if (revision >= core.indexRevision) {
      this.#count = core.index.countLive(range.begin, range.end);
      this.#isCountKnown = true;
    }
  }

  result(): RangeResult {
    return { kvs: this.#kvs, count: this.#count, revision: this.#newest };
  }

  /** Reads on until all is read (true) or `isOver`, told of steps done, says to pause (false). */
  run(isOver: (steps: number) => boolean): boolean {
    const { end } = this.#range;
    const { index } = this.#core;
    if (this.#isComplete()) return true;
    let isDone = true;
    index.visit(this.#begin, end, (slot) => {
      const readBytes = this.#take(slot);
      if (this.#isComplete()) return false;
      if (!isOver(1 + (readBytes >>> 10))) return true;
      this.#begin = keyAfter(index.keyOf(slot));
      isDone = false;
      return false;
    });
    return isDone;
  }

  /** @returns bytes that had to be read for it */
  #take(slot: number): number {
    const found = this.#core.locate(slot, this.#revision);
    if (found === undefined || found.isTombstone) return 0;
    if (!this.#isCountKnown) this.#count++;
    if (this.#wantsNoMore()) return 0;
    const kv = this.#core.readStored(slot, found.main, found.sub);
    this.#kvs.push(this.#options.keysOnly === true ? withoutValue(kv) : kv);
    return kv.encoded.length;
  }

  #wantsNoMore(): boolean {
    const { countOnly, limit } = this.#options;
    return countOnly || (limit > 0 && this.#kvs.length >= limit);
  }

  #isComplete(): boolean {
    return this.#isCountKnown && this.#wantsNoMore();
  }
}
