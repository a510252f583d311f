/** The public npm client `etcd3` uses each of its calls against a member in this process. */

import { startEtcd } from "@etcd-ts/embed";
import type { Etcd } from "@etcd-ts/embed";
import { Etcd3, EtcdLeaseInvalidError, EtcdLockFailedError } from "etcd3";
import type { IKeyValue } from "etcd3";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

let etcd: Etcd;
let client: Etcd3;

beforeAll(async () => {
  etcd = await startEtcd();
  client = new Etcd3({ hosts: [...etcd.endpoints] });
});

afterAll(async () => {
  client.close();
  await etcd.stop();
});

beforeEach(async () => {
  await client.delete().all();
});

function once<T>(subscribe: (resolve: (value: T) => void) => void): Promise<T> {
  return new Promise(subscribe);
}

describe("etcd3 keys", () => {
  test("puts and gets as text, number, JSON and bytes", async () => {
    await client.put("foo").value("bar");
    expect(await client.get("foo").string()).toBe("bar");
    await client.put("n").value(42);
    expect(await client.get("n").number()).toBe(42);
    await client.put("j").value('{"a":1}');
    expect(await client.get("j").json()).toEqual({ a: 1 });
    expect((await client.get("foo").buffer())?.toString()).toBe("bar");
    expect(await client.get("foo").exists()).toBe(true);
    expect(await client.get("none").string()).toBeNull();
    const previous = await client.put("foo").value("baz").getPrevious();
    expect(String(previous.value)).toBe("bar");
    await client.put("foo").touch();
    expect(await client.get("foo").string()).toBe("baz");
    expect((await client.get("foo").exec()).kvs[0]?.version).toBe("3");
  });

  test("lists, sorts, limits and counts", async () => {
    for (const [key, value] of [
      ["a1", "3"],
      ["a2", "1"],
      ["a3", "2"],
      ["b", "9"],
    ] as const) {
      await client.put(key).value(value);
    }
    expect(await client.getAll().prefix("a").strings()).toEqual({ a1: "3", a2: "1", a3: "2" });
    expect(await client.getAll().prefix("a").keys()).toEqual(["a1", "a2", "a3"]);
    expect(await client.getAll().prefix("a").sort("Value", "Descend").keys()).toEqual([
      "a1",
      "a3",
      "a2",
    ]);
    expect(await client.getAll().prefix("a").limit(2).count()).toBe(3);
    expect(await client.getAll().inRange({ start: "a2", end: "b" }).numbers()).toEqual({
      a2: 1,
      a3: 2,
    });
    expect((await client.getAll().all().exec()).more).toBe(false);
    const old = (await client.get("a1").exec()).header.revision;
    await client.put("a1").value("new");
    expect(await client.get("a1").revision(old).string()).toBe("3");
  });

  test("deletes", async () => {
    await client.put("d1").value("x");
    await client.put("d2").value("y");
    const gone = await client.delete().key("d1").getPrevious();
    expect(String(gone[0]?.value)).toBe("x");
    expect((await client.delete().prefix("d").exec()).deleted).toBe("1");
    expect((await client.delete().key("none").exec()).deleted).toBe("0");
    expect((await client.delete().inRange({ start: "a", end: "z" }).exec()).deleted).toBe("0");
  });

  test("runs transactions", async () => {
    const create = (key: string) =>
      client
        .if(key, "Create", "==", 0)
        .then(client.put(key).value("1"))
        .else(client.get(key))
        .commit();
    expect((await create("t")).succeeded).toBe(true);
    const second = await create("t");
    expect(second.succeeded).toBe(false);
    expect(second.responses).toHaveLength(1);
    await client
      .if("t", "Value", "==", "1")
      .and("t", "Version", "<", 5)
      .then(client.delete().key("t"))
      .commit();
    expect(await client.get("t").exists()).toBe(false);
  });

  test("runs software transactional memory", async () => {
    await client.put("counter").value(1);
    const add = () =>
      client.stm().transact(async (tx) => {
        const value = (await tx.get("counter").number()) ?? 0;
        await tx.put("counter").value(value + 1);
      });
    await Promise.all([add(), add(), add()]);
    expect(await client.get("counter").number()).toBe(4);
  });

  test("works below a namespace", async () => {
    const ns = client.namespace("user/");
    await ns.put("k").value("v");
    expect(await client.get("user/k").string()).toBe("v");
    expect(await ns.getAll().strings()).toEqual({ k: "v" });
  });
});

