/**
 * The watches of one client stream, and the bounded queue of what they have to send.
 *
 * Invariants:
 * - The queue holds at most `STREAM_BATCHES_MAX` batches, in the order they came about; the
 *   batches of one watch are in revision order and never split a revision.
 * - A batch that does not fit is held by its watcher until there is room, so a slow reader costs
 *   one batch a watch and nobody else's time.
 */

import { EtcdError, RingBuffer } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import { nameRangeFrom } from "../mvcc/key-range.ts";
import { WATCH_ID_NONE } from "../mvcc/types.ts";
import type { WatchBatch, WatchOptions } from "../mvcc/types.ts";
import type { WatchHub } from "./watch-hub.ts";
import type { Watcher } from "./watcher.ts";

/** Batches a stream queues, as in etcd. */
export const STREAM_BATCHES_MAX = 128;

/** A watch that cannot be; the message is etcd's cancel reason. */
export class WatchRefusedError extends EtcdError {
  readonly code: "EMPTY_WATCHER_RANGE" | "DUPLICATE_WATCH_ID";

  constructor(code: "EMPTY_WATCHER_RANGE" | "DUPLICATE_WATCH_ID", message: string) {
    super(message);
    this.code = code;
  }
}

export const EMPTY_WATCHER_RANGE = new WatchRefusedError(
  "EMPTY_WATCHER_RANGE",
  "mvcc: watcher range is empty",
);
export const DUPLICATE_WATCH_ID = new WatchRefusedError(
  "DUPLICATE_WATCH_ID",
  "mvcc: duplicate watch ID provided on the WatchStream",
);

export class WatchStream {
  readonly #hub: WatchHub;
  readonly #queue = new RingBuffer<WatchBatch>(STREAM_BATCHES_MAX);
  readonly #watchers = new Map<number, Watcher>();
  #nextID = 0;
  #onReady: (() => void) | undefined;
  #isClosed = false;

  constructor(hub: WatchHub) {
    this.#hub = hub;
  }

  /** Watches on the stream. */
  get watchCount(): number {
    return this.#watchers.size;
  }

  /** Batches waiting to be taken. */
  get queuedBatches(): number {
    return this.#queue.size;
  }

  get isFull(): boolean {
    return this.#queue.size >= STREAM_BATCHES_MAX;
  }

  /**
   * Begins a watch. Its first batch is never made before this returns. A progress batch that is
   * already queued does not speak for it: take and send what is queued before telling the client
   * of the new watch.
   *
   * @returns its id, or why it cannot be: `EMPTY_WATCHER_RANGE`, `DUPLICATE_WATCH_ID`, or
   *   `SERVER_ERRORS.compacted` for a negative start revision. A start revision that is compacted
   *   is told by a batch with `compactRevision`.
   */
  watch(options: WatchOptions): number | EtcdError {
    if (this.#isClosed) return EMPTY_WATCHER_RANGE;
    if (options.startRevision < 0) return SERVER_ERRORS.compacted;
    const range = nameRangeFrom(options.key, options.rangeEnd);
    if (range.end !== undefined && range.begin >= range.end) return EMPTY_WATCHER_RANGE;
    const id = this.#chooseID(options.watchID ?? 0);
    if (id === undefined) return DUPLICATE_WATCH_ID;
    const filters = { noPut: options.noPut === true, noDelete: options.noDelete === true };
    const watcher = this.#hub.begin(id, this, range, filters, options.startRevision);
    this.#watchers.set(id, watcher);
    return id;
  }

  /** Ends a watch; false if there is none. Batches already queued for it stay. */
  cancel(id: number): boolean {
    const watcher = this.#watchers.get(id);
    if (watcher === undefined) return false;
    this.#watchers.delete(id);
    this.#hub.end(watcher);
    return true;
  }

  /**
   * Queues an empty batch that says how far the watch is, if it is synced; false if it is not, or
   * the stream is full.
   */
  requestProgress(id: number): boolean {
    const watcher = this.#watchers.get(id);
    if (watcher === undefined || !this.#hub.isUpToDate(watcher)) return false;
    return this.#pushProgress(id);
  }

  /** The same for all watches at once, under `WATCH_ID_NONE`; all must be synced. */
  requestProgressAll(): boolean {
    if (this.#watchers.size === 0) return false;
    for (const watcher of this.#watchers.values()) {
      if (!this.#hub.isUpToDate(watcher)) return false;
    }
    return this.#pushProgress(WATCH_ID_NONE);
  }

  /**
   * `run` is called when the queue stops being empty, within the turn that filled it. It may take
   * from the stream, and must not write to the store.
   */
  onReady(run: () => void): void {
    this.#onReady = run;
    if (this.#queue.size > 0) run();
  }

  /** Removes and returns the oldest batch. */
  takeOne(): WatchBatch | undefined {
    const batch = this.#queue.shift();
    if (batch !== undefined) this.#hub.onTaken(this, batch.events.length);
    return batch;
  }

  /** Removes and returns up to `max` batches, oldest first. */
  take(max: number = STREAM_BATCHES_MAX): WatchBatch[] {
    const batches: WatchBatch[] = [];
    let events = 0;
    while (batches.length < max) {
      const batch = this.#queue.shift();
      if (batch === undefined) break;
      events += batch.events.length;
      batches.push(batch);
    }
    if (batches.length > 0) this.#hub.onTaken(this, events);
    return batches;
  }

  /** The store's revision. */
  revision(): number {
    return this.#hub.revision;
  }

  /** Ends all watches and drops the queue; idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const watcher of this.#watchers.values()) this.#hub.end(watcher);
    this.#watchers.clear();
    let events = 0;
    for (let batch = this.#queue.shift(); batch !== undefined; batch = this.#queue.shift()) {
      events += batch.events.length;
    }
    this.#hub.onStreamClosed(this, events);
  }

  /** For the hub: queues a batch; false if it does not fit. */
  push(batch: WatchBatch): boolean {
    if (this.isFull) return false;
    this.#queue.push(batch);
    if (this.#queue.size === 1) this.#onReady?.();
    return true;
  }

  /** For the hub: forgets a watch it has cancelled itself. */
  forget(watcher: Watcher): void {
    this.#watchers.delete(watcher.id);
  }

  #pushProgress(watchID: number): boolean {
    return this.push({ watchID, events: [], revision: this.#hub.revision, compactRevision: 0 });
  }

  /** Undefined if `wanted` is taken. */
  #chooseID(wanted: number): number | undefined {
    if (wanted !== 0) return this.#watchers.has(wanted) ? undefined : wanted;
    while (this.#watchers.has(this.#nextID)) this.#nextID++;
    return this.#nextID++;
  }
}
