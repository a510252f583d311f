/** Planted secrets stay out of everything a member says, and its files are for its owner alone. */

import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { CertificateAuthority, writePair } from "@etcd-ts/certs";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { freshPorts, MemberProcess } from "../processes/member-process.ts";

const ROOT_PASSWORD = "planted-root-password";
const PASSWORDS = [
  ROOT_PASSWORD,
  "planted-app-password",
  "planted-next-password",
  "planted-wrong-password",
];
const VALUE = "planted-value";
const KEY = "planted-key";
const GARBAGE_TOKEN = "plantedgarbagetoken.7";

let directory: string;
let authority: CertificateAuthority;
/** What private keys hold, a line each. */
const keyLines: string[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "etcd-secrets-"));
  authority = await CertificateAuthority.create();
  writeFileSync(join(directory, "ca.crt"), authority.pair.cert);
  const server = await authority.issue({ hosts: ["127.0.0.1", "localhost"] });
  writePair(server, join(directory, "server.crt"), join(directory, "server.key"));
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signing = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  writeFileSync(join(directory, "jwt.key"), signing, { mode: 0o600 });
  writeFileSync(join(directory, "jwt.pub"), publicKey.export({ type: "spki", format: "pem" }));
  for (const text of [signing, server.key]) {
    keyLines.push(
      ...text.split("\n").filter((line) => line.length > 20 && !line.startsWith("---")),
    );
  }
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

interface Said {
  readonly status: number;
  readonly text: string;
}

