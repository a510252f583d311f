/** TLS towards clients: who is let in, who is not and why, and files that change meanwhile. */

import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { readFileSync, statSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { connect as connectTLS } from "node:tls";
import { MemoryLogger } from "@etcd-ts/base";
import { CertificateAuthority, writeWhole } from "@etcd-ts/certs";
import { Client } from "@etcd-ts/client";
import { TLSFileSet } from "@etcd-ts/runtime";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startEtcd } from "../etcd.ts";
import { Listener } from "../listener.ts";
import { parseListenURL } from "../listen-url.ts";
import { CertificateFixture, LEAVES, LOOPBACK, startLogged } from "./tls-fixture.ts";
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

/** Asks for `/health` on a connection of its own. @returns the status, or why there is none */
function health(url: string, leaf?: string, options: object = {}): Promise<string> {
  return new Promise((resolve) => {
    const { certFile, keyFile } = fixture.files(leaf ?? "good");
    const request = httpsRequest(new URL("/health", url), {
      agent: false,
      ca: readFileSync(fixture.caFile),
      ...(leaf === undefined ? {} : { cert: readFileSync(certFile), key: readFileSync(keyFile) }),
      ...options,
    });
    request.on("response", (response) => {
      response.resume();
      resolve(String(response.statusCode));
    });
    request.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    request.end();
  });
}

function clientOf(endpoints: readonly string[], leaf: LeafName): Client {
  return new Client({
    endpoints,
    timeoutMs: 10_000,
    tls: { caFile: fixture.caFile, ...fixture.files(leaf) },
  });
}

/** Of the last connection that was turned away. */
async function lastRefusal(of: LoggedMember, count: number): Promise<string | undefined> {
  await vi.waitFor(() => expect(of.refusals("client").length).toBeGreaterThanOrEqual(count), 5000);
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
    expect(await health(member.etcd.endpoints[0]!, "good")).toBe("200");
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
    expect(await health(member.etcd.endpoints[0]!, leaf)).not.toBe("200");
    const refusal = await lastRefusal(member, before + 1);
    if (typeof reason === "string") expect(refusal).toBe(reason);
    else expect(refusal).toMatch(reason);
    expect(await health(member.etcd.endpoints[0]!, "good")).toBe("200");
  });

  test("names the refused certificate and where it came from", async () => {
    await health(member.etcd.endpoints[0]!, "revoked");
    await vi.waitFor(() => {
      const event = member.logger.events.findLast(({ message }) => message.startsWith("rejected"));
      expect(event?.level).toBe("warn");
      expect(event?.fields).toMatchObject({
        "remote-addr": expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        "server-name": "",
        "ip-addresses": expect.arrayContaining(["127.0.0.1"]),
        "dns-names": ["localhost"],
      });
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
    const outcome = await health(plain.endpoints[0]!.replace("http:", "https:"), "good");
    expect(outcome).not.toBe("200");
    expect((await fetch(`${plain.endpoints[0]}/health`)).status).toBe(200);
    await plain.stop();
    expect(await health(member.etcd.endpoints[0]!, "good")).toBe("200");
  });

  test("speaks only the versions that clients and server share", async () => {
    const { etcd } = member;
    expect(await health(etcd.endpoints[0]!, "good", { maxVersion: "TLSv1.1" })).not.toBe("200");
    expect(await health(etcd.endpoints[0]!, "good", { maxVersion: "TLSv1.2" })).toBe("200");
    const strict = await startLogged({
      listenClientURLs: HTTPS,
      clientSecurity: fixture.security("good"),
      tlsMinVersion: "TLS1.3",
    });
    const url = strict.etcd.endpoints[0]!;
    expect(await health(url, "good", { maxVersion: "TLSv1.2" })).not.toBe("200");
    expect(await lastRefusal(strict, 1)).toBe("tls: client offered only unsupported versions");
    expect(await health(url, "good")).toBe("200");
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
      health(strict.endpoints[0]!, "good", { ciphers });
    expect(await ask("ECDHE-ECDSA-AES256-GCM-SHA384")).toBe("200");
    expect(await ask("ECDHE-ECDSA-AES128-GCM-SHA256")).not.toBe("200");
    await strict.stop();
  });

  test("lets only certificates for the allowed hosts in", async () => {
    const strict = await startLogged({
      listenClientURLs: HTTPS,
      clientSecurity: fixture.security("good", { allowedHostnames: ["elsewhere.invalid", "x"] }),
    });
    expect(await health(strict.etcd.endpoints[0]!, "elsewhere")).toBe("200");
    expect(await health(strict.etcd.endpoints[0]!, "good")).not.toBe("200");
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
    expect(await health(url, "good")).toBe("200");
    const before = split.refusals("client").length;
    expect(await health(url, "revoked")).not.toBe("200");
    expect(await lastRefusal(split, before + 1)).toMatch(/revoked$/);
    await split.etcd.stop();
  });
});

