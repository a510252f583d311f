/** Reads past events for watchers that fell behind. */

import type { Event } from "@etcd-ts/api";
import { SLICE_MS } from "../backend/slice.ts";
import type { MvccCore } from "../mvcc/core.ts";
import { encodeRevision, mustDecodeRevision } from "../mvcc/revision.ts";
import { eventFromStored, keyNameOfStored } from "../mvcc/stored-key-value.ts";
import type { Watcher } from "./watcher.ts";
import type { WatcherGroup } from "./watcher-group.ts";

/** Revisions given to a watcher at once, as in etcd. */
export const CATCH_UP_REVISIONS_MAX = 1000;
/** Bytes of records read in one pass; a revision that began is still read to its end. */
const CATCH_UP_BYTES_MAX = 2 * 1024 * 1024;
/** Records between two looks at the clock. */
const RECORDS_PER_LOOK = 64;

export interface PastEvents {
  readonly matches: ReadonlyMap<Watcher, readonly Event[]>;
  /** Everything from `from` up to here, exclusive, was read. */
  readonly next: number;
}

/**
 * Reads whole revisions from `from` on, until the store's revision, a bound or the time for a slice
 * is reached, and sorts their events by watcher, each from its own `minRevision` on.
 *
 * @param from - at or above the compact revision and at most the store's
 */
export function readEvents(core: MvccCore, group: WatcherGroup, from: number): PastEvents {
  const { backend, clock, currentRevision } = core;
  const matches = new Map<Watcher, Event[]>();
  const startMs = clock.monotonicMs();
  let next = currentRevision + 1;
  let main = 0;
  let revisions = 0;
  let records = 0;
  let bytes = 0;
  const isOver = () =>
    revisions >= CATCH_UP_REVISIONS_MAX ||
    bytes >= CATCH_UP_BYTES_MAX ||
    (records % RECORDS_PER_LOOK === 0 && clock.monotonicMs() - startMs >= SLICE_MS);

  const begin = encodeRevision(from, 0);
  const end = encodeRevision(currentRevision + 1, 0);
  backend.scan("key", begin, end, (key, stored) => {
    const revision = mustDecodeRevision(key, backend.path);
    if (revision.main !== main) {
      if (main > 0 && isOver()) {
        next = revision.main;
        return false;
      }
      main = revision.main;
      revisions++;
    }
    records++;
    bytes += stored.length;
    if (stored.length === 0) return true;
    let event: Event | undefined;
    group.match(keyNameOfStored(stored, backend.path), (watcher) => {
      if (revision.main < watcher.minRevision) return;
      event ??= eventFromStored(revision, stored, backend.path);
      const events = matches.get(watcher);
      if (events === undefined) matches.set(watcher, [event]);
      else events.push(event);
    });
    return true;
  });
  return { matches, next };
}
