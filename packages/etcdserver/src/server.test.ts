import { describe, expect, test } from "vitest";

import {
  AlarmAction,
  AlarmType,
  PutRequestCodec,
  RPC_ERRORS,
  RangeRequestCodec,
  SERVER_ERRORS,
} from "@etcd-ts/api";
import type {
  AlarmMember,
  CompactionResponse,
  LeaseGrantResponse,
  LeaseRevokeResponse,
} from "@etcd-ts/api";

import { MemberFixture, bytes, promised, text } from "./member-fixture.ts";
import { INTERNAL_CONTEXT } from "./server-api.ts";
import type {
  LeaseTimeToLiveResult,
  MemberChangeResult,
  MemberListResult,
  ServerConfig,
} from "./server-api.ts";

async function started(config: Partial<ServerConfig> = {}): Promise<MemberFixture> {
  const member = new MemberFixture({ config });
  await member.start();
  return member;
}

function messages(member: MemberFixture): string[] {
  return member.logger.events.map((event) => event.message);
}

function grant(member: MemberFixture, id: bigint, ttl: number): Promise<LeaseGrantResponse> {
  return member.call((context, done) => member.server.leaseGrant({ id, ttl }, context, done));
}

function timeToLive(member: MemberFixture, id: bigint): Promise<LeaseTimeToLiveResult> {
  return member.call((context, done) => member.server.leaseTimeToLive(id, true, context, done));
}

function alarm(
  member: MemberFixture,
  action: number,
  kind: number = AlarmType.NONE,
): Promise<readonly AlarmMember[]> {
  const { memberID } = member.server.facts();
  return member.call((context, done) =>
    member.server.alarm({ action, memberID, alarm: kind }, context, done),
  );
}

describe("reads and writes", () => {
  test("put() and range() go through the log and survive a restart", async () => {
    const member = await started();
    const put = await member.put("a", "1");
    expect(put.header).toEqual(member.server.responseHeader(2));
    const { kvs, header } = await member.range("a");
    expect(kvs.map((kv) => text(kv.value))).toEqual(["1"]);
    expect(header).toEqual(member.server.responseHeader(2));
    await member.restart();
    expect(await member.contents()).toEqual(["a=1"]);
    expect(member.server.facts().currentRevision).toBe(2);
  });

  test("put() does not complete before it returned", async () => {
    const member = await started();
    let isReturned = false;
    let wasReturned: boolean | undefined;
    const done = (): void => {
      wasReturned = isReturned;
    };
    const request = { key: bytes("a"), value: bytes("1"), lease: 99n };
    const call = promised<unknown>((context, settle) =>
      member.server.put(
        { ...request, prevKV: false, ignoreValue: false, ignoreLease: false },
        context,
        (error, result) => {
          done();
          settle(error, result);
        },
      ),
    );
    isReturned = true;
    await expect(member.run(call)).rejects.toBe(SERVER_ERRORS.leaseNotFound);
    expect(wasReturned).toBe(true);
  });

  test("writes of one turn share one sync of the log", async () => {
    const member = await started();
    const before = member.disk.counts.dataSync;
    await member.run(
      Promise.all(Array.from({ length: 200 }, (_, i) => member.putLater(`${i}`, ""))),
    );
    const logged = member.disk.counts.dataSync - before;
    expect(logged).toBeLessThanOrEqual(3);
  });

  test("range() sees every write acknowledged before it was asked", async () => {
    const member = await started();
    for (let i = 0; i < 20; i++) {
      await member.put("k", `${i}`);
      expect(await member.contents()).toEqual([`k=${i}`]);
    }
  });

  test("range() of many keys is the same in slices as at once", async () => {
    const member = await started();
    const puts = Array.from({ length: 300 }, (_, i) => member.putLater(`k${i % 100}`, `${i}`));
    await member.run(Promise.all(puts));
    const { kvs, count, more } = await member.range("k", {
      rangeEnd: bytes("l"),
      limit: 7,
      sortOrder: 2,
      sortTarget: 3,
    });
    expect(kvs.map((kv) => text(kv.value))).toEqual([
      "299",
      "298",
      "297",
      "296",
      "295",
      "294",
      "293",
    ]);
    expect([count, more]).toEqual([100, true]);
  });

  test("range() refuses compacted and future revisions", async () => {
    const member = await started();
    await member.put("a", "1");
    await member.put("a", "2");
    const compaction = { revision: 3, physical: true };
    await member.call<CompactionResponse>((context, done) =>
      member.server.compact(compaction, context, done),
    );
    await expect(member.range("a", { revision: 2 })).rejects.toBe(SERVER_ERRORS.compacted);
    await expect(member.range("a", { revision: 2, rangeEnd: bytes("b") })).rejects.toBe(
      SERVER_ERRORS.compacted,
    );
    await expect(member.range("a", { revision: 9 })).rejects.toBe(SERVER_ERRORS.futureRevision);
    await expect(
      member.call((context, done) => member.server.compact(compaction, context, done)),
    ).rejects.toBe(SERVER_ERRORS.compacted);
  });

  test("put() refuses a request larger than the limit, and nothing is lost", async () => {
    const member = await started({ maxRequestBytes: 1000 });
    await expect(member.put("a", "x".repeat(1000))).rejects.toBe(SERVER_ERRORS.requestTooLarge);
    await member.put("a", "x".repeat(900));
    expect(member.server.facts().currentRevision).toBe(2);
  });

  test("writes that wait for a leader go through once there is one", async () => {
    const member = new MemberFixture();
    await member.open();
    const put = member.putLater("a", "1");
    member.server.start();
    await member.run(put);
    expect(await member.contents()).toEqual(["a=1"]);
  });

  test("stop() tells everybody who waits, and those who come later", async () => {
    const member = await started();
    const outcomes = Promise.allSettled([
      member.putLater("a", "1"),
      promised<void>((context, done) => member.server.linearizableRead(context, done)),
    ]);
    await member.stop();
    const late = member.putLater("b", "1");
    const reasons = (await member.run(outcomes)).map((outcome) =>
      outcome.status === "rejected" ? outcome.reason : undefined,
    );
    expect(reasons).toEqual([SERVER_ERRORS.stopped, SERVER_ERRORS.stopped]);
    await expect(member.run(late)).rejects.toBe(SERVER_ERRORS.stopped);
    await member.stop();
  });
});

