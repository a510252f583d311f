/** The `etcd` command as a process on ports of its own, for tests that watch it from outside. */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { freePorts } from "../free-ports.ts";

const COMMAND = join(import.meta.dirname, "../../bin/etcd");
const READY = "ready to serve client requests";

export interface Ports {
  readonly client: number;
  readonly peer: number;
  readonly metrics: number;
}

export async function freshPorts(): Promise<Ports> {
  const [client, peer, metrics] = (await freePorts(3)) as [number, number, number];
  return { client, peer, metrics };
}

export class MemberProcess {
  readonly ports: Ports;
  readonly #dataDir: string;
  readonly #flags: readonly string[];
  /** Of the client port; `https` needs flags that name a certificate. */
  readonly #scheme: "http" | "https";
  #child: ChildProcess | undefined;
  /** Open files the system lets it have; undefined: as many as this process. */
  descriptorsMax: number | undefined;
  /** Of all its lives. */
  log = "";

  constructor(
    dataDir: string,
    ports: Ports,
    flags: readonly string[] = [],
    scheme: "http" | "https" = "http",
  ) {
    this.#scheme = scheme;
    this.#dataDir = dataDir;
    this.ports = ports;
    this.#flags = flags;
  }

  /** A member of its own cluster that serves. */
  static async start(dataDir: string, ...flags: string[]): Promise<MemberProcess> {
    const member = new MemberProcess(dataDir, await freshPorts(), flags);
    await member.up();
    return member;
  }

  get client(): string {
    return `${this.#scheme}://127.0.0.1:${this.ports.client}`;
  }

  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  async up(): Promise<void> {
    const { peer, metrics } = this.ports;
    const url = (port: number): string => `http://127.0.0.1:${port}`;
    const flags = [
      `--data-dir=${this.#dataDir}`,
      `--listen-client-urls=${this.client}`,
      `--advertise-client-urls=${this.client}`,
      `--listen-peer-urls=${url(peer)}`,
      `--listen-metrics-urls=${url(metrics)}`,
      ...this.#flags,
    ];
    const limit = this.descriptorsMax === undefined ? "" : `ulimit -n ${this.descriptorsMax}; `;
    const words = ["-c", `${limit}exec "$0" "$@"`, process.execPath, COMMAND, ...flags];
    const child = spawn("sh", words, { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    const from = this.log.length;
    await new Promise<void>((resolve, reject) => {
      child.stderr.on("data", (chunk) => {
        this.log += String(chunk);
        if (this.log.includes(READY, from)) resolve();
      });
      child.once("exit", () => reject(new Error(`etcd ended:\n${this.log.slice(from)}`)));
    });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await exited;
  }

  /** Memory it holds. */
  rssBytes(): number {
    const status = readFileSync(`/proc/${this.#child!.pid}/status`, "latin1");
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024;
  }

  /** A call through the gateway, as `token`'s user if there is one. */
  async post(path: string, body: object, token?: string): Promise<{ [name: string]: unknown }> {
    const response = await fetch(`${this.client}/v3/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: token === undefined ? {} : { authorization: token },
    });
    const answer = (await response.json()) as { [name: string]: unknown };
    if (!response.ok) throw new Error(String(answer["message"]));
    return answer;
  }
}
