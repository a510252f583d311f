/** Clusters of three: elections, partitions, catching up, joining, leases. */

import { describe, expect, test } from "vitest";
import type { LeaseGrantResponse } from "@etcd-ts/api";

import { ClusterFixture, ClusterMember } from "./cluster-fixture.ts";
import type { LeaseTimeToLiveResult, MemberChangeResult, StatusResult } from "./server-api.ts";
import { INTERNAL_CONTEXT } from "./server-api.ts";

async function started(options: ConstructorParameters<typeof ClusterFixture>[0] = {}) {
  const cluster = new ClusterFixture(options);
  await cluster.startAll();
  const leader = await cluster.elect();
  const followers = cluster.members.filter((member) => member !== leader);
  return { cluster, leader, followers };
}

async function putMany(
  cluster: ClusterFixture,
  member: ClusterMember,
  count: number,
  prefix = "key",
): Promise<void> {
  for (let i = 0; i < count; i++) await cluster.put(member, `${prefix}${i}`, `value${i}`);
}

describe("replication", () => {
  test("every member takes writes and gives linearizable reads", async () => {
    const { cluster } = await started();
    for (const [i, writer] of cluster.members.entries()) {
      await cluster.put(writer, "key", `value${i}`);
      for (const reader of cluster.members) {
        expect(await cluster.get(reader, "key")).toBe(`value${i}`);
      }
    }
    expect((await cluster.hashes()).size).toBe(1);
    for (const { server } of cluster.members) {
      expect(server!.facts().clusterVersion).toBe("3.6.0");
    }
  });

  test("messages that get lost cost time, not data", async () => {
    const { cluster, followers } = await started({ seed: 7 });
    cluster.lossPercent = 10;
    for (let i = 0; i < 20; i++) {
      await cluster.run(cluster.putLater(followers[0]!, `k${i}`, "v").catch(() => undefined));
    }
    cluster.lossPercent = 0;
    await cluster.elect();
    await cluster.put(followers[1]!, "last", "v");
    expect((await cluster.hashes()).size).toBe(1);
  });

  test("nothing acknowledged is lost when the leader loses power", async () => {
    const { cluster, leader, followers } = await started({ seed: 3 });
    await putMany(cluster, leader, 20);
    await cluster.crash(leader);
    const next = await cluster.elect();
    expect(next).not.toBe(leader);
    for (let i = 0; i < 20; i++)
      expect(await cluster.get(followers[0]!, `key${i}`)).toBe(`value${i}`);
    await cluster.put(followers[1]!, "after", "crash");
    await cluster.run(cluster.start(leader));
    expect(await cluster.get(leader, "after")).toBe("crash");
    expect((await cluster.hashes()).size).toBe(1);
  });
});

describe("partitions", () => {
  test("a leader cut off stops leading and answers nothing stale", async () => {
    const { cluster, leader, followers } = await started();
    await cluster.put(leader, "key", "old");
    cluster.isolate([leader]);
    const stale = cluster.getLater(leader, "key").catch((error: Error) => error.message);
    const lost = cluster.putLater(leader, "key", "lost").catch((error: Error) => error.message);
    const next = await cluster.elect(followers);
    await cluster.put(next, "key", "new");
    expect(await cluster.run(stale)).toContain("etcdserver: ");
    expect(await cluster.run(lost)).toContain("etcdserver: ");
    expect(leader.server!.facts().isLeader).toBe(false);
    const { errors } = leader.server!.status(INTERNAL_CONTEXT) satisfies StatusResult;
    expect(errors).toEqual(["etcdserver: no leader"]);
    expect(await cluster.get(leader, "key", { serializable: true })).toBe("old");
    cluster.heal();
    await cluster.elect();
    expect(await cluster.get(leader, "key")).toBe("new");
    expect((await cluster.hashes()).size).toBe(1);
  });

  test("a leader that was stopped gives no stale read when it goes on", async () => {
    const { cluster, leader, followers } = await started({ seed: 5 });
    await cluster.put(leader, "key", "old");
    leader.clock.pause();
    // Asked while it stands still: it still believes to lead when it wakes.
    const read = cluster.getLater(leader, "key").catch((error: Error) => error.message);
    const next = await cluster.elect(followers);
    await cluster.put(next, "key", "new");
    leader.clock.resume();
    expect(await cluster.run(read)).not.toBe("old");
    await cluster.elect();
    expect(await cluster.get(leader, "key")).toBe("new");
  });

  test("without a quorum nothing is acknowledged; with it all goes on", async () => {
    const { cluster, leader, followers } = await started();
    await cluster.stop(followers[0]!);
    await cluster.stop(followers[1]!);
    await expect(cluster.put(leader, "key", "value")).rejects.toThrow("etcdserver: ");
    await cluster.run(cluster.start(followers[0]!));
    await cluster.elect();
    await cluster.put(leader, "key", "value");
    expect(await cluster.get(followers[0]!, "key")).toBe("value");
  });
});

