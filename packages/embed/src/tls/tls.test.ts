/** TLS towards clients: who is let in, who is not and why, and files that change meanwhile. */

import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { readFileSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { connect as connectTLS } from "node:tls";
import { MemoryLogger } from "@etcd-ts/base";
import { Client } from "@etcd-ts/client";
import { TLSFileSet } from "@etcd-ts/runtime";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEtcd } from "../etcd.ts";
import { Listener } from "../listener.ts";
import { parseListenURL } from "../listen-url.ts";
import { CertificateFixture, startLogged } from "./tls-fixture.ts";
import type { LeafName, LoggedMember } from "./tls-fixture.ts";
import { TLSServer } from "./tls-server.ts";
import { NO_TRANSPORT_SECURITY, tlsProtocol } from "./transport-security.ts";

const HTTPS = "https://127.0.0.1:0";
const PROTOCOL = tlsProtocol({ tlsMinVersion: "", tlsMaxVersion: "", cipherSuites: [] });

let fixture: CertificateFixture;
let member: LoggedMember;

beforeAll(async () => {
  fixture = await CertificateFixture.make();
  member = await startLogged({
    listenClientURLs: HTTPS,
    listenMetricsURLs: HTTPS,
    clientSecurity: fixture.security("good"),
    hostWhitelist: ["good.example"],
  });
});

afterAll(async () => {
  await member.etcd.stop();
  fixture.remove();
});

function clientOf(endpoints: readonly string[], leaf: LeafName): Client {
  return new Client({
    endpoints,
    timeoutMs: 10_000,
    tls: { caFile: fixture.caFile, ...fixture.files(leaf) },
  });
}

/** Of the last connection that was turned away. */
async function lastRefusal(of: LoggedMember, count: number): Promise<string | undefined> {
  await expect.poll(() => of.refusals("client").length).toBeGreaterThanOrEqual(count);
  return of.refusals("client").at(-1);
}

const UNKNOWN_AUTHORITY =
  "tls: failed to verify certificate: x509: certificate signed by unknown authority";
const EXPIRED =
  "tls: failed to verify certificate: x509: certificate has expired or is not yet valid";

