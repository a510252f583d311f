/** A cluster of `bin/etcd` processes on loopback, that can be killed, paused, and parted. */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@etcd-ts/client";
import { freePorts } from "../free-ports.ts";
import { Links } from "./links.ts";

/** `ROBUSTNESS_PROGRAM` puts the reference in the place of ours, to compare. */
const REFERENCE = process.env["ROBUSTNESS_PROGRAM"];
const [PROGRAM, ...PROGRAM_ARGUMENTS] =
  REFERENCE === undefined
    ? [process.execPath, join(import.meta.dirname, "../../bin/etcd")]
    : [REFERENCE];
/** Long enough for several members that share a core. */
export const ELECTION_TIMEOUT_MS = 1000;
const START_TIMEOUT_MS = 60_000;
const LEADER_TIMEOUT_MS = 30_000;

export interface Process {
  readonly position: number;
  readonly clientURL: string;
  readonly peerURL: string;
  /** Where it listens; others reach it by `peerURL`. */
  readonly listenPeerURL: string;
  dataDir: string;
  child: ChildProcess | undefined;
  log: string;
  isPaused: boolean;
}

export class Processes {
  readonly links = new Links();
  readonly members: Process[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), "etcd-robustness-"));
  readonly #flags: readonly string[];
  readonly #clients: Client[] = [];
  #replacements = 0;

  private constructor(flags: readonly string[]) {
    this.#flags = flags;
  }

  static async start(count: number, ...flags: readonly string[]): Promise<Processes> {
    const cluster = new Processes(flags);
    for (let position = 0; position < count; position++) {
      const [listen = 0, clientPort = 0] = await freePorts(2);
      const peer = await cluster.links.open(position, listen);
      cluster.members.push({
        position,
        clientURL: `http://127.0.0.1:${clientPort}`,
        peerURL: `http://127.0.0.1:${peer}`,
        listenPeerURL: `http://127.0.0.1:${listen}`,
        dataDir: join(cluster.#directory, `m${position}`),
        child: undefined,
        log: "",
        isPaused: false,
      });
    }
    try {
      await Promise.all(cluster.members.map((member) => cluster.boot(member)));
      await cluster.learnIDs();
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** Resolves once it serves. */
  async boot(member: Process, state: "new" | "existing" = "new"): Promise<void> {
    const initial = this.members.map(({ position, peerURL }) => `m${position}=${peerURL}`);
    const child = spawn(PROGRAM!, [
      ...PROGRAM_ARGUMENTS,
      `--name=m${member.position}`,
      `--data-dir=${member.dataDir}`,
      `--listen-client-urls=${member.clientURL}`,
      `--advertise-client-urls=${member.clientURL}`,
      `--listen-peer-urls=${member.listenPeerURL}`,
      `--initial-advertise-peer-urls=${member.peerURL}`,
      `--initial-cluster=${initial.join(",")}`,
      `--initial-cluster-state=${state}`,
      `--election-timeout=${ELECTION_TIMEOUT_MS}`,
      ...this.#flags,
    ]);
    member.child = child;
    member.log = "";
    child.stderr.on("data", (chunk) => {
      member.log += String(chunk);
    });
    const deadlineMs = performance.now() + START_TIMEOUT_MS;
    while (!member.log.includes("ready to serve client requests")) {
      if (!isRunning(child) || performance.now() > deadlineMs) {
        throw new Error(`m${member.position} did not start:\n${member.log.slice(-3000)}`);
      }
      await sleep(20);
    }
  }

  async kill(member: Process): Promise<void> {
    const { child } = member;
    member.child = undefined;
    member.isPaused = false;
    if (child === undefined || !isRunning(child)) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  pause(member: Process): void {
    member.child?.kill("SIGSTOP");
    member.isPaused = true;
  }

  resume(member: Process): void {
    member.child?.kill("SIGCONT");
    member.isPaused = false;
  }

  up(): Process[] {
    return this.members.filter(({ child, isPaused }) => child !== undefined && !isPaused);
  }

  client(...members: readonly Process[]): Client {
    const client = new Client({ endpoints: members.map(({ clientURL }) => clientURL) });
    this.#clients.push(client);
    return client;
  }

  /** Who can be told apart on the links; again after a member was replaced. */
  async learnIDs(): Promise<void> {
    const client = this.client(...this.up());
    const { members } = await client.cluster.list({ timeoutMs: LEADER_TIMEOUT_MS });
    await client.close();
    for (const { ID, peerURLs } of members) {
      const position = this.members.findIndex(({ peerURL }) => peerURLs.includes(peerURL));
      if (position >= 0) this.links.ids.set(ID.toString(16), position);
    }
  }

  /** The one most of those asked agree on, once they do. */
  async leader(among: readonly Process[] = this.up()): Promise<Process> {
    const deadlineMs = performance.now() + LEADER_TIMEOUT_MS;
    for (;;) {
      const leaders = await Promise.all(among.map((member) => this.#leaderAt(member)));
      const agreed = leaders[0];
      if (agreed !== undefined && leaders.every((leader) => leader === agreed)) {
        const found = among.find(({ position }) => position === agreed);
        if (found !== undefined) return found;
      }
      if (performance.now() > deadlineMs) throw new Error(`no leader: ${leaders.join()}`);
      await sleep(50);
    }
  }

  async #leaderAt(member: Process): Promise<number | undefined> {
    const client = new Client({ endpoints: [member.clientURL] });
    try {
      const { leader } = await client.maintenance.status({ timeoutMs: 2000 });
      return this.links.ids.get(leader.toString(16));
    } catch {
      return undefined;
    } finally {
      await client.close();
    }
  }

  /** A new, empty place for the data of a member that is to be replaced. */
  wipe(member: Process): void {
    member.dataDir = join(this.#directory, `replacement${this.#replacements++}`);
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await Promise.all(this.members.map((member) => this.kill(member)));
    this.links.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
