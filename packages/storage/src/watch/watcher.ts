/**
 * One watch: a range of keys and the next revision it has to see.
 *
 * States:
 * - `synced`: it has been given every event below `minRevision`, which is above the store's
 *   revision or becomes so with each write.
 * - `unsynced`: it started in the past, or fell behind; events come from the backend.
 * - `victim`: its stream was full when `held` was to be given to it; nothing is lost.
 * - `closed`: cancelled; in no group.
 */

import { EventType } from "@etcd-ts/api";
import type { Event } from "@etcd-ts/api";
import type { NameRange } from "../mvcc/key-range.ts";
import type { WatchBatch } from "../mvcc/types.ts";
import type { WatchStream } from "./watch-stream.ts";

export type WatcherState = "synced" | "unsynced" | "victim" | "closed";

export class Watcher {
  readonly id: number;
  readonly stream: WatchStream;
  readonly range: NameRange;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  /** As asked for; 0 for what comes next. */
  readonly startRevision: number;
  /** Everything below has been given to the stream, or is `held`. */
  minRevision: number;
  state: WatcherState = "closed";
  held: WatchBatch | undefined;

  constructor(
    id: number,
    stream: WatchStream,
    range: NameRange,
    filters: { noPut: boolean; noDelete: boolean },
    startRevision: number,
    minRevision: number,
  ) {
    this.id = id;
    this.stream = stream;
    this.range = range;
    this.noPut = filters.noPut;
    this.noDelete = filters.noDelete;
    this.startRevision = startRevision;
    this.minRevision = minRevision;
  }

  /** The events its filters let through; `events` itself if that is all of them. */
  filter(events: readonly Event[]): readonly Event[] {
    if (!this.noPut && !this.noDelete) return events;
    return events.filter((event) =>
      event.type === EventType.DELETE ? !this.noDelete : !this.noPut,
    );
  }
}
