import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import fc from "fast-check";
import { compareBytes, stringFromUtf8 } from "@etcd-ts/base";
import type { Event } from "@etcd-ts/api";
import { startEtcd } from "@etcd-ts/embed";
import type { Etcd } from "@etcd-ts/embed";
import { freePort } from "../../../tests/processes/free-ports.ts";
import { Proxy } from "../../../tests/processes/relay.ts";
import {
  Client,
  compare,
  Election,
  errorText,
  keyRange,
  Mutex,
  op,
  parseEndpoint,
  prefixEnd,
  Session,
  Syncer,
  WatchCanceledError,
} from "./index.ts";

let etcd: Etcd;
let client: Client;

beforeAll(async () => {
  etcd = await startEtcd();
  client = new Client({ endpoints: etcd.endpoints, timeoutMs: 20_000 });
});

afterAll(async () => {
  await client.close();
  await etcd.stop();
});

const text = stringFromUtf8;

describe("parseEndpoint()", () => {
  test.each([
    ["127.0.0.1:2379", { kind: "tcp", host: "127.0.0.1", port: 2379 }, undefined],
    ["http://a.b:1", { kind: "tcp", host: "a.b", port: 1 }, false],
    ["https://a.b:1/", { kind: "tcp", host: "a.b", port: 1 }, true],
    ["[::1]:5", { kind: "tcp", host: "::1", port: 5 }, undefined],
    ["host", { kind: "tcp", host: "host", port: 2379 }, undefined],
    ["unix:/tmp/s", { kind: "unix", path: "/tmp/s" }, undefined],
    ["unixs://x", { kind: "unix", path: "x" }, true],
  ])("reads %s", (endpoint, address, isSecure) => {
    expect(parseEndpoint(endpoint)).toEqual({ text: endpoint, address, isSecure });
  });

  test.each(["", "a:b", "a:70000", "http://", "a b:1", "unix:"])("refuses %j", (endpoint) => {
    expect(() => parseEndpoint(endpoint)).toThrow("endpoint");
  });
});

test("prefixEnd() is above every key with the prefix and no other", () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(bytes, fc.uint8Array({ maxLength: 4 }), bytes, (prefix, rest, other) => {
      const end = prefixEnd(prefix);
      const isBelow = (key: Uint8Array): boolean =>
        (end.length === 1 && end[0] === 0) || compareBytes(key, end) < 0;
      expect(isBelow(Uint8Array.from([...prefix, ...rest]))).toBe(true);
      const hasPrefix = prefix.every((byte, i) => other[i] === byte);
      const inRange = compareBytes(other, prefix) >= 0 && isBelow(other);
      expect(inRange).toBe(hasPrefix);
    }),
  );
  const buffer = Buffer.from("a/");
  expect([...prefixEnd(buffer)]).toEqual([...Buffer.from("a0")]);
  expect(buffer.toString()).toBe("a/");
  expect(keyRange("", { prefix: true })).toEqual(keyRange("", { fromKey: true }));
});