describe("a client listener that asks for certificates", () => {
  test("serves gRPC, gateway and health to those with a good one", async () => {
    const client = clientOf(member.etcd.endpoints, "good");
    await client.kv.put("k", "v");
    expect((await client.kv.get("k")).kvs).toHaveLength(1);
    await client.close();
    expect(await fixture.health(member.etcd.endpoints[0]!, "good")).toBe("200");
  });

  test.each<readonly [LeafName | undefined, string | RegExp]>([
    [undefined, "tls: client didn't provide a certificate"],
    ["expired", EXPIRED],
    ["early", EXPIRED],
    ["otherAuthority", UNKNOWN_AUTHORITY],
    ["selfSigned", UNKNOWN_AUTHORITY],
    ["serverOnly", /incompatible key usage/],
    ["revoked", /^transport: certificate serial [0-9a-f]+ revoked$/],
  ])("refuses %s, says why, and goes on", async (leaf, reason) => {
    const before = member.refusals("client").length;
    expect(await fixture.health(member.etcd.endpoints[0]!, leaf)).not.toBe("200");
    const refusal = await lastRefusal(member, before + 1);
    if (typeof reason === "string") expect(refusal).toBe(reason);
    else expect(refusal).toMatch(reason);
    expect(await fixture.health(member.etcd.endpoints[0]!, "good")).toBe("200");
  });

  test("names the refused certificate and where it came from", async () => {
    await fixture.health(member.etcd.endpoints[0]!, "revoked");
    const rejection = () =>
      member.logger.events.findLast(({ message }) => message.startsWith("rejected"));
    await expect.poll(rejection).toMatchObject({
      level: "warn",
      fields: {
        "remote-addr": expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        "server-name": "",
        "ip-addresses": expect.arrayContaining(["127.0.0.1"]),
        "dns-names": ["localhost"],
      },
    });
  });

  test("answers no plain text, and a plain listener no TLS", async () => {
    const { port } = new URL(member.etcd.endpoints[0]!);
    const bytes = await new Promise<number>((resolve) => {
      let received = 0;
      const socket = connectPlain(Number(port), "127.0.0.1");
      socket.on("data", (chunk) => (received += chunk.length));
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(received));
      socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    });
    // At most an alert, no HTTP.
    expect(bytes).toBeLessThan(16);
    expect(member.refusals("client").at(-1)).toBe(
      "tls: first record does not look like a TLS handshake",
    );
    const plain = await startEtcd();
    const outcome = await fixture.health(plain.endpoints[0]!.replace("http:", "https:"), "good");
    expect(outcome).not.toBe("200");
    expect((await fetch(`${plain.endpoints[0]}/health`)).status).toBe(200);
    await plain.stop();
    expect(await fixture.health(member.etcd.endpoints[0]!, "good")).toBe("200");
  });

  test("speaks only the versions that clients and server share", async () => {
    const { etcd } = member;
    expect(await fixture.health(etcd.endpoints[0]!, "good", { maxVersion: "TLSv1.1" })).not.toBe(
      "200",
    );
    expect(await fixture.health(etcd.endpoints[0]!, "good", { maxVersion: "TLSv1.2" })).toBe("200");
    const strict = await startLogged({
      listenClientURLs: HTTPS,
      clientSecurity: fixture.security("good"),
      tlsMinVersion: "TLS1.3",
    });
    const url = strict.etcd.endpoints[0]!;
    expect(await fixture.health(url, "good", { maxVersion: "TLSv1.2" })).not.toBe("200");
    expect(await lastRefusal(strict, 1)).toBe("tls: client offered only unsupported versions");
    expect(await fixture.health(url, "good")).toBe("200");
    await strict.etcd.stop();
  });

  test("takes the cipher suites it is told, and no others", async () => {
    const strict = await startEtcd({
      listenClientURLs: HTTPS,
      clientSecurity: fixture.security("good"),
      tlsMaxVersion: "TLS1.2",
      cipherSuites: ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
    });
    const ask = (ciphers: string): Promise<string> =>
      fixture.health(strict.endpoints[0]!, "good", { ciphers });
    expect(await ask("ECDHE-ECDSA-AES256-GCM-SHA384")).toBe("200");
    expect(await ask("ECDHE-ECDSA-AES128-GCM-SHA256")).not.toBe("200");
    await strict.stop();
  });

  test("lets only certificates for the allowed hosts in", async () => {
    const strict = await startLogged({
      listenClientURLs: HTTPS,
      clientSecurity: fixture.security("good", { allowedHostnames: ["elsewhere.invalid", "x"] }),
    });
    expect(await fixture.health(strict.etcd.endpoints[0]!, "elsewhere")).toBe("200");
    expect(await fixture.health(strict.etcd.endpoints[0]!, "good")).not.toBe("200");
    expect(await lastRefusal(strict, 1)).toBe("client certificate authentication failed");
    await strict.etcd.stop();
  });

  test("makes no second door of split listeners", async () => {
    const split = await startLogged({
      listenClientURLs: HTTPS,
      listenClientHTTPURLs: HTTPS,
      clientSecurity: fixture.security("good"),
    });
    const good = clientOf(split.etcd.endpoints, "good");
    await good.kv.put("k", "v");
    await good.close();
    const revoked = clientOf(split.etcd.endpoints, "revoked");
    await expect(revoked.kv.get("k", { timeoutMs: 1500 })).rejects.toThrow();
    await revoked.close();
    const http = split.logger.events.find(
      ({ message, fields }) =>
        message === "serving client traffic securely" && fields["traffic"] === "http",
    );
    const url = `https://${String(http?.fields["address"])}`;
    expect(await fixture.health(url, "good")).toBe("200");
    const before = split.refusals("client").length;
    expect(await fixture.health(url, "revoked")).not.toBe("200");
    expect(await lastRefusal(split, before + 1)).toMatch(/revoked$/);
    await split.etcd.stop();
  });
});

