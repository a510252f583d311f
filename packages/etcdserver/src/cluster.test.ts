/** Clusters of three: elections, partitions, catching up, joining, leases. */

import { describe, expect, test } from "vitest";
import { CompactionRequestCodec, KeyValueCodec } from "@etcd-ts/api";
import type { CompactionResponse, LeaseGrantResponse } from "@etcd-ts/api";
import { NULL_LOGGER, NULL_METRICS, decodeMessage, encodeMessage } from "@etcd-ts/base";
import { Backend } from "@etcd-ts/storage";

import { ClusterMember, putMany, started } from "./cluster-fixture.ts";
import type { ClusterFixture } from "./cluster-fixture.ts";
import type { LeaseTimeToLiveResult, MemberChangeResult, StatusResult } from "./server-api.ts";

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
    const { errors } = leader.server!.currentStatus() satisfies StatusResult;
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

  test("a member answers a leader that joined while it was down", async () => {
    const config = { strictReconfigCheck: false };
    const { cluster, leader, followers } = await started({ config });
    const [absent] = followers as [ClusterMember, ClusterMember];
    await cluster.clock.advanceSettled(6000);
    await cluster.stop(absent);
    const fresh = new ClusterMember("m4", cluster.clock);
    cluster.members.push(fresh);
    await cluster.call<MemberChangeResult>((context, done) =>
      leader.server!.memberAdd([fresh.peerURL], false, context, done),
    );
    await cluster.run(cluster.start(fresh, { initialClusterState: "existing" }));
    await cluster.hashes();
    await cluster.call<void>((context, done) => leader.server!.moveLeader(fresh.id, context, done));
    const running = cluster.members.filter((member) => member !== absent);
    expect(await cluster.elect(running)).toBe(fresh);
    await cluster.run(cluster.start(absent));
    await cluster.put(fresh, "key", "value");
    expect(await cluster.get(absent, "key")).toBe("value");
    expect((await cluster.hashes()).size).toBe(1);
  });

  test("a member that is removed while its database cannot be written ends with the reason", async () => {
    const { cluster, leader, followers } = await started();
    const [removed] = followers as [ClusterMember, ClusterMember];
    await cluster.clock.advanceSettled(6000);
    const path = "/data/member/snap/db";
    removed.disk.fail({ operation: "write", code: "NO_SPACE", path, times: Infinity });
    await cluster.call<MemberChangeResult>((context, done) =>
      leader.server!.memberRemove(removed.id, context, done),
    );
    await cluster.clock.advanceSettled(3000);
    expect(removed.fatal?.message).toContain("no space left on device");
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

  test("more learners than are allowed are refused at a start, in etcd's words", async () => {
    const { cluster, leader } = await started();
    await cluster.clock.advanceSettled(6000);
    const fresh = new ClusterMember("m4", cluster.clock);
    cluster.members.push(fresh);
    await cluster.call<MemberChangeResult>((context, done) =>
      leader.server!.memberAdd([fresh.peerURL], true, context, done),
    );
    const refused = "membership: too many learner members in cluster";
    const joining = { initialClusterState: "existing", maxLearners: 0 } as const;
    await expect(cluster.run(cluster.start(fresh, joining))).rejects.toThrow(refused);
    await cluster.stop(leader);
    await expect(cluster.run(cluster.start(leader, { maxLearners: 0 }))).rejects.toThrow(refused);
    await cluster.run(cluster.start(leader, { maxLearners: 1 }));
    await cluster.run(cluster.start(fresh, { ...joining, maxLearners: 1 }));
    expect(fresh.server!.facts().isLearner).toBe(true);
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

  test("a leader that stood still renews nothing before others confirm that it leads", async () => {
    const { cluster, leader, followers } = await started();
    const { id } = await cluster.call<LeaseGrantResponse>((context, done) =>
      leader.server!.leaseGrant({ id: 0n, ttl: 10 }, context, done),
    );
    const renew = (): Promise<number> =>
      cluster.call((context, done) => leader.server!.leaseRenew(id, context, done));
    // Nobody else was elected meanwhile: it asks, and goes on.
    leader.clock.pause();
    await cluster.clock.advanceSettled(500);
    leader.clock.resume();
    await cluster.clock.advanceSettled(10);
    expect(await renew()).toBe(10);
    cluster.isolate([leader]);
    leader.clock.pause();
    const successor = await cluster.elect(followers);
    await cluster.clock.advanceSettled(2000);
    leader.clock.resume();
    await cluster.clock.advanceSettled(250);
    expect(leader.server!.facts().isLeader).toBe(true);
    await expect(renew()).rejects.toThrow("etcdserver: ");
    cluster.heal();
    await cluster.elect();
    expect(cluster.leader()).toBe(successor);
    expect(await renew()).toBe(10);
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

/** Changes the value of the last record in the database of a member that does not run. */
async function corrupt(cluster: ClusterFixture, { disk, clock }: ClusterMember): Promise<void> {
  const path = "/data/member/snap/db";
  const options = { disk, clock, path, logger: NULL_LOGGER, metrics: NULL_METRICS };
  const backend = await cluster.run(Backend.open(options));
  let last: [Uint8Array, Uint8Array] | undefined;
  backend.forEach("key", (key, value) => {
    last = [key, value];
  });
  const kv = decodeMessage(KeyValueCodec, last![1]);
  const changed = { ...kv, encoded: undefined, value: new Uint8Array([1, 2, 3]) };
  backend.put("key", last![0], encodeMessage(KeyValueCodec, changed));
  await cluster.run(backend.close());
}

function corruptMembers({ server }: ClusterMember): string[] {
  return server!.currentStatus().errors.filter((text) => text.includes("CORRUPT"));
}

describe("corruption checks", () => {
  test("a member whose data differs does not start", async () => {
    const { cluster, leader, followers } = await started();
    await putMany(cluster, leader, 5);
    await cluster.hashes();
    const [good, bad] = followers as [ClusterMember, ClusterMember];
    await cluster.stop(good);
    await cluster.run(cluster.start(good, { initialCorruptCheck: true }));
    await cluster.stop(bad);
    await corrupt(cluster, bad);
    await expect(cluster.run(cluster.start(bad, { initialCorruptCheck: true }))).rejects.toThrow(
      "found data inconsistency with peers",
    );
  });

  async function withCorruptMember(config: {
    corruptCheckMs?: number;
    compactHashCheckMs?: number;
  }) {
    const { cluster, leader, followers } = await started({ config });
    await putMany(cluster, leader, 5);
    await cluster.hashes();
    await cluster.clock.advanceSettled(3000);
    expect(corruptMembers(leader)).toEqual([]);
    const bad = followers[0]!;
    await cluster.stop(bad);
    await corrupt(cluster, bad);
    await cluster.run(cluster.start(bad));
    return { cluster, leader, bad };
  }

  async function expectAlarm(cluster: ClusterFixture, leader: ClusterMember, bad: ClusterMember) {
    await cluster.clock.advanceSettled(5000);
    expect(corruptMembers(leader)).toHaveLength(1);
    expect(corruptMembers(leader)[0]).toContain(String(bad.id));
    await expect(cluster.put(leader, "key", "value")).rejects.toThrow("corrupt cluster");
  }

  test("the leader finds a member whose data differs now and then", async () => {
    const { cluster, leader, bad } = await withCorruptMember({ corruptCheckMs: 1000 });
    await expectAlarm(cluster, leader, bad);
  });

  test("the leader finds a member whose data differs by the hashes of compactions", async () => {
    const { cluster, leader, bad } = await withCorruptMember({ compactHashCheckMs: 1000 });
    const compact = (revision: number): Promise<CompactionResponse> => {
      const request = CompactionRequestCodec.create({ revision, physical: true });
      return cluster.call((context, done) => leader.server!.compact(request, context, done));
    };
    await compact(4);
    // The record that differs is one of those the next compaction looks at.
    await cluster.put(leader, "key4", "again");
    await compact(7);
    await expectAlarm(cluster, leader, bad);
  });
});

describe("force-new-cluster", () => {
  test("makes a cluster of one out of what a member has, which can grow again", async () => {
    const { cluster, leader, followers } = await started();
    await putMany(cluster, leader, 10);
    await cluster.hashes();
    const { clusterID } = leader.server!.facts();
    for (const member of cluster.members) await cluster.stop(member);
    const survivor = followers[0]!;
    await cluster.run(cluster.start(survivor, { forceNewCluster: true }));
    expect(await cluster.get(survivor, "key9")).toBe("value9");
    const list = await cluster.call<{ members: readonly unknown[] }>((context, done) =>
      survivor.server!.memberList(true, context, done),
    );
    expect(list.members).toHaveLength(1);
    expect(survivor.server!.facts().clusterID).toBe(clusterID);
    await cluster.stop(survivor);
    await cluster.run(cluster.start(survivor));
    await cluster.put(survivor, "key", "value");

    const fresh = new ClusterMember("m9", cluster.clock);
    cluster.members.splice(0, cluster.members.length, survivor, fresh);
    await cluster.call<MemberChangeResult>((context, done) =>
      survivor.server!.memberAdd([fresh.peerURL], false, context, done),
    );
    await cluster.run(cluster.start(fresh, { initialClusterState: "existing" }));
    expect(await cluster.get(fresh, "key9")).toBe("value9");
    expect((await cluster.hashes()).size).toBe(1);
  });
});
