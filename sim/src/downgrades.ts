/**
 * An operator who begins to downgrade a cluster, and thinks better of it: the cluster version goes
 * down while everything else goes on, and up again.
 *
 * What has no answer may still happen, so nothing is promised any more after such a call; at rest
 * all members agree in any case.
 */

import { EtcdError, sleep } from "@etcd-ts/base";
import type { SeededRandom } from "@etcd-ts/base";
import { SERVER_ERRORS, SERVER_VERSION } from "@etcd-ts/api";
import type { StatusResult } from "@etcd-ts/etcdserver";

import type { Call, SimCluster } from "./cluster.ts";
import type { SimMember } from "./member.ts";
import { around } from "./options.ts";
import { ViolationError } from "./violation.ts";

const CALL_TIMEOUT_MS = 8000;
const INTERVAL_MS = 8000;
const ENABLE = 1;
const CANCEL = 2;
/** `X.Y`, and the one before it. */
const [MAJOR, MINOR] = SERVER_VERSION.split(".").map(Number) as [number, number];
const TARGET = `${MAJOR}.${MINOR - 1}`;
/** As members tell them. */
const LOWERED = `${TARGET}.0`;
const OWN = `${MAJOR}.${MINOR}.0`;

/** The cluster is not at its own version, or at none, for now. */
const NOT_YET: ReadonlySet<Error> = new Set<Error>([
  SERVER_ERRORS.invalidDowngradeTargetVersion,
  SERVER_ERRORS.clusterVersionUnavailable,
]);

export class Downgrades {
  readonly #cluster: SimCluster;
  readonly #random: SeededRandom;
  #isUncertain = false;
  #isOver = false;
  #running: Promise<void> = Promise.resolve();

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.split("downgrades");
  }

  start(): void {
    this.#running = this.#run();
  }

  /** No more of them, for a member of this version may not join meanwhile. */
  async end(): Promise<void> {
    this.#isOver = true;
    await this.#running;
    if (this.#cluster.options.plant !== "downgrade stays") await this.#cancel();
    if (this.#cluster.change === "downgrade") this.#cluster.change = undefined;
  }

  async #cancel(): Promise<void> {
    for (;;) {
      const member = this.#cluster.someVoter(this.#random);
      if (member !== undefined && (await this.#isCanceledAt(member))) return;
      await sleep(this.#cluster.clock, around(this.#random, 500));
    }
  }

  async #isCanceledAt(member: SimMember): Promise<boolean> {
    try {
      await this.#ask(member, CANCEL);
      return !(await this.#status(member)).downgrade.enabled;
    } catch (error) {
      if (error instanceof EtcdError) return false;
      throw error;
    }
  }

  async #run(): Promise<void> {
    const { clock, trace } = this.#cluster;
    const cluster = this.#cluster;
    while (!this.#isOver) {
      await sleep(clock, around(this.#random, INTERVAL_MS));
      if (cluster.change === "replacement") continue;
      cluster.change = "downgrade";
      if (!(await this.#until(ENABLE))) return;
      trace.count("downgrades begun");
      await sleep(clock, around(this.#random, INTERVAL_MS));
      await this.#beginAgain();
      const versions = this.#cluster.members.map(({ server }) => server?.facts().clusterVersion);
      if (versions.includes(LOWERED)) trace.count("cluster versions lowered");
      if (!(await this.#until(CANCEL))) return;
      trace.count("downgrades canceled");
      // One whose beginning had no answer may yet begin.
      if (this.#isUncertain) return;
      cluster.change = undefined;
    }
  }

  /** While one is under way there is no other. */
  async #beginAgain(): Promise<void> {
    const member = this.#cluster.someVoter(this.#random);
    if (member === undefined || this.#isUncertain) return;
    try {
      await this.#ask(member, ENABLE);
    } catch (error) {
      if (error instanceof EtcdError) return;
      throw error;
    }
    if (this.#isUncertain) return;
    const text = `${member.name} begins a downgrade while one is under way`;
    this.#cluster.broken(new ViolationError("version", text));
  }

  /** Asks until it is so. @returns false if the run was over before */
  async #until(action: number): Promise<boolean> {
    while (!this.#isOver) {
      const member = this.#cluster.someVoter(this.#random);
      if (member !== undefined) {
        try {
          await this.#ask(member, action);
          // That it is canceled is told in any case: etcd's rule.
          if (action === ENABLE || !(await this.#status(member)).downgrade.enabled) return true;
        } catch (error) {
          if (error === SERVER_ERRORS.downgradeInProcess) return true;
          if (!(error instanceof EtcdError)) throw error;
          if (!NOT_YET.has(error)) this.#isUncertain = true;
        }
      }
      await sleep(this.#cluster.clock, around(this.#random, 500));
    }
    return false;
  }

  #ask(member: SimMember, action: number): Promise<unknown> {
    return this.#cluster.call<unknown>(member, CALL_TIMEOUT_MS, asking(action));
  }

  #status(member: SimMember): Promise<StatusResult> {
    return this.#cluster.call<StatusResult>(member, CALL_TIMEOUT_MS, (server, context, done) =>
      server.status(context, done),
    );
  }

  /** In a cluster at rest all members know the same of a downgrade. */
  async judge(
    members: readonly SimMember[],
    carry: <T>(call: Promise<T>) => Promise<T>,
  ): Promise<void> {
    const told: string[] = [];
    for (const member of members) {
      const { downgrade } = await carry(this.#status(member));
      told.push(`${downgrade.enabled} ${downgrade.targetVersion}`);
    }
    if (new Set(told).size > 1) {
      throw new ViolationError("version", `members tell of downgrades: ${told.join(", ")}`);
    }
  }

  /** A while after it was canceled. */
  judgeEnd(members: readonly SimMember[]): void {
    for (const { name, server } of members) {
      const version = server?.facts().clusterVersion;
      if (version === OWN) continue;
      throw new ViolationError("version", `${name} is in a cluster of version ${version}`);
    }
  }
}

function asking(action: number): Call<unknown> {
  return (server, context, done) => server.downgrade({ action, version: TARGET }, context, done);
}