describe("a metrics listener over TLS", () => {
  test("refuses revoked certificates and those of other addresses", async () => {
    const [url] = member.etcd.metricsURLs;
    expect(await fixture.health(url!, "good")).toBe("200");
    expect(await fixture.health(url!, "revoked")).not.toBe("200");
    expect(await fixture.health(url!, "elsewhere")).not.toBe("200");
    expect(await lastRefusal(member, 1)).toMatch(
      /^tls: "127\.0\.0\.1" does not match any of DNSNames \["elsewhere\.invalid"\]/,
    );
    // The client listener does not ask where a certificate belongs.
    expect(await fixture.health(member.etcd.endpoints[0]!, "elsewhere")).toBe("200");
  });
});

describe("a member whose certificate is no good", () => {
  test.each<readonly [LeafName, string]>([
    ["expired", "certificate has expired or is not yet valid"],
    ["elsewhere", "certificate is valid for 192.0.2.1, not 127.0.0.1"],
    ["otherAuthority", "certificate signed by unknown authority"],
    ["selfSigned", "certificate signed by unknown authority"],
  ])("%s: the client goes no further", async (leaf, reason) => {
    const etcd = await startEtcd({
      listenClientURLs: HTTPS,
      clientSecurity: { ...NO_TRANSPORT_SECURITY, ...fixture.files(leaf) },
    });
    const failures: string[] = [];
    const enough = new AbortController();
    const client = new Client({
      endpoints: etcd.endpoints,
      tls: { caFile: fixture.caFile },
      onRetry: ({ error }) => {
        failures.push(error.message);
        enough.abort();
      },
    });
    await expect(client.kv.get("k", { signal: enough.signal })).rejects.toThrow();
    expect(failures[0]).toContain("authentication handshake failed: tls: failed to verify");
    expect(failures[0]).toContain(reason);
    await client.close();
    await etcd.stop();
  });
});

