/** TLS files: read anew when they change, made by a member itself, missing, broken, at their end. */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { connect as connectTLS } from "node:tls";
import { CertificateAuthority, writeWhole } from "@etcd-ts/certs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEtcd } from "../etcd.ts";
import { CertificateFixture, LEAVES, LOOPBACK, startLogged } from "./tls-fixture.ts";
import type { LoggedMember } from "./tls-fixture.ts";
import { NO_TRANSPORT_SECURITY } from "./transport-security.ts";

const HTTPS = "https://127.0.0.1:0";

let fixture: CertificateFixture;

beforeAll(async () => {
  fixture = await CertificateFixture.make();
});
afterAll(() => fixture.remove());

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
    expect(await fixture.health(auto.etcd.endpoints[0]!, undefined, { ca: certificate })).toBe(
      "200",
    );
    await auto.etcd.stop();
    auto = await start();
    expect(readFileSync(join(directory, "cert.pem"), "utf8")).toBe(certificate);
    expect(await fixture.health(auto.etcd.endpoints[0]!, undefined, { ca: certificate })).toBe(
      "200",
    );
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
  const etcd = await startEtcd({
    listenClientURLs: HTTPS,
    clientSecurity: fixture.security("good"),
  });
  const { body } = await etcd.metrics.expose(undefined);
  await etcd.stop();
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
