/** Members that find each other: through another cluster, and through DNS. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryLogger, NULL_LOGGER } from "@etcd-ts/base";
import { Client } from "@etcd-ts/client";
import { afterEach, describe, expect, test } from "vitest";
import { freePort, freePorts } from "../../../../tests/processes/free-ports.ts";
import { embedConfig } from "../config.ts";
import type { DiscoverySettings, EmbedConfig } from "../config.ts";
import { startEtcd } from "../etcd.ts";
import type { Etcd, EtcdSettings } from "../etcd.ts";
import { parseListenURLs } from "../listen-url.ts";
import { CertificateFixture } from "../tls/tls-fixture.ts";
import { clusterFromDNS } from "./dns-cluster.ts";
import { DNSServer } from "./dns-server-fixture.ts";
import type { Zone } from "./dns-server-fixture.ts";
import { nodeNames } from "./names.ts";

const open: { stop(): Promise<unknown> }[] = [];
const directories: string[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((part) => part.stop()));
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true });
});

async function started(settings: EtcdSettings): Promise<Etcd> {
  const etcd = await startEtcd(settings);
  open.push(etcd);
  return etcd;
}

function clientOf(etcd: Etcd): Client {
  const client = new Client({ endpoints: etcd.endpoints, timeoutMs: 10_000 });
  open.push({ stop: () => client.close() });
  return client;
}

describe("v3 discovery", () => {
  const sizeKey = "/_etcd/registry/abc/_config/size";

  function settings(service: Etcd, token = "abc"): DiscoverySettings {
    return {
      endpoints: service.endpoints,
      token,
      dialTimeoutMs: 2000,
      requestTimeoutMs: 5000,
      keepaliveTimeMs: 2000,
      keepaliveTimeoutMs: 6000,
      username: "",
      password: "",
      tls: undefined,
    };
  }

  async function joined(service: Etcd, name: string, more: EtcdSettings = {}): Promise<Etcd> {
    const peer = `http://127.0.0.1:${await freePort()}`;
    return started({
      name,
      listenPeerURLs: peer,
      initialAdvertisePeerURLs: peer,
      discovery: settings(service),
      ...more,
    });
  }

  test("members wait for each other, make one cluster, and the next is refused", async () => {
    const service = await started({});
    const registry = clientOf(service);
    await registry.kv.put(sizeKey, "3");
    const members = await Promise.all(["a", "b", "c"].map((name) => joined(service, name)));
    const listed = await clientOf(members[0]!).cluster.list();
    expect(listed.members.map(({ name }) => name).sort()).toEqual(["a", "b", "c"]);
    await clientOf(members[1]!).kv.put("k", "v");
    const { kvs } = await clientOf(members[2]!).kv.get("k");
    expect(kvs).toHaveLength(1);

    const registered = await registry.kv.get("/_etcd/registry/abc/members", { prefix: true });
    const ids = registered.kvs.map(({ key }) => Buffer.from(key).toString().split("/").at(-1));
    expect(ids.sort()).toEqual(listed.members.map(({ ID }) => ID.toString(16)).sort());
    await expect(joined(service, "d")).rejects.toThrow(
      "failed to join discovery cluster (discovery: cluster is full)",
    );
  });

  test.each([
    [undefined, "discovery: size key not found"],
    ["0", "discovery: size key is bad"],
    ["three", "discovery: size key is bad"],
  ])("with %j as its size is refused", async (size, message) => {
    const service = await started({});
    if (size !== undefined) await clientOf(service).kv.put(sizeKey, size);
    await expect(joined(service, "a")).rejects.toThrow(
      `failed to join discovery cluster (${message})`,
    );
  });

  test("what others registered is checked", async () => {
    const service = await started({});
    const registry = clientOf(service);
    await registry.kv.put(sizeKey, "2");
    const logger = new MemoryLogger();
    await registry.kv.put("/_etcd/registry/abc/members/1", "no equals sign");
    await registry.kv.put("/_etcd/registry/abc/members/2", "b=ftp://127.0.0.1:1");
    await expect(joined(service, "a", { logger })).rejects.toThrow("discovery: invalid peer URL");
    expect(logger.events.map(({ message }) => message)).toContain(
      "invalid peer info returned from discovery service",
    );
  });

  test("a service that cannot be reached, or breaks off midway, is asked again", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "etcd-discovery-"));
    directories.push(dataDir);
    const service = { dataDir, listenClientURLs: `http://127.0.0.1:${await freePort()}` };
    const logger = new MemoryLogger();
    const retries = (): unknown[] =>
      logger.events
        .filter(({ message }) => message === "retry connecting to discovery service")
        .map(({ fields }) => fields["backoff"]);
    const away = { endpoints: [service.listenClientURLs] } as unknown as Etcd;
    const a = joined(away, "a", { logger });
    await expect.poll(() => retries().length).toBeGreaterThan(0);
    const first = await started(service);
    await clientOf(first).kv.put(sizeKey, "2");
    const waits = (): boolean =>
      logger.events.some(({ message }) => message === "waiting for peers from discovery service");
    await expect.poll(waits).toBe(true);
    await first.stop();
    const again = await started(service);
    const b = joined(again, "b");
    const [one, two] = await Promise.all([a, b]);
    expect(retries()[0]).toBe("2s");
    const { members } = await clientOf(one).cluster.list();
    expect(members.map(({ name }) => name).sort()).toEqual(["a", "b"]);
    expect(two.server.facts().clusterID).toBe(one.server.facts().clusterID);
  }, 60_000);

  test("a user is logged in, and refused with a wrong password", async () => {
    const service = await started({});
    const root = clientOf(service);
    await root.kv.put(sizeKey, "1");
    for (const [name, role] of [
      ["root", "root"],
      ["registrar", "registrar"],
    ] as const) {
      await root.auth.userAdd(name, "secret");
      await root.auth.roleAdd(role);
      await root.auth.userGrantRole(name, role);
    }
    await root.auth.roleGrantPermission("registrar", "READWRITE", "/_etcd/registry/", {
      prefix: true,
    });
    await root.auth.enable();
    const as = (password: string): EtcdSettings => ({
      discovery: { ...settings(service), username: "registrar", password },
    });
    await expect(joined(service, "a", as("guessed"))).rejects.toThrow(
      "etcdserver: authentication failed, invalid user ID or password",
    );
    const member = await joined(service, "a", as("secret"));
    expect(member.server.facts().isLeader).toBe(true);
  });

  test("TLS: with a certificate of its own, once it is a good one", async () => {
    const certificates = await CertificateFixture.make();
    open.push({ stop: async () => certificates.remove() });
    const service = await started({
      listenClientURLs: `https://127.0.0.1:${await freePort()}`,
      clientSecurity: certificates.security("good"),
    });
    const { caFile } = certificates;
    const tls = { ...certificates.files("good"), caFile, insecureSkipVerify: false };
    const registry = new Client({ endpoints: service.endpoints, tls, timeoutMs: 10_000 });
    open.push({ stop: () => registry.close() });
    await registry.kv.put(sizeKey, "1");
    const endpoints = service.endpoints.map((url) => url.replace("https://", ""));
    const using = (files: DiscoverySettings["tls"]): EtcdSettings => ({
      discovery: { ...settings(service), endpoints, tls: files },
    });
    const missing = `${caFile}.missing`;
    await expect(joined(service, "a", using({ ...tls, caFile: missing }))).rejects.toThrow(missing);
    const logger = new MemoryLogger();
    certificates.write("renewed", certificates.pair("otherAuthority"));
    const renewed = { ...tls, ...certificates.files("renewed") };
    const joining = joined(service, "a", { ...using(renewed), logger });
    const refused = (): boolean =>
      logger.events.some(({ message }) => message === "retry connecting to discovery service");
    await expect.poll(refused).toBe(true);
    certificates.write("renewed", certificates.pair("good"));
    const member = await joining;
    expect(member.server.facts().isLeader).toBe(true);
  }, 30_000);

  test.each([
    [{ token: "" }, "both --discovery-token and --discovery-endpoints must be set"],
    [{ endpoints: [] }, "both --discovery-token and --discovery-endpoints must be set"],
    [{ endpoints: [" "] }, "--discovery-endpoints must not contain empty endpoints"],
  ])("refuses %j", async (wrong, message) => {
    const service = await started({});
    const discovery = { ...settings(service), ...wrong };
    await expect(started({ discovery })).rejects.toThrow(message);
  });
});

describe("clusterFromDNS()", () => {
  async function discovered(
    zone: Zone,
    more: Partial<EmbedConfig> = {},
    logger = NULL_LOGGER as MemoryLogger | typeof NULL_LOGGER,
  ): Promise<string> {
    const server = await DNSServer.start(zone);
    open.push(server);
    const config = embedConfig({
      name: "own",
      initialAdvertisePeerURLs: parseListenURLs("http://127.0.0.1:2380"),
      discoverySRV: "example.test",
      ...more,
    });
    return clusterFromDNS(config, nodeNames([server.address]), logger);
  }

  test("joins both sets of records, and finds this member by its address", async () => {
    const text = await discovered({
      "_etcd-server-ssl._tcp.example.test": [{ host: "127.0.0.3", port: 2380 }],
      "_etcd-server._tcp.example.test": [
        { host: "127.0.0.2", port: 2380 },
        { host: "localhost", port: 2380 },
      ],
    });
    expect(text.split(",").sort()).toEqual([
      "0=http://127.0.0.2:2380",
      "0=https://127.0.0.3:2380",
      "own=http://localhost:2380",
    ]);
  });

  test("asks for the name with its suffix", async () => {
    const zone = { "_etcd-server-west._tcp.example.test": [{ host: "localhost", port: 2380 }] };
    expect(await discovered(zone, { discoverySRVName: "west" })).toBe("own=http://localhost:2380");
    await expect(discovered(zone)).rejects.toThrow("no such host");
  });

  test("refuses a domain without records, and tells of both sets", async () => {
    await expect(discovered({})).rejects.toThrow(
      /^error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl lookup .*: no such host\nerror querying DNS SRV records for _etcd-server lookup .*: no such host$/s,
    );
  });

  test("refuses records without this member", async () => {
    const zone = { "_etcd-server._tcp.example.test": [{ host: "127.0.0.2", port: 2380 }] };
    await expect(discovered(zone)).rejects.toThrow(
      'cannot find local etcd member "own" in SRV records',
    );
  });

  test("refuses this member under another scheme", async () => {
    const zone = { "_etcd-server-ssl._tcp.example.test": [{ host: "localhost", port: 2380 }] };
    await expect(discovered(zone)).rejects.toThrow(
      "has scheme mismatch with expected peer http://127.0.0.1:2380",
    );
  });
});

test("members started from DNS records make one cluster", async () => {
  const ports = await freePorts(3);
  const dns = await DNSServer.start({
    "_etcd-server._tcp.example.test": ports.map((port) => ({ host: "localhost", port })),
  });
  open.push(dns);
  const members = await Promise.all(
    ports.map((port, i) =>
      started({
        name: `m${i}`,
        listenPeerURLs: `http://127.0.0.1:${port}`,
        initialAdvertisePeerURLs: `http://localhost:${port}`,
        discoverySRV: "example.test",
        names: nodeNames([dns.address]),
      }),
    ),
  );
  const { members: listed } = await clientOf(members[0]!).cluster.list();
  expect(listed.map(({ name }) => name).sort()).toEqual(["m0", "m1", "m2"]);
  expect(listed.flatMap(({ peerURLs }) => peerURLs).sort()).toEqual(
    ports.map((port) => `http://localhost:${port}`).sort(),
  );
});
