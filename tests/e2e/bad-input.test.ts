/** The tools with files, endpoints and disks that are not what they should be. */

import * as fs from "node:fs";
import { join } from "node:path";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BadEndpoints, BOUNDED, damagesOf, ENDPOINT_COMMANDS } from "../recovery/bad-input.ts";
import type { Damage, Fault } from "../recovery/bad-input.ts";
import { errorOf, runTool, Scratch, startServer, verified } from "../recovery/tools.ts";
import type { Ended, RunOptions, Server, Tool } from "../recovery/tools.ts";
import { Turns } from "../recovery/turns.ts";
import { freePort } from "../processes/free-ports.ts";

const scratch = new Scratch();
const turns = new Turns(3);
const bad = new BadEndpoints();
let server: Server;
let snapshot: string;
let damages: { readonly [name: string]: Damage };

beforeAll(async () => {
  server = await startServer("ours", join(scratch.directory(), "data"));
  const client = new Client({ endpoints: [server.endpoint] });
  for (let i = 0; i < 100; i++) await client.kv.put(`key ${i}`, `value ${i}`);
  for (let i = 0; i < 40; i++) await client.kv.put(`big ${i}`, "x".repeat(50_000));
  await client.close();
  snapshot = join(scratch.directory(), "snapshot.db");
  const saved = await tool("etcdctl", [
    `--endpoints=${server.endpoint}`,
    "snapshot",
    "save",
    snapshot,
  ]);
  expect(saved.code, saved.stderr).toBe(0);
  damages = damagesOf(fs.readFileSync(snapshot));
}, 120_000);

afterAll(async () => {
  await bad.close();
  await server.stop();
  scratch.clean();
});

function tool(name: Tool, words: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return turns.take(() => runTool("ours", name, words, options));
}

/** It ended with 1, said why, and what to do next. */
function expectRefusal({ code, stderr }: Ended): void {
  expect(code, stderr).toBe(1);
  expect(stderr).toMatch(/^Error: \S/m);
  expect(stderr).toMatch(/\nNext: \S.*\n$/);
}

const DAMAGES: readonly string[] = Object.keys(damagesOf(new Uint8Array(4 * 4096)));
const OPTIONS = { timeout: 180_000 };

describe.concurrent("a snapshot", OPTIONS, () => {
  /** Whether each command takes a file with a fault. */
  const takes: {
    readonly [fault in Fault]: readonly [status: boolean, verify: boolean, skip: boolean];
  } = {
    pages: [false, false, false],
    meta: [true, false, false],
    checksum: [true, false, true],
    none: [true, true, true],
  };

  test.each(DAMAGES)("%s is told from a whole one by each command", async (name) => {
    const { bytes, fault } = damages[name]!;
    const directory = scratch.directory();
    const file = join(directory, "damaged.db");
    fs.writeFileSync(file, bytes);
    const [isShown, isIntact, isTakenUnchecked] = takes[fault];
    for (const words of [["snapshot", "status"], ["hashkv"]]) {
      const shown = await tool("etcdutl", [...words, file]);
      if (isShown) expect(shown.code, shown.stderr).toBe(0);
      else expectRefusal(shown);
    }
    const report = await tool("etcdutl", ["verify", file]);
    expect(report.code, report.stdout).toBe(isIntact ? 0 : 1);
    expect(report.stdout).toMatch(
      isIntact ? /^intact/m : /^NOT INTACT: do not restore from this file/m,
    );

    const data = join(directory, "data");
    expectRefusal(await tool("etcdutl", ["snapshot", "restore", file, "--data-dir", data]));
    expect(fs.existsSync(data)).toBe(false);
    const unchecked = ["snapshot", "restore", file, "--data-dir", data, "--skip-hash-check"];
    const restored = await tool("etcdutl", unchecked);
    if (isTakenUnchecked) {
      expect(restored.code, restored.stderr).toBe(0);
      expect((await verified(data)).isIntact).toBe(true);
    } else {
      expectRefusal(restored);
      expect(fs.existsSync(data)).toBe(false);
    }
    expect(fs.readFileSync(file).equals(bytes)).toBe(true);
  });

  test("that is a directory, is not there, or may not be read, is refused by each command", async () => {
    const directory = scratch.directory();
    const locked = join(directory, "locked.db");
    fs.copyFileSync(snapshot, locked);
    fs.chmodSync(locked, 0);
    for (const file of [directory, join(directory, "none"), locked]) {
      for (const words of [["snapshot", "status"], ["hashkv"], ["snapshot", "restore"]]) {
        const data = ["--data-dir", join(directory, "data")];
        const line = [...words, file, ...(words[1] === "restore" ? data : [])];
        expectRefusal(await tool("etcdutl", line, { under: withoutRights() }));
      }
    }
    const { stderr } = await tool("etcdutl", ["hashkv", locked], { under: withoutRights() });
    expect(stderr).toContain("permission denied\nNext: run it as the user etcd runs as");
  });
});