describe("failures of the disk", () => {
  test("a log that cannot be written ends the member, and nothing is acknowledged", async () => {
    const member = await started();
    await member.put("a", "1");
    const path = "/data/member/wal/0000000000000000-0000000000000000.wal";
    member.disk.fail({ operation: "dataSync", code: "IO", path, times: 1000 });
    await expect(member.put("a", "2")).rejects.toBe(SERVER_ERRORS.stopped);
    await member.clock.advanceSettled(1000);
    expect(member.fatal?.message).toContain("wal: failed");
    member.disk.crash();
    await member.start();
    expect(await member.contents()).toEqual(["a=1"]);
  });

  test("a backend that cannot be written ends the member; the log has what it lacks", async () => {
    const member = await started();
    await member.put("a", "1");
    await member.clock.advanceSettled(500);
    await member.put("a", "2");
    member.disk.fail({
      operation: "write",
      code: "NO_SPACE",
      path: "/data/member/snap/db",
      times: 1000,
    });
    await member.clock.advanceSettled(500);
    expect(member.fatal?.message).toContain("backend: failed to commit");
    member.disk.crash();
    await member.start();
    expect(await member.contents()).toEqual(["a=2"]);
  });
});

describe("quota and alarms", () => {
  test("a write over the quota raises NOSPACE, and deletions and disarming bring writes back", async () => {
    const member = await started({ quotaBackendBytes: 120_000 });
    const failures: unknown[] = [];
    for (let i = 0; i < 40 && failures.length === 0; i++) {
      await member.put(`k${i}`, "x".repeat(5000)).catch((error: unknown) => failures.push(error));
      await member.clock.advanceSettled(150);
    }
    expect(failures).toEqual([RPC_ERRORS.noSpace]);
    const { memberID } = member.server.facts();
    expect(await alarm(member, AlarmAction.GET)).toEqual([{ memberID, alarm: AlarmType.NOSPACE }]);
    expect(member.server.currentStatus().errors).toEqual([`memberID:${memberID} alarm:NOSPACE `]);
    // The quota of the API aside, apply itself refuses to grow.
    await expect(grant(member, 5n, 60)).rejects.toBe(RPC_ERRORS.noSpace);
    await member.restart();
    expect(await alarm(member, AlarmAction.GET)).toHaveLength(1);
    const all = { key: bytes("k"), rangeEnd: bytes("l"), prevKV: false };
    const { deleted } = await member.call<{ deleted: number }>((context, done) =>
      member.server.deleteRange(all, context, done),
    );
    expect(deleted).toBeGreaterThan(0);
    const { revision } = member.server.responseHeader(member.server.facts().currentRevision);
    await member.call((context, done) =>
      member.server.compact({ revision, physical: true }, context, done),
    );
    await member.call<void>((context, done) =>
      member.server.defragment(context, () => undefined, done),
    );
    expect(await alarm(member, AlarmAction.DEACTIVATE, AlarmType.NOSPACE)).toHaveLength(1);
    await member.put("after", "1");
    expect(member.server.currentStatus().errors).toEqual([]);
  });

  test("while the cluster is corrupt, keys are not touched through the log", async () => {
    const member = await started();
    await member.put("a", "1");
    await alarm(member, AlarmAction.ACTIVATE, AlarmType.CORRUPT);
    await expect(member.put("a", "2")).rejects.toBe(SERVER_ERRORS.corrupt);
    await expect(grant(member, 5n, 60)).rejects.toBe(SERVER_ERRORS.corrupt);
    expect(await member.contents()).toEqual(["a=1"]);
    expect(await alarm(member, AlarmAction.DEACTIVATE, AlarmType.NOSPACE)).toEqual([]);
    expect(await alarm(member, AlarmAction.DEACTIVATE, AlarmType.CORRUPT)).toHaveLength(1);
    await member.put("a", "2");
  });
});

