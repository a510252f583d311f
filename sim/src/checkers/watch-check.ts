/**
 * What a watch promises, checked against the history: ordered, unique, reliable (no gap), atomic
 * (a revision comes in one batch), resumable (a watch begun at the next revision goes on where the
 * last one ended) and bookmarkable (progress at a revision means all up to it came).
 */

import { ViolationError } from "../violation.ts";
import type { Change, RevisionLedger } from "./revision-ledger.ts";
import { changeText } from "./revision-ledger.ts";

export interface WatchedEvent extends Change {
  readonly modRevision: number;
}

export class WatchCheck {
  readonly #name: string;
  readonly #covers: (key: string) => boolean;
  readonly #deliveries: { readonly events: readonly WatchedEvent[]; readonly progress: number }[] =
    [];
  #next: number;
  #checkedTo = 0;
  events = 0;
  bookmarks = 0;

  /** @param start - the first revision it must deliver */
  constructor(name: string, covers: (key: string) => boolean, start: number) {
    this.#name = name;
    this.#covers = covers;
    this.#next = start;
    this.#from = start;
  }

  #from: number;

  /** Where a watch that resumes this one begins. */
  get resumeRevision(): number {
    return this.#next;
  }

  /** A batch as it came; `progress` is its header's revision if it has no events. */
  take(events: readonly WatchedEvent[], revision: number): void {
    const first = events[0];
    if (first === undefined) {
      this.#deliveries.push({ events, progress: revision });
      this.bookmarks++;
      this.#next = Math.max(this.#next, revision + 1);
      return;
    }
    if (first.modRevision < this.#next) {
      throw this.#broken(
        `revision ${first.modRevision} comes again or late, expected ${this.#next} or above`,
      );
    }
    let last = first.modRevision;
    for (const { modRevision } of events) {
      if (modRevision < last) throw this.#broken(`revision ${modRevision} after ${last}`);
      last = modRevision;
    }
    if (last > revision) throw this.#broken(`an event of ${last} under a header of ${revision}`);
    this.events += events.length;
    this.#deliveries.push({ events, progress: 0 });
    this.#next = last + 1;
  }

  /** Compares what came since the last call with the history. Revisions not yet told wait. */
  compare(ledger: RevisionLedger): void {
    for (; this.#checkedTo < this.#deliveries.length; this.#checkedTo++) {
      const { events, progress } = this.#deliveries[this.#checkedTo]!;
      const last = events.at(-1)?.modRevision ?? progress;
      if (last > ledger.newest) return;
      for (let revision = this.#from; revision <= last; revision++) {
        const changes = ledger.changesAt(revision);
        if (changes === undefined) continue;
        const expected = changeText(changes.filter(({ key }) => this.#covers(key)));
        const seen = changeText(events.filter(({ modRevision }) => modRevision === revision));
        if (expected !== seen) {
          throw this.#broken(`revision ${revision} came as "${seen}", was "${expected}"`);
        }
      }
      this.#from = Math.max(this.#from, last + 1);
    }
  }

  #broken(text: string): ViolationError {
    return new ViolationError("watch", `${this.#name}: ${text}`);
  }
}
