import { expect, test } from "vitest";

import { Lease } from "@etcd-ts/api";
import type { LeaseKeepAliveResponse } from "@etcd-ts/api";

import { failure, ServicesFixture, text } from "./services-fixture.ts";

test("leases are granted, told of, listed and revoked", async () => {
  const f = await ServicesFixture.start();
  const granted = await f.channel.unary(Lease.LeaseGrant, { ttl: 100, id: 0x77n });
  expect(granted).toMatchObject({ id: 0x77n, ttl: 100, error: "" });
  expect(granted.header).toEqual(f.server.responseHeader(1));
  await f.put("b", "", { lease: 0x77n });
  await f.put("a", "", { lease: 0x77n });
  const told = await f.channel.unary(Lease.LeaseTimeToLive, {
    $typeName: "etcdserverpb.LeaseTimeToLiveRequest",
    ID: 0x77n,
    keys: true,
  });
  expect(told).toMatchObject({ ID: 0x77n, grantedTTL: 100n });
  expect(told.keys.map(text)).toEqual(["a", "b"]);
  expect(Number(told.TTL)).toBeGreaterThan(90);
  const missing = await f.channel.unary(Lease.LeaseTimeToLive, {
    $typeName: "etcdserverpb.LeaseTimeToLiveRequest",
    ID: 0x78n,
    keys: true,
  });
  expect(missing).toMatchObject({ ID: 0x78n, TTL: -1n, grantedTTL: 0n, keys: [] });
  expect(missing.header?.revision).toBe(3n);
  const listed = await f.channel.unary(Lease.LeaseLeases, {
    $typeName: "etcdserverpb.LeaseLeasesRequest",
  });
  expect(listed.leases.map(({ ID }) => ID)).toEqual([0x77n]);
  const revoked = await f.channel.unary(Lease.LeaseRevoke, { id: 0x77n });
  expect(revoked.header).toEqual(f.server.responseHeader(4));
  expect(await failure(f.channel.unary(Lease.LeaseRevoke, { id: 0x77n }))).toMatchObject({
    grpcCode: 5,
    message: "etcdserver: requested lease not found",
  });
  await f.stop();
});

test("LeaseKeepAlive answers in order, TTL 0 for a missing lease, and ends with its requests", async () => {
  const f = await ServicesFixture.start();
  await f.channel.unary(Lease.LeaseGrant, { ttl: 60, id: 5n });
  const stream = f.channel.stream(Lease.LeaseKeepAlive);
  const answers: LeaseKeepAliveResponse[] = [];
  const ended = new Promise((resolve) => stream.onEnd(resolve));
  stream.onMessage((response) => answers.push(response));
  for (const id of [5n, 6n, 5n, 7n]) stream.send({ id });
  stream.end();
  expect(await ended).toBeUndefined();
  expect(answers.map(({ id, ttl }) => [id, ttl])).toEqual([
    [5n, 60],
    [6n, 0],
    [5n, 60],
    [7n, 0],
  ]);
  expect(answers[0]?.header).toEqual(f.server.responseHeader(1));
  expect(f.services.openCalls).toBe(0);
  await f.stop();
});

test("LeaseKeepAlive takes no more requests while its answers are not read", async () => {
  const f = await ServicesFixture.start();
  await f.channel.unary(Lease.LeaseGrant, { ttl: 60, id: 5n });
  const stream = f.channel.stream(Lease.LeaseKeepAlive);
  let answers = 0;
  stream.onMessage(() => answers++);
  const ended = new Promise((resolve) => stream.onEnd(resolve));
  stream.pause();
  let sent = 0;
  while (sent < 10_000 && stream.send({ id: 5n })) sent++;
  expect(sent).toBeLessThan(10_000);
  stream.end();
  stream.resume();
  expect(await ended).toBeUndefined();
  expect(answers).toBe(sent + 1);
  await f.stop();
});