describe("leases", () => {
  test("an expired lease takes its keys along, and a renewed one does not", async () => {
    const member = await started();
    const short = await grant(member, 0n, 5);
    const kept = await grant(member, 7n, 5);
    expect(short.id).toBeGreaterThan(0n);
    await member.put("gone", "1", { lease: short.id });
    await member.put("kept", "1", { lease: kept.id });
    for (let i = 0; i < 10; i++) {
      await member.clock.advanceSettled(1000);
      const ttl = await member.call<number>((context, done) =>
        member.server.leaseRenew(7n, context, done),
      );
      expect(ttl).toBe(5);
    }
    expect(await member.contents()).toEqual(["kept=1"]);
    expect((await timeToLive(member, short.id)).ttlSeconds).toBe(-1);
    const asked = await timeToLive(member, 7n);
    expect(asked.keys.map(text)).toEqual(["kept"]);
    expect([asked.ttlSeconds, asked.grantedTTLSeconds]).toEqual([5, 5]);
    await expect(
      member.call((context, done) => member.server.leaseRenew(short.id, context, done)),
    ).rejects.toBe(SERVER_ERRORS.leaseNotFound);
    expect(member.metrics.value("etcd_debugging_server_lease_expired_total")).toBe(1);
  });

  test("leases live through a restart, start anew, and expire then", async () => {
    const member = await started();
    await grant(member, 7n, 10);
    await member.put("a", "1", { lease: 7n });
    await member.put("b", "1");
    await member.clock.advanceSettled(6000);
    await member.restart();
    await member.clock.advanceSettled(8000);
    expect(await member.contents()).toEqual(["a=1", "b=1"]);
    const leases = await member.call<readonly bigint[]>((context, done) =>
      member.server.leaseLeases(context, done),
    );
    expect(leases).toEqual([7n]);
    await member.clock.advanceSettled(4500);
    expect(await member.contents()).toEqual(["b=1"]);
    await member.restart();
    expect(await member.contents()).toEqual(["b=1"]);
  });

  test("leaseGrant() and leaseRevoke() refuse what etcd refuses", async () => {
    const member = await started();
    await grant(member, 7n, 10);
    await expect(grant(member, 7n, 10)).rejects.toBe(SERVER_ERRORS.leaseExists);
    await expect(grant(member, 8n, 9_000_000_001)).rejects.toBe(SERVER_ERRORS.leaseTTLTooLarge);
    expect((await grant(member, 9n, -5)).ttl).toBe(2);
    const revoke = (id: bigint): Promise<LeaseRevokeResponse> =>
      member.call((context, done) => member.server.leaseRevoke({ id }, context, done));
    await revoke(7n);
    await expect(revoke(7n)).rejects.toBe(SERVER_ERRORS.leaseNotFound);
  });
});