/** What HTTPS says; the text of the body and of all headers. */
function ask(
  member: MemberProcess,
  method: string,
  path: string,
  body = "",
  token = "",
): Promise<Said> {
  return new Promise((resolve, reject) => {
    const headers = token === "" ? {} : { authorization: token };
    const url = new URL(path, member.clientURL);
    const options = { method, headers, ca: authority.pair.cert, agent: false } as const;
    const request = httpsRequest(url, options, (response) => {
      let text = JSON.stringify(response.headers);
      response.on("data", (chunk) => (text += String(chunk)));
      response.on("end", () => resolve({ status: response.statusCode!, text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Runs `call`, which may fail, and gives what it says then. */
async function complaint(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "";
  } catch (error) {
    return `${String(error)} ${JSON.stringify(error)} ${String((error as Error).stack)}`;
  }
}

/** Users, right and wrong logins, writes, refusals. @returns tokens, and all that was said */
async function exercise(member: MemberProcess): Promise<{ tokens: string[]; said: string[] }> {
  const said: string[] = [];
  const tokens: string[] = [];
  const base = {
    endpoints: [member.clientURL],
    tls: { ca: authority.pair.cert },
    timeoutMs: 20_000,
  };
  const bare = new Client(base);
  await bare.auth.userAdd("root", ROOT_PASSWORD);
  await bare.auth.roleAdd("root");
  await bare.auth.userGrantRole("root", "root");
  await bare.auth.userAdd("app", "planted-app-password");
  await bare.auth.roleAdd("app");
  await bare.auth.roleGrantPermission("app", "READWRITE", KEY, { prefix: true });
  await bare.auth.userGrantRole("app", "app");
  await bare.auth.enable();
  const login = async (name: string, password: string): Promise<string> => {
    const answer = await ask(
      member,
      "POST",
      "/v3/auth/authenticate",
      JSON.stringify({ name, password }),
    );
    const token = /"token":"([^"]+)"/.exec(answer.text)?.[1];
    if (token === undefined) said.push(answer.text);
    return token ?? "";
  };
  tokens.push(await login("root", ROOT_PASSWORD), await login("app", "planted-app-password"));
  expect(tokens.every((token) => token.length > 15)).toBe(true);
  await login("app", "planted-wrong-password");
  await login("nobody", "planted-wrong-password");
  const app = new Client({ ...base, username: "app", password: "planted-app-password" });
  const root = new Client({ ...base, username: "root", password: ROOT_PASSWORD });
  await app.kv.put(KEY, VALUE);
  await app.kv.put(KEY, VALUE, { prevKV: true });
  await app.kv.get(KEY);
  await app.kv.delete(KEY);
  const wrong = new Client({ ...base, username: "app", password: "planted-wrong-password" });
  for (const call of [
    () => bare.kv.put(KEY, VALUE),
    () => app.kv.put("elsewhere", VALUE),
    () => app.auth.userAdd("x", "planted-next-password"),
    () => wrong.kv.get(KEY),
    () => root.auth.userAdd("app", "planted-next-password"),
  ]) {
    said.push(await complaint(call()));
  }
  await root.auth.userChangePassword("app", "planted-next-password");
  const json = JSON.stringify({
    key: Buffer.from(KEY).toString("base64"),
    value: Buffer.from(VALUE).toString("base64"),
  });
  for (const token of [GARBAGE_TOKEN, tokens[1]!, `${tokens[1]}x`, `Bearer ${tokens[0]}`]) {
    const { status, text } = await ask(member, "POST", "/v3/kv/put", json, token);
    if (status !== 200) said.push(text);
  }
  for (const path of ["/metrics", "/debug/vars", "/health", "/version"]) {
    said.push((await ask(member, "GET", path)).text);
  }
  await Promise.all([bare, app, root, wrong].map((client) => client.close()));
  return { tokens, said };
}

/** Of each token also its parts, since a part of one may be all that leaks. */
function partsOf(tokens: readonly string[]): string[] {
  return tokens.flatMap((token) => [token, ...token.split(".")]).filter((part) => part.length > 15);
}

const jwtFlag = (): string =>
  `--auth-token=jwt,sign-method=ES256,pub-key=${join(directory, "jwt.pub")},priv-key=${join(directory, "jwt.key")}`;

describe.each([
  { name: "JSON web tokens, at debug level", level: "debug", flags: () => [jwtFlag()] },
  {
    name: "simple tokens, all requests slow",
    level: "info",
    flags: () => ["--warning-unary-request-duration=1ns", "--warning-apply-duration=1ns"],
  },
  { name: "simple tokens, at debug level", level: "debug", flags: (): string[] => [] },
])("with $name", ({ level, flags }) => {
  test("no log, metric or error has a secret", async () => {
    const dataDir = join(directory, `data-${level}-${flags().length}`);
    const member = new MemberProcess({
      dataDir,
      ports: await freshPorts(),
      flags: [
        `--log-level=${level}`,
        "--bcrypt-cost=4",
        `--cert-file=${join(directory, "server.crt")}`,
        `--key-file=${join(directory, "server.key")}`,
        ...flags(),
      ],
      scheme: "https",
    });
    try {
      await member.up();
      const { tokens, said } = await exercise(member);
      await member.end("SIGTERM");
      const hashes = ["$2a$", Buffer.from("$2a$").toString("base64").slice(0, 5)];
      const values = [
        VALUE,
        Buffer.from(VALUE).toString("base64"),
        Buffer.from(VALUE).toString("hex"),
      ];
      const secrets = [
        ...PASSWORDS,
        GARBAGE_TOKEN,
        ...partsOf(tokens),
        ...keyLines,
        ...hashes,
        ...values,
      ];
      // Keys are told at debug level, as the reference tells them.
      if (level !== "debug") secrets.push(KEY, Buffer.from(KEY).toString("base64"));
      expect(member.log).toContain(level === "debug" ? '"level":"debug"' : "request stats");
      expect(member.log).toContain("token-fingerprint");
      for (const secret of secrets) {
        expect(member.log.includes(secret), `the log has ${secret}`).toBe(false);
        const texts = said.filter((text) => text.includes(secret));
        expect(texts, `${secret} is told`).toEqual([]);
      }
    } finally {
      await member.end("SIGKILL");
    }
  });
});

/** Paths below `path` with their modes, where those let anybody else in. */
function open(path: string): string[] {
  const found: string[] = [];
  for (const name of readdirSync(path, { recursive: true, encoding: "utf8" })) {
    const whole = join(path, name);
    const { mode } = lstatSync(whole);
    if ((mode & 0o077) !== 0) found.push(`${name} ${(mode & 0o777).toString(8)}`);
  }
  return found;
}

test("all of a data directory is for its owner alone, whatever the umask", async () => {
  const umask = process.umask(0);
  const home = join(directory, "home");
  mkdirSync(home, { mode: 0o700 });
  const member = new MemberProcess({
    dataDir: join(home, "data"),
    ports: await freshPorts(),
    flags: ["--snapshot-count=20", "--auto-tls"],
  });
  try {
    await member.up();
    const client = new Client({ endpoints: [member.clientURL] });
    for (let i = 0; i < 60; i++) await client.kv.put(`k${i}`, "x".repeat(1000));
    await client.maintenance.defragment();
    await client.close();
    const etcdctl = join(import.meta.dirname, "../../bin/etcdctl");
    const words = ["--endpoints", member.clientURL, "snapshot", "save", join(home, "backup.db")];
    await promisify(execFile)(process.execPath, [etcdctl, ...words]);
    await member.end("SIGKILL");
    await member.up();
    await member.end("SIGTERM");
  } finally {
    process.umask(umask);
    await member.end("SIGKILL");
  }
  // A certificate is for everybody; its directory is not.
  expect(open(home)).toEqual(["data/fixtures/client/cert.pem 644"]);
  const names = readdirSync(home, { recursive: true, encoding: "utf8" });
  for (const kind of [/\.wal$/, /\.snap$/, /snap\/db$/, /backup\.db$/, /key\.pem$/]) {
    expect(
      names.some((name) => kind.test(name)),
      String(kind),
    ).toBe(true);
  }
});
