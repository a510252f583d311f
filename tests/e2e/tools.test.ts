/** How the commands start: with and without their code cache, from anywhere. */

import { execFile, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEtcd } from "@etcd-ts/embed";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
/** What a pipe holds. */
const PIPE_BYTES = 65_536;
const TOOLS = ["etcdctl", "etcdutl"] as const;

function run(program: string, ...words: string[]) {
  const { status, stdout, stderr } = spawnSync(program, words, { encoding: "utf8" });
  return { status, stdout, stderr };
}

describe.each(TOOLS)("%s", (tool) => {
  const version = { status: 0, stdout: `${tool} version: 3.6.14\nAPI version: 3.6\n`, stderr: "" };
  let directory: string;
  let cache: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "tools-"));
    const dist = join(directory, "cmd", tool, "dist");
    mkdirSync(dist, { recursive: true });
    cpSync(join(root, "bin"), join(directory, "bin"), { recursive: true });
    for (const name of [`${tool}.cjs`, `${tool}.cjs.cache`]) {
      cpSync(join(root, "cmd", tool, "dist", name), join(dist, name));
    }
    cache = join(dist, `${tool}.cjs.cache`);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test("starts through a symbolic link, from any directory", () => {
    const link = join(directory, "link");
    symlinkSync(join(directory, "bin", tool), link);
    expect(run(link, "version")).toEqual(version);
  });

  test("starts without a cache, and with one V8 refuses", () => {
    const whole = readFileSync(cache);
    const foreign = Buffer.from(whole);
    foreign.fill(0xff, 4, 8);
    for (const bytes of [foreign, whole.subarray(0, whole.length >> 1), Buffer.alloc(0)]) {
      writeFileSync(cache, bytes);
      expect(run(join(directory, "bin", tool), "version")).toEqual(version);
    }
    rmSync(cache);
    expect(run(join(directory, "bin", tool), "version")).toEqual(version);
    writeFileSync(cache, whole);
  });

  test("says so when it is not built", () => {
    const file = cache.replace(/\.cache$/, "");
    const source = readFileSync(file);
    rmSync(file);
    const { status, stderr } = run(join(directory, "bin", tool), "version");
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/not built/),
    });
    writeFileSync(file, source);
  });

  test("ends as a shell expects when nobody reads what it prints", async () => {
    const child = spawn(join(root, "bin", tool), ["--help"], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    let errors = "";
    child.stderr.on("data", (text: Buffer) => (errors += text.toString()));
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect({ status, errors }).toEqual({ status: 141, errors: "" });
  });
});

test.each([...TOOLS, "etcd"])("%s uses its code cache", (name) => {
  const look = `const { load } = require(${JSON.stringify(join(root, "bin/tool.js"))});
    console.log(load(${JSON.stringify(name)}).script.cachedDataRejected);`;
  expect(run(process.execPath, "-e", look)).toMatchObject({ stdout: "false\n" });
});

test("prints everything into a pipe that does not block and is full", async () => {
  const program = join(root, "bin", "etcdctl");
  const whole = run(program, "completion", "fish").stdout;
  expect(whole.length).toBeGreaterThan(PIPE_BYTES);
  const directory = mkdtempSync(join(tmpdir(), "tools-"));
  const pipe = join(directory, "pipe");
  expect(run("mkfifo", pipe).status).toBe(0);
  const descriptor = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  const tool = spawn(program, ["completion", "fish"], { stdio: ["ignore", descriptor, "inherit"] });
  const reader = spawn("sh", ["-c", 'sleep 0.5; cat "$0"', pipe], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let read = "";
  reader.stdout.on("data", (text: Buffer) => (read += text.toString()));
  expect(await new Promise((resolve) => tool.once("exit", resolve))).toBe(0);
  closeSync(descriptor);
  await new Promise((resolve) => reader.once("close", resolve));
  rmSync(directory, { recursive: true });
  expect(read).toBe(whole);
});

test("etcdctl speaks messages whose descriptors its bundle makes late", async () => {
  const etcd = await startEtcd();
  const program = join(root, "bin", "etcdctl");
  const ask = (...words: string[]) =>
    new Promise<string>((resolve, reject) => {
      const args = [`--endpoints=${etcd.endpoints[0]!}`, ...words];
      execFile(program, args, (error, output) =>
        error === null ? resolve(output) : reject(error),
      );
    });
  const list = JSON.parse(await ask("member", "list", "-w", "json")) as { members: object[] };
  expect(list.members).toHaveLength(1);
  const [status] = JSON.parse(await ask("endpoint", "status", "-w", "json")) as [
    { Status: { version: string; downgradeInfo: object } },
  ];
  expect(status.Status).toMatchObject({ version: "3.6.14", downgradeInfo: {} });
  expect(await ask("user", "add", "alice:secret")).toBe("User alice created\n");
  expect(await ask("role", "add", "app")).toBe("Role app created\n");
  await ask("role", "grant-permission", "app", "readwrite", "a/", "--prefix");
  expect(await ask("role", "get", "app")).toContain("[a/, a0) (prefix a/)");
  await etcd.stop();
});
