/** Addresses of a service, in the layout of etcd's Go client. */

import { stringFromUtf8 } from "@etcd-ts/base";
import { startEtcd } from "@etcd-ts/embed";
import type { Etcd } from "@etcd-ts/embed";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client, ServiceAddresses, Session } from "./index.ts";
import type { ServiceChange } from "./index.ts";

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

describe("ServiceAddresses", () => {
  test("writes and reads what Go programs read and write", async () => {
    const service = new ServiceAddresses(client, "svc");
    await service.add("svc/a", { address: "127.0.0.1:1" });
    const { kvs } = await client.kv.get("svc/a");
    expect(stringFromUtf8(kvs[0]!.value)).toBe('{"Op":0,"Addr":"127.0.0.1:1","Metadata":null}');
    await client.kv.put("svc/b", '{"Op":0,"Addr":"host:2","Metadata":{"weight":3}}');
    await client.kv.put("svc/old", '{"Op":0,"Addr":"host:3"}');
    for (const value of ["no JSON", "7", '{"Addr":7}']) await client.kv.put("svc/bad", value);
    expect([...(await service.list())]).toEqual([
      ["svc/a", { address: "127.0.0.1:1", metadata: null }],
      ["svc/b", { address: "host:2", metadata: { weight: 3 } }],
      ["svc/old", { address: "host:3", metadata: null }],
    ]);
  });

  test("does all of an update or nothing, and keeps to its service", async () => {
    const service = new ServiceAddresses(client, "own");
    const address = { address: "x:1" };
    await service.update([
      { kind: "add", key: "own/1", address },
      { kind: "add", key: "own/2", address },
    ]);
    const strange = service.update([
      { kind: "delete", key: "own/1" },
      { kind: "add", key: "other/1", address },
    ]);
    await expect(strange).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect((await service.list()).size).toBe(2);
    expect(() => new ServiceAddresses(client, "")).toThrow("name");
  });

  test("watch() tells what there is, what comes, and what goes with its lease", async () => {
    const service = new ServiceAddresses(client, "live");
    await service.add("live/1", { address: "one" });
    const session = await Session.create(client);
    const seen: ServiceChange[] = [];
    for await (const changes of service.watch()) {
      seen.push(...changes);
      if (seen.length === 1) {
        await service.add("live/2", { address: "two" }, { lease: session.leaseID });
      }
      if (seen.length === 2) await session.close();
      if (seen.length === 3) break;
    }
    expect(seen.map((change) => [change.kind, change.key])).toEqual([
      ["add", "live/1"],
      ["add", "live/2"],
      ["delete", "live/2"],
    ]);
    const abort = new AbortController();
    abort.abort();
    const none = service.watch({ signal: abort.signal }).next();
    await expect(none).rejects.toMatchObject({ code: "CANCELED" });
  });
});