describe.concurrent("a directory", OPTIONS, () => {
  test("that holds anything, or may not be written, is left as it is", async () => {
    const directory = scratch.directory();
    const used = join(directory, "used");
    fs.mkdirSync(used);
    fs.writeFileSync(join(used, "mine"), "mine");
    const refused = await tool("etcdutl", ["snapshot", "restore", snapshot, "--data-dir", used]);
    expectRefusal(refused);
    expect(refused.stderr).toContain("move this one aside");
    expect(fs.readdirSync(used)).toEqual(["mine"]);
    const locked = join(directory, "locked");
    fs.mkdirSync(locked, { mode: 0o500 });
    const under = withoutRights();
    for (const data of [locked, join(locked, "data")]) {
      const words = ["snapshot", "restore", snapshot, "--data-dir", data];
      const ended = await tool("etcdutl", words, { under });
      expectRefusal(ended);
      expect(ended.stderr).toContain("permission denied");
    }
    expect(fs.readdirSync(locked)).toEqual([]);
    const words = [`--endpoints=${server.endpoint}`, "snapshot", "save", join(locked, "x.db")];
    const saved = await tool("etcdctl", words, { under });
    expect(saved.code).toBe(5);
    expect(errorOf(saved)).toMatch(/^could not open .*x\.db\.part: permission denied\)$/);
  });

  test("of a member that runs is refused, but by defrag, which waits", async () => {
    const { dataDirectory } = server;
    const file = join(dataDirectory, "member/snap/db");
    for (const words of [
      ["verify", dataDirectory],
      ["migrate", "--data-dir", dataDirectory, "--target-version", "3.5"],
      ["snapshot", "status", file],
      ["hashkv", file],
    ]) {
      const ended = await tool("etcdutl", words);
      expectRefusal(ended);
      expect(ended.stderr).toContain("stop the etcd that runs on it");
    }
  });
});

describe.concurrent("an endpoint", OPTIONS, () => {
  const kinds: { readonly [name: string]: () => Promise<string> } = {
    "where nobody listens": async () => `127.0.0.1:${await freePort()}`,
    "that never answers": () => bad.silent(),
    "that is a web server": () => bad.web(),
    "that is of another protocol": () => bad.foreign(),
    "that is for peers": () => Promise.resolve(server.peer),
  };

  test.each(Object.keys(kinds))("%s fails every command in its time", async (name) => {
    const endpoint = await kinds[name]!();
    const directory = scratch.directory();
    for (const command of ENDPOINT_COMMANDS) {
      const words = command.map((word) => (word === "FILE" ? join(directory, "x.db") : word));
      const ended = await tool("etcdctl", [`--endpoints=${endpoint}`, ...BOUNDED, ...words]);
      expect(ended.code, ended.stderr).toBe(command[0] === "snapshot" ? 5 : 1);
      expect(ended.stderr).toContain("context deadline exceeded");
      expect(fs.readdirSync(directory)).toEqual([]);
    }
  });

  test.each(["dies", "stalls"] as const)("that %s amid a snapshot leaves no file", async (how) => {
    const endpoint = await bad.halfDead(server.endpoint, 1_000_000, how);
    const directory = scratch.directory();
    const words = ["snapshot", "save", join(directory, "x.db")];
    const ended = await tool("etcdctl", [
      `--endpoints=${endpoint}`,
      "--command-timeout=4s",
      ...words,
    ]);
    expect(ended.code, ended.stderr).toBe(5);
    expect(errorOf(ended)).toMatch(/^could not write snapshot: /);
    expect(fs.readdirSync(directory)).toEqual([]);
  });
});

describe.concurrent("a disk", OPTIONS, () => {
  test("that is full leaves nothing of what was to be written", async () => {
    const directory = scratch.directory();
    const under = withFilesOfAtMost(1_000_000);
    const save = [`--endpoints=${server.endpoint}`, "snapshot", "save", join(directory, "x.db")];
    const saved = await tool("etcdctl", save, { under });
    expect(saved.code, saved.stderr).toBe(5);
    expect(errorOf(saved)).toBe(
      `could not write snapshot: write ${join(directory, "x.db.part")}: file too large`,
    );
    const restore = ["snapshot", "restore", snapshot, "--data-dir", join(directory, "data")];
    const restored = await tool("etcdutl", restore, { under });
    expectRefusal(restored);
    expect(restored.stderr).toContain("file too large\nNext: nothing was changed; make room");
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  test("that is full leaves a database as it was", async () => {
    const data = join(scratch.directory(), "data");
    const restore = ["snapshot", "restore", snapshot, "--data-dir", data];
    expect((await tool("etcdutl", restore)).code).toBe(0);
    const file = join(data, "member/snap/db");
    const before = fs.readFileSync(file);
    const ended = await tool("etcdutl", ["defrag", "--data-dir", data], {
      under: withFilesOfAtMost(1_000_000),
    });
    expectRefusal(ended);
    expect(fs.readFileSync(file).equals(before)).toBe(true);
    expect(fs.readdirSync(join(data, "member/snap")).filter((name) => name !== "db")).toHaveLength(
      1,
    );
    expect((await verified(data)).isIntact).toBe(true);
  });
});

describe.concurrent("a command line", OPTIONS, () => {
  test.each([
    [["snapshot", "restore"], 128],
    [["snapshot", "restore", "x", "--bump-revision", "3"], 128],
    [["snapshot", "restore", "x", "--bogus"], 1],
    [["snapshot", "status", "x", "-w", "bogus"], 4],
    [["migrate", "--data-dir", "x"], 1],
    [["migrate", "--data-dir", "x", "--target-version", "2.3"], 128],
    [["defrag"], 1],
    [["verify"], 1],
    [["bogus"], 1],
  ])("of etcdutl %j that is wrong points to the help", async (words, code) => {
    const ended = await tool("etcdutl", words);
    expect(ended.code, ended.stderr).toBe(code);
    expect(ended.stderr).toMatch(/^Error: \S.*\n.*--help.*\n$/m);
  });
});

/** Words that take from root what lets it pass by permissions. */
function withoutRights(): readonly string[] {
  if (process.getuid?.() !== 0) return [];
  return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
}

/** Words that make the system refuse longer files, as a full disk refuses them. */
function withFilesOfAtMost(bytes: number): readonly string[] {
  return ["bash", "-c", `ulimit -f ${Math.floor(bytes / 1024)}; exec "$0" "$@"`];
}
