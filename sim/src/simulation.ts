/**
 * One run of one seed: a cluster under load and faults, then healed, then judged.
 *
 * The first phase may make the cluster unavailable, never wrong. In the second everything works
 * again, and the cluster must come to rest: a leader, all members at the same state, every call
 * answered.
 */

import { EtcdError, bytesFromLatin1, latin1FromBytes } from "@etcd-ts/base";
import { PutRequestCodec, RangeRequestCodec } from "@etcd-ts/api";
import type { PutResponse, RangeResponse } from "@etcd-ts/api";
import type { HashKVResult } from "@etcd-ts/etcdserver";

import { checkEqualHashes } from "./checkers/hash-check.ts";
import { OVERDUE_MS } from "./checkers/lease-check.ts";
import { checkLinearizable } from "./checkers/linearizability.ts";
import type { Operation } from "./checkers/linearizability.ts";
import { SimCluster } from "./cluster.ts";
import type { Call, SimulatorPorts } from "./cluster.ts";
import { Faults } from "./faults.ts";
import type { SimMember } from "./member.ts";
import type { SimOptions } from "./options.ts";
import { ViolationError } from "./violation.ts";
import { LEASE_SECONDS_MAX, Workload, rangeText } from "./workload.ts";

/** How long the cluster has to come to rest after all faults have ended. */
const REST_MS = 120_000;
const STEP_MS = 20;
const CALL_TIMEOUT_MS = 10_000;
/** Longer than a leader takes to look at the versions of all members twice. */
const VERSION_MS = 10_000;

export interface Outcome {
  readonly seed: number;
  readonly virtualMs: number;
  readonly traceHash: string;
  readonly counts: ReadonlyMap<string, number>;
  /** The first thing that must not be. */
  readonly failure: Error | undefined;
  /** The last things that happened, and what the members logged; for a failure. */
  readonly story: readonly string[];
}

export async function simulate(options: SimOptions, ports: SimulatorPorts): Promise<Outcome> {
  const run = new Simulation(options, ports);
  try {
    await run.run();
  } catch (error) {
    run.cluster.broken(error as Error);
  }
  return run.outcome();
}

class Simulation {
  readonly cluster: SimCluster;
  readonly #workload: Workload;
  readonly #faults: Faults;
  readonly #options: SimOptions;
  readonly #ports: SimulatorPorts;

  constructor(options: SimOptions, ports: SimulatorPorts) {
    this.#ports = ports;
    this.#options = options;
    this.cluster = new SimCluster(options, ports);
    this.#workload = new Workload(this.cluster);
    this.#faults = new Faults(this.cluster);
  }

  async run(): Promise<void> {
    const { cluster } = this;
    for (const member of cluster.members) member.start();
    this.#observe();
    await this.#pass(2000);
    this.#workload.start();
    this.#faults.start();
    await this.#pass(this.#options.faultMs);
    const ends = [this.#faults.heal()];
    if (this.#options.hasDowngrades) ends.push(this.#workload.downgrades.end());
    await this.#carry(Promise.all(ends), 10 * REST_MS, "the operator does not finish");
    await this.#carry(this.#workload.stop(), REST_MS, "clients wait for ever");
    await this.#rest();
    await this.#judge();
  }

  /** Looks at the members every few milliseconds. */
  #observe(): void {
    this.cluster.observe();
    this.cluster.clock.setTimer(STEP_MS, () => this.#observe());
  }

  /** Lets time pass, or what is left of it when `isEnough` says so. */
  async #pass(durationMs: number, isEnough: () => boolean = () => false): Promise<void> {
    const { cluster } = this;
    const isOver = (): boolean => cluster.failure !== undefined || isEnough();
    await cluster.clock.advanceSettled(durationMs, isOver);
    if (cluster.failure !== undefined) throw cluster.failure;
  }

  /** Lets time pass until `promise` settles. */
  async #carry<T>(promise: Promise<T>, withinMs: number, complaint: string): Promise<T> {
    const outcome = { isKnown: false };
    const mark = (): void => {
      outcome.isKnown = true;
    };
    promise.then(mark, mark);
    await this.#pass(withinMs, () => outcome.isKnown);
    if (outcome.isKnown) return promise;
    throw new ViolationError("liveness", complaint);
  }

