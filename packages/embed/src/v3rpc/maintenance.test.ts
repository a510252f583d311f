import { createHash } from "node:crypto";

import { expect, test } from "vitest";

import { AlarmAction, AlarmType, Auth, Cluster, Health, Maintenance } from "@etcd-ts/api";
import type { SnapshotResponse } from "@etcd-ts/api";
import { defaultFeatureGates } from "../feature-gates.ts";

import { failure, ServicesFixture, until } from "./services-fixture.ts";

const SNAPSHOT = { $typeName: "etcdserverpb.SnapshotRequest" } as const;

/** The member raises it a moment after its cluster has agreed on a version. */
function hasStorageVersion(f: ServicesFixture): Promise<void> {
  return until(() => f.server.currentStatus().storageVersion === "3.6.0");
}

test("Snapshot sends the image in chunks that count down, then its SHA-256", async () => {
  const f = await ServicesFixture.start();
  for (let i = 0; i < 20; i++) await f.put(`k${i}`, "x".repeat(20_000));
  await hasStorageVersion(f);
  const stream = f.channel.stream(Maintenance.Snapshot);
  stream.send(SNAPSHOT);
  stream.end();
  const messages: SnapshotResponse[] = [];
  for await (const message of stream) messages.push(message);

  const digest = messages.pop()!;
  const sizes = messages.map(({ blob }) => blob.length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  expect(total).toBeGreaterThan(400_000);
  expect(sizes.slice(0, -1).every((size) => size === 32 * 1024)).toBe(true);
  let sent = 0;
  for (const { blob, remainingBytes, version, header } of messages) {
    sent += blob.length;
    expect({ remainingBytes, version, header }).toEqual({
      remainingBytes: BigInt(total - sent),
      version: "3.6.0",
      header: undefined,
    });
  }
  const hash = createHash("sha256");
  for (const { blob } of messages) hash.update(blob);
  expect(digest).toMatchObject({ remainingBytes: 0n, version: "3.6.0" });
  expect(Buffer.from(digest.blob)).toEqual(hash.digest());
  await f.stop();
});

test("Snapshot waits for a slow reader and closes its image when the reader goes", async () => {
  const f = await ServicesFixture.start();
  for (let i = 0; i < 20; i++) await f.put(`k${i}`, "x".repeat(20_000));
  const stream = f.channel.stream(Maintenance.Snapshot);
  let received = 0;
  stream.onMessage(({ blob }) => {
    received += blob.length;
    if (received > 100_000) stream.pause();
  });
  stream.send(SNAPSHOT);
  await until(() => received > 100_000);
  const stalled = received;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(received).toBe(stalled);
  expect(f.services.openCalls).toBe(1);
  stream.cancel();
  expect(f.services.openCalls).toBe(0);
  // An image that stays open would keep the backend from closing.
  await f.stop();
});

test("Status, hashes, alarms and moves tell what the member knows", async () => {
  const f = await ServicesFixture.start();
  await f.put("a");
  await hasStorageVersion(f);
  const status = await f.channel.unary(Maintenance.Status, {
    $typeName: "etcdserverpb.StatusRequest",
  });
  const facts = f.server.facts();
  expect(status).toMatchObject({
    version: "3.6.14",
    storageVersion: "3.6.0",
    leader: facts.memberID,
    raftTerm: BigInt(facts.raftTerm),
    dbSizeQuota: 2n ** 31n,
    isLearner: false,
    errors: [],
    downgradeInfo: { enabled: false, targetVersion: "" },
  });
  expect(status.header?.revision).toBe(2n);
  const hashKV = (revision: bigint) =>
    f.channel.unary(Maintenance.HashKV, { $typeName: "etcdserverpb.HashKVRequest", revision });
  const hash = await hashKV(0n);
  expect(hash).toMatchObject({ hashRevision: 2n, compactRevision: -1n });
  expect((await hashKV(2n)).hash).toBe(hash.hash);
  expect(await failure(hashKV(2n ** 62n))).toMatchObject({ grpcCode: 11 });
  const alarm = {
    action: AlarmAction.ACTIVATE,
    memberID: facts.memberID,
    alarm: AlarmType.NOSPACE,
  };
  expect((await f.channel.unary(Maintenance.Alarm, alarm)).alarms).toEqual([
    { memberID: facts.memberID, alarm: AlarmType.NOSPACE },
  ]);
  expect(await failure(f.put("b"))).toMatchObject({ grpcCode: 8 });
  const move = { $typeName: "etcdserverpb.MoveLeaderRequest", targetID: 4242n } as const;
  expect(await failure(f.channel.unary(Maintenance.MoveLeader, move))).toMatchObject({
    grpcCode: 9,
    message: "etcdserver: bad leader transferee",
  });
  await f.stop();
});

test("Defragment answers without a header and stops serving only where its gate is on", async () => {
  for (const gate of [false, true]) {
    const featureGates = { ...defaultFeatureGates(), StopGRPCServiceOnDefrag: gate };
    const f = await ServicesFixture.start({ config: { featureGates } });
    const statuses: number[] = [];
    const stream = f.channel.stream(Health.Watch);
    stream.onMessage(({ status }) => statuses.push(status));
    stream.send({ $typeName: "grpc.health.v1.HealthCheckRequest", service: "" });
    const response = await f.channel.unary(Maintenance.Defragment, {
      $typeName: "etcdserverpb.DefragmentRequest",
    });
    expect(response.header).toBeUndefined();
    expect(statuses).toEqual(gate ? [1, 2, 1] : [1]);
    await f.stop();
  }
});

test("the Cluster service names no revision, and refuses URLs nobody can reach", async () => {
  const f = await ServicesFixture.start();
  await f.put("a");
  const list = await f.channel.unary(Cluster.MemberList, {
    $typeName: "etcdserverpb.MemberListRequest",
    linearizable: true,
  });
  expect(list.members.map(({ name, isLearner }) => ({ name, isLearner }))).toEqual([
    { name: "m1", isLearner: false },
  ]);
  expect(list.header).toMatchObject({ revision: 0n, memberId: f.server.facts().memberID });
  const bad = ["", "127.0.0.1:2380", "ftp://a:1", "http://a", "http://a:1/x", "http://"];
  for (const peerURLs of [[], ...bad.map((url) => [url])]) {
    const request = {
      $typeName: "etcdserverpb.MemberAddRequest",
      peerURLs,
      isLearner: true,
    } as const;
    expect(await failure(f.channel.unary(Cluster.MemberAdd, request))).toMatchObject({
      grpcCode: 3,
      message: "etcdserver: given member URLs are invalid",
    });
  }
  await f.stop();
});

test("authentication is off, and cannot be enabled without root", async () => {
  const f = await ServicesFixture.start();
  const status = await f.channel.unary(Auth.AuthStatus, {
    $typeName: "etcdserverpb.AuthStatusRequest",
  });
  expect(status).toMatchObject({ enabled: false, authRevision: 1n });
  const refusal = await failure(
    f.channel.unary(Auth.AuthEnable, { $typeName: "etcdserverpb.AuthEnableRequest" }),
  );
  expect(refusal).toMatchObject({
    grpcCode: 9,
    message: "etcdserver: root user does not exist",
  });
  await f.stop();
});
