/** Keeping leases alive and asking about them: work of the leader's memory, not of the log. */

import { bytesFromLatin1 } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";

import type { MemberCore } from "./member-core.ts";
import { forwardToLeader } from "./leader-forwarding.ts";
import type { Completion, LeaseTimeToLiveResult, PeerQuestions } from "./server-api.ts";

/** How soon a renewal is tried again where nobody counts the time yet. */
const RETRY_MS = 50;

export class LeaseOperations {
  readonly #core: MemberCore;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  /** An id for a lease whose client leaves the choice to the server: positive as an int64. */
  chooseID(): bigint {
    return BigInt.asUintN(63, this.#core.requestIDs.next());
  }

  /**
   * Starts the time of a lease anew, on the leader, which alone counts it.
   *
   * An expired lease may be on its way out; then the answer waits until it is gone.
   */
  renew(id: bigint, done: Completion<number>): void {
    this.#renewUntil(this.#core.ports.clock.monotonicMs() + this.#core.timeoutMs, id, done);
  }

  #renewUntil(deadlineMs: number, id: bigint, done: Completion<number>): void {
    if (!this.#core.isLeader) {
      const forwarding = {
        deadlineMs,
        ask: (questions: PeerQuestions, url: string, timeoutMs: number) =>
          questions.renewLease(url, id, timeoutMs),
        isAnswer: isLeaseMissing,
        answerHere: () => this.#renewUntil(deadlineMs, id, done),
      };
      forwardToLeader(this.#core, forwarding, done);
      return;
    }
    this.#core.ensureLeadership((isLeader) => {
      if (!isLeader) {
        this.#retryRenewal(deadlineMs, id, done);
        return;
      }
      // A lease just granted may not be applied yet.
      this.#core.waitApplied((error) => {
        if (error !== undefined) done(error, undefined);
        else this.#renewApplied(deadlineMs, id, done);
      });
    });
  }

  #renewApplied(deadlineMs: number, id: bigint, done: Completion<number>): void {
    const { lessor } = this.#core;
    if (!lessor.isPrimary) {
      this.#retryRenewal(deadlineMs, id, done);
    } else if (lessor.lookup(id) === undefined) {
      done(SERVER_ERRORS.leaseNotFound, undefined);
    } else if (lessor.isExpired(id)) {
      lessor.whenSettled(id, (outcome) => {
        if (outcome === "revoked") done(SERVER_ERRORS.leaseNotFound, undefined);
        else this.#retryRenewal(deadlineMs, id, done);
      });
    } else if (lessor.mustClearCheckpoint(id)) {
      const request = { checkpoints: [{ id, remainingTTL: 0 }] };
      this.#core.proposeInternal({ kind: "leaseCheckpoint", request }, (error) => {
        if (error !== undefined) done(error, undefined);
        else this.#renewNow(id, done);
      });
    } else this.#renewNow(id, done);
  }

  #renewNow(id: bigint, done: Completion<number>): void {
    const { lessor } = this.#core;
    if (lessor.lookup(id) === undefined) done(SERVER_ERRORS.leaseNotFound, undefined);
    else if (!lessor.isPrimary) done(SERVER_ERRORS.notPrimaryLessor, undefined);
    else done(undefined, lessor.renew(id));
  }

  /** A leader that has not applied the first entry of its term is about to count the time. */
  #retryRenewal(deadlineMs: number, id: bigint, done: Completion<number>): void {
    const { ports, end } = this.#core;
    if (end !== undefined) this.#core.failLater(done, end);
    else if (ports.clock.monotonicMs() >= deadlineMs) {
      this.#core.failLater(done, SERVER_ERRORS.timeout);
    } else ports.clock.setTimer(RETRY_MS, () => this.#renewUntil(deadlineMs, id, done));
  }

  timeToLive(id: bigint, withKeys: boolean, done: Completion<LeaseTimeToLiveResult>): void {
    if (!this.#core.isLeader) {
      this.#askLeader(id, withKeys, done);
      return;
    }
    this.#core.waitApplied((error) => {
      if (error !== undefined) {
        done(error, undefined);
        return;
      }
      const lease = this.#core.lessor.lookup(id);
      if (lease === undefined) {
        done(undefined, missingLease(id));
        return;
      }
      if (!this.#core.lessor.isPrimary) {
        // Nobody counts its time here.
        done(SERVER_ERRORS.leaderChanged, undefined);
        return;
      }
      done(undefined, {
        id,
        ttlSeconds: Math.trunc(lease.remainingSeconds(this.#core.ports.clock.monotonicMs())),
        grantedTTLSeconds: lease.ttlSeconds,
        keys: withKeys ? lease.sortedKeys().map(bytesFromLatin1) : [],
      });
    });
  }

  list(done: Completion<readonly bigint[]>): void {
    this.#core.ports.clock.nextTurn(() => {
      if (this.#core.end !== undefined) done(this.#core.end, undefined);
      else
        done(
          undefined,
          this.#core.lessor.leases().map(({ id }) => id),
        );
    });
  }

  #askLeader(id: bigint, withKeys: boolean, done: Completion<LeaseTimeToLiveResult>): void {
    const { ports, timeoutMs } = this.#core;
    const forwarding = {
      deadlineMs: ports.clock.monotonicMs() + timeoutMs,
      ask: (questions: PeerQuestions, url: string, leftMs: number) =>
        questions.leaseTimeToLive(url, { id, withKeys }, leftMs),
      isAnswer: isLeaseMissing,
      answerHere: () => this.timeToLive(id, withKeys, done),
    };
    forwardToLeader<LeaseTimeToLiveResult>(this.#core, forwarding, (error, result) => {
      if (error === SERVER_ERRORS.leaseNotFound) done(undefined, missingLease(id));
      else done(error, result);
    });
  }
}

function isLeaseMissing(error: EtcdError): boolean {
  return error === SERVER_ERRORS.leaseNotFound;
}

function missingLease(id: bigint): LeaseTimeToLiveResult {
  return { id, ttlSeconds: -1, grantedTTLSeconds: 0, keys: [] };
}
