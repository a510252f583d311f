/**
 * Ctrl-C and kill -9 at any moment of a command that writes: under the final name is nothing, or all
 * of it; and the same command works afterwards.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { Client } from "@etcd-ts/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runTool, Scratch, startServer, verified } from "../recovery/tools.ts";
import type { Ended, Server, Tool } from "../recovery/tools.ts";
import { Turns } from "../recovery/turns.ts";

/** `ETCD_TS_INTERRUPTS=N` tries more of them. */
const MOMENTS = Number(process.env["ETCD_TS_INTERRUPTS"] ?? 2);
const EXIT_INTERRUPTED = 5;

const scratch = new Scratch();
const turns = new Turns(2);
let server: Server;
let snapshot: string;
/** What a restore made of it. */
let restored: string;

beforeAll(async () => {
  server = await startServer("ours", join(scratch.directory(), "data"));
  const client = new Client({ endpoints: [server.endpoint] });
  for (let i = 0; i < 120; i++) await client.kv.put(`key ${i}`, "x".repeat(60_000));
  for (let i = 0; i < 120; i += 2) await client.kv.put(`key ${i}`, "y");
  await client.kv.compact(175, { physical: true });
  await client.close();
  snapshot = join(scratch.directory(), "snapshot.db");
  const words = [`--endpoints=${server.endpoint}`, "snapshot", "save", snapshot];
  expect((await runTool("ours", "etcdctl", words)).code).toBe(0);
  restored = join(scratch.directory(), "data");
  const restore = ["snapshot", "restore", snapshot, "--data-dir", restored];
  expect((await runTool("ours", "etcdutl", restore)).code).toBe(0);
}, 120_000);

afterAll(async () => {
  await server.stop();
  scratch.clean();
});

interface Attempt {
  readonly directory: string;
  readonly tool: Tool;
  readonly words: readonly string[];
  /** Names beside which nothing may be left; and what a kill may leave. */
  readonly left: {
    readonly in: string;
    readonly names: readonly string[];
    readonly killed: string;
  };
  /** Whether it is there; throws if it is not whole. */
  readonly isWhole: () => Promise<boolean>;
  /** What its message asks for before it is tried again. */
  readonly cleanUp?: () => void;
}

async function isIntact(path: string, walDirectory?: string): Promise<boolean> {
  if (!fs.existsSync(path)) return false;
  const { isIntact, checks } = await verified(path, walDirectory);
  expect(isIntact, JSON.stringify(checks)).toBe(true);
  return true;
}

const commands: { readonly [name: string]: () => Promise<Attempt> } = {
  async "snapshot save"() {
    const directory = scratch.directory();
    const file = join(directory, "x.db");
    return {
      directory,
      tool: "etcdctl",
      words: [`--endpoints=${server.endpoint}`, "snapshot", "save", file],
      left: { in: directory, names: ["x.db"], killed: "x.db.part" },
      isWhole: () => isIntact(file),
    };
  },
  async "snapshot restore"() {
    const directory = scratch.directory();
    const data = join(directory, "data");
    return {
      directory,
      tool: "etcdutl",
      words: ["snapshot", "restore", snapshot, "--data-dir", data],
      left: { in: data, names: ["member"], killed: "member.restoring" },
      isWhole: async () => fs.existsSync(join(data, "member")) && isIntact(data),
      cleanUp: () => fs.rmSync(join(data, "member.restoring"), { recursive: true, force: true }),
    };
  },
  async "snapshot restore --wal-dir"() {
    const directory = scratch.directory();
    const [data, wal] = [join(directory, "data"), join(directory, "wal")];
    return {
      directory,
      tool: "etcdutl",
      words: ["snapshot", "restore", snapshot, "--data-dir", data, "--wal-dir", wal],
      left: { in: data, names: ["member"], killed: "member.restoring" },
      isWhole: async () => {
        if (!fs.existsSync(join(data, "member"))) return false;
        if (fs.existsSync(wal)) return isIntact(data, wal);
        // The log comes last; without it this is told from a whole one.
        expect((await verified(data, wal)).isIntact).toBe(false);
        return false;
      },
      cleanUp: () => {
        for (const name of fs.readdirSync(directory)) {
          fs.rmSync(join(directory, name), { recursive: true });
        }
      },
    };
  },
  async defrag() {
    const directory = scratch.directory();
    const data = join(directory, "data");
    fs.cpSync(restored, data, { recursive: true });
    const snap = join(data, "member/snap");
    return {
      directory,
      tool: "etcdutl",
      words: ["defrag", "--data-dir", data],
      left: { in: snap, names: fs.readdirSync(snap), killed: "db.tmp.offline" },
      isWhole: () => isIntact(data),
    };
  },
  async migrate() {
    const { words, ...attempt } = await commands["defrag"]!();
    return { ...attempt, words: ["migrate", ...words.slice(1), "--target-version", "3.5"] };
  },
};

async function run({ tool, words }: Attempt, signal?: NodeJS.Signals, afterMs = 0): Promise<Ended> {
  const interrupt = signal === undefined ? {} : { interrupt: { signal, afterMs } };
  return runTool("ours", tool, words, interrupt);
}

function expectNoLitter({ left }: Attempt, ended: Ended, signal: NodeJS.Signals): void {
  if (!fs.existsSync(left.in)) return;
  const others = fs.readdirSync(left.in).filter((name) => !left.names.includes(name));
  expect(others, ended.stderr).toEqual(
    signal === "SIGKILL" && others.length > 0 ? [left.killed] : [],
  );
}

test.concurrent.each(
  Object.keys(commands).flatMap((name) => [
    { name, signal: "SIGINT" as const },
    { name, signal: "SIGKILL" as const },
  ]),
)("$name is whole or nothing after $signal at any moment", { timeout: 300_000 }, (given) =>
  turns.take(async () => {
    const { name, signal } = given;
    const started = performance.now();
    expect((await run(await commands[name]!())).code).toBe(0);
    const tookMs = performance.now() - started;
    for (let i = 0; i < MOMENTS; i++) {
      const attempt = await commands[name]!();
      // The first half is the start of the process.
      const afterMs = tookMs * (0.4 + (0.6 * (i + 0.5)) / MOMENTS);
      const ended = await run(attempt, signal, afterMs);
      const isThere = await attempt.isWhole();
      if (ended.code === 0) expect(isThere).toBe(true);
      else if (ended.code !== null) {
        expect(ended.code, ended.stderr).toBe(EXIT_INTERRUPTED);
        expect(ended.stderr).toContain("Error: interrupted; nothing was");
      }
      expectNoLitter(attempt, ended, signal);
      if (isThere && name.startsWith("snapshot restore")) continue;
      attempt.cleanUp?.();
      const again = await run(attempt);
      expect(again.code, again.stderr).toBe(0);
      expect(await attempt.isWhole()).toBe(true);
      expectNoLitter(attempt, again, "SIGINT");
    }
  }),
);
