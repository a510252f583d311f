/** How our etcdctl reaches a cluster, beside the reference's: endpoints, certificates, users. */

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { CertificateAuthority } from "@etcd-ts/certs";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ProcessCluster } from "../../processes/cluster.ts";
import { freePort } from "../../processes/free-ports.ts";

const located = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const etcd = located("../bin/etcd");
const tools = { ours: located("../../../bin/etcdctl"), reference: located("../bin/etcdctl") };

interface Outcome {
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

function run(
  program: string,
  args: readonly string[],
  environment: { readonly [name: string]: string } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, ...environment };
    execFile(program, args, { env }, (error, output, errors) => {
      resolve({ status: error === null ? 0 : Number(error.code), output, errors });
    });
  });
}

/** What both do; the test fails unless they do the same. */
async function both(
  args: readonly string[],
  environment?: { readonly [name: string]: string },
): Promise<Outcome> {
  const ours = await run(tools.ours, args, environment);
  const reference = await run(tools.reference, args, environment);
  const shown = ({ status, output }: Outcome): string => `${status}\n${output}`;
  expect(shown(ours), `${args.join(" ")}\n${ours.errors}\n${reference.errors}`).toBe(
    shown(reference),
  );
  return ours;
}

const ours = located("../../../bin/etcd");

describe.each([
  ["the reference", etcd],
  ["ours", ours],
])("etcdctl and certificates at %s", (_, program) => {
  let directory: string;
  let cluster: ProcessCluster;
  const file = (name: string): string => path.join(directory, name);

  beforeAll(async () => {
    directory = mkdtempSync(path.join(tmpdir(), "etcd-ts-certs-"));
    const ca = await CertificateAuthority.create();
    const server = await ca.issue({ hosts: ["127.0.0.1"] });
    const client = await ca.issue({ hosts: [], commonName: "client" });
    const other = await CertificateAuthority.create();
    const files = {
      "ca.crt": ca.pair.cert,
      "server.crt": server.cert,
      "server.key": server.key,
      "client.crt": client.cert,
      "client.key": client.key,
      "other.crt": other.pair.cert,
    };
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(file(name), text, { mode: 0o600 });
    }
    cluster = await ProcessCluster.start({
      program: [program],
      members: 1,
      scheme: "https",
      flags: [
        "--client-cert-auth",
        `--trusted-ca-file=${file("ca.crt")}`,
        `--cert-file=${file("server.crt")}`,
        `--key-file=${file("server.key")}`,
      ],
      client: { tls: { ca: ca.pair.cert, cert: client.cert, key: client.key } },
    });
  });

  afterAll(async () => {
    await cluster.close();
    rmSync(directory, { recursive: true, force: true });
  });

  test("serve, from flags and from variables, with and without a scheme", async () => {
    const endpoint = cluster.endpoints[0]!;
    const pair = [`--cert=${file("client.crt")}`, `--key=${file("client.key")}`];
    const trusted = [`--cacert=${file("ca.crt")}`, ...pair];
    const bare = endpoint.replace("https://", "");
    for (const at of [endpoint, bare]) {
      const put = await both([`--endpoints=${at}`, ...trusted, "put", "a", "b"]);
      expect(put.output).toBe("OK\n");
    }
    const skipped = [...pair, "--insecure-skip-tls-verify", "get", "a"];
    expect((await both([`--endpoints=${bare}`, ...skipped])).output).toBe("a\nb\n");
    const named = await both(["get", "a"], {
      ETCDCTL_ENDPOINTS: endpoint,
      ETCDCTL_CACERT: file("ca.crt"),
      ETCDCTL_CERT: file("client.crt"),
      ETCDCTL_KEY: file("client.key"),
    });
    expect(named.output).toBe("a\nb\n");
  });

  test("that do not fit are refused alike", async () => {
    const endpoints = `--endpoints=${cluster.endpoints[0]!}`;
    const pair = [`--cert=${file("client.crt")}`, `--key=${file("client.key")}`];
    const brief = ["--command-timeout=1s", "get", "a"];
    const refused: readonly (readonly string[])[] = [
      [`--cacert=${file("other.crt")}`, ...pair],
      [`--cacert=${file("ca.crt")}`],
      [`--cacert=${file("missing")}`, ...pair],
      [`--cacert=${file("ca.crt")}`, `--cert=${file("client.crt")}`],
      [`--cacert=${file("ca.crt")}`, `--cert=${file("client.crt")}`, `--key=${file("server.key")}`],
      ["--cacert="],
    ];
    for (const flags of refused) {
      expect((await both([endpoints, ...flags, ...brief])).status).not.toBe(0);
    }
  });
});

describe("etcdctl, several endpoints and users", () => {
  let cluster: ProcessCluster;

  beforeAll(async () => {
    cluster = await ProcessCluster.start({
      program: [etcd],
      members: 3,
      flags: ["--bcrypt-cost=4"],
    });
  });

  afterAll(() => cluster.close());

  test("dead endpoints cost nothing while one lives", async () => {
    const dead = await freePort();
    const endpoints = `--endpoints=127.0.0.1:${dead}, ${cluster.endpoints.join(", ")}`;
    for (let i = 0; i < 3; i++) {
      expect((await both([endpoints, "put", "a", String(i)])).output).toBe("OK\n");
      expect((await both([endpoints, "get", "a"])).output).toBe(`a\n${i}\n`);
    }
    const none = await both([
      `--endpoints=127.0.0.1:${dead}`,
      "--dial-timeout=500ms",
      "--command-timeout=1s",
      "get",
      "a",
    ]);
    expect(none.status).toBe(1);
  });

  test("users and passwords", async () => {
    const client = new Client({ endpoints: cluster.endpoints, timeoutMs: 20_000 });
    await client.auth.userAdd("root", "se:cret");
    await client.auth.userGrantRole("root", "root");
    await client.auth.enable();
    await client.close();
    const endpoints = `--endpoints=${cluster.endpoints.join(",")}`;
    const right: readonly (readonly string[])[] = [
      ["--user=root:se:cret"],
      ["--user=root", "--password=se:cret"],
    ];
    for (const flags of right) {
      expect((await both([endpoints, ...flags, "put", "u", "v"])).output).toBe("OK\n");
    }
    await both([endpoints, "get", "u"], { ETCDCTL_USER: "root:se:cret" });
    const wrong: readonly (readonly string[])[] = [[], ["--user=root:no"], ["--user=who:pw"]];
    for (const flags of wrong) {
      expect((await both([endpoints, ...flags, "get", "u"])).status).not.toBe(0);
    }
  });
});