describe("etcd3 watch", () => {
  test("sees puts and deletes of a prefix, and the past", async () => {
    const start = Number((await client.get("x").exec()).header.revision) + 1;
    await client.put("w/1").value("a");
    const watcher = await client
      .watch()
      .prefix("w/")
      .startRevision(String(start))
      .withPreviousKV()
      .create();
    const events: string[] = [];
    watcher.on("put", (kv: IKeyValue) => events.push(`put ${String(kv.key)}=${String(kv.value)}`));
    watcher.on("delete", (kv: IKeyValue) => events.push(`delete ${String(kv.key)}`));
    await client.put("w/2").value("b");
    const deleted = once<void>((resolve) => watcher.on("delete", () => resolve()));
    await client.delete().key("w/1");
    await deleted;
    expect(events).toEqual(["put w/1=a", "put w/2=b", "delete w/1"]);
    await watcher.cancel();
  });

  test("serves many watchers of one stream", async () => {
    const watchers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => client.watch().key(`many/${i}`).create()),
    );
    const seen = Promise.all(
      watchers.map((w) =>
        once<string>((resolve) => w.on("put", (kv: IKeyValue) => resolve(String(kv.key)))),
      ),
    );
    for (let i = 0; i < 20; i++) await client.put(`many/${i}`).value("x");
    expect(await seen).toEqual(watchers.map((_, i) => `many/${i}`));
    await Promise.all(watchers.map((w) => w.cancel()));
  });
});

describe("etcd3 leases", () => {
  test("grants, keeps alive, revokes and takes keys along", async () => {
    const lease = client.lease(10);
    await lease.put("leased").value("x");
    const id = await lease.grant();
    const left = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
    expect(left.grantedTTL).toBe("10");
    expect(left.keys.map(String)).toEqual(["leased"]);
    await lease.keepaliveOnce();
    expect((await client.leaseClient.leaseLeases()).leases.map(({ ID }) => ID)).toContain(id);
    await lease.revoke();
    expect(await client.get("leased").exists()).toBe(false);
    const lost = client.lease(10, { autoKeepAlive: false });
    const lostID = await lost.grant();
    await client.leaseClient.leaseRevoke({ ID: lostID });
    await expect(lost.put("x").value("y")).rejects.toThrow(EtcdLeaseInvalidError);
  });
});

describe("etcd3 concurrency", () => {
  test("locks", async () => {
    const lock = client.lock("mutex").ttl(10);
    await lock.acquire();
    await expect(client.lock("mutex").acquire()).rejects.toThrow(EtcdLockFailedError);
    await lock.release();
    expect(await client.lock("mutex").do(() => Promise.resolve("done"))).toBe("done");
  });

  test("elects", async () => {
    const election = client.election("vote", 10);
    const campaign = election.campaign("first");
    await once<void>((resolve) => campaign.on("elected", () => resolve()));
    expect(await election.leader()).toBe("first");
    const observer = await election.observe();
    await expect.poll(() => observer.leader()).toBe("first");
    await campaign.proclaim("renamed");
    await expect.poll(() => observer.leader()).toBe("renamed");
    await campaign.resign();
    await observer.cancel();
  });
});

describe("etcd3 cluster and maintenance", () => {
  test("lists members", async () => {
    const { members } = await client.cluster.memberList({ linearizable: true } as never);
    expect(members).toHaveLength(1);
    expect(members[0]?.clientURLs).toEqual([...etcd.endpoints]);
    const added = await client.cluster.memberAdd({
      peerURLs: ["http://127.0.0.1:1"],
      isLearner: true,
    } as never);
    await client.cluster.memberUpdate({ ID: added.member.ID, peerURLs: ["http://127.0.0.1:2"] });
    const removed = await client.cluster.memberRemove({ ID: added.member.ID });
    expect(removed.members).toHaveLength(1);
  });

  test("tells status and hash, defragments, snapshots, lists alarms", async () => {
    await client.put("m").value("x");
    const status = await client.maintenance.status();
    expect(status.version).toMatch(/^3\.6\./);
    expect(status.leader).toBe(status.header.member_id);
    expect((await client.maintenance.hash()).hash).toBeGreaterThan(0);
    await client.maintenance.defragment();
    expect((await client.maintenance.alarm({ action: "Get" } as never)).alarms).toEqual([]);
    const snapshot = await client.maintenance.snapshot();
    let bytes = 0;
    await once<void>((resolve) => {
      snapshot.on("data", (part) => {
        bytes += part.blob.length;
      });
      snapshot.on("end", resolve);
    });
    expect(bytes % 512).toBe(32);
  });

  test("compacts", async () => {
    for (let i = 0; i < 5; i++) await client.put("c").value(i);
    const { revision } = (await client.get("c").exec()).header;
    await client.kv.compact({ revision, physical: true });
    await expect(
      client
        .get("c")
        .revision(Number(revision) - 2)
        .string(),
    ).rejects.toThrow("compacted");
  });
});
