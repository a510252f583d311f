/** What is particular to files of the operating system; the rest is in the compliance suite. */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  constants,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { MemoryLogger } from "@etcd-ts/base";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { NodeDisk } from "./index.ts";

const isLinux = process.platform === "linux";
const library = createRequire(import.meta.url).resolve("fs-native-extensions");

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "etcd-ts-"));
  path = join(directory, "f");
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Whether another process can take this kind of lock. */
function canLockOutside(kind: "ofd" | "flock"): boolean {
  const script = `
    const fd = require("fs").openSync(process.argv[1], "r+");
    process.exit(require(process.argv[2]).tryLock(fd) ? 0 : 1)`;
  const run =
    kind === "flock"
      ? spawnSync("flock", ["-n", "-x", path, "true"])
      : spawnSync(process.execPath, ["-e", script, path, library]);
  if (run.status !== 0 && run.status !== 1) throw new Error(String(run.stderr));
  return run.status === 0;
}

describe.runIf(isLinux)("locks", () => {
  test("hold both kinds that Go etcd takes, until close", async () => {
    const file = await new NodeDisk().open(path, { mode: "create", lock: "exclusive" });
    expect(file.lock).toEqual({ kinds: ["ofd", "flock"], missing: [] });
    expect([canLockOutside("ofd"), canLockOutside("flock")]).toEqual([false, false]);
    await file.close();
    expect([canLockOutside("ofd"), canLockOutside("flock")]).toEqual([true, true]);
  });

  test("of segments are of the kind Go etcd takes on them, without a process", async () => {
    const options = { mode: "create", lock: "exclusive", lockFor: "segment" } as const;
    const file = await new NodeDisk().open(path, options);
    expect(file.lock).toEqual({ kinds: ["ofd"], missing: [] });
    expect([canLockOutside("ofd"), canLockOutside("flock")]).toEqual([false, true]);
    await expect(new NodeDisk().open(path, options)).rejects.toMatchObject({ code: "LOCKED" });
    await file.close();
    expect(canLockOutside("ofd")).toBe(true);
  });

  test.each(["ofd", "flock"] as const)("see a holder of the %s kind alone", async (kind) => {
    const disk = new NodeDisk();
    await (await disk.open(path, { mode: "create" })).close();
    const script = `
      const fd = require("fs").openSync(process.argv[1], "r+");
      if (!require(process.argv[2]).tryLock(fd)) process.exit(1);
      console.log("held"); setTimeout(() => {}, 60000);`;
    const holder =
      kind === "flock"
        ? spawn("flock", ["-n", "-x", path, "sh", "-c", "echo held; exec sleep 60"], {
            detached: true,
          })
        : spawn(process.execPath, ["-e", script, path, library], { detached: true });
    await once(holder.stdout, "data");
    const attempt = disk.open(path, { mode: "readWrite", lock: "exclusive" });
    await expect(attempt).rejects.toMatchObject({ code: "LOCKED", path });
    const ended = once(holder, "exit");
    process.kill(-holder.pid!, "SIGKILL");
    await ended;
    // The lock dies with its holder, however it dies.
    await (await disk.open(path, { mode: "readWrite", lock: "exclusive" })).close();
  });

  test("tell, once, when this machine offers only one kind", async () => {
    const logger = new MemoryLogger();
    const disk = new NodeDisk({ logger });
    const paths = process.env["PATH"];
    process.env["PATH"] = directory;
    try {
      for (let i = 0; i < 2; i++) {
        const file = await disk.open(path, { mode: "create", lock: "exclusive" });
        expect(file.lock?.kinds).toEqual(["ofd"]);
        expect(file.lock?.missing.join()).toContain("flock");
        await file.close();
      }
    } finally {
      process.env["PATH"] = paths;
    }
    expect(logger.events.map((event) => event.level)).toEqual(["warn"]);
    expect(logger.events[0]?.fields).toMatchObject({ path, taken: ["ofd"] });
  });

  test("an exclusive one needs a file open for writing", async () => {
    const attempt = new NodeDisk().open(path, { mode: "read", lock: "exclusive" });
    await expect(attempt).rejects.toThrow("open for writing");
  });
});

