/** Certificates, users and tokens against the reference. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { CertificateAuthority } from "@etcd-ts/certs";
import { Client } from "@etcd-ts/client";
import type { TlsOptions } from "@etcd-ts/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ProcessCluster } from "../../processes/cluster.ts";

const program = fileURLToPath(new URL("../bin/etcd", import.meta.url));
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("TLS", () => {
  let directory: string;
  let cluster: ProcessCluster;
  let pems: { readonly ca: string; readonly cert: string; readonly key: string };
  const file = (name: string): string => path.join(directory, name);

  beforeAll(async () => {
    directory = mkdtempSync(path.join(tmpdir(), "etcd-ts-certs-"));
    const ca = await CertificateAuthority.create();
    const server = await ca.issue({ hosts: ["127.0.0.1", "etcd.example"] });
    const client = await ca.issue({ hosts: [], commonName: "client" });
    pems = { ca: ca.pair.cert, cert: client.cert, key: client.key };
    const files = { "ca.crt": ca.pair.cert, "server.crt": server.cert, "server.key": server.key };
    for (const [name, text] of Object.entries(files)) writeFileSync(file(name), text);
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
      client: { tls: pems },
    });
  });

  afterAll(async () => {
    await cluster.close();
    rmSync(directory, { recursive: true, force: true });
  });

  async function put(tls: TlsOptions): Promise<string> {
    const client = new Client({ endpoints: cluster.endpoints, tls, timeoutMs: 1500 });
    try {
      await client.kv.put("a", "b");
      return "done";
    } catch (error) {
      const { code, cause } = error as Error & { readonly code: string };
      return `${code}: ${cause instanceof Error ? cause.message : ""}`;
    } finally {
      await client.close();
    }
  }

  test("texts and files serve alike, and another name may be asked for", async () => {
    expect(await put(pems)).toBe("done");
    for (const [name, text] of [["c.crt", pems.cert] as const, ["c.key", pems.key] as const]) {
      writeFileSync(file(name), text, { mode: 0o600 });
    }
    const files = { caFile: file("ca.crt"), certFile: file("c.crt"), keyFile: file("c.key") };
    expect(await put(files)).toBe("done");
    expect(await put({ ...files, serverName: "etcd.example" })).toBe("done");
    const { ca: _, ...anyone } = pems;
    expect(await put({ ...anyone, insecureSkipVerify: true })).toBe("done");
  });

  test("what does not fit is refused, with the reason", async () => {
    expect(await put({ ...pems, serverName: "other.example" })).toContain("not other.example");
    const { ca: _, ...anyone } = pems;
    expect(await put(anyone)).toContain("signed by unknown authority");
    expect(await put({ ca: pems.ca })).toMatch(/^DEADLINE_EXCEEDED: ./);
    expect(await put({ ...pems, caFile: file("missing") })).toMatch(
      /^TLS_MATERIAL: .*no such file/,
    );
    const { key: __, ...half } = pems;
    expect(await put(half)).toMatch(/^TLS_MATERIAL/);
    const { key: strange } = await (await CertificateAuthority.create()).issue({ hosts: [] });
    for (const key of [strange, "no key"]) {
      expect(await put({ ...pems, key })).toMatch(/^TLS_MATERIAL/);
    }
  });

  test("files that change are used by new connections", async () => {
    const strangers = await CertificateAuthority.create();
    const wrong = await strangers.issue({ hosts: [], commonName: "client" });
    const write = (pair: { readonly cert: string; readonly key: string }): void => {
      writeFileSync(file("r.crt"), pair.cert);
      writeFileSync(file("r.key"), pair.key);
    };
    write(wrong);
    const tls = { ca: pems.ca, certFile: file("r.crt"), keyFile: file("r.key") };
    const client = new Client({ endpoints: cluster.endpoints, tls });
    await expect(client.kv.get("a", { timeoutMs: 1000 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    write(pems);
    await client.kv.get("a", { timeoutMs: 10_000 });
    await client.close();
  });
});

describe("users", () => {
  let cluster: ProcessCluster;
  let root: Client;

  beforeAll(async () => {
    cluster = await ProcessCluster.start({
      program: [program],
      members: 3,
      // Simple tokens run out after a second without use.
      flags: ["--auth-token-ttl=1", "--bcrypt-cost=4"],
    });
    const open = new Client({ endpoints: cluster.endpoints, timeoutMs: 20_000 });
    await open.auth.userAdd("root", "secret");
    await open.auth.userGrantRole("root", "root");
    await open.auth.userAdd("reader", "pw");
    await open.auth.roleAdd("readers");
    await open.auth.roleGrantPermission("readers", "READWRITE", "shared/", { prefix: true });
    await open.auth.userGrantRole("reader", "readers");
    await open.auth.enable();
    await open.close();
    root = new Client({
      endpoints: cluster.endpoints,
      username: "root",
      password: "secret",
      timeoutMs: 20_000,
    });
  });

  afterAll(async () => {
    await root.close();
    await cluster.close();
  });

  const reader = (): Client =>
    new Client({
      endpoints: cluster.endpoints,
      username: "reader",
      password: "pw",
      timeoutMs: 20_000,
    });

  test("errors carry etcd's codes", async () => {
    const anonymous = new Client({ endpoints: cluster.endpoints, timeoutMs: 5000 });
    await expect(anonymous.kv.get("a")).rejects.toMatchObject({ code: "USER_EMPTY" });
    await anonymous.close();
    const wrong = new Client({ endpoints: cluster.endpoints, username: "root", password: "no" });
    await expect(wrong.kv.get("a")).rejects.toMatchObject({ code: "AUTH_FAILED" });
    await wrong.close();
    const client = reader();
    await client.kv.put("shared/a", "x");
    await expect(client.kv.put("other", "x")).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    await expect(
      (async () => {
        for await (const _ of client.watch("other")) break;
      })(),
    ).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    await client.close();
  });

  test("a token that ran out is renewed, for writes and streams as well", async () => {
    const client = reader();
    const { id } = await client.lease.grant(60);
    const { header } = await client.kv.put("shared/ttl", "1");
    await sleep(3500);
    await client.kv.put("shared/ttl", "2");
    await sleep(3500);
    await client.lease.keepAliveOnce(id);
    await sleep(3500);
    const watcher = client.watch("shared/ttl", { startRevision: header!.revision + 1 });
    for await (const { events } of watcher) {
      expect(events.map(({ kv }) => kv!.version)).toEqual([2]);
      break;
    }
    await client.close();
  });

  test("changes of users and roles meanwhile fail no call and lose no write", async () => {
    const client = reader();
    const state = { isChanging: true };
    const changing = (async () => {
      for (let i = 0; i < 10; i++) {
        await root.auth.roleAdd(`role-${i}`);
        await root.auth.userGrantRole("reader", `role-${i}`);
      }
      state.isChanging = false;
    })();
    let written = 0;
    while (state.isChanging) {
      await client.kv.put(`shared/during-${written}`, "x");
      written++;
    }
    await changing;
    const { kvs } = await client.kv.get("shared/during-", { prefix: true });
    expect(kvs.map(({ version }) => version)).toEqual(Array<number>(written).fill(1));
    await client.close();
  });
});