describe("a metrics listener over TLS", () => {
  test("refuses revoked certificates and those of other addresses", async () => {
    const [url] = member.etcd.metricsURLs;
    expect(await health(url!, "good")).toBe("200");
    expect(await health(url!, "revoked")).not.toBe("200");
    expect(await health(url!, "elsewhere")).not.toBe("200");
    expect(await lastRefusal(member, 1)).toMatch(
      /^tls: "127\.0\.0\.1" does not match any of DNSNames \["elsewhere\.invalid"\]/,
    );
    // The client listener does not ask where a certificate belongs.
    expect(await health(member.etcd.endpoints[0]!, "elsewhere")).toBe("200");
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
    const client = new Client({
      endpoints: etcd.endpoints,
      tls: { caFile: fixture.caFile },
      onRetry: ({ error }) => failures.push(error.message),
    });
    await expect(client.kv.get("k", { timeoutMs: 500 })).rejects.toThrow();
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
  expect(await health(`https://127.0.0.1:${port}`, "good")).toBe("200");
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
    health("https://localhost", leaf, { createConnection: undefined, socketPath: path });
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
    expect(await health(member.etcd.endpoints[0]!, "good")).toBe("200");
  });
});

test("leaf and authority are replaced for new connections, while old ones stay", async () => {
  const rotating = await CertificateFixture.make();
  const etcd = await startEtcd({
    listenClientURLs: HTTPS,
    clientSecurity: rotating.security("good"),
  });
  const connectAs = async (authority: string, leaf: { cert: string; key: string }) => {
    const { port } = new URL(etcd.endpoints[0]!);
    const socket = connectTLS({
      port: Number(port),
      host: "127.0.0.1",
      ...{ ca: authority, cert: leaf.cert, key: leaf.key },
    });
    return await new Promise<{ serial: string; ask(): Promise<string> }>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("closed")));
      const ask = (): Promise<string> =>
        new Promise((answered) => {
          socket.once("data", (chunk) => answered(String(chunk).slice(0, 12)));
          socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        });
      socket.once("secureConnect", () => {
        const serial = socket.getPeerX509Certificate()!.serialNumber.toLowerCase();
        // With TLS 1.3 a refusal comes after the client's end of the handshake.
        void ask().then(() => resolve({ serial, ask }));
      });
    });
  };
  const oldCA = rotating.authority;
  const oldLeaf = rotating.pair("good");
  const old = await connectAs(oldCA.pair.cert, oldLeaf);
  expect(old.serial).toBe(oldLeaf.serialNumber);

  const second = await rotating.authority.issue(LEAVES.good);
  rotating.write("good", second);
  expect((await connectAs(oldCA.pair.cert, oldLeaf)).serial).toBe(second.serialNumber);

  const newCA = await CertificateAuthority.create({ commonName: "next" });
  const client = await newCA.issue(LEAVES.good);
  await expect(connectAs(oldCA.pair.cert, client)).rejects.toThrow();
  writeWhole(rotating.caFile, oldCA.pair.cert + newCA.pair.cert, 0o644);
  await connectAs(oldCA.pair.cert, client);
  const third = await newCA.issue({ commonName: "m", hosts: LOOPBACK });
  rotating.write("good", third);
  expect((await connectAs(newCA.pair.cert, client)).serial).toBe(third.serialNumber);
  writeWhole(rotating.caFile, newCA.pair.cert, 0o644);
  await expect(connectAs(newCA.pair.cert, oldLeaf)).rejects.toThrow();
  await connectAs(newCA.pair.cert, client);

  await newCA
    .revoke([client.serialNumber])
    .then((list) => writeWhole(rotating.crlFile, list, 0o644));
  await expect(connectAs(newCA.pair.cert, client)).rejects.toThrow();
  // Connections outlive what they were opened with.
  expect(await old.ask()).toBe("HTTP/1.1 200");
  writeWhole(rotating.crlFile, "no list", 0o644);
  await expect(connectAs(newCA.pair.cert, await newCA.issue(LEAVES.good))).rejects.toThrow();
  await etcd.stop();
  rotating.remove();
});

