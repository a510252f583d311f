import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  CertificateAuthority,
  canonicalSerial,
  issueSelfSigned,
  readRevokedSerials,
  writeKubeadmCertificates,
} from "./index.ts";

const directory = mkdtempSync(join(tmpdir(), "certs-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("CertificateAuthority", () => {
  test("issue() signs for names, addresses and usages, and nothing more", async () => {
    const ca = await CertificateAuthority.create();
    const pair = await ca.issue({
      commonName: "m0",
      organization: "o",
      hosts: ["a.example", "127.0.0.1", "::1"],
      usages: ["client"],
    });
    const leaf = new X509Certificate(pair.cert);
    expect(leaf.verify(new X509Certificate(ca.pair.cert).publicKey)).toBe(true);
    expect(leaf.ca).toBe(false);
    expect(leaf.subject).toBe("O=o\nCN=m0");
    expect(leaf.checkHost("a.example")).toBe("a.example");
    expect(leaf.checkIP("127.0.0.1")).toBe("127.0.0.1");
    expect(leaf.checkIP("127.0.0.2")).toBeUndefined();
    // clientAuth alone
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(canonicalSerial(leaf.serialNumber)).toBe(canonicalSerial(pair.serialNumber));
  });

  test("revoke() lists serial numbers, which readRevokedSerials() finds", async () => {
    const ca = await CertificateAuthority.create();
    const [kept, lost] = [await ca.issue({ commonName: "a" }), await ca.issue({ commonName: "b" })];
    const revoked = readRevokedSerials(await ca.revoke([lost.serialNumber]));
    expect(revoked.has(canonicalSerial(new X509Certificate(lost.cert).serialNumber))).toBe(true);
    expect(revoked.has(canonicalSerial(new X509Certificate(kept.cert).serialNumber))).toBe(false);
    expect(readRevokedSerials(await ca.revoke([])).size).toBe(0);
    expect(() => readRevokedSerials(new Uint8Array([1, 2, 3]))).toThrow("x509: malformed crl");
    expect(() => readRevokedSerials(Buffer.from(lost.cert))).toThrow("x509: malformed crl");
  });
});

test("issueSelfSigned() is what --auto-tls of etcd makes", async () => {
  const pair = await issueSelfSigned({
    hosts: ["localhost", "127.0.0.1"],
    usages: ["server", "client"],
    validityDays: 730,
  });
  const cert = new X509Certificate(pair.cert);
  expect([cert.subject, cert.issuer]).toEqual(["O=etcd", "O=etcd"]);
  expect(cert.publicKey.asymmetricKeyDetails?.namedCurve).toBe("secp521r1");
  expect(pair.key).toMatch(/^-----BEGIN EC PRIVATE KEY-----/);
  expect(cert.checkHost("localhost")).toBe("localhost");
  expect(cert.checkIP("127.0.0.1")).toBe("127.0.0.1");
  const days = (Date.parse(cert.validTo) - Date.parse(cert.validFrom)) / 86_400_000;
  expect(days).toBe(730);
});

test("writeKubeadmCertificates() keeps kubeadm's names, and keys to their owner", async () => {
  await writeKubeadmCertificates(directory, { name: "node-1", addresses: ["10.0.0.7"] });
  const server = new X509Certificate(readFileSync(join(directory, "etcd/server.crt")));
  for (const host of ["node-1", "localhost"]) expect(server.checkHost(host)).toBe(host);
  for (const address of ["10.0.0.7", "127.0.0.1"]) expect(server.checkIP(address)).toBe(address);
  expect(server.checkIP("::1")).toBeDefined();
  expect(server.keyUsage).toHaveLength(2);
  const apiserver = new X509Certificate(readFileSync(join(directory, "apiserver-etcd-client.crt")));
  expect(apiserver.subject).toContain("CN=kube-apiserver-etcd-client");
  expect(
    apiserver.verify(new X509Certificate(readFileSync(join(directory, "etcd/ca.crt"))).publicKey),
  ).toBe(true);
  for (const name of ["etcd/ca", "etcd/server", "etcd/peer", "etcd/healthcheck-client"]) {
    expect(statSync(join(directory, `${name}.key`)).mode & 0o777).toBe(0o600);
  }
  expect(statSync(join(directory, "etcd")).mode & 0o777).toBe(0o700);
});
