/** A cluster of processes on loopback, ours or the reference's, that are killed, paused, and parted. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@etcd-ts/client";
import type { ClientOptions } from "@etcd-ts/client";
import { Links } from "./links.ts";
import { freshPorts, MemberProcess } from "./member-process.ts";
import type { MemberOptions } from "./member-process.ts";

const LEADER_TIMEOUT_MS = 30_000;

export interface ClusterOptions {
  readonly members: number;
  readonly flags?: readonly string[];
  /** Words before the flags. Default: our etcd. */
  readonly program?: readonly string[];
  /** Of the client ports. Default `http`. */
  readonly scheme?: "http" | "https";
  /** How `client` reaches them. */
  readonly client?: Omit<ClientOptions, "endpoints">;
}

/** Its data survive `kill`. */
export class ClusterMember extends MemberProcess {
  readonly position: number;
  /** Where others reach it, through a link that can be cut. */
  readonly peerURL: string;

  constructor(position: number, peerURL: string, options: MemberOptions) {
    super(options);
    this.position = position;
    this.peerURL = peerURL;
  }
}

export class ProcessCluster {
  readonly links = new Links();
  readonly members: ClusterMember[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), "etcd-cluster-"));
  readonly #options: ClusterOptions;
  readonly #clients: Client[] = [];
  #replacements = 0;

  private constructor(options: ClusterOptions) {
    this.#options = options;
  }

  static async start(options: ClusterOptions): Promise<ProcessCluster> {
    const cluster = new ProcessCluster(options);
    try {
      for (let position = 0; position < options.members; position++) await cluster.#add(position);
      await Promise.all(cluster.members.map((member) => cluster.boot(member)));
      await cluster.learnIDs();
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  async #add(position: number): Promise<void> {
    const { flags = [], client: _client, members: _members, ...options } = this.#options;
    const ports = await freshPorts();
    const peerURL = `http://127.0.0.1:${await this.links.open(position, ports.peer)}`;
    this.members.push(
      new ClusterMember(position, peerURL, {
        ...options,
        ports,
        dataDir: join(this.#directory, `m${position}`),
        flags: [`--name=m${position}`, `--initial-advertise-peer-urls=${peerURL}`, ...flags],
      }),
    );
  }

  get endpoints(): readonly string[] {
    return this.members.map(({ clientURL }) => clientURL);
  }

  /** Resolves once it serves. */
  async boot(member: ClusterMember, state: "new" | "existing" = "new"): Promise<void> {
    const initial = this.members.map(({ position, peerURL }) => `m${position}=${peerURL}`);
    await member.up(`--initial-cluster=${initial.join(",")}`, `--initial-cluster-state=${state}`);
  }

  up(): ClusterMember[] {
    return this.members.filter(({ isUp }) => isUp);
  }

  /** Closed with the cluster. */
  client(...members: readonly ClusterMember[]): Client {
    const endpoints = members.map(({ clientURL }) => clientURL);
    const client = new Client({ ...this.#options.client, endpoints });
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

  /** The one all of those asked agree on, once they do. */
  async leader(among: readonly ClusterMember[] = this.up()): Promise<ClusterMember> {
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

  async #leaderAt(member: ClusterMember): Promise<number | undefined> {
    const client = new Client({ ...this.#options.client, endpoints: [member.clientURL] });
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
  wipe(member: ClusterMember): void {
    member.dataDir = join(this.#directory, `replacement${this.#replacements++}`);
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await Promise.all(this.members.map((member) => member.kill()));
    this.links.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
