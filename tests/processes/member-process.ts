/** An etcd as a process on ports of its own, for tests that watch it from outside and kill it. */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { freePorts } from "./free-ports.ts";

const READY = "ready to serve client requests";
const READY_MS_MAX = 60_000;
const LOG_SHOWN = 4000;

/** Words before the flags. */
export const OURS: readonly string[] = [
  process.execPath,
  join(import.meta.dirname, "../../bin/etcd"),
];

export interface Ports {
  readonly client: number;
  readonly peer: number;
  readonly metrics: number;
}

export async function freshPorts(): Promise<Ports> {
  const [client, peer, metrics] = (await freePorts(3)) as [number, number, number];
  return { client, peer, metrics };
}

export interface MemberOptions {
  readonly dataDir: string;
  readonly ports: Ports;
  readonly flags?: readonly string[];
  /** Of the client port; `https` needs flags that name a certificate. Default `http`. */
  readonly scheme?: "http" | "https";
  readonly program?: readonly string[];
  /** Open files the system lets it have. Default: as many as this process. */
  readonly descriptorsMax?: number;
}

export class MemberProcess {
  readonly ports: Ports;
  dataDir: string;
  /** Of all its lives. */
  log = "";
  readonly #options: MemberOptions;
  #child: ChildProcess | undefined;
  /** Where the log of this life begins. */
  #logFrom = 0;
  #isPaused = false;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.dataDir = options.dataDir;
    this.ports = options.ports;
  }

  /** A member of its own cluster that serves. */
  static async start(dataDir: string, ...flags: readonly string[]): Promise<MemberProcess> {
    const member = new MemberProcess({ dataDir, ports: await freshPorts(), flags });
    await member.up();
    return member;
  }

  get clientURL(): string {
    return `${this.#options.scheme ?? "http"}://127.0.0.1:${this.ports.client}`;
  }

  get listenPeerURL(): string {
    return `http://127.0.0.1:${this.ports.peer}`;
  }

  get metricsURL(): string {
    return `http://127.0.0.1:${this.ports.metrics}`;
  }

  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Runs, and is not paused. */
  get isUp(): boolean {
    return this.isRunning && !this.#isPaused;
  }

  get logOfThisLife(): string {
    return this.log.slice(this.#logFrom);
  }

  /** Resolves once it serves. @throws {Error} with the end of its log, if it does not */
  async up(...more: readonly string[]): Promise<void> {
    const [program, ...words] = this.#command(more);
    const child = spawn(program!, words, { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    this.#isPaused = false;
    this.#logFrom = this.log.length;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const fail = (what: string): void =>
          reject(new Error(`etcd ${what}:\n${this.logOfThisLife.slice(-LOG_SHOWN)}`));
        timer = setTimeout(() => fail("is not ready"), READY_MS_MAX);
        child.stderr.on("data", (chunk) => {
          this.log += String(chunk);
          if (this.logOfThisLife.includes(READY)) resolve();
        });
        child.once("error", reject);
        child.once("close", () => fail("ended"));
      });
    } catch (error) {
      await this.kill();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #command(more: readonly string[]): readonly string[] {
    const { program = OURS, flags = [], descriptorsMax } = this.#options;
    const command = [
      ...program,
      `--data-dir=${this.dataDir}`,
      `--listen-client-urls=${this.clientURL}`,
      `--advertise-client-urls=${this.clientURL}`,
      `--listen-peer-urls=${this.listenPeerURL}`,
      `--listen-metrics-urls=${this.metricsURL}`,
      ...flags,
      ...more,
    ];
    if (descriptorsMax === undefined) return command;
    return ["sh", "-c", `ulimit -n ${descriptorsMax}; exec "$0" "$@"`, ...command];
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#isPaused = false;
    if (child === undefined || !this.isRunning) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await exited;
  }

  /** As a power failure of its machine would, but for what the kernel holds. */
  kill(): Promise<void> {
    return this.end("SIGKILL");
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
    this.#isPaused = true;
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
    this.#isPaused = false;
  }

  /** Memory it holds. */
  rssBytes(): number {
    const status = readFileSync(`/proc/${this.#child!.pid}/status`, "latin1");
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024;
  }

  /** A call through the gateway, as `token`'s user if there is one. */
  async post(path: string, body: object, token?: string): Promise<{ [name: string]: unknown }> {
    const response = await fetch(`${this.clientURL}/v3/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: token === undefined ? {} : { authorization: token },
    });
    const answer = (await response.json()) as { [name: string]: unknown };
    if (!response.ok) throw new Error(String(answer["message"]));
    return answer;
  }
}