describe.runIf(isLinux)("failures", () => {
  test("a failed sync is told once, and the handle is of no more use", async () => {
    const file = await new NodeDisk().open("/dev/null", { mode: "readWrite" });
    await file.write([Uint8Array.of(1)], 0);
    await expect(file.dataSync()).rejects.toMatchObject({ code: "IO", path: "/dev/null" });
    await expect(file.dataSync()).rejects.toThrow("an earlier sync failed");
    await expect(file.sync()).rejects.toThrow("an earlier sync failed");
    await expect(file.write([Uint8Array.of(1)], 0)).rejects.toThrow("an earlier sync failed");
    await expect(file.truncate(0)).rejects.toThrow("an earlier sync failed");
    await file.close();
  });

  test("a durable write is one the system syncs", async () => {
    const file = await new NodeDisk().open(path, { mode: "create" });
    const isSynced = (): boolean =>
      readdirSync("/proc/self/fd").some((fd) => {
        try {
          const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"));
          const isDurable = (parseInt(flags?.[1] ?? "0", 8) & constants.O_DSYNC) !== 0;
          return isDurable && readlinkSync(`/proc/self/fd/${fd}`) === path;
        } catch {
          return false;
        }
      });
    expect(isSynced()).toBe(false);
    await file.writeDurably([Uint8Array.of(1)], 0);
    expect(isSynced()).toBe(true);
    await file.close();
    expect(isSynced()).toBe(false);
  });

  test("a durable write that may block is done when the call returns", async () => {
    const file = await new NodeDisk().open(path, { mode: "create" });
    const target = new Uint8Array(2);
    const blocking = file.writeDurably([Uint8Array.of(1, 2)], 0, true);
    expect(file.read(target, 0)).toBe(2);
    expect([...target]).toEqual([1, 2]);
    await blocking;
    await file.close();
  });

  test("a durable write that fails is told once, and the handle is of no more use", async () => {
    const file = await new NodeDisk().open("/dev/full", { mode: "readWrite" });
    await expect(file.writeDurably([Uint8Array.of(1)], 0)).rejects.toMatchObject({
      code: "NO_SPACE",
    });
    await expect(file.writeDurably([Uint8Array.of(1)], 0)).rejects.toThrow(
      "an earlier sync failed",
    );
    await expect(file.write([Uint8Array.of(1)], 0)).rejects.toThrow("an earlier sync failed");
    await expect(file.dataSync()).rejects.toThrow("an earlier sync failed");
    await file.close();
  });

  test("a full device is NO_SPACE", async () => {
    const file = await new NodeDisk().open("/dev/full", { mode: "readWrite" });
    await expect(file.write([Uint8Array.of(1)], 0)).rejects.toMatchObject({ code: "NO_SPACE" });
    await file.close();
  });

  test("errors name the operation, the path and the cause", async () => {
    const disk = new NodeDisk();
    const error = await disk.open(path, { mode: "read" }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: "NOT_FOUND",
      path,
      message: `open ${path}: no such file or directory`,
      cause: { code: "ENOENT", syscall: "open" },
    });
  });

  test("a file that may not be read is ACCESS_DENIED", async () => {
    const disk = new NodeDisk();
    await (await disk.open(path, { mode: "create" })).close();
    chmodSync(path, 0o000);
    // Root may read everything; somebody else may not.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      const attempt = disk.open(path, { mode: "read" });
      await expect(attempt).rejects.toMatchObject({ code: "ACCESS_DENIED", path });
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });
});

test("preallocate() takes the blocks and leaves the event loop free", async () => {
  const file = await new NodeDisk().open(path, { mode: "create" });
  let turns = 0;
  const counting = { isOver: false };
  const turn = (): void => {
    turns++;
    if (!counting.isOver) setImmediate(turn);
  };
  setImmediate(turn);
  await file.preallocate(64_000_000);
  counting.isOver = true;
  await file.close();
  const stats = statSync(path);
  expect(stats.size).toBe(64_000_000);
  if (isLinux) expect(stats.blocks * 512).toBeGreaterThanOrEqual(64_000_000);
  // It is written in pieces, and others get their turn between them.
  expect(turns).toBeGreaterThan(30);
});
