/**
 * The way of a write into the log and of its result back to the caller.
 *
 * Invariant: every proposal settles exactly once: by its result, by a refusal, by the common
 * timeout, or by the end of the member.
 */

import { WireWriter } from "@etcd-ts/base";
import type { Clock, EtcdError, Logger } from "@etcd-ts/base";
import { SERVER_ERRORS, ServerError, writeProposal } from "@etcd-ts/api";
import type { RaftOperation } from "@etcd-ts/api";
import { PROPOSAL_DROPPED_TEXT } from "@etcd-ts/raft";
import type { ConfChange } from "@etcd-ts/raft";

import type { ApplyResult } from "./apply/request-applier.ts";
import { PendingProposal, PendingProposals } from "./pending-proposals.ts";
import { PendingRequests } from "./pending-requests.ts";
import { ProposalQueue } from "./proposal-queue.ts";
import type { ProposalTarget, Queued } from "./proposal-queue.ts";
import type { RequestIDs } from "./request-id.ts";
import type { AuthIdentity, Completion } from "./server-api.ts";
import type { ServerMetrics } from "./server-metrics.ts";

/** Writes that may wait for a leader; more are turned away. */
const LEADERLESS_PROPOSALS_MAX = 5000;
/** An encoder that grew beyond this is not kept. */
const WRITER_BYTES = 64 * 1024;

/** Raft would not take a proposal; the text is etcd's. */
export const PROPOSAL_DROPPED = Object.freeze(
  new ServerError("PROPOSAL_DROPPED", PROPOSAL_DROPPED_TEXT),
);

export interface ProposalsParts {
  readonly memberID: bigint;
  readonly maxRequestBytes: number;
  readonly timeoutMs: number;
  readonly requestIDs: RequestIDs;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ServerMetrics;
  readonly target: ProposalTarget & { wake(): void };
}

export class Proposals {
  readonly #parts: ProposalsParts;
  readonly #queue: ProposalQueue;
  /** Reused, so that a proposal costs one copy of its size. */
  #writer = new WireWriter(WRITER_BYTES);
  #hasLeader = false;
  readonly pending: PendingProposals;
  readonly pendingChanges: PendingRequests<EtcdError | undefined>;

  constructor(parts: ProposalsParts) {
    this.#parts = parts;
    this.pending = new PendingProposals(parts.timeoutMs, parts.requestIDs, () =>
      parts.metrics.failed.inc(),
    );
    this.pendingChanges = new PendingRequests(parts.timeoutMs);
    this.#queue = new ProposalQueue(
      parts.target,
      (change) => this.pendingChanges.has(change.id),
      (queued) => this.#drop(queued, PROPOSAL_DROPPED),
    );
  }

  /** Settles when the operation has been applied here; its own error is handed on as an error. */
  propose(
    operation: RaftOperation,
    identity: AuthIdentity | undefined,
    done: Completion<ApplyResult>,
  ): void {
    const { requestIDs, clock, maxRequestBytes } = this.#parts;
    const count = requestIDs.nextCount();
    const data = this.#encode(count, identity, operation);
    if (data.length > maxRequestBytes) {
      clock.nextTurn(() => done(SERVER_ERRORS.requestTooLarge, undefined));
      return;
    }
    const proposal = new PendingProposal(
      count,
      data,
      operation,
      identity,
      clock.monotonicMs(),
      done,
    );
    this.pending.add(proposal);
    this.#enqueue(proposal);
  }

  /** The same for a change of the configuration; its id is set here. */
  proposeChange(change: Omit<ConfChange, "id">, done: Completion<void>): void {
    const { requestIDs, clock, logger, memberID } = this.#parts;
    const id = requestIDs.next();
    this.pendingChanges.add(id, clock.monotonicMs(), (failure, refusal) => {
      if (failure === undefined) {
        logger.info("applied a configuration change through raft", {
          "local-member-id": memberID.toString(16),
          "raft-conf-change": change.type,
          "raft-conf-change-node-id": change.nodeID.toString(16),
        });
      }
      done(failure ?? refusal, undefined);
    });
    this.#enqueue({ ...change, id });
  }

  /** Hands what came in this turn to raft, or keeps it while no leader can be reached. */
  beforeReady(hasLeader: boolean): void {
    this.#hasLeader = hasLeader;
    this.#parts.metrics.pending.set(this.pending.size);
    if (hasLeader) this.#queue.flush();
    else this.#queue.wait();
  }

  /** @param failureFor - chooses the error by when the proposal was made */
  expire(nowMs: number, failureFor: (startMs: number) => EtcdError): void {
    this.pending.expire(nowMs, failureFor);
    this.pendingChanges.expire(nowMs, failureFor);
  }

  failAll(failure: EtcdError): void {
    this.#queue.clear();
    this.pending.failAll(failure);
    this.pendingChanges.failAll(failure);
    this.#parts.metrics.pending.set(0);
  }

  #enqueue(queued: Queued): void {
    if (!this.#hasLeader && this.#queue.size >= LEADERLESS_PROPOSALS_MAX) {
      this.#drop(queued, SERVER_ERRORS.tooManyRequests);
      return;
    }
    this.#queue.add(queued);
    this.#parts.target.wake();
  }

  #encode(count: number, identity: AuthIdentity | undefined, operation: RaftOperation): Uint8Array {
    if (this.#writer.length > WRITER_BYTES) this.#writer = new WireWriter(WRITER_BYTES);
    else this.#writer.reset();
    const { requestIDs } = this.#parts;
    const username = identity?.username ?? "";
    const authRevision = identity?.authRevision ?? 0;
    const high = requestIDs.highOf(count);
    const low = requestIDs.lowOf(count);
    writeProposal(this.#writer, high, low, username, authRevision, operation);
    return this.#writer.finish();
  }

  #drop(queued: Queued, error: EtcdError): void {
    this.#parts.clock.nextTurn(() => {
      if (queued instanceof PendingProposal) this.pending.fail(queued, error);
      else this.pendingChanges.fail(queued.id, error);
    });
  }
}
