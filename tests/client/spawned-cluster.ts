/** Members as processes, ours or the reference's, that tests kill and start again. */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Client } from "@etcd-ts/client";
import type { ClientOptions } from "@etcd-ts/client";
import { freePorts } from "../free-ports.ts";

const LOG_BYTES_MAX = 8192;

/** A member of a cluster. Its data survive `kill`. */
class SpawnedMember {
  readonly endpoint: string;
  readonly #command: readonly string[];
  #child: ChildProcess | undefined;
  #log = "";

  constructor(endpoint: string, command: readonly string[]) {
    this.endpoint = endpoint;
    this.#command = command;
  }

  start(): void {
    const [program, ...args] = this.#command;
    const child = spawn(program!, args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const output of [child.stdout, child.stderr]) {
      output.on("data", (chunk: Buffer) => {
        this.#log = (this.#log + chunk.toString()).slice(-LOG_BYTES_MAX);
      });
    }
    this.#child = child;
  }

  get log(): string {
    return this.#log;
  }

  /** As a power failure of its machine would, but for what the kernel holds. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }
}

export interface SpawnOptions {
  readonly members: number;
  readonly flags?: readonly string[];
  /** Default `http`. */
  readonly scheme?: "http" | "https";
  /** To ask whether the members are ready. */
  readonly client?: Omit<ClientOptions, "endpoints">;
}

export class SpawnedCluster {
  readonly members: readonly SpawnedMember[];
  readonly #directory: string;

  private constructor(members: readonly SpawnedMember[], directory: string) {
    this.members = members;
    this.#directory = directory;
  }

  get endpoints(): readonly string[] {
    return this.members.map(({ endpoint }) => endpoint);
  }

  /** @param program - words before the flags */
  static async start(program: readonly string[], options: SpawnOptions): Promise<SpawnedCluster> {
    const directory = mkdtempSync(path.join(tmpdir(), "etcd-ts-client-"));
    const ports = await freePorts(options.members * 2);
    const scheme = options.scheme ?? "http";
    const peerURL = (i: number): string => `http://127.0.0.1:${ports[options.members + i]}`;
    const names = Array.from({ length: options.members }, (_, i) => `m${i}`);
    const initialCluster = names.map((name, i) => `${name}=${peerURL(i)}`).join(",");
    const members = names.map((name, i) => {
      const clientURL = `${scheme}://127.0.0.1:${ports[i]}`;
      return new SpawnedMember(clientURL, [
        ...program,
        `--name=${name}`,
        `--data-dir=${path.join(directory, name)}`,
        `--listen-client-urls=${clientURL}`,
        `--advertise-client-urls=${clientURL}`,
        `--listen-peer-urls=${peerURL(i)}`,
        `--initial-advertise-peer-urls=${peerURL(i)}`,
        `--initial-cluster=${initialCluster}`,
        ...(options.flags ?? []),
      ]);
    });
    for (const member of members) member.start();
    const cluster = new SpawnedCluster(members, directory);
    try {
      for (const { endpoint } of members) await cluster.#ready(endpoint, options.client);
    } catch (error) {
      const logs = members.map(({ log }) => log).join("\n");
      await cluster.stop();
      throw new Error(`the cluster did not start:\n${logs}`, { cause: error });
    }
    return cluster;
  }

  async #ready(endpoint: string, options: SpawnOptions["client"]): Promise<void> {
    const client = new Client({ ...options, endpoints: [endpoint], timeoutMs: 30_000 });
    try {
      await client.kv.get("ready");
    } finally {
      await client.close();
    }
  }

  /** The position of the leader among `members`. */
  async leader(): Promise<number> {
    const untilMs = performance.now() + 30_000;
    while (performance.now() < untilMs) {
      for (const [i, { endpoint }] of this.members.entries()) {
        const client = new Client({ endpoints: [endpoint], timeoutMs: 2000 });
        try {
          const { header, leader } = await client.maintenance.status();
          if (header !== undefined && header.memberId === leader) return i;
        } catch {
          // It is down; the others know.
        } finally {
          await client.close();
        }
      }
    }
    throw new Error("no member leads");
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
