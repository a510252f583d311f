/** etcdctl finds endpoints in DNS: a name server of the test answers it. */

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEtcd } from "@etcd-ts/embed";
import type { Etcd } from "@etcd-ts/embed";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DNSServer } from "../../packages/embed/src/discovery/dns-server-fixture.ts";

const program = join(import.meta.dirname, "../../bin/etcdctl");

interface Outcome {
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

describe("etcdctl --discovery-srv", () => {
  let etcd: Etcd;
  let names: DNSServer;
  let directory: string;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    etcd = await startEtcd();
    const { port } = new URL(etcd.endpoints[0]!);
    const record = { host: "127.0.0.1", port: Number(port) };
    names = await DNSServer.start({
      "_etcd-client._tcp.plain.example": [record],
      "_etcd-client-prod._tcp.plain.example": [record],
      "_etcd-client._tcp.dead.example": [{ host: "127.0.0.1", port: 1 }],
    });
    directory = mkdtempSync(join(tmpdir(), "etcdctl-"));
    const resolver = join(directory, "resolver.cjs");
    const servers = JSON.stringify([names.address]);
    writeFileSync(resolver, `require("node:dns/promises").setServers(${servers});`);
    environment = { ...process.env, NODE_OPTIONS: `--require ${resolver}` };
  });

  afterAll(async () => {
    await names.stop();
    await etcd.stop();
    rmSync(directory, { recursive: true });
  });

  function run(...words: string[]): Promise<Outcome> {
    return new Promise((resolve) => {
      execFile(program, words, { env: environment }, (error, output, errors) => {
        resolve({ status: error === null ? 0 : Number(error.code), output, errors });
      });
    });
  }

  test("takes the endpoints of the domain, also by the name of a service", async () => {
    expect(await run("-d", "plain.example", "put", "a", "b")).toMatchObject({ output: "OK\n" });
    const named = ["--discovery-srv=plain.example", "--discovery-srv-name=prod"];
    expect(await run(...named, "get", "a")).toMatchObject({ status: 0, output: "a\nb\n" });
  });

  test("asks no endpoint but those, and none without TLS if that is refused", async () => {
    const endpoints = `--endpoints=${etcd.endpoints[0]!}`;
    const dead = await run("-d", "dead.example", endpoints, "--command-timeout=1s", "get", "a");
    expect(dead).toMatchObject({ status: 1, output: "" });
    expect(dead.errors).toContain("127.0.0.1:1");
    const strict = await run(
      "-d",
      "plain.example",
      "--insecure-discovery=false",
      endpoints,
      "get",
      "a",
    );
    expect(strict.errors).toContain("ignoring discovered insecure endpoint");
  });

  test("says which domain has no records", async () => {
    const missing = await run("-d", "missing.example", "get", "a");
    expect(missing).toMatchObject({ status: 1, output: "" });
    expect(missing.errors).toContain("error querying DNS SRV records for missing.example");
  });
});