describe("--auto-tls", () => {
  test("makes a certificate once, for its owner's eyes, and serves with it", async () => {
    const dataDir = join(fixture.directory, "auto");
    const start = (): Promise<LoggedMember> =>
      startLogged({
        dataDir,
        listenClientURLs: HTTPS,
        clientSecurity: { ...NO_TRANSPORT_SECURITY, autoTLS: true },
      });
    let auto = await start();
    const directory = join(dataDir, "fixtures/client");
    const certificate = readFileSync(join(directory, "cert.pem"), "utf8");
    expect(statSync(join(directory, "key.pem")).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(await health(auto.etcd.endpoints[0]!, undefined, { ca: certificate })).toBe("200");
    await auto.etcd.stop();
    auto = await start();
    expect(readFileSync(join(directory, "cert.pem"), "utf8")).toBe(certificate);
    expect(await health(auto.etcd.endpoints[0]!, undefined, { ca: certificate })).toBe("200");
    await auto.etcd.stop();
  });

  test("needs a directory, a time, and peers that ask for no authority", async () => {
    const autoTLS = { ...NO_TRANSPORT_SECURITY, autoTLS: true };
    await expect(startEtcd({ clientSecurity: autoTLS })).rejects.toThrow("data directory");
    const dataDir = join(fixture.directory, "none");
    const never = { dataDir, clientSecurity: autoTLS, selfSignedCertValidityYears: 0 };
    await expect(startEtcd(never)).rejects.toThrow("selfSignedCertValidity is invalid");
    const peers = { dataDir, peerSecurity: { ...autoTLS, clientCertAuth: true } };
    await expect(startEtcd(peers)).rejects.toThrow("would refuse every member");
  });
});

test("a secure URL without a certificate, or with a bad file, ends the start", async () => {
  const text = (security: object, more: object = {}): Promise<string> =>
    startEtcd({
      listenClientURLs: HTTPS,
      clientSecurity: { ...NO_TRANSPORT_SECURITY, ...security },
      ...more,
    }).then(
      async (etcd) => {
        await etcd.stop();
        return "started";
      },
      (error: Error) => error.message,
    );
  expect(await text({})).toBe(
    "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:0 with HTTPS scheme",
  );
  expect(await text({}, { listenClientURLs: "", listenPeerURLs: HTTPS })).toBe(
    "cannot listen on TLS for 127.0.0.1:0: KeyFile and CertFile are not presented",
  );
  expect(await text({ certFile: "/nonexistent", keyFile: "/nonexistent" })).toBe(
    "open /nonexistent: no such file or directory",
  );
  const { certFile } = fixture.files("good");
  expect(await text({ certFile })).toContain("KeyFile and CertFile must both be present");
  const { keyFile } = fixture.files("expired");
  expect(await text({ certFile, keyFile })).toContain("private key does not match public key");
});

test("the time a certificate ends is a metric, and a warning before it comes", async () => {
  const pair = fixture.pair("good");
  const { body } = await member.etcd.metrics.expose(undefined);
  const { certFile } = fixture.files("good");
  const line = body
    .split("\n")
    .find(
      (text) => text.startsWith("etcd_ts_tls_certificate_not_after") && text.includes(certFile),
    );
  expect(Number(line?.split(" ").at(-1))).toBe(Math.floor(pair.notAfter.getTime() / 1000));
  const soon = await fixture.authority.issue({ ...LEAVES.good, validityDays: 3 });
  fixture.write("soon", soon);
  const warned = await startLogged({
    listenClientURLs: HTTPS,
    clientSecurity: fixture.security("soon"),
  });
  expect(warned.logger.events.filter(({ level }) => level === "warn")).toContainEqual(
    expect.objectContaining({
      message: "a certificate will expire soon",
      fields: expect.objectContaining({ "days-left": 2, endpoint: "client" }),
    }),
  );
  await warned.etcd.stop();
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
    await vi.waitFor(() => expect(logger.events.at(-1)?.fields["error"]).toBe("i/o timeout"));
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
    await vi.waitFor(() => expect(silent.filter(({ closed }) => closed)).toHaveLength(1));
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
  expect(await health(member.etcd.endpoints[0]!, "good", asked)).toBe("200");
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
