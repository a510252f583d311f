/** Connections and logins in masses: what is there goes on, what comes is bounded. */

import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Client } from "@etcd-ts/client";
import { Etcd3 } from "etcd3";
import { afterEach, expect, test } from "vitest";

import { freshPorts, MemberProcess } from "../processes/member-process.ts";

const MEGABYTE = 1024 * 1024;
const directory = mkdtempSync(join(tmpdir(), "etcd-floods-"));
const members: MemberProcess[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(members.splice(0).map((member) => member.end("SIGKILL")));
  rmSync(directory, { recursive: true, force: true });
});

async function start(
  flags: readonly string[] = [],
  descriptorsMax?: number,
): Promise<MemberProcess> {
  const dataDir = join(directory, String(members.length), "data");
  const member = new MemberProcess({
    dataDir,
    ports: await freshPorts(),
    flags,
    ...(descriptorsMax === undefined ? {} : { descriptorsMax }),
  });
  members.push(member);
  await member.up();
  return member;
}

/** Opens connections that stay, each with its first bytes. */
function flood(port: number, count: number, bytes: string): Socket[] {
  return Array.from({ length: count }, () => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("error", () => undefined);
    socket.on("data", () => undefined);
    socket.write(bytes);
    sockets.push(socket);
    return socket;
  });
}

const openOnes = (from: readonly Socket[]): number =>
  from.filter(({ readyState, destroyed }) => readyState === "open" && !destroyed).length;

test("more connections than files allow are closed, and those before them go on", async () => {
  const limit = 400;
  const reserved = 150;
  const member = await start([], limit);
  const witness = new Etcd3({ hosts: member.clientURL });
  await witness.put("k").value("before");
  const watcher = await witness.watch().key("k").create();
  const slow = flood(member.ports.client, 2 * limit, "GET /health HTTP/1.1\r\nX-Slow: ");
  await expect.poll(() => openOnes(slow), { timeout: 20_000 }).toBeLessThan(limit - reserved + 1);
  const event = new Promise<string>((resolve) =>
    watcher.once("put", ({ value }) => resolve(value.toString())),
  );
  for (let i = 0; i < 20; i++) await witness.put("k").value(`during ${i}`);
  expect(await event).toBe("during 0");
  // The log rolls on and other ports answer: descriptors were kept for them.
  const peers = await fetch(`http://127.0.0.1:${member.ports.peer}/members`);
  expect(peers.status).toBe(200);
  for (const socket of slow) socket.destroy();
  const late = new Etcd3({ hosts: member.clientURL });
  await expect
    .poll(
      () =>
        late
          .get("k")
          .string()
          .catch(() => undefined),
      { timeout: 20_000 },
    )
    .toBe("during 19");
  await watcher.cancel();
  late.close();
  witness.close();
});

test("a limit of open files that leaves no connections ends the start", async () => {
  await expect(start([], 150)).rejects.toThrow("file descriptor limit of etcd process is too low");
});

test("connections that say nothing, or never end what they say, cost little", async () => {
  const member = await start();
  const witness = new Etcd3({ hosts: member.clientURL });
  await witness.put("k").value("v");
  const before = member.rssBytes();
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const unary = "\0\0\0\x04\0\0\0\0\0\0\x00\x10\x01\x04\0\0\0\x01";
  for (const bytes of [
    "",
    "P",
    preface,
    preface + unary,
    "POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{",
  ]) {
    flood(member.ports.client, 400, bytes);
  }
  await expect.poll(() => openOnes(sockets), { timeout: 20_000 }).toBeGreaterThan(1000);
  for (let i = 0; i < 20; i++) await witness.put("k").value(String(i));
  expect(await witness.get("k").string()).toBe("19");
  expect(member.rssBytes() - before).toBeLessThan(300 * MEGABYTE);
  witness.close();
});

test("logins in masses are bounded, and users who are logged in do not notice", async () => {
  const member = await start(["--bcrypt-cost=9"]);
  const base = { endpoints: [member.clientURL], timeoutMs: 30_000 };
  const bare = new Client(base);
  await bare.auth.userAdd("root", "pw");
  await bare.auth.roleAdd("root");
  await bare.auth.userGrantRole("root", "root");
  await bare.auth.enable();
  const root = new Client({ ...base, username: "root", password: "pw" });
  await root.kv.put("k", "v");
  const outcomes = new Map<string, number>();
  const attempt = async (): Promise<void> => {
    const one = await member.post("auth/authenticate", { name: "root", password: "pw" }).then(
      () => "in",
      (error: Error) => error.message,
    );
    outcomes.set(one, (outcomes.get(one) ?? 0) + 1);
  };
  // Nobody may do anything without a token, however often they ask.
  const unauthenticated = Array.from({ length: 300 }, () =>
    bare.kv.get("k").then(
      () => "read",
      (error: { code: string }) => error.code,
    ),
  );
  const logins = Array.from({ length: 600 }, attempt);
  for (let i = 0; i < 50; i++) await root.kv.put("k", `v${i}`);
  await Promise.all(logins);
  expect(new Set(await Promise.all(unauthenticated))).toEqual(new Set(["USER_EMPTY"]));
  expect([...outcomes.keys()].sort()).toEqual(["etcdserver: too many requests", "in"]);
  expect(outcomes.get("in")).toBeGreaterThan(100);
  await attempt();
  expect(outcomes.get("in")).toBeGreaterThan(101);
  await Promise.all([bare.close(), root.close()]);
});
