/** Tokens that are not what they seem, under each algorithm. */

import { createHmac, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { MemoryLogger } from "@etcd-ts/base";
import { NodeClock } from "@etcd-ts/runtime";
import { SignJWT } from "jose";
import { afterAll, describe, expect, test } from "vitest";

import { tokenKindOf } from "./token-options.ts";

const directory = mkdtempSync(join(tmpdir(), "etcd-ts-jwt-"));
afterAll(() => rmSync(directory, { recursive: true }));

const CLAIMS = { username: "alice", revision: 7 };
const parts = { clock: new NodeClock(), logger: new MemoryLogger() };

function file(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

function signerOf(options: string) {
  const tokens = tokenKindOf(`jwt,${options}`, 300, parts);
  if (tokens.kind !== "jwt") throw new Error(`tokens are ${tokens.kind}`);
  return tokens.signer;
}

function pair(algorithm: string, name: string) {
  const { publicKey, privateKey } = algorithm.startsWith("ES")
    ? generateKeyPairSync("ec", {
        namedCurve: { ES256: "P-256", ES384: "P-384", ES512: "P-521" }[algorithm]!,
      })
    : algorithm === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("rsa", { modulusLength: 2048 });
  const publicPEM = publicKey.export({ type: "spki", format: "pem" }).toString();
  const privatePEM = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return {
    publicPEM,
    privateKey,
    publicFile: file(`${name}.pub`, publicPEM),
    privateFile: file(`${name}.key`, privatePEM),
  };
}

function encoded(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

describe.each(["RS256", "PS384", "ES256", "ES512", "EdDSA"])("%s", (algorithm) => {
  const keys = pair(algorithm, algorithm);
  const options = `sign-method=${algorithm},pub-key=${keys.publicFile}`;
  const signing = signerOf(`${options},priv-key=${keys.privateFile}`);
  const verifying = signerOf(options);

  test("is verified by whoever has the public key, who cannot sign", async () => {
    const token = await signing.sign(CLAIMS);
    expect(await verifying.verify(token)).toEqual(CLAIMS);
    expect(verifying.known(token)).toMatchObject(CLAIMS);
    expect([signing.canSign, verifying.canSign]).toEqual([true, false]);
  });

  test("refuses what was changed, other keys, no signature, and the public key as a secret", async () => {
    const token = await signing.sign(CLAIMS);
    const [head, , signature] = token.split(".");
    const root = encoded({ username: "root", revision: 7, exp: 4_000_000_000 });
    const unsigned = `${encoded({ alg: "none", typ: "JWT" })}.${root}.`;
    const confusedHead = `${encoded({ alg: "HS256", typ: "JWT" })}.${root}`;
    const hmac = createHmac("sha256", keys.publicPEM).update(confusedHead).digest("base64url");
    const other = pair(algorithm, `${algorithm}-other`);
    const foreign = await new SignJWT({ ...CLAIMS, exp: 4_000_000_000 })
      .setProtectedHeader({ alg: algorithm })
      .sign(other.privateKey);
    const forged = [
      `${head}.${root}.${signature}`,
      unsigned,
      `${confusedHead}.${hmac}`,
      foreign,
      "",
      "a.b.c",
      "abcdefghijklmnop.3",
    ];
    for (const text of forged) expect(await verifying.verify(text)).toBeUndefined();
  });

  test("refuses tokens that are over, and claims of other types", async () => {
    const sign = (claims: Record<string, unknown>): Promise<string> =>
      new SignJWT(claims).setProtectedHeader({ alg: algorithm }).sign(keys.privateKey);
    const later = 4_000_000_000;
    for (const claims of [
      { ...CLAIMS, exp: 1 },
      { ...CLAIMS, exp: later, nbf: later },
      { username: "alice", exp: later },
      { revision: 7, exp: later },
      { username: 5, revision: 7, exp: later },
      { username: "alice", revision: "7", exp: later },
    ]) {
      expect(await verifying.verify(await sign(claims))).toBeUndefined();
    }
  });
});

test("an HMAC secret is the private key's file", async () => {
  const options = `sign-method=HS256,priv-key=${file("secret", "0123456789abcdef0123456789abcdef\n")}`;
  const token = await signerOf(options).sign(CLAIMS);
  expect(await signerOf(options).verify(token)).toEqual(CLAIMS);
  expect(await signerOf(options).verify(`${token}=`)).toBeUndefined();
});

describe("options", () => {
  const rsa = pair("RS256", "options");
  test.each([
    ["none of a known kind", "magic", "auth: invalid auth options"],
    ["no algorithm", "jwt", "auth: invalid auth options"],
    ["no signature", "jwt,sign-method=none", "auth: invalid auth options"],
    ["an option twice", "jwt,ttl=1s,ttl=2s", "auth: invalid auth options"],
    ["no value", "jwt,ttl", "auth: invalid auth options"],
    ["no key", "jwt,sign-method=RS256", "auth: missing key data"],
    ["no such file", "jwt,sign-method=RS256,pub-key=/nowhere", "auth: invalid auth options"],
    ["a key of another type", `jwt,sign-method=ES256,pub-key=${rsa.publicFile}`, "not of type ec"],
    [
      "keys that do not fit",
      `jwt,sign-method=RS256,pub-key=${rsa.publicFile},priv-key=${pair("RS256", "x").privateFile}`,
      "auth: public and private keys don't match",
    ],
  ])("with %s are refused", (_name, text, message) => {
    expect(() => tokenKindOf(text, 300, parts)).toThrow(message);
  });
});
