/**
 * Clients of real processes: what they asked, when, and what they were told, for the checkers of
 * the simulator. A call without an answer stays unknown and is never made again.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { RpcError } from "@etcd-ts/api";
import type { WatchResponse } from "@etcd-ts/api";
import { EtcdError, latin1FromBytes } from "@etcd-ts/base";
import { compare, op } from "@etcd-ts/client";
import type { Client } from "@etcd-ts/client";
import { LeaseCheck, OVERDUE_MS } from "../../sim/src/checkers/lease-check.ts";
import { checkLinearizable } from "../../sim/src/checkers/linearizability.ts";
import type { Answer, Operation } from "../../sim/src/checkers/linearizability.ts";
import type { Request, Write } from "../../sim/src/checkers/model.ts";
import { WatchCheck } from "../../sim/src/checkers/watch-check.ts";
import type { WatchedEvent } from "../../sim/src/checkers/watch-check.ts";
import { watchedEvent } from "../../sim/src/cluster.ts";
import { rangeText } from "../../sim/src/workload.ts";
import { compactRevisionOf, History } from "./history.ts";
import type { ClusterMember, ProcessCluster } from "../processes/cluster.ts";
import { Upkeep } from "./upkeep.ts";

const CALL_TIMEOUT_MS = 3000;
const KEYS = 6;
const LEASE_SECONDS = 3;
const THINK_MS = 10;
/** Written by none of the clients. */
const PROBED_KEY = "probe";
const PROBE_INTERVAL_MS = 50;
const ALL = { prefix: true } as const;

export interface LoadOptions {
  readonly clients: number;
  /**
   * Reads that need not be up to date: what the checkers must find. Every second round of clients
   * only reads, so that one at a member that is cut off does not wait for its writes.
   */
  readonly isStale?: boolean;
  /** Compactions, defragmentations, snapshots and reads of the past meanwhile. */
  readonly hasUpkeep?: boolean;
}

export class Load {
  readonly operations: Operation[] = [];
  /** When the first write was acknowledged that was asked for after `sinceMs`. */
  #awaited = { sinceMs: Infinity, returnMs: Infinity };
  readonly #cluster: ProcessCluster;
  readonly #isStale: boolean;
  readonly #watches: WatchCheck[] = [];
  readonly #leases = new LeaseCheck(20);
  readonly #leaseOf = new Map<string, bigint>();
  readonly #running: Promise<void>[] = [];
  readonly #history = new History();
  readonly upkeep: Upkeep;
  #isStopped = false;
  #serial = 0;
  #failure: unknown;

