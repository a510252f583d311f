/**
 * The way of a write into the log and of its result back to the caller.
 *
 * Invariant: every proposal settles exactly once: by its result, by a refusal, by the common
 * timeout, or by the end of the member.
 */

import { WireWriter } from "@etcd-ts/base";
import type { Clock, EtcdError, Logger } from "@etcd-ts/base";
import { InternalRaftRequestCodec, SERVER_ERRORS, ServerError } from "@etcd-ts/api";
import type { InternalRaftRequest, RaftOperation } from "@etcd-ts/api";
import { PROPOSAL_DROPPED_TEXT } from "@etcd-ts/raft";
import type { ConfChange } from "@etcd-ts/raft";

import type { ApplyResult } from "./apply/request-applier.ts";
import { PendingRequests } from "./pending-requests.ts";
import { ProposalQueue } from "./proposal-queue.ts";
import type { ProposalTarget } from "./proposal-queue.ts";
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
  readonly pending: PendingRequests<ApplyResult>;
  readonly pendingChanges: PendingRequests<EtcdError | undefined>;

  constructor(parts: ProposalsParts) {
    this.#parts = parts;
    this.pending = new PendingRequests(parts.timeoutMs);
    this.pendingChanges = new PendingRequests(parts.timeoutMs);
    this.#queue = new ProposalQueue(
      parts.target,
      (id) => this.pending.has(id) || this.pendingChanges.has(id),
      (id) => this.#drop(id, PROPOSAL_DROPPED),
    );
  }

  /** Settles when the operation has been applied here; its own error is handed on as an error. */
  propose(
    operation: RaftOperation,
    identity: AuthIdentity | undefined,
    done: Completion<ApplyResult>,
  ): void {
    const { requestIDs, clock, metrics, maxRequestBytes } = this.#parts;
    const id = requestIDs.next();
    const header = {
      id,
      username: identity?.username ?? "",
      authRevision: identity?.authRevision ?? 0,
    };
    const data = this.#encode({ header, id: 0n, operation });
    if (data.length > maxRequestBytes) {
      clock.nextTurn(() => done(SERVER_ERRORS.requestTooLarge, undefined));
      return;
    }
    this.pending.add(id, clock.monotonicMs(), (failure, result) => {
      metrics.pending.set(this.pending.size);
      if (failure !== undefined) metrics.failed.inc();
      const error = failure ?? result?.error;
      done(error, error === undefined ? result : undefined);
    });
    metrics.pending.set(this.pending.size);
    this.#enqueue(id, data);
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
    this.#enqueue(id, { ...change, id });
  }

  /** Hands what came in this turn to raft, or keeps it while there is no leader. */
  beforeReady(hasLeader: boolean): void {
    this.#hasLeader = hasLeader;
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
  }

  #enqueue(id: bigint, entry: Uint8Array | ConfChange): void {
    if (!this.#hasLeader && this.#queue.size >= LEADERLESS_PROPOSALS_MAX) {
      this.#drop(id, SERVER_ERRORS.tooManyRequests);
      return;
    }
    this.#queue.add(id, entry);
    this.#parts.target.wake();
  }

  #encode(request: InternalRaftRequest): Uint8Array {
    if (this.#writer.length > WRITER_BYTES) this.#writer = new WireWriter(WRITER_BYTES);
    else this.#writer.reset();
    InternalRaftRequestCodec.encode(request, this.#writer);
    return this.#writer.finish();
  }

  #drop(id: bigint, error: EtcdError): void {
    this.#parts.clock.nextTurn(() => {
      this.pending.fail(id, error);
      this.pendingChanges.fail(id, error);
    });
  }
}
