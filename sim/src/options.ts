/**
 * The options of one run, all drawn from the seed ("swarm"): some runs have a fault often, some
 * never, so that no fault hides behind another.
 */

import { SeededRandom, randomBelow } from "@etcd-ts/base";
import type { Random } from "@etcd-ts/base";

export const FAULTS = [
  "power loss",
  "power loss in a write",
  "kill",
  "slow disk",
  "full disk",
  "sync error",
  "bit rot",
  "partition",
  "one-way partition",
  "cut link",
  "isolated leader",
  "pause",
  "clock jump",
  "leader transfer",
  "compaction",
  "defragmentation",
  "member replacement",
  "paused leader",
] as const;

export type Fault = (typeof FAULTS)[number];

/** Bugs planted in a whole run, for tests that show that its judges see them. */
export type Plant =
  | "nothing"
  /** Members do not wait for the disk. */
  | "no sync"
  /** They do for the database, but not for votes and entries. */
  | "log without syncs"
  /** Any member answers reads from what it has. */
  | "stale reads"
  /** One that takes itself for the leader does. */
  | "stale reads of leaders"
  /** The user with few rights is taken for root. */
  | "guest is root"
  /** Every password is taken for the first one. */
  | "any password"
  /** Watches lose an event, deliver one again, in another order, in parts, or go on too far on. */
  | "watch loses"
  | "watch repeats"
  | "watch swaps"
  | "watch splits"
  | "watch resumes late"
  /** Leases are granted for a quarter of what is told; somebody keeps them alive for ever. */
  | "lease ends early"
  | "lease never ends"
  /** A downgrade is taken for canceled, and is not. */
  | "downgrade stays"
  /** Members grant every vote they are asked for; candidates take refusals for votes. */
  | "votes twice"
  | "counts refusals"
  /** Voters do not mind how short the log of a candidate is. */
  | "elects the outdated"
  /** Leaders take what they sent for stored, also where nothing arrives. */
  | "commits alone"
  /** Leaders send, or followers store, something else under the same index and term. */
  | "sends other entries"
  | "stores other entries";

export interface SimOptions {
  readonly seed: number;
  /** Members at the start: 1, 3 or 5. */
  readonly size: number;
  /** How long faults go on. */
  readonly faultMs: number;
  /** The mean time between two faults. */
  readonly faultIntervalMs: number;
  /** How likely each fault is, against the others; 0 never. */
  readonly weights: Readonly<Record<Fault, number>>;
  readonly clients: number;
  readonly watchers: number;
  readonly keys: number;
  /** The mean time a client waits between two calls. */
  readonly thinkMs: number;
  readonly heartbeatIntervalMs: number;
  readonly electionTimeoutMs: number;
  readonly snapshotCount: number;
  readonly snapshotCatchUpEntries: number;
  readonly walSegmentBytes: number;
  readonly preVote: boolean;
  /** Of messages between members. */
  readonly lossPercent: number;
  readonly duplicatePercent: number;
  readonly latencyMs: number;
  /** Of messages that take up to 50 times as long, and are overtaken. */
  readonly latePercent: number;
  /** How long the disk takes for a sync. */
  readonly syncMs: number;
  /** The greatest deviation of a member's clock from true time, in parts of 1000. */
  readonly driftPerMille: number;
  /** Leaders tell others how much of each lease is left. */
  readonly leaseCheckpoint: boolean;
  /** How often the leader compares the data of all members; 0 never. */
  readonly corruptCheckMs: number;
  readonly compactHashCheckMs: number;
  /** Users count, and one of them asks for what it may and for what it may not. */
  readonly hasUsers: boolean;
  /** An operator begins downgrades, and cancels them. */
  readonly hasDowngrades: boolean;
  readonly plant: Plant;
}

export function drawOptions(seed: number, faultMs?: number): SimOptions {
  const random = new SeededRandom(seed).split("options");
  const heartbeatIntervalMs = pick(random, [50, 100, 100, 200]);
  const weights = Object.fromEntries(
    FAULTS.map((fault) => [fault, pick(random, [0, 1, 1, 3])]),
  ) as Record<Fault, number>;
  // Costs as much in half the time.
  const isBusy = random.float() < 0.33;
  return {
    seed,
    size: pick(random, [1, 3, 3, 3, 5, 5]),
    faultMs: faultMs ?? (isBusy ? 30_000 : 60_000) * pick(random, [3, 6, 9]),
    faultIntervalMs: pick(random, [1500, 4000, 8000, 15_000]),
    weights,
    clients: 2 + randomBelow(random, 4),
    watchers: 1 + randomBelow(random, 3),
    keys: 3 + randomBelow(random, 10),
    thinkMs: isBusy ? 200 : pick(random, [1000, 3000]),
    heartbeatIntervalMs,
    electionTimeoutMs: heartbeatIntervalMs * pick(random, [5, 10, 10]),
    snapshotCount: pick(random, [20, 60, 200, 10_000]),
    snapshotCatchUpEntries: pick(random, [5, 20, 100]),
    walSegmentBytes: pick(random, [4, 16, 64]) * 1024,
    preVote: random.float() < 0.8,
    lossPercent: pick(random, [0, 0, 1, 10]),
    duplicatePercent: pick(random, [0, 0, 1, 10]),
    latencyMs: pick(random, [0.5, 1, 5]),
    latePercent: pick(random, [0, 0, 1, 5]),
    syncMs: pick(random, [0, 1, 4]),
    driftPerMille: pick(random, [0, 0, 5, 20]),
    hasUsers: random.float() < 0.3,
    leaseCheckpoint: random.float() < 0.3,
    corruptCheckMs: pick(random, [0, 5000]),
    compactHashCheckMs: pick(random, [0, 3000]),
    hasDowngrades: random.float() < 0.3,
    plant: "nothing",
  };
}

export function optionText(options: SimOptions): string {
  const { weights, ...others } = options;
  const shown = Object.entries(others).map(([name, value]) => `${name}=${value}`);
  const faults = FAULTS.filter((fault) => weights[fault] > 0).map(
    (fault) => `${fault}:${weights[fault]}`,
  );
  return `${shown.join(" ")} faults=[${faults.join(", ")}]`;
}

export function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[randomBelow(random, choices.length)]!;
}

/** Uniform in [half, one and a half] of `mean`. */
export function around(random: Random, mean: number): number {
  return mean * (0.5 + random.float());
}
