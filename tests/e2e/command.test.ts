/** The `etcd` command as a process: start, ready, signals, exit codes, kill -9. */

import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Etcd3 } from "etcd3";
import { afterEach, expect, test } from "vitest";
import { freePort } from "../processes/free-ports.ts";

const command = join(import.meta.dirname, "../../bin/etcd");
const running = new Set<ChildProcess>();
const directories: string[] = [];

afterEach(async () => {
  await Promise.all([...running].map((child) => end(child, "SIGKILL")));
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "etcd-e2e-"));
  directories.push(directory);
  return directory;
}

interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

function end(child: ChildProcess, signal: NodeJS.Signals): Promise<Outcome> {
  return new Promise((resolve) => {
    child.once("exit", (code, by) => {
      running.delete(child);
      resolve({ code, signal: by });
    });
    if (child.exitCode !== null || child.signalCode !== null) {
      running.delete(child);
      resolve({ code: child.exitCode, signal: child.signalCode });
    } else child.kill(signal);
  });
}

interface Running {
  readonly child: ChildProcess;
  readonly client: string;
  readonly log: () => string;
}

async function start(dataDir: string, ...flags: string[]): Promise<Running> {
  const client = `http://127.0.0.1:${await freePort()}`;
  const child = spawn(process.execPath, [
    command,
    `--data-dir=${dataDir}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=http://127.0.0.1:${await freePort()}`,
    ...flags,
  ]);
  running.add(child);
  let log = "";
  child.stderr.on("data", (chunk) => {
    log += String(chunk);
  });
  await new Promise<void>((resolve, reject) => {
    child.stderr.on("data", () => {
      if (log.includes("ready to serve client requests")) resolve();
    });
    child.once("exit", () => reject(new Error(`etcd ended:\n${log}`)));
  });
  return { child, client, log: () => log };
}

async function run(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [command, ...words]);
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout, stderr };
  }
}

test("etcd --version and --help answer with status 0", async () => {
  const version = await run("--version");
  expect(version.code).toBe(0);
  expect(version.stdout).toMatch(/^etcd Version: 3\.6\.\d+\nGit SHA: /);
  const help = await run("--help");
  expect(help.code).toBe(0);
  expect(help.stdout).toContain("--listen-client-urls 'http://localhost:2379'");
});

test.each([
  [["--bogus"], 2, "flag provided but not defined: -bogus"],
  [["--max-txn-ops=abc"], 2, 'invalid value "abc" for flag -max-txn-ops: parse error'],
  [["word"], 1, "is not a valid flag"],
  [
    ["--discovery-proxy=x"],
    1,
    "--discovery-proxy is a flag of etcd that etcd-ts has not built yet",
  ],
  [["--cert-file=x"], 1, "KeyFile and CertFile must both be present"],
  [["--election-timeout=100"], 1, "should be at least as 5 times"],
  [["--config-file=/nonexistent.yml"], 1, "no such file or directory"],
  [["gateway", "start"], 1, "etcd gateway is not built yet"],
])("etcd %j ends with its status and says why", async (words, code, text) => {
  const result = await run(...words);
  expect(result.code).toBe(code);
  expect(result.stderr).toContain(text);
});

test("etcd keeps data over a stop, a signal and kill -9", async () => {
  const dataDir = join(temporary(), "data");
  let expected = 0;
  for (const signal of ["SIGTERM", "SIGINT", "SIGKILL", "SIGTERM"] as const) {
    const { child, client } = await start(dataDir);
    const etcd3 = new Etcd3({ hosts: client });
    expect(await etcd3.getAll().prefix("k").count()).toBe(expected);
    for (let i = 0; i < 5; i++) await etcd3.put(`k${expected++}`).value("x");
    etcd3.close();
    expect(await end(child, signal)).toEqual({ code: null, signal });
  }
  expect(statSync(join(dataDir, "member")).mode & 0o777).toBe(0o700);
  expect(statSync(join(dataDir, "member/snap/db")).mode & 0o777).toBe(0o600);
});

test("etcd refuses a port that is taken, by name and with status 1", async () => {
  const { client } = await start(join(temporary(), "data"));
  const result = await run(
    `--data-dir=${join(temporary(), "other")}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=http://127.0.0.1:${await freePort()}`,
  );
  expect(result.code).toBe(1);
  expect(result.stderr).toContain(
    `listen tcp ${client.replace("http://", "")}: bind: address already in use`,
  );
});

test("etcd serves its HTTP endpoints and a unix socket", async () => {
  const directory = temporary();
  const metrics = `http://127.0.0.1:${await freePort()}`;
  const socket = join(directory, "etcd.sock");
  const { client } = await start(
    join(directory, "data"),
    `--listen-metrics-urls=${metrics}`,
    `--listen-client-http-urls=unix://${socket}`,
  );
  expect(existsSync(socket)).toBe(true);
  const health = await fetch(`${metrics}/health`);
  expect([health.status, await health.text()]).toEqual([200, '{"health":"true","reason":""}']);
  const ready = await fetch(`${metrics}/readyz?verbose`);
  expect(await ready.text()).toContain("[+]linearizable_read ok\n");
  expect((await fetch(`${metrics}/version`)).status).toBe(404);
  expect(await (await fetch(`${metrics}/metrics`)).text()).toContain("etcd_server_has_leader 1");
  const etcd3 = new Etcd3({ hosts: client });
  await etcd3.put("a").value("b");
  etcd3.close();
});