describe("catching up", () => {
  const config = { snapshotCount: 100, snapshotCatchUpEntries: 10 };

  test("a member behind the log is brought up by a snapshot, and starts from it", async () => {
    const { cluster, leader, followers } = await started({ config });
    const lagging = followers[0]!;
    await cluster.put(lagging, "before", "it");
    await cluster.stop(lagging);
    await putMany(cluster, leader, 300);
    await cluster.run(cluster.start(lagging));
    expect(await cluster.get(lagging, "key299")).toBe("value299");
    expect(lagging.logger.events.some(({ message }) => message === "applied snapshot")).toBe(true);
    expect((await cluster.hashes()).size).toBe(1);
    await cluster.crash(lagging);
    await cluster.run(cluster.start(lagging));
    expect(await cluster.get(lagging, "key299")).toBe("value299");
    expect((await cluster.hashes()).size).toBe(1);
  });

  test("a crash at any point of taking over a snapshot leaves a member that starts", async () => {
    for (let steps = 0; steps < 24; steps += 3) {
      const { cluster, leader, followers } = await started({ config, seed: steps + 1 });
      const lagging = followers[0]!;
      cluster.isolate([lagging]);
      await putMany(cluster, leader, 130);
      cluster.heal();
      lagging.disk.powerOffAfter(steps);
      await cluster.clock.advanceSettled(3000);
      await cluster.crash(lagging);
      await cluster.run(cluster.start(lagging));
      expect(await cluster.get(lagging, "key129")).toBe("value129");
      expect((await cluster.hashes()).size, `power off after ${steps}`).toBe(1);
    }
  });
});

