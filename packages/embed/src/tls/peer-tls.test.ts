/** TLS between members: who is let into the talk of a cluster, and who is not. */

import { createServer as createPlain } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { MemoryLogger } from "@etcd-ts/base";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePorts } from "../../../../tests/processes/free-ports.ts";
import { parseListenURL } from "../listen-url.ts";
import { peerDial } from "./peer-dial.ts";
import { CertificateFixture, LEAVES, startLogged } from "./tls-fixture.ts";
import type { LeafName, LoggedMember } from "./tls-fixture.ts";
import { NO_TRANSPORT_SECURITY, tlsProtocol } from "./transport-security.ts";
import type { TransportSecurity } from "./transport-security.ts";

const PROTOCOL = tlsProtocol({ tlsMinVersion: "", tlsMaxVersion: "", cipherSuites: [] });

let fixture: CertificateFixture;

beforeAll(async () => {
  fixture = await CertificateFixture.make();
});
afterAll(() => fixture.remove());

/** One member for each of `securities`, all at once, for they wait for each other. */
async function startCluster(securities: readonly TransportSecurity[]): Promise<LoggedMember[]> {
  const ports = await freePorts(securities.length);
  const urls = ports.map((port) => `https://127.0.0.1:${port}`);
  return Promise.all(
    securities.map((peerSecurity, i) =>
      startLogged({
        name: `m${i}`,
        ...(peerSecurity.autoTLS ? { dataDir: join(fixture.directory, `m${i}`) } : {}),
        peerSecurity,
        listenPeerURLs: urls[i]!,
        initialAdvertisePeerURLs: urls[i]!,
        initialCluster: urls.map((url, j) => `m${j}=${url}`).join(","),
        initialClusterToken: `tls-${ports.join("-")}`,
        heartbeatIntervalMs: 50,
        electionTimeoutMs: 1000,
      }),
    ),
  );
}

async function writeAndReadEverywhere(
  members: readonly LoggedMember[],
  prefix = "k",
): Promise<void> {
  for (const [i, { etcd }] of members.entries()) {
    const client = new Client({ endpoints: etcd.endpoints, timeoutMs: 20_000 });
    await client.kv.put(`${prefix}${i}`, "v");
    expect((await client.kv.get(prefix, { prefix: true })).kvs).toHaveLength(i + 1);
    await client.close();
  }
}

describe("three members over TLS", () => {
  test("with certificates of one authority talk, and let in no others", async () => {
    const security = fixture.security("good", { allowedCNs: ["alice"] });
    const members = await startCluster([security, security, security]);
    await writeAndReadEverywhere(members);
    const [member] = members;
    const { port } = new URL(member!.etcd.peerURLs[0]!);
    await fixture.authority
      .issue({ ...LEAVES.good, commonName: "mallory" })
      .then((pair) => fixture.write("mallory", pair));
    const reasons: readonly (readonly [string, string | RegExp])[] = [
      ["good", ""],
      ["none", "tls: client didn't provide a certificate"],
      ["expired", /certificate has expired/],
      ["otherAuthority", /unknown authority$/],
      ["selfSigned", /unknown authority$/],
      ["revoked", /revoked$/],
      ["elsewhere", /^tls: "127\.0\.0\.1" does not match any of DNSNames/],
      ["mallory", "client certificate authentication failed"],
    ];
    for (const [leaf, reason] of reasons) {
      const before = member!.refusals("peer").length;
      const answer = await askAs(leaf, Number(port));
      if (reason === "") {
        expect(answer).toMatch(/^HTTP\/1\.1 200/);
        continue;
      }
      expect(answer, leaf).not.toContain("HTTP/1.1");
      await expect.poll(() => member!.refusals("peer").length).toBe(before + 1);
      const refusal = member!.refusals("peer").at(-1);
      if (typeof reason === "string") expect(refusal).toBe(reason);
      else expect(refusal).toMatch(reason);
    }
    await writeAndReadEverywhere(members, "after");
    await Promise.all(members.map(({ etcd }) => etcd.stop()));
  });

  test("skip the look at addresses if told to", async () => {
    const security = fixture.security("good", { skipClientSANVerification: true });
    const { etcd } = (await startCluster([security]))[0]!;
    const { port } = new URL(etcd.peerURLs[0]!);
    expect(await askAs("elsewhere", Number(port))).toMatch(/^HTTP\/1\.1 200/);
    await etcd.stop();
  });

  test("with certificates of their own making talk as well", async () => {
    const auto = { ...NO_TRANSPORT_SECURITY, autoTLS: true };
    const members = await startCluster([auto, auto, auto]);
    await writeAndReadEverywhere(members);
    await Promise.all(members.map(({ etcd }) => etcd.stop()));
  });

  /** What `GET /version` gets, as HTTP/1.1 over TLS. */
  function askAs(leaf: string, port: number): Promise<string> {
    const pair = leaf === "none" ? {} : fixture.read(leaf);
    return new Promise((resolve) => {
      let text = "";
      const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...pair });
      socket.on("data", (chunk) => (text += String(chunk)));
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(text));
      socket.write("GET /version HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n");
    });
  }
});

