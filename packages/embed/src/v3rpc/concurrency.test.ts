import { describe, expect, test } from "vitest";

import { Election, Lease, Lock } from "@etcd-ts/api";
import type {
  CampaignResponse,
  LeaderKey,
  LeaderResponse,
  LockResponse,
  ResignResponse,
} from "@etcd-ts/api";
import type { CallOptions } from "@etcd-ts/rpc";

import { bytes, failure, ServicesFixture, text, until } from "./services-fixture.ts";

async function running(run: (f: ServicesFixture) => Promise<void>): Promise<void> {
  const f = await ServicesFixture.start();
  await run(f);
  expect(f.fatal).toBeUndefined();
  await waiting(f, 0);
  expect(f.server.store.watcherCounts()).toEqual({ synced: 0, unsynced: 0, victims: 0 });
  await f.stop();
  expect(f.services.openCalls).toBe(0);
}

async function grant(f: ServicesFixture, id: bigint): Promise<void> {
  await f.channel.unary(Lease.LeaseGrant, { ttl: 60, id });
}

function lock(
  f: ServicesFixture,
  name: string,
  lease: bigint,
  options?: CallOptions,
): Promise<LockResponse> {
  const request = { $typeName: "v3lockpb.LockRequest", name: bytes(name), lease } as const;
  return f.channel.unary(Lock.Lock, request, options);
}

function unlock(f: ServicesFixture, key: Uint8Array): Promise<unknown> {
  return f.channel.unary(Lock.Unlock, { $typeName: "v3lockpb.UnlockRequest", key });
}

function campaign(
  f: ServicesFixture,
  lease: bigint,
  value: string,
  options?: CallOptions,
): Promise<CampaignResponse> {
  const request = {
    $typeName: "v3electionpb.CampaignRequest",
    name: bytes("e"),
    lease,
    value: bytes(value),
  } as const;
  return f.channel.unary(Election.Campaign, request, options);
}

function proclaim(f: ServicesFixture, leader: LeaderKey | undefined, value: string) {
  const request = {
    $typeName: "v3electionpb.ProclaimRequest",
    leader,
    value: bytes(value),
  } as const;
  return f.channel.unary(Election.Proclaim, request);
}

function resign(f: ServicesFixture, leader: LeaderKey | undefined): Promise<ResignResponse> {
  const request = { $typeName: "v3electionpb.ResignRequest", leader } as const;
  return f.channel.unary(Election.Resign, request);
}

function leader(f: ServicesFixture): Promise<LeaderResponse> {
  const request = { $typeName: "v3electionpb.LeaderRequest", name: bytes("e") } as const;
  return f.channel.unary(Election.Leader, request);
}

/** Until `count` calls wait in the member. */
function waiting(f: ServicesFixture, count: number): Promise<void> {
  return until(() => f.server.store.watcherCounts().synced === count);
}

describe("Lock", () => {
  test("goes to its callers in the order they came, under the key of their lease", () =>
    running(async (f) => {
      for (const id of [0xan, 0xbn, 0xcn]) await grant(f, id);
      const first = await lock(f, "l", 0xan);
      expect(text(first.key)).toBe("l/a");
      expect(first.header?.revision).toBe(2n);
      const order: string[] = [];
      const others = [0xbn, 0xcn].map(async (lease, i) => {
        const held = await lock(f, "l", lease);
        order.push(text(held.key));
        return { held, i };
      });
      await waiting(f, 2);
      expect(await f.keysUnder("l/")).toEqual(["l/a", "l/b", "l/c"]);
      await unlock(f, first.key);
      const second = await others[0]!;
      expect(order).toEqual(["l/b"]);
      await unlock(f, second.held.key);
      const third = await others[1]!;
      expect(order).toEqual(["l/b", "l/c"]);
      expect(Number(third.held.header?.revision)).toBe(f.server.facts().currentRevision);
    }));

  test("is held again by the session that holds it", () =>
    running(async (f) => {
      await grant(f, 1n);
      const once = await lock(f, "l", 1n);
      const again = await lock(f, "l", 1n);
      expect(again.key).toEqual(once.key);
      expect(f.server.facts().currentRevision).toBe(2);
    }));

  test("makes a session of 60 s for a caller without a lease", () =>
    running(async (f) => {
      const held = await lock(f, "l", 0n);
      const leases = await f.channel.unary(Lease.LeaseLeases, {
        $typeName: "etcdserverpb.LeaseLeasesRequest",
      });
      expect(leases.leases.length).toBe(1);
      const ID = leases.leases[0]!.ID;
      expect(text(held.key)).toBe(`l/${ID.toString(16)}`);
      const told = await f.channel.unary(Lease.LeaseTimeToLive, {
        $typeName: "etcdserverpb.LeaseTimeToLiveRequest",
        ID,
        keys: false,
      });
      expect(told.grantedTTL).toBe(60n);
    }));

  test("is refused, with the text a client of the member is told, for a lease that is gone", () =>
    running(async (f) => {
      expect(await failure(lock(f, "l", 0x99n))).toMatchObject({
        grpcCode: 2,
        message: "etcdserver: requested lease not found",
      });
      expect(await failure(unlock(f, bytes("")))).toMatchObject({
        grpcCode: 2,
        message: "etcdserver: key is not provided",
      });
    }));

  test("is not given to a waiter whose own lease was lost meanwhile", () =>
    running(async (f) => {
      await grant(f, 1n);
      await grant(f, 2n);
      const held = await lock(f, "l", 1n);
      const second = failure(lock(f, "l", 2n));
      await waiting(f, 1);
      await f.channel.unary(Lease.LeaseRevoke, { id: 2n });
      await unlock(f, held.key);
      expect(await second).toMatchObject({ grpcCode: 2, message: "mutex: session is expired" });
    }));

  test("gives up its place in the queue when its caller goes", () =>
    running(async (f) => {
      for (const id of [1n, 2n, 3n]) await grant(f, id);
      const held = await lock(f, "l", 1n);
      const gone = new AbortController();
      const second = failure(lock(f, "l", 2n, { signal: gone.signal }));
      await waiting(f, 1);
      const third = lock(f, "l", 3n);
      await waiting(f, 2);
      gone.abort();
      expect(await second).toMatchObject({ grpcCode: 1 });
      await until(async () => (await f.keysUnder("l/")).join() === "l/1,l/3");
      await unlock(f, held.key);
      expect(text((await third).key)).toBe("l/3");
    }));

  test("ends with the member", async () => {
    const f = await ServicesFixture.start();
    await grant(f, 1n);
    await grant(f, 2n);
    await lock(f, "l", 1n);
    const second = failure(lock(f, "l", 2n));
    await waiting(f, 1);
    await f.stop();
    expect(await second).toMatchObject({ grpcCode: 14, message: "etcdserver: server stopped" });
  });
});

