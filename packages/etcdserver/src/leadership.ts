/** Who leads: moving leadership on request, handing it over at the end, and not waiting for it. */

import type { EtcdError } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";

import type { MemberCore } from "./member-core.ts";
import type { PeriodicTasks } from "./periodic-tasks.ts";
import type { Completion } from "./server-api.ts";

/** How often connections are counted before the first election. */
const CONNECTION_POLL_MS = 50;
/** Nobody is waited for longer. */
const CONNECTION_WAIT_MS = 5000;

export class Leadership {
  readonly #core: MemberCore;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  /** @param deadlineMs - default: the request timeout from now */
  move(targetID: bigint, deadlineMs: number | undefined, done: Completion<void>): void {
    const { cluster, memberID, ports } = this.#core;
    if (!this.#core.isLeader) {
      this.#core.failLater(done, SERVER_ERRORS.notLeader);
      return;
    }
    const member = cluster.member(targetID);
    if (member === undefined || member.isLearner) {
      this.#core.failLater(done, SERVER_ERRORS.badLeaderTransferee);
      return;
    }
    const startMs = ports.clock.monotonicMs();
    ports.logger.info("leadership transfer starting", {
      "local-member-id": memberID.toString(16),
      "current-leader-member-id": memberID.toString(16),
      "transferee-member-id": targetID.toString(16),
    });
    this.#core.loop.transferLeader(targetID);
    this.#poll(targetID, startMs, deadlineMs ?? startMs + this.#core.timeoutMs, done);
  }

  #poll(targetID: bigint, startMs: number, deadlineMs: number, done: Completion<void>): void {
    const { ports, config, memberID } = this.#core;
    if (this.#core.leaderID === targetID) {
      ports.logger.info("leadership transfer finished", {
        "local-member-id": memberID.toString(16),
        "old-leader-member-id": memberID.toString(16),
        "new-leader-member-id": targetID.toString(16),
        took: `${ports.clock.monotonicMs() - startMs}ms`,
      });
      ports.clock.nextTurn(() => done(undefined, undefined));
      return;
    }
    if (this.#core.end !== undefined || ports.clock.monotonicMs() >= deadlineMs) {
      this.#core.failLater(done, this.#core.end ?? SERVER_ERRORS.timeoutLeaderTransfer);
      return;
    }
    ports.clock.setTimer(config.heartbeatIntervalMs, () =>
      this.#poll(targetID, startMs, deadlineMs, done),
    );
  }

  /** Before a stop: gives leadership to the voter connected the longest, if there is one. */
  async handOver(): Promise<void> {
    const { cluster, memberID, ports, isLeader, end } = this.#core;
    if (end !== undefined) return;
    const fields = { "local-member-id": memberID.toString(16) };
    if (!isLeader) {
      ports.logger.info("skipped leadership transfer; local server is not leader", fields);
      return;
    }
    const others = cluster.votingMembers().filter(({ id }) => id !== memberID);
    if (others.length === 0) {
      ports.logger.info("skipped leadership transfer for single voting member cluster", fields);
      return;
    }
    const target = this.#longestConnected(others.map(({ id }) => id));
    const failed = (error: EtcdError): void =>
      ports.logger.warn("leadership transfer failed", { ...fields, error: error.message });
    if (target === undefined) {
      failed(SERVER_ERRORS.unhealthy);
      return;
    }
    await new Promise<void>((resolve) => {
      this.move(target, undefined, (error) => {
        if (error !== undefined) failed(error);
        resolve();
      });
    });
  }

  #longestConnected(ids: readonly bigint[]): bigint | undefined {
    const { transport } = this.#core.ports;
    let longest: bigint | undefined;
    let sinceMs = Infinity;
    for (const id of ids) {
      const activeMs = transport?.activeSinceMs(id);
      if (activeMs === undefined || activeMs >= sinceMs) continue;
      longest = id;
      sinceMs = activeMs;
    }
    return longest;
  }

  /**
   * Spares a member that comes back most of its first election timeout: once it is connected to
   * several others, a leader would have been heard.
   */
  hastenElection(tasks: PeriodicTasks): void {
    const { config, cluster, memberID, ports } = this.#core;
    const others = cluster.members().filter(({ id }) => id !== memberID);
    if (!config.initialElectionTickAdvance || others.length < 2) return;
    const untilMs = ports.clock.monotonicMs() + CONNECTION_WAIT_MS;
    const look = (): void => {
      const active = others.filter(({ id }) => this.#core.connectivity.isActive(id)).length;
      if (active > 1) {
        const ticks = Math.floor(config.electionTimeoutMs / config.heartbeatIntervalMs) - 2;
        ports.logger.info("initialized peer connections; fast-forwarding election ticks", {
          "local-member-id": memberID.toString(16),
          "forward-ticks": ticks,
        });
        if (ticks > 0 && this.#core.leaderID === 0n) this.#core.loop.advanceTicks(ticks);
      } else if (ports.clock.monotonicMs() < untilMs) tasks.after(CONNECTION_POLL_MS, look);
    };
    tasks.after(CONNECTION_POLL_MS, look);
  }
}
