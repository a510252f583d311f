/**
 * Brings the store's changes to the watchers.
 *
 * Invariants:
 * - A watcher that is not closed is in exactly one of `#synced`, `#unsynced` and `#victims`,
 *   as its state says.
 * - A watcher is given the events of each revision at most once, in order, and never without the
 *   events of all revisions before it from `startRevision` on: `minRevision` moves only when the
 *   events below it are queued or held.
 * - Catching up runs in passes of a few milliseconds, each between two revisions; nothing is
 *   carried from one pass to the next but the watchers' `minRevision`.
 */

import type { Timer } from "@etcd-ts/base";
import { latin1FromBytes } from "@etcd-ts/base";
import type { Event } from "@etcd-ts/api";
import type { MvccCore } from "../mvcc/core.ts";
import type { NameRange } from "../mvcc/key-range.ts";
import type { WatchBatch, WriteTxn } from "../mvcc/types.ts";
import { readEvents } from "./catch-up.ts";
import { Watcher } from "./watcher.ts";
import { WatcherGroup } from "./watcher-group.ts";
import type { WatchStream } from "./watch-stream.ts";

/** Watchers that catch up in one pass, as in etcd. */
export const CATCH_UP_WATCHERS_MAX = 512;

export class WatchHub {
  readonly #core: MvccCore;
  readonly #synced = new WatcherGroup();
  readonly #unsynced = new Set<Watcher>();
  readonly #victims = new Set<Watcher>();
  #pass: Timer | undefined;
  #isStopped = false;

  constructor(core: MvccCore) {
    this.#core = core;
  }

  get revision(): number {
    return this.#core.currentRevision;
  }

  /** Watchers by state, for tests and metrics. */
  counts(): { synced: number; unsynced: number; victims: number } {
    return {
      synced: this.#synced.size,
      unsynced: this.#unsynced.size,
      victims: this.#victims.size,
    };
  }

  onStreamOpened(): void {
    this.#core.metrics.watchStreams.add(1);
  }

  /** @param events - how many were still queued */
  onStreamClosed(_stream: WatchStream, events: number): void {
    this.#core.metrics.watchStreams.add(-1);
    if (events > 0) this.#core.metrics.pendingEvents.add(-events);
  }

  begin(
    id: number,
    stream: WatchStream,
    range: NameRange,
    filters: { noPut: boolean; noDelete: boolean },
    startRevision: number,
  ): Watcher {
    const next = this.#core.currentRevision + 1;
    const minRevision = startRevision === 0 ? next : startRevision;
    const watcher = new Watcher(id, stream, range, filters, startRevision, minRevision);
    this.#core.metrics.watchers.add(1);
    this.#settle(watcher);
    return watcher;
  }

  end(watcher: Watcher): void {
    if (watcher.state === "closed") return;
    this.#leave(watcher);
    watcher.held = undefined;
    this.#core.metrics.watchers.add(-1);
    this.#measure();
  }

  /** Whether everything up to the store's revision was queued for the watcher. */
  isUpToDate(watcher: Watcher): boolean {
    return watcher.state === "synced" && watcher.startRevision <= this.#core.currentRevision;
  }