describe("KVClient", () => {
  test("put(), get() and delete() do what they say", async () => {
    await client.kv.put("kv/a", "1");
    const second = await client.kv.put("kv/b", "2", { prevKV: true });
    expect(second.prevKV).toBeUndefined();
    const changed = await client.kv.put("kv/a", "3", { prevKV: true });
    expect(text(changed.prevKV!.value)).toBe("1");
    const all = await client.kv.get("kv/", { prefix: true, order: "DESCEND", sortBy: "KEY" });
    expect(all.kvs.map(({ key, value }) => `${text(key)}=${text(value)}`)).toEqual([
      "kv/b=2",
      "kv/a=3",
    ]);
    const old = await client.kv.get("kv/a", { revision: second.header!.revision });
    expect(text(old.kvs[0]!.value)).toBe("1");
    const count = await client.kv.get("kv/", { prefix: true, countOnly: true });
    expect([count.count, count.kvs.length]).toEqual([2, 0]);
    const gone = await client.kv.delete("kv/", { prefix: true, prevKV: true });
    expect([gone.deleted, gone.prevKVs.length]).toEqual([2, 2]);
  });

  test("txn() takes the branch its comparisons choose", async () => {
    const txn = () =>
      client.kv
        .txn()
        .if(compare.createRevision("txn/a", "=", 0))
        .do(op.put("txn/a", "new"))
        .else(op.get("txn/a"), op.delete("txn/a"));
    expect((await txn().commit()).succeeded).toBe(true);
    const second = await txn().commit();
    expect(second.succeeded).toBe(false);
    expect(second.responses.map(({ kind }) => kind)).toEqual(["range", "deleteRange"]);
  });

  test("errors carry etcd's codes", async () => {
    await expect(client.kv.put("", "x")).rejects.toMatchObject({ code: "EMPTY_KEY" });
    await expect(client.kv.get("a", { revision: 1e9 })).rejects.toMatchObject({
      code: "FUTURE_REVISION",
    });
    const error: unknown = await client.lease.revoke(123n).catch((cause: unknown) => cause);
    expect(errorText(error)).toBe("etcdserver: requested lease not found");
  });

  test("a request larger than the limit is not sent", async () => {
    const small = new Client({ endpoints: etcd.endpoints, sendMessageBytesMax: 100 });
    await expect(small.kv.put("a", "x".repeat(200))).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
    });
    await small.close();
  });
});