test("http and https share an address, and the first byte tells them apart", async () => {
  const shared = await startEtcd({
    listenClientURLs: ["https://127.0.0.1:0", "http://127.0.0.1:0"],
    clientSecurity: fixture.security("good"),
  });
  const ports = new Set(shared.endpoints.map((endpoint) => new URL(endpoint).port));
  expect(ports.size).toBe(1);
  const port = Number([...ports][0]);
  expect(await fixture.health(`https://127.0.0.1:${port}`, "good")).toBe("200");
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  const plain = new Client({ endpoints: [`http://127.0.0.1:${port}`], timeoutMs: 5000 });
  await plain.kv.put("k", "v");
  await plain.close();
  // A client that has nothing more to say still gets its answer.
  const answer = await new Promise<string>((resolve) => {
    let text = "";
    const socket = connectPlain({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("end", () => resolve(text));
    socket.end("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  });
  expect(answer).toMatch(/^HTTP\/1\.1 200/);
  await shared.stop();
});

test("unixs:// is TLS on a unix socket", async () => {
  const path = join(fixture.directory, "client.sock");
  const etcd = await startEtcd({
    listenClientURLs: `unixs://${path}`,
    clientSecurity: fixture.security("good"),
  });
  const ask = (leaf?: string): Promise<string> =>
    fixture.health("https://localhost", leaf, { createConnection: undefined, socketPath: path });
  expect(await ask("good")).toBe("200");
  expect(await ask()).not.toBe("200");
  await etcd.stop();
});

describe("users by certificate", () => {
  let client: Client;

  beforeAll(async () => {
    client = clientOf(member.etcd.endpoints, "good");
    await client.auth.userAdd("root", "secret");
    await client.auth.userGrantRole("root", "root");
    await client.auth.userAdd("alice", undefined);
    await client.auth.roleAdd("reader");
    await client.auth.roleGrantPermission("reader", "READ", "public/", { prefix: true });
    await client.auth.userGrantRole("alice", "reader");
    await client.auth.enable();
  });

  afterAll(async () => {
    const root = new Client({ ...client.options, username: "root", password: "secret" });
    await root.auth.disable();
    await Promise.all([root.close(), client.close()]);
  });

  test("the common name is the user, unless there is a token", async () => {
    await client.kv.get("public/k");
    await expect(client.kv.put("public/k", "v")).rejects.toThrow("permission denied");
    const root = new Client({ ...client.options, username: "root", password: "secret" });
    await root.kv.put("public/k", "v");
    await root.close();
  });

  test("through the gateway it is none, and says so", async () => {
    const answer = await new Promise<readonly [number | undefined, string]>((resolve, reject) => {
      const { certFile, keyFile } = fixture.files("good");
      const request = httpsRequest(new URL("/v3/kv/range", member.etcd.endpoints[0]), {
        method: "POST",
        agent: false,
        ca: readFileSync(fixture.caFile),
        cert: readFileSync(certFile),
        key: readFileSync(keyFile),
      });
      request.on("error", reject);
      request.on("response", (response) => {
        let text = "";
        response.on("data", (chunk) => (text += String(chunk)));
        response.on("end", () => resolve([response.statusCode, text]));
      });
      request.end('{"key":"Zm9v"}');
    });
    expect(answer).toEqual([
      400,
      "CommonName of client sending a request against gateway will be ignored and not used as expected\n",
    ]);
    // Other paths are open to it.
    expect(await fixture.health(member.etcd.endpoints[0]!, "good")).toBe("200");
  });
});

describe("TLSServer", () => {
  async function listen(options: { handshakeTimeoutMs?: number; pendingHandshakesMax?: number }) {
    const logger = new MemoryLogger();
    const server = new TLSServer({
      files: new TLSFileSet(fixture.files("good")),
      security: { ...NO_TRANSPORT_SECURITY, ...fixture.files("good") },
      protocol: PROTOCOL,
      logger,
      endpoint: "client",
      alpn: ["h2"],
      checksRemoteAddress: false,
      ...options,
    });
    const listener = await Listener.bind([parseListenURL(HTTPS)], { tls: server });
    const accepted: string[] = [];
    listener.serve((socket, peer) => {
      accepted.push(peer.address);
      socket.end();
    });
    const { port } = listener.urls[0]!;
    return { listener, logger, accepted, port };
  }

  test("gives up on those who do not shake hands in time", async () => {
    const { listener, logger, accepted, port } = await listen({ handshakeTimeoutMs: 50 });
    const socket = connectPlain(port, "127.0.0.1");
    await new Promise((resolve) => socket.once("close", resolve).on("error", () => undefined));
    await expect.poll(() => logger.events.at(-1)?.fields["error"]).toBe("i/o timeout");
    expect(accepted).toEqual([]);
    await listener.close();
  });

  test("makes room for new handshakes, and knows each by its own address", async () => {
    const { listener, accepted, port } = await listen({ pendingHandshakesMax: 2 });
    const silent = await Promise.all(
      [0, 1, 2].map(async () => {
        const socket = connectPlain(port, "127.0.0.1");
        socket.on("error", () => undefined);
        await new Promise((resolve) => socket.once("connect", resolve));
        return socket;
      }),
    );
    await expect.poll(() => silent.filter(({ closed }) => closed).length).toBe(1);
    // The one that came first shakes hands after a later one has begun.
    const [second, third] = silent.filter(({ closed }) => !closed);
    const where = [second!, third!].map(({ localPort }) => `127.0.0.1:${localPort}`);
    const done = [second!, third!].map(
      (socket) =>
        new Promise((resolve) => {
          const secure = connectTLS({ socket, rejectUnauthorized: false });
          secure.resume().once("close", resolve);
        }),
    );
    await Promise.all(done);
    expect(new Set(accepted)).toEqual(new Set(where));
    await listener.close();
  });
});

test("plain HTTP is asked for its host name, and TLS is not", async () => {
  const asked = { headers: { host: "x" }, checkServerIdentity: () => undefined };
  expect(await fixture.health(member.etcd.endpoints[0]!, "good", asked)).toBe("200");
  const plain = await startEtcd({ hostWhitelist: ["good.example"] });
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const url = new URL("/health", plain.endpoints[0]);
    const request = httpRequest(url, { headers: { host: "x" }, agent: false });
    request.on("error", reject);
    request.on("response", (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.end();
  });
  expect(status).toBe(421);
  await plain.stop();
});
