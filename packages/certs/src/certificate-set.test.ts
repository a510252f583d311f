import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CertificateAuthority, canonicalSerial, readRevokedSerials } from "./index.ts";
import { makeCertificates } from "./command.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "certs-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function run(...words: string[]): Promise<string[]> {
  const lines: string[] = [];
  await makeCertificates([directory, ...words], (line) => lines.push(line));
  return lines;
}

function read(path: string): X509Certificate {
  return new X509Certificate(readFileSync(join(directory, path)));
}

describe("makeCertificates()", () => {
  test("makes one member and one client unless told otherwise", async () => {
    const written = await run();
    expect(written.map((path) => path.slice(directory.length + 1))).toEqual([
      "members/default/server.crt",
      "members/default/peer.crt",
      "clients/root.crt",
    ]);
    const ca = read("ca.crt");
    const server = read("members/default/server.crt");
    expect(server.checkIssued(ca)).toBe(true);
    expect(server.verify(ca.publicKey)).toBe(true);
    expect(server.checkIP("127.0.0.1")).toBe("127.0.0.1");
    expect(read("clients/root.crt").subject).toBe("CN=root");
    expect(read("clients/root.crt").keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    for (const key of ["ca.key", "members/default/peer.key", "clients/root.key"]) {
      expect(statSync(join(directory, key)).mode & 0o777, key).toBe(0o600);
    }
    expect(readRevokedSerials(readFileSync(join(directory, "revoked.crl"))).size).toBe(0);
  });

  test("uses its authority again, and takes certificates back one after the other", async () => {
    await run("--member=m0=10.0.0.1,m0.example", "--client=alice", "--client=bob", "--days=7");
    const ca = read("ca.crt");
    expect(read("members/m0/peer.crt").checkHost("m0.example")).toBe("m0.example");
    const alice = read("clients/alice.crt");
    expect(Math.round((Date.parse(alice.validTo) - Date.now()) / 86_400_000)).toBe(7);
    await run("--client=carol");
    expect(read("ca.crt").fingerprint256).toBe(ca.fingerprint256);
    expect(read("clients/carol.crt").verify(ca.publicKey)).toBe(true);
    for (const name of ["alice", "bob"])
      await run(`--revoke=${join(directory, `clients/${name}.crt`)}`);
    const revoked = readRevokedSerials(readFileSync(join(directory, "revoked.crl")));
    const serials = ["alice", "bob"].map((name) => read(`clients/${name}.crt`).serialNumber);
    expect(revoked).toEqual(new Set(serials.map(canonicalSerial)));
  });

  test("gives the nodes of kubeadm one authority", async () => {
    await run("--kubeadm=node-1=10.0.0.7");
    const ca = read("etcd/ca.crt");
    await run("--kubeadm=node-2=10.0.0.8");
    expect(read("etcd/ca.crt").fingerprint256).toBe(ca.fingerprint256);
    expect(read("etcd/server.crt").checkHost("node-2")).toBe("node-2");
    expect(readdirSync(directory).toSorted()).toEqual([
      "apiserver-etcd-client.crt",
      "apiserver-etcd-client.key",
      "etcd",
    ]);
  });

  test.each([
    [["--bogus"], "bogus"],
    [["more"], "name one directory"],
    [["--client=../x"], "not a name"],
    [["--member=a=b=c"], "not NAME=HOST,HOST"],
    [["--days=0"], "not a number of days"],
  ])("refuses %j", async (words, message) => {
    await expect(run(...words)).rejects.toThrow(message);
  });

  test("tells how it is used", async () => {
    expect((await run("--help")).join("\n")).toContain("npm run certs -- certs --client alice");
  });
});

test("CertificateAuthority.open() refuses what is no authority, and tells no key", async () => {
  const [one, two] = [await CertificateAuthority.create(), await CertificateAuthority.create()];
  await expect(CertificateAuthority.open(one.pair.cert, two.pair.key)).rejects.toThrow(
    "the key is not that of the certificate",
  );
  await expect(CertificateAuthority.open(one.pair.cert, "secret")).rejects.toThrow(
    "no authority with a P-256 key",
  );
  writeFileSync(join(directory, "ca.crt"), one.pair.cert);
  // Half an authority is not replaced by another one.
  await expect(run()).rejects.toThrow("ca.key");
});
