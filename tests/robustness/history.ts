/**
 * What watchers of all members have told of the history so far, while compactions take its
 * beginning away: what was told stays known, and reads of the past are judged by it.
 */

import type { KeyValue, RpcError } from "@etcd-ts/api";
import { latin1FromBytes } from "@etcd-ts/base";
import { RevisionLedger } from "../../sim/src/checkers/revision-ledger.ts";
import type { WatchedEvent } from "../../sim/src/checkers/watch-check.ts";
import { ViolationError } from "../../sim/src/violation.ts";

interface PastRead {
  readonly revision: number;
  readonly text: string;
  readonly who: string;
}

export class History {
  readonly ledger = new RevisionLedger();
  readonly #reads: PastRead[] = [];
  #toldTo = 1;
  #compactedTo = 0;

  /** All revisions up to it have been told; the first change is revision 2. */
  get toldTo(): number {
    return this.#toldTo;
  }

  /** Somebody asked for a compaction up to it, which may have happened. */
  get compactedTo(): number {
    return this.#compactedTo;
  }

  compacting(revision: number): void {
    this.#compactedTo = Math.max(this.#compactedTo, revision);
  }

  /** @param who - for the report */
  tell(events: readonly WatchedEvent[], who: string): void {
    for (const [revision, changes] of byRevision(events)) this.ledger.tell(revision, changes, who);
    while (this.ledger.changesAt(this.#toldTo + 1) !== undefined) this.#toldTo++;
  }

  /** @throws {ViolationError} if nobody asked for the compaction a member tells of */
  mustBeCompacted(revision: number, who: string): void {
    if (revision <= this.#compactedTo) return;
    throw new ViolationError(
      "durability",
      `${who} has compacted ${revision}, asked for was ${this.#compactedTo}`,
    );
  }

  /** All pairs as they were at `revision`, which had been told. */
  readPast(revision: number, pairs: readonly KeyValue[], who: string): void {
    const text = pairs.map(({ key, value }) => `${latin1FromBytes(key)}=${latin1FromBytes(value)}`);
    this.#reads.push({ revision, text: text.sort().join(" "), who });
  }

  /** @returns how many there were. @throws {ViolationError} if one of them saw something else */
  checkPastReads(): number {
    const pairs = new Map<string, string>();
    let at = 1;
    for (const read of this.#reads.toSorted((a, b) => a.revision - b.revision)) {
      while (at < read.revision) {
        for (const { key, value } of this.ledger.changesAt(++at) ?? []) {
          if (value === undefined) pairs.delete(key);
          else pairs.set(key, value);
        }
      }
      const expected = [...pairs].map(([key, value]) => `${key}=${value}`).sort();
      if (read.text === expected.join(" ")) continue;
      throw new ViolationError(
        "state machine",
        `${read.who} has "${read.text}" at revision ${read.revision}, was "${expected.join(" ")}"`,
      );
    }
    return this.#reads.length;
  }
}

/** Where a watch has to begin anew; undefined if `error` is not about a compaction. */
export function compactRevisionOf(error: RpcError): number | undefined {
  const told = (error as { compactRevision?: number }).compactRevision ?? 0;
  return told > 0 ? told : undefined;
}

function byRevision(events: readonly WatchedEvent[]): Map<number, WatchedEvent[]> {
  const groups = new Map<number, WatchedEvent[]>();
  for (const event of events) {
    const group = groups.get(event.modRevision);
    if (group === undefined) groups.set(event.modRevision, [event]);
    else group.push(event);
  }
  return groups;
}
