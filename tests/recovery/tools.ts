/** The tools as processes, ours or the reference's, and what they end with. */

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NULL_LOGGER, NULL_METRICS } from "@etcd-ts/base";
import { verify } from "@etcd-ts/datadir";
import type { VerifyReport } from "@etcd-ts/datadir";
import { NodeClock, NodeDisk } from "@etcd-ts/runtime";
import { freshPorts, MemberProcess } from "../processes/member-process.ts";

export type Program = "ours" | "reference";
export type Tool = "etcdctl" | "etcdutl";

const repository = join(import.meta.dirname, "../..");
const TOOL_MS_MAX = 60_000;

/** Words that start a program. */
export function programOf(program: Program, name: string): readonly string[] {
  if (program === "ours") return [process.execPath, join(repository, "bin", name)];
  return [join(repository, "tests/conformance/bin", name)];
}

export interface Ended {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Words put before the command, such as those that take rights away. */
  readonly under?: readonly string[];
  readonly directory?: string;
  /** A signal, and after how long it is sent. */
  readonly interrupt?: { readonly signal: NodeJS.Signals; readonly afterMs: number };
}

export function runTool(
  program: Program,
  tool: Tool,
  words: readonly string[],
  options: RunOptions = {},
): Promise<Ended> {
  const [first, ...rest] = [...(options.under ?? []), ...programOf(program, tool), ...words];
  const kept = Object.entries(process.env).filter(([name]) => !/^ETCD|^NODE_|^VITEST/.test(name));
  const child = spawn(first!, rest, {
    cwd: options.directory,
    env: Object.fromEntries(kept),
    stdio: ["ignore", "pipe", "pipe"],
    timeout: TOOL_MS_MAX,
    killSignal: "SIGKILL",
  });
  const { interrupt } = options;
  const timer =
    interrupt === undefined
      ? undefined
      : setTimeout(() => child.kill(interrupt.signal), interrupt.afterMs);
  const ended = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (chunk: Buffer) => {
      ended[name] += chunk.toString();
    });
  }
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, ...ended });
    });
  });
}

/** The `Error:` line of a tool, without that word; empty if there is none. */
export function errorOf({ stderr }: Ended): string {
  return /^Error: (.*)$/m.exec(stderr)?.[1] ?? "";
}

/** What `etcdutl verify` finds. */
export function verified(path: string, walDirectory?: string): Promise<VerifyReport> {
  return verify(
    { disk: new NodeDisk(), clock: new NodeClock(), logger: NULL_LOGGER, metrics: NULL_METRICS },
    { path, ...(walDirectory === undefined ? {} : { walDirectory }) },
  );
}

export interface Server {
  readonly endpoint: string;
  readonly peer: string;
  readonly dataDirectory: string;
  stop(): Promise<void>;
}

/** One member as a process. */
export async function startServer(program: Program, dataDirectory: string): Promise<Server> {
  const ports = await freshPorts();
  const member = new MemberProcess({
    dataDir: dataDirectory,
    ports,
    program: programOf(program, "etcd"),
  });
  await member.up();
  return {
    endpoint: `127.0.0.1:${ports.client}`,
    peer: `127.0.0.1:${ports.peer}`,
    dataDirectory,
    stop: () => member.end("SIGTERM"),
  };
}

/** Directories for a test file, removed with `clean`. */
export class Scratch {
  readonly #root = fs.mkdtempSync(join(tmpdir(), "etcd-tools-"));
  #count = 0;

  directory(): string {
    const path = join(this.#root, String(++this.#count));
    fs.mkdirSync(path);
    return path;
  }

  clean(): void {
    fs.rmSync(this.#root, { recursive: true, force: true, maxRetries: 5 });
  }
}
