/** Keeping leases alive and asking about them: work of the leader's memory, not of the log. */

import { bytesFromLatin1 } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";

import type { MemberCore } from "./member-core.ts";
import { forwardToLeader } from "./leader-forwarding.ts";
import type {
  AuthIdentity,
  Completion,
  LeaseTimeToLiveResult,
  PeerQuestions,
  RequestContext,
} from "./server-api.ts";

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
  renew(id: bigint, context: RequestContext, done: Completion<number>): void {
    const deadlineMs = this.#core.ports.clock.monotonicMs() + this.#core.timeoutMs;
    if (!this.#core.auth.isEnabled) {
      this.#renewUntil(deadlineMs, id, done);
      return;
    }
    // What is attached to the lease must be known before it is asked who may write it.
    this.#core.waitApplied((error) => {
      if (error !== undefined) done(error, undefined);
      else this.#whenRenewable(id, context, done, () => this.#renewUntil(deadlineMs, id, done));
    });
  }

  #whenRenewable(
    id: bigint,
    context: RequestContext,
    done: Completion<number>,
    run: () => void,
  ): void {
    const { auth, gate, permissions } = this.#core;
    gate.whenUser(context, done, (identity) => {
      const refusal = permissions.leaseWrite(identity, id);
      if (auth.isEnabled && refusal !== undefined) this.#core.failLater(done, refusal);
      else run();
    });
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

  /** The keys are told to those who may read all of them. */
  timeToLive(
    id: bigint,
    withKeys: boolean,
    context: RequestContext,
    done: Completion<LeaseTimeToLiveResult>,
  ): void {
    const { auth, gate, permissions } = this.#core;
    gate.whenUser(context, done, (identity) => {
      if (!withKeys || !auth.isEnabled) {
        this.#timeToLive(id, withKeys, done);
        return;
      }
      const refusal = permissions.leaseRead(identity, id);
      if (refusal !== undefined) {
        this.#core.failLater(done, refusal);
        return;
      }
      const { revision } = auth;
      this.#timeToLive(id, withKeys, (error, result) => {
        const before = error ?? this.#keysRefusal(result!, identity, revision);
        if (before === undefined) done(undefined, result);
        else done(before, undefined);
      });
    });
  }

  /**
   * The keys that came may be more than those asked about: a member that lags behind the leader
   * does not know all of them.
   */
  #keysRefusal(
    { keys }: LeaseTimeToLiveResult,
    identity: AuthIdentity | undefined,
    revision: number,
  ): EtcdError | undefined {
    const { auth } = this.#core;
    if (!auth.isEnabled) return undefined;
    if (auth.revision !== revision) return SERVER_ERRORS.authOldRevision;
    if (auth.adminRefusal(identity) === undefined) return undefined;
    for (const key of keys) {
      const refusal = auth.rangeRefusal(identity, "read", key);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #timeToLive(id: bigint, withKeys: boolean, done: Completion<LeaseTimeToLiveResult>): void {
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

  /** Told to those who may read the keys of all leases. */
  list(context: RequestContext, done: Completion<readonly bigint[]>): void {
    const { gate, permissions, lessor, ports } = this.#core;
    gate.whenUser(context, done, (identity) => {
      ports.clock.nextTurn(() => {
        if (this.#core.end !== undefined) {
          done(this.#core.end, undefined);
          return;
        }
        const ids = lessor.leases().map(({ id }) => id);
        const refusal = this.#firstRefusal(ids, (id) => permissions.leaseRead(identity, id));
        if (refusal === undefined) done(undefined, ids);
        else done(refusal, undefined);
      });
    });
  }

  #firstRefusal(
    ids: readonly bigint[],
    refusalFor: (id: bigint) => EtcdError | undefined,
  ): EtcdError | undefined {
    if (!this.#core.auth.isEnabled) return undefined;
    for (const id of ids) {
      const refusal = refusalFor(id);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #askLeader(id: bigint, withKeys: boolean, done: Completion<LeaseTimeToLiveResult>): void {
    const { ports, timeoutMs } = this.#core;
    const forwarding = {
      deadlineMs: ports.clock.monotonicMs() + timeoutMs,
      ask: (questions: PeerQuestions, url: string, leftMs: number) =>
        questions.leaseTimeToLive(url, { id, withKeys }, leftMs),
      isAnswer: isLeaseMissing,
      answerHere: () => this.#timeToLive(id, withKeys, done),
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