describe("failures of connections", () => {
  test("a dead endpoint is passed over", async () => {
    const dead = `127.0.0.1:${await freePort()}`;
    const failed: (string | undefined)[] = [];
    const two = new Client({
      endpoints: [dead, ...etcd.endpoints],
      timeoutMs: 10_000,
      onRetry: ({ endpoint }) => failed.push(endpoint),
    });
    await two.kv.put("failover", "x");
    // All are dialled together, so the dead one may have failed or not by now.
    expect(failed.filter((endpoint) => endpoint !== dead)).toEqual([]);
    await two.close();
  });

  test("a call ends at its deadline and at its signal", async () => {
    const lonely = new Client({ endpoints: [`127.0.0.1:${await freePort()}`] });
    await expect(lonely.kv.get("a", { timeoutMs: 200 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
      cause: { code: "UNAVAILABLE" },
    });
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 50);
    await expect(lonely.kv.get("a", { signal: abort.signal })).rejects.toMatchObject({
      code: "CANCELED",
    });
    await lonely.close();
  });

  test("a write that was sent is never sent again, a read is", async () => {
    const seen: string[] = [];
    const server = http2.createServer();
    server.on("stream", (stream, headers) => {
      seen.push(String(headers[":path"]));
      stream.on("error", () => undefined);
      stream.session?.destroy();
    });
    server.on("sessionError", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const { port } = server.address() as AddressInfo;
    const cut = new Client({ endpoints: [`127.0.0.1:${port}`], timeoutMs: 1000 });
    await expect(cut.kv.put("a", "b")).rejects.toMatchObject({ name: "RpcError" });
    expect(seen).toEqual(["/etcdserverpb.KV/Put"]);
    await expect(cut.kv.get("a")).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(seen.length).toBeGreaterThan(2);
    await cut.close();
    server.close();
  });
});

describe("Client.watch()", () => {
  test("delivers every event once and in order over cut connections", async () => {
    const proxy = await Proxy.listen(etcd.endpoints[0]!);
    const far = new Client({ endpoints: [proxy.endpoint] });
    const watcher = far.watch("resume/", { prefix: true });
    await watcher.created;
    const puts = 30;
    const writing = (async () => {
      for (let i = 0; i < puts; i++) {
        await client.kv.put(`resume/${i}`, String(i));
        if (i % 10 === 4) proxy.cut();
      }
    })();
    const values: string[] = [];
    for await (const { events } of watcher) {
      for (const event of events) values.push(text(event.kv!.value));
      if (values.length >= puts) break;
    }
    await writing;
    expect(values).toEqual(Array.from({ length: puts }, (_, i) => String(i)));
    await far.close();
    proxy.close();
  });

  test("joins fragments", async () => {
    const first = await client.kv.put("fragment/0", "x");
    const value = "x".repeat(600_000);
    for (let i = 0; i < 6; i++) await client.kv.put(`fragment/${i}`, value);
    const sizes: Event[] = [];
    const watcher = client.watch("fragment/", {
      prefix: true,
      startRevision: first.header!.revision,
    });
    for await (const response of watcher) {
      expect(response.fragment).toBe(false);
      sizes.push(...response.events);
      if (sizes.length >= 7) break;
    }
    expect(sizes.map(({ kv }) => kv!.value.length)).toEqual([1, ...Array<number>(6).fill(600_000)]);
  });

  test("reports compaction with the revision to go on from", async () => {
    const { header } = await client.kv.put("compact", "1");
    await client.kv.compact(header!.revision);
    const read = async () => {
      for await (const _ of client.watch("compact", { startRevision: 1 })) break;
    };
    const error: unknown = await read().catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(WatchCanceledError);
    expect(error).toMatchObject({ code: "COMPACTED", compactRevision: header!.revision });
  });

  test("answers requests for progress, and filters", async () => {
    const watcher = client.watch("progress", { noPut: true });
    await watcher.created;
    const { header } = await client.kv.put("progress", "x");
    watcher.requestProgress();
    for await (const response of watcher) {
      expect(response.events).toEqual([]);
      expect(response.header!.revision).toBeGreaterThanOrEqual(header!.revision);
      break;
    }
  });
});

describe("LeaseClient", () => {
  test("keepAlive() keeps keys; after revoke() it ends and they are gone", async () => {
    const { id, ttl } = await client.lease.grant(5);
    await client.kv.put("leased", "x", { lease: id });
    const info = await client.lease.timeToLive(id, { keys: true });
    expect(info.keys.map((key) => text(key))).toEqual(["leased"]);
    expect((await client.lease.list()).leases.map(({ ID }) => ID)).toContain(id);
    let renewals = 0;
    for await (const answer of client.lease.keepAlive(id)) {
      expect(answer.ttl).toBe(ttl);
      renewals++;
      if (renewals === 2) await client.lease.revoke(id);
    }
    expect(renewals).toBe(2);
    expect((await client.kv.get("leased")).count).toBe(0);
    await expect(client.lease.keepAliveOnce(id)).rejects.toMatchObject({
      code: "LEASE_NOT_FOUND",
    });
  });
});

describe("members", () => {
  test("list(), status(), hashKV(), alarms() and defragment() answer", async () => {
    const { members } = await client.cluster.list();
    expect(members).toHaveLength(1);
    const status = await client.maintenance.status();
    expect(status.leader).toBe(members[0]!.ID);
    const hash = await client.maintenance.hashKV();
    expect(hash.hashRevision).toBeGreaterThan(0n);
    expect((await client.maintenance.alarms()).alarms).toEqual([]);
    await client.maintenance.defragment();
    expect(await client.syncEndpoints()).toEqual(members[0]!.clientURLs);
  });

  test("snapshot() streams a whole file with its checksum", async () => {
    let bytes = 0;
    let remaining = -1n;
    for await (const part of client.maintenance.snapshot()) {
      bytes += part.blob.length;
      remaining = part.remainingBytes;
    }
    expect(bytes % 512).toBe(32);
    expect(remaining).toBe(0n);
  });
});

describe("concurrency", () => {
  test("Mutex is held by one session at a time", async () => {
    const sessions = await Promise.all(
      Array.from({ length: 4 }, () => Session.create(client, { ttlSeconds: 30 })),
    );
    let holders = 0;
    let turns = 0;
    await Promise.all(
      sessions.map(async (session) => {
        const mutex = new Mutex(session, "lock");
        for (let i = 0; i < 3; i++) {
          await mutex.lock();
          expect(++holders).toBe(1);
          const held = await client.kv.txn().if(mutex.isOwner()).commit();
          expect(held.succeeded).toBe(true);
          turns++;
          holders--;
          await mutex.unlock();
        }
      }),
    );
    expect(turns).toBe(12);
    await Promise.all(sessions.map((session) => session.close()));
  });

  test("tryLock() refuses while another session holds", async () => {
    const [a, b] = await Promise.all([Session.create(client), Session.create(client)]);
    const held = new Mutex(a, "try");
    await held.tryLock();
    await expect(new Mutex(b, "try").tryLock()).rejects.toMatchObject({ code: "LOCKED" });
    await held.unlock();
    await new Mutex(b, "try").tryLock();
    await Promise.all([a.close(), b.close()]);
  });

  test("lock() that is given up leaves the queue", async () => {
    const [a, b] = await Promise.all([Session.create(client), Session.create(client)]);
    await new Mutex(a, "leave").lock();
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 100);
    const waiting = new Mutex(b, "leave").lock({ signal: abort.signal });
    await expect(waiting).rejects.toMatchObject({ code: "CANCELED" });
    expect((await client.kv.get("leave/", { prefix: true })).count).toBe(1);
    await Promise.all([a.close(), b.close()]);
  });

  test("Election passes from leader to leader, and observe() sees it", async () => {
    const [a, b] = await Promise.all([Session.create(client), Session.create(client)]);
    const [first, second] = [new Election(a, "vote"), new Election(b, "vote")];
    await first.campaign("one");
    const campaign = second.campaign("two");
    const abort = new AbortController();
    const seen: string[] = [];
    for await (const { kv } of second.observe({ signal: abort.signal })) {
      seen.push(text(kv.value));
      if (seen.length === 1) await first.proclaim("uno");
      if (seen.length === 2) await first.resign();
      if (seen.length === 3) break;
    }
    await campaign;
    expect(seen).toEqual(["one", "uno", "two"]);
    await expect(first.proclaim("x")).rejects.toMatchObject({ code: "NOT_LEADER" });
    await Promise.all([a.close(), b.close()]);
  });

  test("Election.resume() goes on leading with the same lease, and only as long as its key is there", async () => {
    const before = await Session.create(client);
    const election = new Election(before, "resumed");
    await election.campaign("one");
    before.orphan();
    const after = new Session(client, before.leaseID);
    const { key, createRevision } = election;
    const resumed = Election.resume(after, "resumed", key, createRevision);
    await resumed.proclaim("two");
    expect(text((await resumed.leader())!.value)).toBe("two");
    await resumed.resign();
    expect(await resumed.leader()).toBeUndefined();
    const stale = Election.resume(after, "resumed", key, createRevision);
    await expect(stale.proclaim("three")).rejects.toMatchObject({ code: "NOT_LEADER" });
    await after.close();
  });
});

test("hash() is the same while nothing changes, and another one after a change", async () => {
  const { hash } = await client.maintenance.hash();
  expect((await client.maintenance.hash()).hash).toBe(hash);
  await client.kv.put("hashed", "x");
  expect((await client.maintenance.hash()).hash).not.toBe(hash);
});

test("Syncer gives what is there and then every change", async () => {
  for (let i = 0; i < 5; i++) await client.kv.put(`mirror/${i}`, "x");
  const syncer = new Syncer(client, "mirror/");
  const keys: string[] = [];
  for await (const kvs of syncer.base()) keys.push(...kvs.map(({ key }) => text(key)));
  expect(keys).toEqual(["mirror/0", "mirror/1", "mirror/2", "mirror/3", "mirror/4"]);
  await client.kv.delete("mirror/2");
  for await (const { events } of syncer.updates()) {
    expect(events.map(({ type, kv }) => [type, text(kv!.key)])).toEqual([[1, "mirror/2"]]);
    break;
  }
});