describe("snapshots and old files", () => {
  test("snapshots let old log segments go, and a start from one has everything", async () => {
    const member = await started({
      snapshotCount: 50,
      snapshotCatchUpEntries: 10,
      snapshotFilesMax: 2,
      walFilesMax: 2,
      walSegmentBytes: 4096,
    });
    for (let i = 0; i < 400; i++) await member.put(`k${i % 20}`, `${i}`);
    const contents = await member.contents();
    const hash = await member.hashKV();
    await member.clock.advanceSettled(31_000);
    expect(messages(member)).toContain("saved snapshot to disk");
    const snaps = (await member.run(member.disk.list("/data/member/snap"))).filter((name) =>
      name.endsWith(".snap"),
    );
    expect(snaps).toHaveLength(2);
    const segments = (await member.run(member.disk.list("/data/member/wal"))).filter((name) =>
      name.endsWith(".wal"),
    );
    expect(segments.length).toBeLessThan(10);
    member.logger.events.length = 0;
    await member.restart();
    expect(messages(member)).toContain("recovered v2 store from snapshot");
    expect(await member.contents()).toEqual(contents);
    expect(await member.hashKV()).toBe(hash);
  });

  test("a start that finds the database behind a snapshot names it", async () => {
    const member = await started({ snapshotCount: 20 });
    for (let i = 0; i < 60; i++) await member.put("k", `${i}`);
    await member.stop();
    await member.run(member.disk.remove("/data/member/snap/db"));
    await expect(member.open()).rejects.toThrow("/data/member/snap/db");
  });
});

describe("starting", () => {
  test("the member publishes itself and the cluster version, in etcd's words", async () => {
    const member = await started({ advertiseClientURLs: ["http://10.0.0.1:2379"] });
    await member.clock.advanceSettled(100);
    expect(messages(member)).toEqual(
      expect.arrayContaining([
        "starting etcd server",
        "published local member to cluster through raft",
        "setting up initial cluster version using v3 API",
        "cluster version is updated",
      ]),
    );
    expect(member.server.facts().clusterVersion).toBe("3.6.0");
    expect(member.server.currentStatus().storageVersion).toBe("3.6.0");
    const { members } = await member.call<MemberListResult>((context, done) =>
      member.server.memberList(true, context, done),
    );
    expect(members.map(({ name, clientURLs }) => [name, clientURLs])).toEqual([
      ["m1", ["http://10.0.0.1:2379"]],
    ]);
    expect(member.metrics.value("etcd_server_has_leader")).toBe(1);
    expect(member.metrics.value("etcd_cluster_version", { cluster_version: "3.6" })).toBe(1);
  });

  test("ids follow from the URLs and the token, as etcd computes them", async () => {
    const member = await started();
    // The reference's ids for http://localhost:2380 and "etcd-cluster".
    expect(member.server.facts().memberID.toString(16)).toBe("8e9e05c52164694d");
    expect(member.server.facts().clusterID.toString(16)).toBe("cdf818194e3a8c32");
  });

  test("a second member on the same directory is refused", async () => {
    const member = await started();
    await expect(member.open()).rejects.toMatchObject({ code: "LOCKED" });
  });

  test("a configuration that does not name the member is refused", async () => {
    const nameless = new MemberFixture({
      config: { initialCluster: new Map([["other", ["http://a:1"]]]) },
    });
    await expect(nameless.open()).rejects.toThrow(`couldn't find local name "m1"`);
    const joining = new MemberFixture({ config: { initialClusterState: "existing" } });
    await expect(joining.open()).rejects.toThrow("joining a cluster needs a peer transport");
  });

  test("a damaged log record in the middle is named with its offset, and nothing is dropped", async () => {
    const member = await started();
    for (let i = 0; i < 50; i++) await member.put(`k${i}`, "x".repeat(100));
    await member.stop();
    const path = "/data/member/wal/0000000000000000-0000000000000000.wal";
    member.disk.flipBit(path, 3000);
    await expect(member.open()).rejects.toMatchObject({ code: "CORRUPTION", path });
    member.disk.flipBit(path, 3000);
    await member.start();
    expect(await member.contents()).toHaveLength(50);
  });

  test("a data directory of version 2 is refused", async () => {
    const member = new MemberFixture();
    await member.run(member.disk.makeDirectory("/data/proxy"));
    await expect(member.open()).rejects.toThrow("/data/proxy");
  });
});