  /** Waits until all members run at the same applied index behind one leader. */
  async #rest(): Promise<void> {
    const { cluster } = this;
    for (let passedMs = 0; passedMs < REST_MS; passedMs += 500) {
      // A removal may count long after the operator gave up on it.
      cluster.members = cluster.members.filter(({ isRemoved }) => !isRemoved);
      for (const member of cluster.members) if (!member.isUp) member.start();
      await this.#pass(500);
      if (this.#isAtRest()) return;
    }
    const states = cluster.members.map(({ name, server, life }) => {
      if (server === undefined) return `${name} is ${life === undefined ? "down" : "starting"}`;
      const { raftTerm, leaderID, appliedIndex, committedIndex } = server.facts();
      return `${name}: term ${raftTerm}, leader ${leaderID.toString(16)}, applied ${appliedIndex}, committed ${committedIndex}`;
    });
    throw new ViolationError(
      "liveness",
      `no rest after all faults have ended: ${states.join("; ")}`,
    );
  }

  #isAtRest(): boolean {
    const { members } = this.cluster;
    const facts = members.map(({ server }) => server?.facts());
    const first = facts[0];
    return (
      first !== undefined &&
      first.leaderID !== 0n &&
      members.every(({ life }) => life?.isReady === true) &&
      facts.every(
        (other) => other?.leaderID === first.leaderID && other.appliedIndex === first.appliedIndex,
      )
    );
  }

  async #judge(): Promise<void> {
    const { cluster } = this;
    // Longer than any lease lasts that nobody renews.
    await this.#pass(LEASE_SECONDS_MAX * 1000 + 2 * OVERDUE_MS);
    await this.#rest();
    const operations = [...this.#workload.operations];
    for (const member of cluster.members) operations.push(await this.#write(member));
    for (const member of cluster.members) operations.push(await this.#readAll(member));
    await this.#rest();
    const last = Math.max(...cluster.members.map(({ server }) => server!.facts().currentRevision));
    cluster.ledger.checkAcknowledged(this.#workload.acknowledged(), last);
    checkLinearizable(operations, (revision) => cluster.ledger.textAt(revision));
    for (const watch of this.#workload.watches) watch.compare(cluster.ledger);
    this.#workload.checkLeases();
    await this.#judgeUsers();
    await this.#judgeVersions();
    if (this.#ports.sabotage !== undefined) {
      await this.#carry(this.#ports.sabotage(cluster), REST_MS, "the sabotage does not end");
      await this.#rest();
    }
    await this.#compareHashes();
    for (const member of cluster.members) {
      await this.#carry(member.stop(), REST_MS, `${member.name} does not stop`);
      await this.#carry(member.checkDatabase(), REST_MS, `${member.name}: the check does not end`);
    }
    this.#countAll(operations);
  }

  async #judgeUsers(): Promise<void> {
    const { guest, operator, passwordUser } = this.#workload;
    const { members } = this.cluster;
    const carry = <T>(call: Promise<T>): Promise<T> =>
      this.#carry(call, 2 * CALL_TIMEOUT_MS, "a member does not answer a user");
    if (!(await carry(operator.settle(members[0]!)))) return;
    await this.#rest();
    for (const member of members) await guest.judge(member, carry);
    await passwordUser.judge(members, carry, (ms) => this.#pass(ms));
  }

  async #judgeVersions(): Promise<void> {
    if (!this.#options.hasDowngrades) return;
    const { downgrades } = this.#workload;
    const { members } = this.cluster;
    await downgrades.judge(members, (call) =>
      this.#carry(call, 2 * CALL_TIMEOUT_MS, "a member does not answer the operator"),
    );
    await this.#pass(VERSION_MS);
    await this.#rest();
    downgrades.judgeEnd(members);
  }

  async #write(member: SimMember): Promise<Operation> {
    const callMs = this.cluster.clock.monotonicMs();
    const value = `last of ${member.name}`;
    const message = PutRequestCodec.create({
      key: bytesFromLatin1("last"),
      value: bytesFromLatin1(value),
    });
    const { header } = await this.#answer<PutResponse>(member, (server, context, done) =>
      server.put(message, context, done),
    );
    return {
      name: `put ${value}`,
      callMs,
      returnMs: this.cluster.clock.monotonicMs(),
      request: { kind: "write", condition: undefined, writes: [{ key: "last", value, lease: 0n }] },
      answer: { revision: header!.revision, isChange: true },
    };
  }

  async #readAll(member: SimMember): Promise<Operation> {
    const callMs = this.cluster.clock.monotonicMs();
    const message = RangeRequestCodec.create({ key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) });
    const { header, kvs } = await this.#answer<RangeResponse>(member, (server, context, done) =>
      server.range(message, context, done),
    );
    const nowMs = this.cluster.clock.monotonicMs();
    for (const kv of kvs) {
      if (kv.lease !== 0n) this.#workload.leases.left(kv.lease, latin1FromBytes(kv.key), nowMs);
    }
    return {
      name: `read all from ${member.name}`,
      callMs,
      returnMs: this.cluster.clock.monotonicMs(),
      request: { kind: "read", key: undefined },
      answer: { revision: header!.revision, isChange: false, read: rangeText(kvs) },
    };
  }

  /** A call that has no excuse left. */
  async #answer<T>(member: SimMember, start: Call<T>): Promise<T> {
    const call = this.cluster.call<T>(member, CALL_TIMEOUT_MS, start);
    try {
      return await this.#carry(call, 2 * CALL_TIMEOUT_MS, `${member.name} does not answer`);
    } catch (error) {
      if (!(error instanceof EtcdError) || error instanceof ViolationError) throw error;
      throw new ViolationError("liveness", `${member.name} after healing: ${error.message}`);
    }
  }

  async #compareHashes(): Promise<void> {
    const results = new Map<string, HashKVResult>();
    for (const member of this.cluster.members) {
      const result = await this.#answer<HashKVResult>(member, (server, context, done) =>
        server.hashKV(0, context, done),
      );
      results.set(member.name, result);
    }
    checkEqualHashes(results);
  }

  #countAll(operations: readonly Operation[]): void {
    const { trace, raft, ledger } = this.cluster;
    trace.count("operations checked", operations.length);
    trace.count("elections", raft.elections);
    trace.count("raft messages checked", raft.checked);
    trace.count("log entries", raft.entries);
    trace.count("revisions", ledger.newest);
    trace.count("revisions audited", ledger.checked);
    trace.count("leases that ran out", this.#workload.leases.expiries);
    for (const { bookmarks } of this.#workload.watches) trace.count("bookmarks", bookmarks);
  }

  outcome(): Outcome {
    const { cluster } = this;
    const { trace, failure } = cluster;
    const story =
      failure === undefined
        ? []
        : [
            ...trace.lines,
            ...cluster.members.flatMap(({ name, lastLog }) =>
              (lastLog?.events ?? [])
                .slice(-40)
                .map(
                  ({ level, message, fields }) =>
                    `${name} ${level} ${message} ${fieldText(fields)}`,
                ),
            ),
          ];
    return {
      seed: this.#options.seed,
      virtualMs: cluster.clock.monotonicMs(),
      traceHash: trace.hash,
      counts: trace.counts,
      failure,
      story,
    };
  }
}

function fieldText(fields: object): string {
  return JSON.stringify(fields, (_name, value: unknown) =>
    typeof value === "bigint" ? value.toString(16) : value,
  );
}
