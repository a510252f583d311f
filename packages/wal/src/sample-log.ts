/** Logs for tests: small segments on a disk in memory. Not exported from the package. */

import { NULL_LOGGER, NULL_METRICS, VirtualClock } from "@etcd-ts/base";
import type { Disk } from "@etcd-ts/base";
import type { ConfState, Entry, HardState } from "@etcd-ts/raft";
import { segmentsOf } from "./segment-name.ts";
import type { WalSnapshot } from "./walpb.ts";
import type { WalOptions } from "./write-ahead-log.ts";

export const DIRECTORY = "/data/member/wal";
export const METADATA = new Uint8Array([8, 1, 16, 2]);
export const START: WalSnapshot = { index: 0, term: 0, confState: undefined };
export const VOTE = 0x8e9e05c52164694dn;

export const CONF_STATE: ConfState = {
  voters: [VOTE],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export function options(segmentBytes = 4096): WalOptions {
  return { logger: NULL_LOGGER, metrics: NULL_METRICS, clock: new VirtualClock(), segmentBytes };
}

export function entry(index: number, term = 1, dataBytes = 10): Entry {
  const data = new Uint8Array(dataBytes);
  for (let i = 0; i < dataBytes; i++) data[i] = 1 + ((index * 7 + term * 31 + i) % 255);
  return { type: "EntryNormal", term, index, data };
}

export function entries(from: number, count: number, term = 1, dataBytes = 10): Entry[] {
  return Array.from({ length: count }, (_, i) => entry(from + i, term, dataBytes));
}

export function hardState(commit: number, term = 1): HardState {
  return { term, vote: VOTE, commit };
}

/** Names of the segments, in order. */
export async function segmentNames(disk: Disk): Promise<string[]> {
  return segmentsOf(await disk.list(DIRECTORY)).map((segment) => segment.name);
}