  /** The events of one transaction, all of `revision`, which is now the store's. */
  notify(revision: number, txn: Pick<WriteTxn, "changes">): void {
    if (this.#synced.size === 0) return;
    const events = txn.changes();
    const matches = new Map<Watcher, readonly Event[]>();
    for (const event of events) {
      this.#synced.match(latin1FromBytes(event.kv!.key), (watcher) => {
        if (revision < watcher.minRevision) return;
        const before = matches.get(watcher);
        if (events.length === 1) matches.set(watcher, events);
        else if (before === undefined) matches.set(watcher, [event]);
        else (before as Event[]).push(event);
      });
    }
    for (const [watcher, matched] of matches) this.#deliver(watcher, matched, revision + 1);
  }

  /** A stream has room again. */
  onTaken(_stream: WatchStream, events: number): void {
    const { metrics } = this.#core;
    if (events > 0) {
      metrics.pendingEvents.add(-events);
      metrics.eventsTotal.inc(events);
    }
    if (this.#victims.size > 0 || this.#unsynced.size > 0) this.#schedule();
  }

  /** The store was replaced; what was up to date with the old one goes on from there. */
  onRestored(previousRevision: number): void {
    for (const watcher of Array.from(this.#synced)) {
      watcher.minRevision = Math.max(watcher.minRevision, previousRevision + 1);
      this.#leave(watcher);
      this.#settle(watcher);
    }
  }

  /** Stops catching up; idempotent. */
  stop(): void {
    this.#isStopped = true;
    this.#pass?.cancel();
    this.#pass = undefined;
  }

  /** Queues what `watcher` asked for of `events`; afterwards it is done with all below `next`. */
  #deliver(watcher: Watcher, events: readonly Event[], next: number): void {
    watcher.minRevision = next;
    const filtered = watcher.filter(events);
    if (filtered.length === 0) return;
    const batch: WatchBatch = {
      watchID: watcher.id,
      events: filtered,
      revision: this.#core.currentRevision,
      compactRevision: 0,
    };
    if (this.#push(watcher, batch)) return;
    this.#leave(watcher);
    watcher.held = batch;
    watcher.state = "victim";
    this.#victims.add(watcher);
    this.#measure();
  }

  #push(watcher: Watcher, batch: WatchBatch): boolean {
    if (watcher.stream.isFull) return false;
    if (batch.events.length > 0) this.#core.metrics.pendingEvents.add(batch.events.length);
    return watcher.stream.push(batch);
  }

  /** Puts a watcher without a state where its `minRevision` says. */
  #settle(watcher: Watcher): void {
    if (watcher.minRevision > this.#core.currentRevision) {
      watcher.state = "synced";
      this.#synced.add(watcher);
    } else {
      watcher.state = "unsynced";
      this.#unsynced.add(watcher);
      this.#schedule();
    }
    this.#measure();
  }

  #leave(watcher: Watcher): void {
    this.#synced.delete(watcher);
    this.#unsynced.delete(watcher);
    this.#victims.delete(watcher);
    watcher.state = "closed";
  }

  #measure(): void {
    this.#core.metrics.slowWatchers.set(this.#unsynced.size + this.#victims.size);
  }

  /** Has a pass run in a later turn. */
  #schedule(): void {
    if (this.#pass !== undefined || this.#isStopped) return;
    this.#pass = this.#core.clock.nextTurn(() => {
      this.#pass = undefined;
      try {
        this.#runPass();
      } catch (error) {
        this.#core.onFatal(error as Error);
      }
    });
  }

  #runPass(): void {
    this.#retryVictims();
    const chosen = this.#chooseUnsynced();
    if (chosen.length > 0) this.#catchUp(chosen);
    for (const watcher of this.#unsynced) {
      if (watcher.stream.isFull) continue;
      this.#schedule();
      return;
    }
  }

  #retryVictims(): void {
    for (const watcher of Array.from(this.#victims)) {
      if (watcher.state !== "victim" || !this.#push(watcher, watcher.held!)) continue;
      // Its reader may have ended the watch while it was told of the batch.
      if ((watcher.state as string) === "closed") continue;
      watcher.held = undefined;
      this.#leave(watcher);
      this.#settle(watcher);
    }
  }

  /** Watchers to catch up now, oldest first; cancels those that need what is compacted. */
  #chooseUnsynced(): Watcher[] {
    const { compactRevision, currentRevision } = this.#core;
    const chosen: Watcher[] = [];
    for (const watcher of this.#unsynced) {
      if (chosen.length >= CATCH_UP_WATCHERS_MAX) break;
      if (watcher.state !== "unsynced" || watcher.stream.isFull) continue;
      if (watcher.minRevision > currentRevision) {
        this.#leave(watcher);
        this.#settle(watcher);
      } else if (watcher.minRevision < compactRevision) this.#cancelCompacted(watcher);
      else chosen.push(watcher);
    }
    return chosen;
  }

  #cancelCompacted(watcher: Watcher): void {
    const { compactRevision, currentRevision } = this.#core;
    this.end(watcher);
    watcher.stream.forget(watcher);
    this.#push(watcher, {
      watchID: watcher.id,
      events: [],
      revision: currentRevision,
      compactRevision,
    });
  }

  /** Gives `watchers` the next few revisions of the past. */
  #catchUp(watchers: readonly Watcher[]): void {
    const group = new WatcherGroup();
    let from = Infinity;
    for (const watcher of watchers) {
      group.add(watcher);
      from = Math.min(from, watcher.minRevision);
    }
    const { matches, next } = readEvents(this.#core, group, from);
    for (const watcher of watchers) {
      if (watcher.state !== "unsynced" || watcher.minRevision >= next) continue;
      this.#deliver(watcher, matches.get(watcher) ?? [], next);
      if ((watcher.state as string) !== "unsynced") continue;
      // Behind the others, so that each gets its turn.
      this.#leave(watcher);
      this.#settle(watcher);
    }
  }
}
