/**
 * Random faults against three members: power cuts, partitions, lost messages, pauses, with the log
 * compacted so early that snapshots are common. Nothing acknowledged may be lost, and in the end all
 * members hold the same.
 *
 * ETCD_TS_SOAK=1 runs more seeds; ETCD_TS_SEED=n runs that one alone.
 */

import { randomBelow } from "@etcd-ts/base";
import { expect, test } from "vitest";

import { ClusterFixture } from "./cluster-fixture.ts";
import type { ClusterMember } from "./cluster-fixture.ts";

const { env } = (globalThis as { process?: { env: { [name: string]: string | undefined } } })
  .process ?? { env: {} };
/** A member was stopped before it was ready, and its start never ended. */
const FOUND_SOMETHING = [34];
const FIRST_SEEDS = env["ETCD_TS_SOAK"] === undefined ? 5 : 200;
const SEEDS =
  env["ETCD_TS_SEED"] === undefined
    ? [...FOUND_SOMETHING, ...Array.from({ length: FIRST_SEEDS }, (_, i) => i + 1)]
    : [Number(env["ETCD_TS_SEED"])];
const STEPS = 50;

class Run {
  readonly cluster: ClusterFixture;
  readonly acknowledged = new Set<string>();
  readonly #pending: Promise<unknown>[] = [];
  #puts = 0;

  constructor(seed: number) {
    this.cluster = new ClusterFixture({
      seed,
      config: { snapshotCount: 40, snapshotCatchUpEntries: 5 },
    });
  }

  get #member(): ClusterMember {
    const { members, random } = this.cluster;
    return members[randomBelow(random, members.length)]!;
  }

  async step(): Promise<void> {
    const { cluster } = this;
    const member = this.#member;
    switch (randomBelow(cluster.random, 10)) {
      case 0:
        if (member.isRunning && !member.clock.isPaused) await cluster.crash(member);
        break;
      case 1:
      case 2:
        if (!member.isRunning) this.#start(member);
        break;
      case 3:
        cluster.isolate([member]);
        break;
      case 4:
      case 5:
        cluster.heal();
        cluster.lossPercent = randomBelow(cluster.random, 3) * 10;
        break;
      case 6:
        if (member.clock.isPaused) member.clock.resume();
        else if (member.isRunning) member.clock.pause();
        break;
      default:
        for (let i = randomBelow(cluster.random, 30); i >= 0; i--) this.#put(this.#member);
    }
    await cluster.clock.advanceSettled(randomBelow(cluster.random, 1500));
  }

  #put(member: ClusterMember): void {
    if (!member.isRunning || member.clock.isPaused) return;
    const key = `key${this.#puts++}`;
    const put = this.cluster.putLater(member, key, key);
    this.#pending.push(
      put.then(
        () => this.acknowledged.add(key),
        () => undefined,
      ),
    );
  }

  #start(member: ClusterMember): void {
    this.#pending.push(this.cluster.start(member).catch(() => undefined));
  }

  /** Everything is well again; what was on its way settles. */
  async end(): Promise<void> {
    const { cluster } = this;
    cluster.heal();
    cluster.lossPercent = 0;
    for (const member of cluster.members) {
      member.clock.resume();
      if (!member.isRunning) this.#start(member);
    }
    await cluster.run(Promise.all(this.#pending));
    await cluster.elect();
  }
}

test.each(SEEDS)("nothing acknowledged is lost, seed %i", async (seed) => {
  const run = new Run(seed);
  const { cluster } = run;
  await cluster.startAll();
  for (let i = 0; i < STEPS; i++) await run.step();
  await run.end();
  for (const { fatal, name } of cluster.members) expect(fatal, name).toBeUndefined();
  for (const member of cluster.members) {
    for (const key of run.acknowledged) expect(await cluster.get(member, key)).toBe(key);
  }
  expect((await cluster.hashes()).size).toBe(1);
  expect(run.acknowledged.size).toBeGreaterThan(0);
});