describe("membership and maintenance", () => {
  test("the peer URLs of the only member can be changed, and last", async () => {
    const member = await started();
    const { memberID } = member.server.facts();
    const result = await member.call<MemberChangeResult>((context, done) =>
      member.server.memberUpdate(memberID, ["http://new:2380"], context, done),
    );
    expect(result.member?.peerURLs).toEqual(["http://new:2380"]);
    await member.restart();
    const { members } = await member.call<MemberListResult>((context, done) =>
      member.server.memberList(false, context, done),
    );
    expect(members.map(({ name, peerURLs }) => [name, peerURLs])).toEqual([
      ["m1", ["http://new:2380"]],
    ]);
    await member.put("a", "1");
  });

  test("changes that would lose the quorum, or need peers, are refused", async () => {
    const member = await started();
    const { memberID } = member.server.facts();
    await expect(
      member.call((context, done) => member.server.memberRemove(memberID, context, done)),
    ).rejects.toBe(SERVER_ERRORS.notEnoughStartedMembers);
    await expect(
      member.call((context, done) => member.server.memberAdd(["http://b:1"], false, context, done)),
    ).rejects.toMatchObject({ code: "UNIMPLEMENTED" });
    await expect(
      member.call((context, done) => member.server.memberPromote(memberID, context, done)),
    ).rejects.toBe(SERVER_ERRORS.memberNotLearner);
    await expect(
      member.call((context, done) => member.server.memberUpdate(5n, ["http://b:1"], context, done)),
    ).rejects.toBe(SERVER_ERRORS.memberIDNotFound);
    await member.put("a", "1");
  });

  test("moveLeader() answers for a member alone", async () => {
    const member = await started();
    const move = (id: bigint): Promise<void> =>
      member.call((context, done) => member.server.moveLeader(id, context, done));
    await move(member.server.facts().memberID);
    await expect(move(5n)).rejects.toBe(SERVER_ERRORS.badLeaderTransferee);
  });

  test("downgrade() validates, enables, lowers the versions and cancels", async () => {
    const member = await started();
    await member.clock.advanceSettled(100);
    const downgrade = (action: number, version: string): Promise<{ version: string }> =>
      member.call((context, done) => member.server.downgrade({ action, version }, context, done));
    expect(await downgrade(0, "3.5")).toEqual({ version: "3.6" });
    await expect(downgrade(0, "3.4.0")).rejects.toBe(SERVER_ERRORS.invalidDowngradeTargetVersion);
    await expect(downgrade(0, "x")).rejects.toBe(SERVER_ERRORS.wrongDowngradeVersionFormat);
    await expect(downgrade(7, "3.5")).rejects.toBe(SERVER_ERRORS.unknownMethod);
    expect(await downgrade(2, "")).toEqual({ version: "3.6" });
    await downgrade(1, "3.5.0");
    expect(member.server.currentStatus().downgrade).toEqual({
      enabled: true,
      targetVersion: "3.5.0",
    });
    await expect(downgrade(1, "3.5.0")).rejects.toBe(SERVER_ERRORS.downgradeInProcess);
    await member.clock.advanceSettled(15_000);
    expect(member.server.facts().clusterVersion).toBe("3.5.0");
    expect(member.server.currentStatus().storageVersion).toBe("3.5.0");
    expect(await downgrade(2, "")).toEqual({ version: "3.5" });
    await member.clock.advanceSettled(15_000);
    expect(member.server.facts().clusterVersion).toBe("3.6.0");
    expect(member.server.currentStatus().storageVersion).toBe("3.6.0");
  });

  test("a saved image holds everything put before", async () => {
    const member = await started();
    await member.put("a", "1");
    const { version, image } = await member.run(member.server.snapshot(INTERNAL_CONTEXT));
    expect(version).toBe("3.6.0");
    const chunks: Uint8Array[] = [];
    const collect = async (): Promise<void> => {
      for await (const chunk of image.chunks()) chunks.push(chunk);
    };
    await member.run(collect());
    image.close();
    const sizeBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    expect(sizeBytes).toBe(image.sizeBytes);
    expect(chunks.some((chunk) => text(chunk).includes("a"))).toBe(true);
  });
});

describe("fairness", () => {
  test("callers that ask again at once do not keep others from their turn", async () => {
    const member = await started();
    let asked = 0;
    let turns = 0;
    const isOver = (): boolean => turns >= 5 || asked > 100_000;
    const again = (): void => {
      asked++;
      if (!isOver()) member.server.linearizableRead(INTERNAL_CONTEXT, again);
    };
    const countTurn = (): void => {
      turns++;
      if (!isOver()) member.clock.nextTurn(countTurn);
    };
    again();
    countTurn();
    await member.clock.advanceSettled(10);
    expect(turns).toBe(5);
    expect(asked).toBeLessThan(1000);
  });

  test("a write proposed while the loop goes to sleep does not wait for a tick", async () => {
    const member = await started();
    for (let i = 0; i < 50; i++) {
      const startMs = member.clock.monotonicMs();
      // Ranges of many keys answer from a promise, at any point between two turns of the loop.
      await member.run(
        promised<unknown>((context, done) => {
          const all = { key: bytes("\0"), rangeEnd: bytes("\0") };
          member.server.range(RangeRequestCodec.create(all), context, () => {
            const put = PutRequestCodec.create({ key: bytes("k"), value: bytes(`${i}`) });
            member.server.put(put, context, done);
          });
        }),
      );
      expect(member.clock.monotonicMs() - startMs).toBeLessThan(50);
    }
  });
});
