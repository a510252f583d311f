/**
 * Leases that ran out are revoked through the log, by the leader alone.
 *
 * At most 500 are taken every 500 ms, and at most 16 revocations are on their way at a time, so that
 * a wave of expirations leaves room for clients.
 */

import type { EtcdError } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";

import type { MemberCore } from "./member-core.ts";
import { ROOT_CONTEXT } from "./server-api.ts";

/** Revocations on their way. */
const REVOCATIONS_MAX = 16;

export class LeaseExpiry {
  readonly #core: MemberCore;
  #queue: bigint[] = [];
  #active = 0;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  /** To be called every `LEASE_EXPIRY_INTERVAL_MS`. */
  run(): void {
    const { lessor, isLeader } = this.#core;
    if (!isLeader || !lessor.isPrimary) {
      this.#queue = [];
      return;
    }
    this.#checkpoint();
    const expired = lessor.expired();
    if (expired.length === 0) return;
    this.#core.ensureLeadership((isLeader) => {
      if (!isLeader) {
        this.#warn("Ignore the lease revoking request because current member isn't a leader");
        return;
      }
      this.#queue.push(...expired);
      this.#revokeNext();
    });
  }

  /** Lets the next leader know how much of the long leases has passed. */
  #checkpoint(): void {
    const checkpoints = this.#core.lessor.dueCheckpoints();
    if (checkpoints.length === 0) return;
    this.#core.ensureLeadership((isLeader) => {
      if (!isLeader) {
        this.#warn("Ignore the checkpoint request because current member isn't a leader");
        return;
      }
      this.#core.proposeInternal({ kind: "leaseCheckpoint", request: { checkpoints } }, (error) => {
        if (error !== undefined) this.#warn("failed to checkpoint leases", undefined, error);
      });
    });
  }

  #revokeNext(): void {
    while (this.#active < REVOCATIONS_MAX) {
      const id = this.#queue.shift();
      if (id === undefined) return;
      this.#active++;
      this.#core.propose({ kind: "leaseRevoke", request: { id } }, ROOT_CONTEXT, (error) => {
        this.#active--;
        if (error === undefined) this.#core.metrics.leaseExpired.inc();
        else if (error !== SERVER_ERRORS.stopped) this.#warn("failed to revoke lease", id, error);
        this.#revokeNext();
      });
    }
  }

  #warn(message: string, id?: bigint, error?: EtcdError): void {
    this.#core.ports.logger.warn(message, {
      ...(id === undefined ? {} : { "lease-id": id.toString(16).padStart(16, "0") }),
      ...(error === undefined ? {} : { error: error.message }),
    });
  }
}