describe("membership", () => {
  test("a member that was wiped is removed, added as a learner, promoted", async () => {
    const { cluster, leader, followers } = await started();
    const [staying, wiped] = followers as [ClusterMember, ClusterMember];
    await putMany(cluster, leader, 10);
    await cluster.clock.advanceSettled(6000);
    const oldID = wiped.id;
    await cluster.stop(wiped);
    await cluster.call<MemberChangeResult>((context, done) =>
      leader.server!.memberRemove(oldID, context, done),
    );
    await cluster.hashes();
    const fresh = new ClusterMember(wiped.name, cluster.clock);
    cluster.members[cluster.members.indexOf(wiped)] = fresh;
    const { member } = await cluster.call<MemberChangeResult>((context, done) =>
      staying.server!.memberAdd([fresh.peerURL], true, context, done),
    );
    expect(member!.id).not.toBe(oldID);
    await cluster.run(cluster.start(fresh, { initialClusterState: "existing" }));
    expect(fresh.server!.facts().isLearner).toBe(true);
    await cluster.hashes();
    // By way of a follower: only the leader knows how far the learner is.
    await cluster.call<MemberChangeResult>((context, done) =>
      staying.server!.memberPromote(fresh.id, context, done),
    );
    expect(await cluster.get(fresh, "key9")).toBe("value9");
    expect(fresh.server!.facts().isLearner).toBe(false);
    expect((await cluster.hashes()).size).toBe(1);
  });

  test("a member that is removed stops", async () => {
    const { cluster, leader, followers } = await started();
    await cluster.clock.advanceSettled(6000);
    await cluster.call<MemberChangeResult>((context, done) =>
      leader.server!.memberRemove(followers[0]!.id, context, done),
    );
    await cluster.clock.advanceSettled(3000);
    expect(followers[0]!.isRemoved).toBe(true);
    await cluster.put(leader, "key", "value");
  });

  test("a member that does not fit the cluster may not join", async () => {
    const { cluster } = await started();
    const stranger = new ClusterMember("m4", cluster.clock);
    const join = (initialCluster: ReadonlyMap<string, readonly string[]>): Promise<void> =>
      cluster.run(cluster.start(stranger, { initialClusterState: "existing", initialCluster }));
    const known = cluster.members.map(({ name, peerURL }) => [name, [peerURL]] as const);
    await expect(join(new Map([...known, ["m4", [stranger.peerURL]]]))).rejects.toThrow(
      "member count is unequal",
    );
    await expect(join(new Map([...known.slice(1), ["m4", [stranger.peerURL]]]))).rejects.toThrow(
      "PeerURLs: no match found for existing member",
    );
  });

  test("a quorum is not given away", async () => {
    const { cluster, leader, followers } = await started();
    await cluster.stop(followers[0]!);
    await cluster.clock.advanceSettled(6000);
    const removed = cluster.call<MemberChangeResult>((context, done) =>
      leader.server!.memberRemove(followers[1]!.id, context, done),
    );
    await expect(removed).rejects.toThrow("etcdserver: unhealthy cluster");
  });
});

describe("leases", () => {
  test("any member renews them and tells their time; a new leader counts on", async () => {
    const { cluster, leader, followers } = await started();
    const granted = await cluster.call<LeaseGrantResponse>((context, done) =>
      followers[0]!.server!.leaseGrant({ id: 0n, ttl: 10 }, context, done),
    );
    await cluster.run(cluster.putLater(followers[1]!, "key", "value", granted.id));
    await cluster.clock.advanceSettled(5000);
    const ttl = await cluster.call<number>((context, done) =>
      followers[1]!.server!.leaseRenew(granted.id, context, done),
    );
    expect(ttl).toBe(10);
    const told = await cluster.call<LeaseTimeToLiveResult>((context, done) =>
      followers[0]!.server!.leaseTimeToLive(granted.id, true, context, done),
    );
    expect(told.ttlSeconds).toBeGreaterThanOrEqual(9);
    expect(told.keys).toHaveLength(1);
    await cluster.stop(leader);
    await cluster.elect();
    await cluster.clock.advanceSettled(8000);
    expect(await cluster.get(followers[0]!, "key")).toBe("value");
    await cluster.clock.advanceSettled(8000);
    expect(await cluster.get(followers[0]!, "key")).toBeUndefined();
  });
});

describe("leadership", () => {
  test("a leader that stops hands it over", async () => {
    const { cluster, leader, followers } = await started();
    const term = leader.server!.facts().raftTerm;
    await cluster.stop(leader);
    const next = await cluster.elect();
    expect(followers).toContain(next);
    expect(next.server!.facts().leaderID).not.toBe(0n);
    await cluster.put(next, "key", "value");
    expect(next.server!.facts().raftTerm).toBe(term + 1);
  });

  test("it moves where it is told to", async () => {
    const { cluster, leader, followers } = await started();
    await cluster.call<void>((context, done) =>
      leader.server!.moveLeader(followers[1]!.id, context, done),
    );
    expect(await cluster.elect()).toBe(followers[1]);
    const refused = cluster.call<void>((context, done) =>
      leader.server!.moveLeader(followers[0]!.id, context, done),
    );
    await expect(refused).rejects.toThrow("etcdserver: not leader");
  });
});