describe("peerDial()", () => {
  let server: Server;
  let seen: (string | undefined)[];

  async function listenAs(leaf: LeafName): Promise<number> {
    seen = [];
    server = createServer({ ...fixture.pair(leaf), requestCert: true, rejectUnauthorized: false });
    server.on("secureConnection", (socket) => {
      seen.push(socket.getPeerX509Certificate()?.subject);
      socket.on("error", () => undefined);
      socket.end();
    });
    server.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    return (server.address() as AddressInfo).port;
  }

  async function dial(
    host: string,
    port: number,
    security: Partial<TransportSecurity>,
    serverName?: string,
  ): Promise<string> {
    const url = parseListenURL(`https://${host}:${port}`);
    const given = { ...fixture.security("good"), ...security };
    const options = { security: given, protocol: PROTOCOL, serverName, logger: new MemoryLogger() };
    return peerDial(options)(url, { timeoutMs: 30_000 }).then(
      async (socket) => {
        await new Promise((ended) => socket.resume().once("close", ended));
        return "connected";
      },
      (error: Error) => error.message,
    );
  }

  test.each<readonly [LeafName, string]>([
    ["good", "connected"],
    ["expired", "x509: certificate has expired or is not yet valid"],
    ["elsewhere", "x509: certificate is valid for 192.0.2.1, not 127.0.0.1"],
    ["otherAuthority", "x509: certificate signed by unknown authority"],
    ["selfSigned", "x509: certificate signed by unknown authority"],
  ])("judges a member that shows %s", async (leaf, text) => {
    const port = await listenAs(leaf);
    expect(await dial("127.0.0.1", port, {})).toContain(text);
    server.close();
  });

  test("shows the client certificate if there is one, and asks the other's name", async () => {
    const port = await listenAs("good");
    const client = await fixture.authority.issue({ ...LEAVES.good, commonName: "as client" });
    fixture.write("client", client);
    const { certFile, keyFile } = fixture.files("client");
    const asClient = { clientCertFile: certFile, clientKeyFile: keyFile };
    expect(await dial("localhost", port, asClient)).toBe("connected");
    expect(seen).toEqual(["CN=as client"]);
    expect(await dial("127.0.0.1", port, { allowedCNs: ["bob"] })).toBe(
      "client certificate authentication failed",
    );
    expect(await dial("127.0.0.1", port, {}, "cluster.example")).toContain(
      "certificate is valid for localhost, not cluster.example",
    );
    server.close();
  });

  test("says what is wrong with a server that speaks no TLS", async () => {
    const plain = createPlain((socket) => {
      socket.on("error", () => undefined);
      socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", () => resolve()));
    const { port } = plain.address() as AddressInfo;
    expect(await dial("127.0.0.1", port, {})).toBe(
      `dial tcp 127.0.0.1:${port}: tls: first record does not look like a TLS handshake`,
    );
    plain.close();
  });
});
