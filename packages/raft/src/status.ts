/** What a member can tell of itself. */

import { hexFromID } from "@etcd-ts/base";
import { describeState } from "./describe.ts";
import type { HardState } from "./raftpb/types.ts";
import type { SoftState } from "./ready.ts";
import type { Progress } from "./tracker/progress.ts";
import type { Configuration } from "./tracker/tracker.ts";

export interface BasicStatus extends HardState, SoftState {
  readonly id: bigint;
  readonly applied: number;
  /** Who is to take over the leadership; 0n for nobody. */
  readonly leadTransferee: bigint;
}

export interface Status extends BasicStatus {
  readonly configuration: Configuration;
  /** Copies, in ascending order of members; empty unless this member leads. */
  readonly progress: ReadonlyMap<bigint, Progress>;
}

/** The status as one line of JSON, as etcd shows it. */
export function describeStatus(status: Status): string {
  const progress = [...status.progress].map(
    ([id, one]) =>
      `"${hexFromID(id)}":{"match":${one.match},"next":${one.next},` +
      `"state":"${one.toString().split(" ")[0]!}"}`,
  );
  return (
    `{"id":"${hexFromID(status.id)}","term":${status.term},"vote":"${hexFromID(status.vote)}",` +
    `"commit":${status.commit},"lead":"${hexFromID(status.leadID)}",` +
    `"raftState":"${describeState(status.state)}","applied":${status.applied},` +
    `"progress":{${progress.join(",")}},` +
    `"leadtransferee":"${hexFromID(status.leadTransferee)}"}`
  );
}
