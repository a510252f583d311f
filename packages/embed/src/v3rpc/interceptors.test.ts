import { describe, expect, test } from "vitest";

import { KV, Maintenance, Watch } from "@etcd-ts/api";
import type { EtcdServer, ServerFacts, ServerOperations } from "@etcd-ts/etcdserver";
import { Metadata } from "@etcd-ts/rpc";

import { CLIENT_VERSIONS_MAX } from "./interceptors.ts";
import { failure, ServicesFixture, until } from "./services-fixture.ts";

/** The member, with some of what it knows about itself replaced. */
class Pretence {
  facts: Partial<ServerFacts> = {};

  readonly between = (server: EtcdServer): ServerOperations =>
    new Proxy<ServerOperations>(server, {
      get: (target, name) => {
        if (name === "facts") return () => ({ ...target.facts(), ...this.facts });
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
}

const HAS_LEADER = Metadata.of({ hasleader: "true" });

describe("a member without a leader", () => {
  test("refuses unary calls and new streams that require one, and no others", async () => {
    const pretence = new Pretence();
    const f = await ServicesFixture.start({ between: pretence.between });
    pretence.facts = { leaderID: 0n };
    const noLeader = { grpcCode: 14, message: "etcdserver: no leader" };
    const asked = f.range("a", { serializable: true }, { metadata: HAS_LEADER });
    expect(await failure(asked)).toMatchObject(noLeader);
    expect(await f.watch(HAS_LEADER).end()).toMatchObject(noLeader);
    await f.range("a", { serializable: true });
    const other = f.watch(Metadata.of({ hasleader: "false" }));
    other.create("a");
    expect(await other.next()).toMatchObject({ created: true });
    await f.stop();
  });

  test("ends open streams that require one after three missed checks, and no others", async () => {
    const pretence = new Pretence();
    const f = await ServicesFixture.start({
      between: pretence.between,
      config: { electionTimeoutMs: 30 },
    });
    const bound = f.watch(HAS_LEADER);
    const free = f.watch();
    for (const watch of [bound, free]) {
      watch.create("a");
      await watch.next();
    }
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(f.services.openCalls).toBe(2);
    pretence.facts = { leaderID: 0n };
    const startMs = performance.now();
    expect(await bound.end()).toMatchObject({ grpcCode: 14, message: "etcdserver: no leader" });
    expect(performance.now() - startMs).toBeGreaterThan(55);
    expect(f.services.openCalls).toBe(1);
    expect(f.server.store.watcherCounts().synced).toBe(1);
    await f.stop();
  });
});

test("a learner answers serializable ranges, Status and Snapshot, and nothing else", async () => {
  const pretence = new Pretence();
  const f = await ServicesFixture.start({ between: pretence.between });
  pretence.facts = { isLearner: true };
  const refusal = { grpcCode: 9, message: "etcdserver: rpc not supported for learner" };
  expect(await failure(f.range("a"))).toMatchObject(refusal);
  expect(await failure(f.put("a"))).toMatchObject(refusal);
  expect(await f.watch().end()).toMatchObject(refusal);
  await f.range("a", { serializable: true });
  await f.channel.unary(Maintenance.Status, { $typeName: "etcdserverpb.StatusRequest" });
  const snapshot = f.channel.stream(Maintenance.Snapshot);
  snapshot.send({ $typeName: "etcdserverpb.SnapshotRequest" });
  let messages = 0;
  for await (const message of snapshot) messages += message.blob.length > 0 ? 1 : 0;
  expect(messages).toBeGreaterThan(1);
  await f.stop();
});

test("a member in a cluster of a version it does not know answers nothing", async () => {
  const pretence = new Pretence();
  const f = await ServicesFixture.start({ between: pretence.between });
  pretence.facts = { clusterVersion: "9.0.0" };
  expect(await failure(f.range("a"))).toMatchObject({
    grpcCode: 9,
    message: "etcdserver: not capable",
  });
  // Before the first leader has decided there is no version to be wrong about.
  pretence.facts = { clusterVersion: undefined };
  await f.range("a");
  await f.stop();
});

describe("the client's version", () => {
  const name = "etcd_server_client_requests_total";

  test("is counted by kind of call, `unknown` if it is not told", async () => {
    const f = await ServicesFixture.start();
    const metadata = Metadata.of({ "client-api-version": "3.6" });
    await f.range("a");
    await f.range("a", {}, { metadata });
    await f.range("a", {}, { metadata });
    f.watch(metadata).create("a");
    const count = (type: string, version: string) =>
      f.metrics.value(name, { type, client_api_version: version });
    expect(count("unary", "unknown")).toBe(1);
    expect(count("unary", "3.6")).toBe(2);
    expect(count("stream", "3.6")).toBe(1);
    const broken = Metadata.of({ "client-api-version": "\xff" });
    expect(await failure(f.range("a", {}, { metadata: broken }))).toMatchObject({
      grpcCode: 3,
      message: "etcdserver: invalid client api version",
    });
    await f.stop();
  });

  test("makes no series without end", async () => {
    const f = await ServicesFixture.start();
    for (let i = 0; i < CLIENT_VERSIONS_MAX + 10; i++) {
      const metadata = Metadata.of({ "client-api-version": `v${i}` });
      await f.range("a", { serializable: true }, { metadata });
    }
    expect(f.metrics.value(name, { type: "unary", client_api_version: "other" })).toBe(10);
    await f.stop();
  });
});

describe("the gRPC counters", () => {
  const labelsOf = (method: { service: string; name: string }, type: string) => ({
    grpc_type: type,
    grpc_service: method.service,
    grpc_method: method.name,
  });

  test("stand at zero before the first call and count calls, codes and messages", async () => {
    const f = await ServicesFixture.start({ config: { metrics: "extensive" } });
    const put = labelsOf(KV.Put, "unary");
    const watching = labelsOf(Watch.Watch, "bidi_stream");
    const value = (suffix: string, labels: { readonly [name: string]: string }) =>
      f.metrics.value(`grpc_server_${suffix}`, labels);
    for (const suffix of ["started_total", "msg_received_total", "msg_sent_total"]) {
      expect(value(suffix, put)).toBe(0);
    }
    expect(value("handled_total", { ...put, grpc_code: "DataLoss" })).toBe(0);
    await f.put("a");
    await failure(f.put(""));
    expect(value("started_total", put)).toBe(2);
    expect(value("msg_received_total", put)).toBe(2);
    expect(value("msg_sent_total", put)).toBe(2);
    expect(value("handled_total", { ...put, grpc_code: "OK" })).toBe(1);
    expect(value("handled_total", { ...put, grpc_code: "InvalidArgument" })).toBe(1);
    const watch = f.watch();
    watch.create("a");
    watch.create("b");
    await watch.next();
    await watch.next();
    await f.put("a");
    await watch.next();
    watch.stream.cancel();
    expect(value("started_total", watching)).toBe(1);
    expect(value("msg_received_total", watching)).toBe(2);
    expect(value("msg_sent_total", watching)).toBe(3);
    expect(value("handled_total", { ...watching, grpc_code: "Canceled" })).toBe(1);
    await f.stop();
  });
});

describe("the request log", () => {
  test("warns of slow requests, without keys or values", async () => {
    const f = await ServicesFixture.start({ config: { warningUnaryRequestDurationMs: -1 } });
    await f.put("secret-key", "secret-value");
    const event = f.logger.events.find(({ message }) => message === "request stats");
    expect(event).toMatchObject({
      level: "warn",
      fields: {
        "response type": "/etcdserverpb.KV/Put",
        "request count": 1,
        "request size": 26,
        "response count": 0,
        "request content": "key_size:10 value_size:12 ",
        remote: "in-process",
      },
    });
    expect(JSON.stringify(f.logger.events.map(({ fields }) => String(fields)))).not.toContain(
      "secret",
    );
    await f.stop();
  });

  test("has all requests with their keys at debug level, and never values", async () => {
    const f = await ServicesFixture.start({ logLevel: "debug" });
    await f.put('k"\x01', "secret-value");
    await f.channel.unary(KV.Txn, {
      compare: [],
      success: [{ kind: "range", range: { ...(await rangeOf("z")), limit: 3 } }],
      failure: [],
    });
    await failure(f.range("a", { revision: 99 }));
    const contents = f.logger.events
      .filter(({ message }) => message === "request stats")
      .map(({ fields }) => fields?.["request content"]);
    expect(contents).toEqual([
      'key:"k\\"\\001" value_size:12 ',
      'compare:<> success:<request_range:<key:"z" limit:3 > > failure:<>',
      "",
    ]);
    await f.stop();
  });

  test("is silent about quick requests", async () => {
    const f = await ServicesFixture.start();
    await f.put("a");
    await until(() => f.services.openCalls === 0);
    expect(f.logger.events.some(({ message }) => message === "request stats")).toBe(false);
    await f.stop();
  });
});

async function rangeOf(key: string) {
  const { rangeRequest } = await import("./session.ts");
  return rangeRequest({ key: new TextEncoder().encode(key) });
}