  constructor(cluster: ProcessCluster, options: LoadOptions) {
    const { clients, isStale = false, hasUpkeep = false } = options;
    this.#cluster = cluster;
    this.#isStale = isStale;
    for (let i = 0; i < clients; i++) {
      // Each stays with one member, also while that one is away.
      const member = cluster.members[i % cluster.members.length]!;
      const isReader = isStale && i >= cluster.members.length;
      this.#run(() => this.#client(`c${i}`, member, isReader));
    }
    for (const member of cluster.members) this.#run(() => this.#watcher(member));
    this.#run(() => this.#leaseholder());
    this.upkeep = new Upkeep(cluster, this.#history, () => this.#isStopped);
    if (hasUpkeep) for (const task of this.upkeep.tasks()) this.#run(task);
  }

  #run(work: () => Promise<void>): void {
    this.#running.push(
      work().catch((error: unknown) => {
        this.#failure ??= error;
      }),
    );
  }

  /**
   * How long after `sinceMs` a write was acknowledged that was asked for after it.
   *
   * Asks the members again and again by itself: a client that waits for a write which was lost with
   * the leader would hide that the next one is taken.
   */
  async writesResume(among: readonly ClusterMember[], sinceMs: number): Promise<number> {
    const awaited = { sinceMs, returnMs: Infinity };
    this.#awaited = awaited;
    const clients = among.map((member) => this.#cluster.client(member));
    const writing: Promise<unknown>[] = [];
    while (awaited.returnMs === Infinity) {
      if (performance.now() - sinceMs > 30_000) throw new Error("writes did not resume");
      for (const [i, client] of clients.entries()) {
        writing.push(this.#put(`probe${among[i]!.position}`, client, PROBED_KEY));
      }
      await sleep(PROBE_INTERVAL_MS);
    }
    await Promise.all(writing);
    await Promise.all(clients.map((client) => client.close()));
    return awaited.returnMs - sinceMs;
  }

  /**
   * Ends the load and judges all of it; every member must be up.
   *
   * @throws {ViolationError}
   */
  async check(): Promise<{ readonly answered: number; readonly unknown: number }> {
    this.#isStopped = true;
    await Promise.all(this.#running);
    if (this.#failure !== undefined) throw this.#failure;
    await this.#leasesEnd();
    const { ledger } = this.#history;
    const last = await this.#readHistories();
    const acknowledged = this.operations.flatMap(({ answer }) =>
      answer?.isChange === true ? [answer.revision] : [],
    );
    ledger.checkAcknowledged(acknowledged, last);
    for (const watch of this.#watches) watch.compare(ledger);
    this.#history.checkPastReads();
    checkLinearizable(this.operations, (revision) => ledger.textAt(revision));
    const unknown = this.operations.filter(({ answer }) => answer === undefined).length;
    return { answered: this.operations.length - unknown, unknown };
  }

  /** Nobody renews any more: all leases end, and none later than the cluster needs. */
  async #leasesEnd(): Promise<void> {
    const client = this.#cluster.client(...this.#cluster.up());
    // Each new leader begins the time of all leases anew: where leaders change often none ends.
    const dueMs = performance.now() + LEASE_SECONDS * 1000 + OVERDUE_MS;
    for (;;) {
      const { kvs } = await client.kv.get("lease/", { ...ALL, timeoutMs: 20_000 });
      const nowMs = performance.now();
      if (kvs.length === 0) break;
      if (nowMs < dueMs) {
        await sleep(100);
        continue;
      }
      for (const { key, lease } of kvs) this.#leases.left(lease, latin1FromBytes(key), nowMs);
      await sleep(100);
    }
    await client.close();
  }

  /** Every member tells what each revision it still has changed. */
  async #readHistories(): Promise<number> {
    const first = this.#cluster.client(...this.#cluster.up());
    const { header } = await first.kv.get("x", { timeoutMs: 20_000 });
    const last = header!.revision;
    for (const member of this.#cluster.members) {
      const client = this.#cluster.client(member);
      // A read through the log: from here on this member has all revisions up to `last`.
      await client.kv.get("x", { timeoutMs: 20_000 });
      // Of the compacted revision itself deletions are gone.
      const startRevision = this.#history.compactedTo + 1;
      const watcher = client.watch("", { ...ALL, startRevision });
      watcher.requestProgress();
      for await (const response of watcher) {
        this.#history.tell(eventsOf(response), `m${member.position}`);
        if (response.header!.revision >= last && endOf(response) >= last) break;
      }
      await client.close();
    }
    return last;
  }

  async #client(name: string, member: ClusterMember, isReader: boolean): Promise<void> {
    const client = this.#cluster.client(member);
    const seen = new Map<string, number>();
    while (!this.#isStopped) {
      const choice = isReader ? 1 : Math.random();
      const key = `k${Math.floor(Math.random() * KEYS)}`;
      if (choice < 0.4) await this.#put(name, client, key);
      else if (choice < 0.5) await this.#delete(name, client, key);
      else if (choice < 0.7) await this.#txn(name, client, key, seen);
      else await this.#read(name, client, choice < 0.8 ? undefined : key, seen);
      await sleep(THINK_MS);
    }
    await client.close();
  }

  #value(): string {
    return `v${++this.#serial}`;
  }

  async #record<T>(
    name: string,
    request: Request,
    call: () => Promise<T>,
    answerOf: (response: T) => Answer,
  ): Promise<T | undefined> {
    const operation: Operation = {
      name: `${name}#${this.operations.length} ${request.kind}`,
      callMs: performance.now(),
      returnMs: Infinity,
      request,
      answer: undefined,
    };
    this.operations.push(operation);
    try {
      const response = await call();
      operation.returnMs = performance.now();
      operation.answer = answerOf(response);
      const awaited = this.#awaited;
      if (operation.answer.isChange && operation.callMs > awaited.sinceMs) {
        awaited.returnMs = Math.min(awaited.returnMs, operation.returnMs);
      }
      return response;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      await sleep(THINK_MS);
      return undefined;
    }
  }

  async #put(name: string, client: Client, key: string): Promise<void> {
    await this.#write(name, client, { key, value: this.#value(), lease: 0n });
  }

  async #write(name: string, client: Client, write: Write): Promise<number | undefined> {
    const { key, value, lease } = write;
    const response = await this.#record(
      name,
      { kind: "write", condition: undefined, writes: [write] },
      () => client.kv.put(key, value!, { lease, timeoutMs: CALL_TIMEOUT_MS }),
      ({ header }) => ({ revision: header!.revision, isChange: true }),
    );
    return response?.header?.revision;
  }

  async #delete(name: string, client: Client, key: string): Promise<void> {
    await this.#record(
      name,
      { kind: "write", condition: undefined, writes: [{ key, value: undefined, lease: 0n }] },
      () => client.kv.delete(key, { timeoutMs: CALL_TIMEOUT_MS }),
      ({ header, deleted }) => ({
        revision: header!.revision,
        isChange: deleted > 0,
        succeeded: true,
      }),
    );
  }

  /** Writes two keys if the first is as it was last seen. */
  async #txn(name: string, client: Client, key: string, seen: Map<string, number>): Promise<void> {
    const modRevision = seen.get(key) ?? 0;
    const other = `${key}'`;
    const writes = [key, other].map((of): Write => ({ key: of, value: this.#value(), lease: 0n }));
    await this.#record(
      name,
      { kind: "write", condition: { key, modRevision }, writes },
      () =>
        client.kv
          .txn()
          .if(compare.modRevision(key, "=", modRevision))
          .do(...writes.map((write) => op.put(write.key, write.value!)))
          .commit({ timeoutMs: CALL_TIMEOUT_MS }),
      ({ header, succeeded }) => ({ revision: header!.revision, isChange: succeeded, succeeded }),
    );
    seen.delete(key);
  }

  async #read(
    name: string,
    client: Client,
    key: string | undefined,
    seen: Map<string, number>,
  ): Promise<void> {
    const response = await this.#record(
      name,
      { kind: "read", key },
      () =>
        client.kv.get(key ?? "", {
          prefix: key === undefined,
          serializable: this.#isStale,
          timeoutMs: CALL_TIMEOUT_MS,
        }),
      ({ header, kvs }) => ({ revision: header!.revision, isChange: false, read: rangeText(kvs) }),
    );
    for (const kv of response?.kvs ?? []) seen.set(latin1FromBytes(kv.key), kv.modRevision);
  }

  /** Keys that live as long as a lease which is renewed twice and then forgotten. */
  async #leaseholder(): Promise<void> {
    const client = this.#cluster.client(...this.#cluster.members);
    while (!this.#isStopped) {
      try {
        await this.#holdLease(client);
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
      }
      await sleep(THINK_MS);
    }
  }

  async #holdLease(client: Client): Promise<void> {
    const callMs = performance.now();
    const timeout = { timeoutMs: CALL_TIMEOUT_MS };
    const { id, ttl } = await client.lease.grant(LEASE_SECONDS, timeout);
    this.#leases.granted(id, ttl, callMs);
    // When its time is over no client is told.
    this.operations.push({
      name: `end of lease ${id.toString(16)}`,
      callMs,
      returnMs: Infinity,
      request: { kind: "endLease", lease: id },
      answer: undefined,
    });
    const key = `lease/${id.toString(16)}`;
    this.#leaseOf.set(key, id);
    await this.#write("leaseholder", client, { key, value: this.#value(), lease: id });
    for (let i = 0; i < 2 && !this.#isStopped; i++) {
      await sleep((LEASE_SECONDS * 1000) / 4);
      const renewMs = performance.now();
      const signal = AbortSignal.timeout(CALL_TIMEOUT_MS);
      const renewed = await client.lease.keepAliveOnce(id, { ...timeout, signal });
      this.#leases.renewed(id, renewed.ttl, renewMs);
    }
  }

  /** One watch on one member after another life of it, each going on where the last one ended. */
  async #watcher(member: ClusterMember): Promise<void> {
    let next = 1;
    while (!this.#isStopped) {
      const client = this.#cluster.client(member);
      const check = new WatchCheck(`watch at m${member.position}`, () => true, next);
      this.#watches.push(check);
      const life = AbortSignal.timeout(Math.floor(2000 + 3000 * Math.random()));
      try {
        for await (const response of client.watch("", {
          ...ALL,
          startRevision: next,
          signal: life,
        })) {
          const events = eventsOf(response);
          if (events.length === 0) continue;
          this.#noteExpiries(events);
          check.take(events, response.header!.revision);
          this.#history.tell(events, `m${member.position}`);
          next = check.resumeRevision;
        }
      } catch (error) {
        // The end of its life; a broken promise of the watch is none of these.
        if (!(error instanceof RpcError)) throw error;
        const compactRevision = compactRevisionOf(error);
        if (compactRevision !== undefined) {
          this.#history.mustBeCompacted(compactRevision, `m${member.position}`);
          next = Math.max(next, compactRevision + 1);
        }
      }
      await client.close();
    }
  }

  /** Seen late at most, so a promise that was kept is never called broken. */
  #noteExpiries(events: readonly WatchedEvent[]): void {
    for (const { key, value } of events) {
      const lease = this.#leaseOf.get(key);
      if (value === undefined && lease !== undefined) this.#leases.gone(lease, performance.now());
    }
  }
}

function eventsOf(response: WatchResponse): WatchedEvent[] {
  return response.events.map(watchedEvent);
}

/** The last revision a response is about. */
function endOf(response: WatchResponse): number {
  return response.events.at(-1)?.kv?.modRevision ?? response.header!.revision;
}

/** Times in milliseconds as multiples of an election timeout. */
export function summary(times: readonly number[], electionTimeoutMs: number): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (i: number): string => (sorted[i]! / electionTimeoutMs).toFixed(2);
  const median = at(Math.floor(sorted.length / 2));
  return `${times.length} times, in election timeouts: min ${at(0)}, median ${median}, max ${at(sorted.length - 1)}`;
}
