/** What operators do while clients go on: compact, defragment, save snapshots, and read the past. */

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { RpcError } from "@etcd-ts/api";
import { EtcdError } from "@etcd-ts/base";
import type { Client } from "@etcd-ts/client";
import { ViolationError } from "../../sim/src/violation.ts";
import type { History } from "./history.ts";
import type { ClusterMember, ProcessCluster } from "../processes/cluster.ts";

const COMPACTION_INTERVAL_MS = 500;
/** Revisions that stay. */
const KEPT = 25;
const PAST_READ_INTERVAL_MS = 50;
const MAINTENANCE_INTERVAL_MS = 700;
const TIMEOUT_MS = 10_000;
const DIGEST_BYTES = 32;

export class Upkeep {
  compactions = 0;
  defragmentations = 0;
  snapshots = 0;
  /** Reads that were told, rightly, that what they ask for is gone. */
  compactedReads = 0;
  readonly #cluster: ProcessCluster;
  readonly #history: History;
  readonly #isStopped: () => boolean;

  constructor(cluster: ProcessCluster, history: History, isStopped: () => boolean) {
    this.#cluster = cluster;
    this.#history = history;
    this.#isStopped = isStopped;
  }

  tasks(): readonly (() => Promise<void>)[] {
    return [
      () => this.#again(COMPACTION_INTERVAL_MS, () => this.#compact()),
      () => this.#again(MAINTENANCE_INTERVAL_MS, (client) => this.#defragment(client)),
      () => this.#again(MAINTENANCE_INTERVAL_MS, (client) => this.#save(client)),
      () => this.#again(PAST_READ_INTERVAL_MS, (client, at) => this.#readPast(client, at)),
    ];
  }

  /** One member after another; what fails for want of it is tried again elsewhere. */
  async #again(
    intervalMs: number,
    work: (client: Client, member: ClusterMember) => Promise<void>,
  ): Promise<void> {
    for (let i = 0; !this.#isStopped(); i++) {
      await sleep(intervalMs);
      const member = this.#cluster.members[i % this.#cluster.members.length]!;
      const client = this.#cluster.client(member);
      try {
        await work(client, member);
      } catch (error) {
        if (!(error instanceof EtcdError) || error instanceof ViolationError) throw error;
      } finally {
        await client.close();
      }
    }
  }

  async #compact(): Promise<void> {
    const revision = this.#history.toldTo - KEPT;
    if (revision <= this.#history.compactedTo) return;
    const client = this.#cluster.client(...this.#cluster.members);
    this.#history.compacting(revision);
    try {
      await client.kv.compact(revision, { timeoutMs: TIMEOUT_MS });
      this.compactions++;
    } finally {
      await client.close();
    }
  }

  async #defragment(client: Client): Promise<void> {
    await client.maintenance.defragment({ timeoutMs: TIMEOUT_MS });
    this.defragmentations++;
  }

  async #save(client: Client): Promise<void> {
    const parts: Uint8Array[] = [];
    for await (const { blob } of client.maintenance.snapshot({ timeoutMs: TIMEOUT_MS })) {
      parts.push(blob);
    }
    const file = Buffer.concat(parts);
    const image = file.subarray(0, -DIGEST_BYTES);
    const digest = createHash("sha256").update(image).digest();
    if (!digest.equals(file.subarray(-DIGEST_BYTES))) {
      throw new ViolationError("database", `${file.length} bytes do not fit their digest`);
    }
    this.snapshots++;
  }

  async #readPast(client: Client, member: ClusterMember): Promise<void> {
    const { toldTo, compactedTo } = this.#history;
    const from = Math.max(2, compactedTo - KEPT);
    if (toldTo < from) return;
    const revision = from + Math.floor(Math.random() * (toldTo - from + 1));
    const options = { prefix: true, revision, timeoutMs: TIMEOUT_MS } as const;
    try {
      const { kvs } = await client.kv.get("", options);
      this.#history.readPast(revision, kvs, `m${member.position}`);
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== "COMPACTED") throw error;
      // Exactly the compacted revision can still be read.
      this.#history.mustBeCompacted(revision + 1, `m${member.position}`);
      this.compactedReads++;
    }
  }
}
