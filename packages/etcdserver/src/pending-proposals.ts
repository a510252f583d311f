/**
 * Writes on their way through the log, in the order they were proposed, found again when their
 * entry is applied.
 *
 * Entries are applied in the order of the log, which for those this member itself put there is
 * that of the proposals. So nearly always the next one is first in the queue, and known by its
 * bytes: the log in memory holds the very array that was proposed. Only an entry that came another
 * way, as through the leader, has to be read for its id.
 *
 * Invariants:
 * - Every proposal settles exactly once: by its result, by a failure, or by the common timeout.
 * - All have the same timeout, so the oldest expires first: looking for expired ones costs nothing
 *   but those.
 * - Counts ascend in the queue.
 */

import type { EtcdError } from "@etcd-ts/base";
import type { RaftOperation } from "@etcd-ts/api";

import type { ApplyResult } from "./apply/request-applier.ts";
import { ID_COUNTS, type RequestIDs } from "./request-id.ts";
import type { AuthIdentity, Completion } from "./server-api.ts";

/** Settled proposals at the front of the queue before it is cut. */
const SETTLED_KEPT_MAX = 1024;

/** Of whom nothing was claimed. */
const NOBODY: AuthIdentity = { username: "", authRevision: 0 };

export class PendingProposal {
  /** From `RequestIDs.nextCount`. */
  readonly count: number;
  /** The entry. */
  readonly data: Uint8Array;
  readonly operation: RaftOperation;
  readonly identity: AuthIdentity;
  readonly startMs: number;
  readonly done: Completion<ApplyResult>;
  isSettled = false;

  constructor(
    count: number,
    data: Uint8Array,
    operation: RaftOperation,
    identity: AuthIdentity | undefined,
    startMs: number,
    done: Completion<ApplyResult>,
  ) {
    this.count = count;
    this.data = data;
    this.operation = operation;
    this.identity = identity ?? NOBODY;
    this.startMs = startMs;
    this.done = done;
  }
}

export class PendingProposals {
  readonly #timeoutMs: number;
  readonly #requestIDs: RequestIDs;
  readonly #failed: () => void;
  #queue: PendingProposal[] = [];
  /** Those before it have settled. */
  #first = 0;
  #size = 0;

  /** @param failed - told of each that got no result */
  constructor(timeoutMs: number, requestIDs: RequestIDs, failed: () => void) {
    this.#timeoutMs = timeoutMs;
    this.#requestIDs = requestIDs;
    this.#failed = failed;
  }

  get size(): number {
    return this.#size;
  }

  add(proposal: PendingProposal): void {
    this.#queue.push(proposal);
    this.#size++;
  }

  /** The oldest proposal that waits, if `data` is its entry. */
  firstIf(data: Uint8Array): PendingProposal | undefined {
    const first = this.#queue[this.#first];
    return first !== undefined && first.data === data ? first : undefined;
  }

  /** The proposal of request `id`, if it waits. */
  find(id: bigint): PendingProposal | undefined {
    const last = this.#queue.at(-1);
    if (last === undefined) return undefined;
    const residue = this.#requestIDs.countOf(id);
    if (residue === undefined) return undefined;
    let count = last.count - (last.count % ID_COUNTS) + residue;
    if (count > last.count) count -= ID_COUNTS;
    let low = this.#first;
    let high = this.#queue.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#queue[middle]!.count < count) low = middle + 1;
      else high = middle;
    }
    const found = this.#queue[low];
    return found?.count === count && !found.isSettled ? found : undefined;
  }

  /** Nothing happens if it has settled already. */
  succeed(proposal: PendingProposal, result: ApplyResult): void {
    if (!this.#settle(proposal)) return;
    const { error } = result;
    proposal.done(error, error === undefined ? result : undefined);
  }

  /** Nothing happens if it has settled already. */
  fail(proposal: PendingProposal, failure: EtcdError): void {
    if (!this.#settle(proposal)) return;
    this.#failed();
    proposal.done(failure, undefined);
  }

  /** @param failureFor - chooses the error by when the proposal was made */
  expire(nowMs: number, failureFor: (startMs: number) => EtcdError): void {
    for (;;) {
      const first = this.#queue[this.#first];
      if (first === undefined || nowMs - first.startMs < this.#timeoutMs) return;
      this.fail(first, failureFor(first.startMs));
    }
  }

  failAll(failure: EtcdError): void {
    for (const proposal of this.#queue.slice(this.#first)) this.fail(proposal, failure);
  }

  #settle(proposal: PendingProposal): boolean {
    if (proposal.isSettled) return false;
    proposal.isSettled = true;
    this.#size--;
    while (this.#queue[this.#first]?.isSettled === true) this.#first++;
    if (this.#first === this.#queue.length || this.#first > SETTLED_KEPT_MAX) {
      this.#queue = this.#queue.slice(this.#first);
      this.#first = 0;
    }
    return true;
  }
}
