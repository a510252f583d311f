/**
 * What a leader knows of one follower's log, and how eagerly it sends to it.
 *
 * States:
 * - `probe`: where the follower's log ends is not known; one message at a time, until it answers.
 * - `replicate`: entries stream out ahead of the answers, bounded by `inflights`.
 * - `snapshot`: the follower needs entries no longer in the log; nothing is sent until it has the
 *   snapshot.
 *
 * Invariants:
 * - `match < next`: entries up to `match` are known to be the follower's, those in
 *   (match, next) are on the way.
 * - In `snapshot`, `next === pendingSnapshot + 1`.
 */

import { invariant } from "@etcd-ts/base";
import type { Inflights } from "./inflights.ts";

export type ProgressState = "probe" | "replicate" | "snapshot";

const STATE_NAMES: { readonly [state in ProgressState]: string } = {
  probe: "StateProbe",
  replicate: "StateReplicate",
  snapshot: "StateSnapshot",
};

export class Progress {
  match: number;
  next: number;
  state: ProgressState = "probe";
  /** Index of the snapshot on the way; 0 outside of `snapshot`. */
  pendingSnapshot = 0;
  /** Heard of since the last quorum check; always true for the leader itself. */
  recentActive: boolean;
  /** Nothing more is to be sent until an answer or a heartbeat response comes. */
  flowPaused = false;
  isLearner: boolean;
  readonly inflights: Inflights;
  /** Highest commit index on the way; falls back when messages turn out to be lost. */
  #sentCommit = 0;

  constructor(fields: {
    match: number;
    next: number;
    isLearner: boolean;
    recentActive: boolean;
    inflights: Inflights;
  }) {
    invariant(
      fields.match < fields.next,
      () => `Progress: match ${fields.match} is not below next ${fields.next}`,
    );
    this.match = fields.match;
    this.next = fields.next;
    this.isLearner = fields.isLearner;
    this.recentActive = fields.recentActive;
    this.inflights = fields.inflights;
  }

  /** A copy whose changes do not reach this one. */
  clone(): Progress {
    const copy = new Progress({
      match: this.match,
      next: this.next,
      isLearner: this.isLearner,
      recentActive: this.recentActive,
      inflights: this.inflights.clone(),
    });
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.flowPaused = this.flowPaused;
    copy.#sentCommit = this.#sentCommit;
    return copy;
  }

  /** After a snapshot, probing goes on from behind it; else from behind what is known to match. */
  becomeProbe(): void {
    const next = Math.max(this.match, this.pendingSnapshot) + 1;
    this.#enter("probe");
    this.next = next;
    this.#limitSentCommit();
  }

  becomeReplicate(): void {
    this.#enter("replicate");
    this.next = this.match + 1;
  }

  becomeSnapshot(index: number): void {
    this.#enter("snapshot");
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.#sentCommit = index;
  }

  #enter(state: ProgressState): void {
    this.flowPaused = false;
    this.pendingSnapshot = 0;
    this.state = state;
    this.inflights.reset();
  }

  #limitSentCommit(): void {
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
  }

  /**
   * Notes that a MsgApp has been sent.
   *
   * @param count - entries in it
   * @param bytes - size of their proposals
   */
  sentEntries(count: number, bytes: number): void {
    invariant(this.state !== "snapshot", () => "sentEntries: sending append in StateSnapshot");
    if (this.state === "probe") {
      if (count > 0) this.flowPaused = true;
      return;
    }
    if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, bytes);
    }
    this.flowPaused = this.inflights.isFull();
  }

  sentCommit(commit: number): void {
    this.#sentCommit = commit;
  }

  /** Whether telling the follower of `commit` could move it, given what it was told before. */
  canBumpCommit(commit: number): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1;
  }

  /** Takes an acknowledgement up to `index`; false if it brings nothing new. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.flowPaused = false;
    return true;
  }

  /**
   * Takes a rejection of the MsgApp behind entry `rejected`; false if it is stale.
   *
   * @param matchHint - the highest index at which the logs may agree
   */
  maybeDecreaseTo(rejected: number, matchHint: number): boolean {
    if (this.state === "replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.#limitSentCommit();
      return true;
    }
    // A follower that is probed has one message on the way, sent from behind `next - 1`.
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, matchHint + 1), this.match + 1);
    this.#limitSentCommit();
    this.flowPaused = false;
    return true;
  }

  isPaused(): boolean {
    return this.state === "snapshot" || this.flowPaused;
  }

  toString(): string {
    let text = `${STATE_NAMES[this.state]} match=${this.match} next=${this.next}`;
    if (this.isLearner) text += " learner";
    if (this.isPaused()) text += " paused";
    if (this.pendingSnapshot > 0) text += ` pendingSnap=${this.pendingSnapshot}`;
    if (!this.recentActive) text += " inactive";
    if (this.inflights.count > 0) {
      text += ` inflight=${this.inflights.count}`;
      if (this.inflights.isFull()) text += "[full]";
    }
    return text;
  }
}

/** One line a member, in the map's order. */
export function describeProgressMap(progress: ReadonlyMap<bigint, Progress>): string {
  let text = "";
  for (const [id, one] of progress) text += `${id}: ${one.toString()}\n`;
  return text;
}
