/** The time leases have left, across leaders and restarts. */

import { describe, expect, test } from "vitest";
import type { LeaseGrantResponse } from "@etcd-ts/api";

import { started } from "../cluster-fixture.ts";
import type { ClusterFixture } from "../cluster-fixture.ts";
import type { LeaseTimeToLiveResult, ServerConfig } from "../server-api.ts";

describe("lease checkpoints", () => {
  const TTL_SECONDS = 600;
  const INTERVAL_MS = 20_000;

  async function secondsLeft(cluster: ClusterFixture, id: bigint): Promise<number> {
    const leader = await cluster.elect();
    const { ttlSeconds } = await cluster.call<LeaseTimeToLiveResult>((context, done) =>
      leader.server!.leaseTimeToLive(id, false, context, done),
    );
    return ttlSeconds;
  }

  async function afterLeaderChanges(config: Partial<ServerConfig>) {
    const { cluster, leader } = await started({
      config: { ...config, leaseCheckpointIntervalMs: INTERVAL_MS },
    });
    const { id } = await cluster.call<LeaseGrantResponse>((context, done) =>
      leader.server!.leaseGrant({ id: 0n, ttl: TTL_SECONDS }, context, done),
    );
    await cluster.clock.advanceSettled(2.4 * INTERVAL_MS);
    await cluster.crash(leader);
    const changed = await secondsLeft(cluster, id);
    await cluster.run(cluster.start(leader));
    await cluster.clock.advanceSettled(1.4 * INTERVAL_MS);
    // All of them: only what is on disk is left.
    for (const member of cluster.members) await cluster.crash(member);
    const restarting = cluster.members.map((member) => cluster.start(member));
    await cluster.run(Promise.all(restarting));
    return { cluster, id, changed, restarted: await secondsLeft(cluster, id) };
  }

  test("the time left outlives leaders and restarts", async () => {
    const { cluster, id, changed, restarted } = await afterLeaderChanges({ leaseCheckpoint: true });
    // Checkpoints came after 20, 40 and, of the next leader, 60 seconds.
    expect(changed).toBeGreaterThan(TTL_SECONDS - 40 - 9);
    expect(changed).toBeLessThan(TTL_SECONDS - 40 + 4);
    expect(restarted).toBeGreaterThan(TTL_SECONDS - 60 - 9);
    expect(restarted).toBeLessThan(TTL_SECONDS - 60 + 4);
    // A renewal clears them everywhere.
    const [member] = cluster.members;
    await cluster.call<number>((context, done) => member!.server!.leaseRenew(id, context, done));
    await cluster.crash(await cluster.elect());
    expect(await secondsLeft(cluster, id)).toBeGreaterThan(TTL_SECONDS - 9);
  });

  test("without them a new leader counts anew", async () => {
    const { changed, restarted } = await afterLeaderChanges({});
    expect(changed).toBeGreaterThan(TTL_SECONDS - 9);
    expect(restarted).toBeGreaterThan(TTL_SECONDS - 9);
  });
});
