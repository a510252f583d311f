/**
 * Clients that watch: each on one member at a time, all keys or one, and on the next where the last
 * one ended. What comes is written down and compared with the history.
 */

import { bytesFromLatin1, randomBelow, sleep } from "@etcd-ts/base";
import type { SeededRandom } from "@etcd-ts/base";

import { WatchCheck } from "./checkers/watch-check.ts";
import type { WatchedEvent } from "./checkers/watch-check.ts";
import type { SimCluster } from "./cluster.ts";
import { watchedEvent } from "./cluster.ts";
import type { SimMember } from "./member.ts";
import { around, pick } from "./options.ts";
import type { Plant } from "./options.ts";

export class Watchers {
  readonly watches: WatchCheck[] = [];
  readonly #cluster: SimCluster;
  readonly #random: SeededRandom;

  constructor(cluster: SimCluster, random: SeededRandom) {
    this.#cluster = cluster;
    this.#random = random;
  }

  /** Watches on one member after another. */
  async run(name: string, isOver: () => boolean): Promise<void> {
    const random = this.#random.split(name);
    const { clock } = this.#cluster;
    let resume: WatchCheck | undefined;
    const key =
      random.float() < 0.5 ? undefined : `k${randomBelow(random, this.#cluster.options.keys)}`;
    while (!isOver()) {
      const up = this.#cluster.members.filter(({ server }) => server !== undefined);
      if (up.length > 0) resume = await this.#watch(name, random, pick(random, up), key, resume);
      await sleep(clock, around(random, 500));
    }
  }

  /** Watches on one member until it goes down, a compaction ends it, or the client has enough. */
  async #watch(
    name: string,
    random: SeededRandom,
    member: SimMember,
    key: string | undefined,
    resume: WatchCheck | undefined,
  ): Promise<WatchCheck | undefined> {
    const { clock, trace, ledger } = this.#cluster;
    const life = member.life!;
    const { store } = member.server!;
    const stream = store.newWatchStream();
    const known = store.currentRevision;
    const drawn = random.float() < 0.3 ? known + 1 : 2 + randomBelow(random, known);
    const { plant } = this.#cluster.options;
    const startRevision = resume?.resumeRevision ?? drawn;
    const check = new WatchCheck(
      `${name} at ${member.name}`,
      (changed) => key === undefined || changed === key,
      startRevision,
    );
    this.watches.push(check);
    trace.count(resume === undefined ? "watches" : "watches resumed");
    const range =
      key === undefined
        ? { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) }
        : { key: bytesFromLatin1(key), rangeEnd: new Uint8Array(0) };
    const skipped = plant === "watch resumes late" && resume !== undefined ? 1 : 0;
    const id = stream.watch({ ...range, startRevision: startRevision + skipped });
    if (typeof id !== "number") throw id;
    let isCompacted = false;
    const untilMs = clock.monotonicMs() + 20_000 * random.float();
    while (clock.monotonicMs() < untilMs && !life.isOver && !isCompacted) {
      await sleep(clock, around(random, 200));
      if (life.isOver) break;
      if (random.float() < 0.1) stream.requestProgress(id);
      for (const batch of stream.take(1 + randomBelow(random, 4))) {
        if (batch.compactRevision > 0) isCompacted = true;
        else {
          const events = batch.events.map(watchedEvent);
          trace.count("watch events", events.length);
          for (const part of delivered(events, plant)) {
            this.#cluster.guard(() => check.take(part, batch.revision));
          }
        }
      }
      this.#cluster.guard(() => check.compare(ledger));
    }
    if (!life.isOver) stream.close();
    return isCompacted ? undefined : check;
  }
}

/** A batch as it reaches the client: as it was sent, but for a planted bug. */
function delivered(events: WatchedEvent[], plant: Plant): WatchedEvent[][] {
  const first = events[0];
  if (first === undefined) return [events];
  switch (plant) {
    case "watch loses":
      return events.length > 1 ? [events.slice(1)] : [];
    case "watch repeats":
      return [events, events];
    case "watch swaps":
      return [events.toReversed()];
    case "watch splits": {
      const cut = events.findIndex(
        ({ modRevision }, i) => modRevision === events[i - 1]?.modRevision,
      );
      return cut < 0 ? [events] : [events.slice(0, cut), events.slice(cut)];
    }
    default:
      return [events];
  }
}
