import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryLogger } from "@etcd-ts/base";
import { CertificateAuthority, writePair, writeWhole } from "@etcd-ts/certs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readMaterial, TLSFileSet, TLSMaterialError } from "./tls-material.ts";

const directory = mkdtempSync(join(tmpdir(), "tls-material-"));
const certFile = join(directory, "leaf.crt");
const keyFile = join(directory, "leaf.key");
const caFile = join(directory, "ca.crt");
let ca: CertificateAuthority;

beforeAll(async () => {
  ca = await CertificateAuthority.create();
  writePair(await ca.issue({ commonName: "one" }), certFile, keyFile);
  writeWhole(caFile, ca.pair.cert, 0o644);
});
afterAll(() => rmSync(directory, { recursive: true }));

function subjectOf(files: TLSFileSet): string | undefined {
  return files.current().certificates[0]?.certificate.subject;
}

test("TLSFileSet.current() follows the files, and keeps a pair that fits until both are there", async () => {
  const logger = new MemoryLogger();
  const files = new TLSFileSet({ certFile, keyFile, caFile }, logger);
  const before = files.current();
  expect(files.current()).toBe(before);
  expect(before.ca).toHaveLength(1);

  const next = await ca.issue({ commonName: "two" });
  writeWhole(certFile, next.cert, 0o644);
  expect(subjectOf(files)).toBe("CN=one");
  expect(subjectOf(files)).toBe("CN=one");
  const warnings = logger.events.filter(({ level }) => level === "warn");
  expect(warnings).toHaveLength(1);
  expect(JSON.stringify(warnings)).toContain("private key does not match public key");

  writeWhole(keyFile, next.key, 0o600);
  expect(subjectOf(files)).toBe("CN=two");
  rmSync(keyFile);
  expect(subjectOf(files)).toBe("CN=two");
  writeWhole(keyFile, next.key, 0o600);
  const other = await CertificateAuthority.create({ commonName: "other" });
  writeWhole(caFile, ca.pair.cert + other.pair.cert, 0o644);
  expect(files.current().ca).toHaveLength(2);
});

test("readMaterial() says which file is wrong and why, and nothing of its content", () => {
  const secret = "c2VjcmV0LW9mLXRoZS1rZXk";
  const garbage = join(directory, "garbage.key");
  writeFileSync(
    garbage,
    `-----BEGIN EC PRIVATE KEY-----\n${secret}\n-----END EC PRIVATE KEY-----\n`,
  );
  const reasonOf = (files: Parameters<typeof readMaterial>[0]): string => {
    try {
      readMaterial(files);
    } catch (error) {
      if (error instanceof TLSMaterialError) return error.message;
      throw error;
    }
    return "no error";
  };
  const missing = join(directory, "missing.crt");
  expect(reasonOf({ certFile: missing, keyFile })).toBe(
    `open ${missing}: no such file or directory`,
  );
  expect(reasonOf({ certFile: directory, keyFile })).toContain("is a directory");
  expect(reasonOf({ certFile })).toContain("KeyFile and CertFile must both be present");
  expect(reasonOf({ certFile: keyFile, keyFile })).toContain("failed to find any PEM data");
  expect(reasonOf({ certFile, keyFile: garbage })).toContain(garbage);
  expect(reasonOf({ certFile, keyFile: garbage })).not.toContain(secret);
  const broken = join(directory, "broken.crt");
  writeFileSync(broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  renameSync(broken, `${broken}.2`);
  expect(reasonOf({ caFile: `${broken}.2` })).toContain("x509: malformed certificate");
});