describe("Election", () => {
  test("Campaign waits for all older candidates; Resign lets the next one win", () =>
    running(async (f) => {
      await grant(f, 1n);
      await grant(f, 2n);
      expect(await failure(leader(f))).toMatchObject({
        grpcCode: 2,
        message: "election: no leader",
      });
      const first = await campaign(f, 1n, "one");
      expect(first.leader).toMatchObject({ lease: 1n, rev: 2n });
      expect(text(first.leader?.key)).toBe("e/1");
      const second = campaign(f, 2n, "two");
      await waiting(f, 1);
      expect(text((await leader(f)).kv?.value)).toBe("one");
      const left = await resign(f, first.leader);
      expect(left.header?.revision).toBe(4n);
      expect((await second).leader).toMatchObject({ lease: 2n, rev: 3n });
      expect(text((await leader(f)).kv?.value)).toBe("two");
    }));

  test("Campaign again proclaims the new value", () =>
    running(async (f) => {
      await grant(f, 1n);
      await campaign(f, 1n, "one");
      const again = await campaign(f, 1n, "uno");
      expect(again.leader).toMatchObject({ rev: 2n });
      expect(text((await leader(f)).kv?.value)).toBe("uno");
    }));

  test("Proclaim and Resign need a leadership that stands", () =>
    running(async (f) => {
      await grant(f, 1n);
      const missing = { grpcCode: 2, message: '"leader" field must be provided' };
      expect(await failure(proclaim(f, undefined, "x"))).toMatchObject(missing);
      expect(await failure(resign(f, undefined))).toMatchObject(missing);
      const won = await campaign(f, 1n, "one");
      await proclaim(f, won.leader, "uno");
      expect(text((await leader(f)).kv?.value)).toBe("uno");
      await resign(f, won.leader);
      expect(await failure(proclaim(f, won.leader, "x"))).toMatchObject({
        grpcCode: 2,
        message: "election: not leader",
      });
      // A resignation that comes too late is none to complain about.
      expect((await resign(f, won.leader)).header?.revision).toBe(4n);
    }));

  test("a candidate whose caller goes does not stay a candidate", () =>
    running(async (f) => {
      await grant(f, 1n);
      await grant(f, 2n);
      await campaign(f, 1n, "one");
      const gone = new AbortController();
      const second = failure(campaign(f, 2n, "two", { signal: gone.signal }));
      await waiting(f, 1);
      gone.abort();
      await second;
      await until(async () => (await f.keysUnder("e/")).join() === "e/1");
    }));

  test("Observe shows the leader there is, what it proclaims, and who comes after it", () =>
    running(async (f) => {
      await grant(f, 1n);
      await grant(f, 2n);
      const stream = f.channel.stream(Election.Observe);
      const seen: string[] = [];
      stream.onMessage(({ kv, header }) => seen.push(`${text(kv?.value)}@${header?.revision}`));
      stream.send({ $typeName: "v3electionpb.LeaderRequest", name: bytes("e") });
      await waiting(f, 1);
      const first = await campaign(f, 1n, "one");
      await until(() => seen.length === 1);
      await waiting(f, 1);
      await proclaim(f, first.leader, "uno");
      await until(() => seen.length === 2);
      const second = campaign(f, 2n, "two");
      await waiting(f, 2);
      await resign(f, first.leader);
      await second;
      await until(() => seen.length === 3);
      expect(seen).toEqual(["one@2", "uno@3", "two@5"]);
      stream.cancel();
    }));
});
