/**
 * Applies committed entries in order without holding the turn for long.
 *
 * Invariant: entries are applied from one place and in order; a slice ends between two entries,
 * never inside one.
 */

import { yieldTurn } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";
import type { Entry } from "@etcd-ts/raft";
import type { Backend } from "@etcd-ts/storage";

import type { ServerMetrics } from "../server-metrics.ts";
import type { ApplyMeter } from "./apply-metrics.ts";
import type { EntryApplier } from "./entry-applier.ts";

/** How long one slice may hold the turn. */
const SLICE_MS = 5;
/** Entries applied between two looks at the clock. */
const SLICE_ENTRIES = 16;

export interface SlicedApplyParts {
  readonly applier: EntryApplier;
  readonly backend: () => Backend;
  readonly clock: Clock;
  readonly metrics: ServerMetrics;
  readonly meter: ApplyMeter;
  /** Whether the member has ended and nothing more is to be applied. */
  readonly hasEnded: () => boolean;
  /** Told after each slice how far it got. */
  readonly applied: (index: number) => void;
}

export class SlicedApply {
  readonly #parts: SlicedApplyParts;
  #committedIndex: number;

  constructor(parts: SlicedApplyParts) {
    this.#parts = parts;
    this.#committedIndex = parts.applier.appliedIndex;
  }

  /** The last entry that was handed over. */
  get committedIndex(): number {
    return this.#committedIndex;
  }

  /** A snapshot stands for everything up to `index`. */
  installed(index: number): void {
    const { metrics, applied } = this.#parts;
    this.#committedIndex = Math.max(this.#committedIndex, index);
    metrics.committed.set(this.#committedIndex);
    metrics.applied.set(index);
    applied(index);
  }

  /** Returns a promise only if one slice was not enough. */
  apply(entries: readonly Entry[]): Promise<void> | undefined {
    const { applier, metrics } = this.#parts;
    this.#committedIndex = Math.max(this.#committedIndex, entries.at(-1)!.index);
    metrics.committed.set(this.#committedIndex);
    // Entries a snapshot already covers come again after a restart in the middle of one.
    const first = entries.findIndex((entry) => entry.index > applier.appliedIndex);
    if (first === -1) return undefined;
    const next = this.#applySlice(entries, first);
    return next === entries.length ? undefined : this.#applyRest(entries, next);
  }

  async #applyRest(entries: readonly Entry[], from: number): Promise<void> {
    const { clock, hasEnded } = this.#parts;
    const backend = this.#parts.backend();
    for (let next = from; next < entries.length;) {
      if (backend.isOverloaded) await backend.whenDrained();
      else await yieldTurn(clock);
      if (hasEnded()) return;
      next = this.#applySlice(entries, next);
    }
  }

  #applySlice(entries: readonly Entry[], from: number): number {
    const { applier, clock, metrics, meter, applied } = this.#parts;
    const backend = this.#parts.backend();
    const startMs = clock.monotonicMs();
    const untilMs = startMs + SLICE_MS;
    meter.beginRow(startMs);
    let next = from;
    while (next < entries.length) {
      applier.apply(entries[next]!);
      next++;
      if (next % SLICE_ENTRIES !== 0) continue;
      if (backend.isOverloaded || clock.monotonicMs() >= untilMs) break;
    }
    meter.endRow();
    metrics.applied.set(applier.appliedIndex);
    applied(applier.appliedIndex);
    return next;
  }
}
