/**
 * The configuration in force and what is known of each of its members.
 *
 * Invariants:
 * - `progress` has an entry for every voter and learner, in ascending order of ids: messages go
 *   out in that order on every run.
 * - A member is a voter (of either half) or a learner, never both; `learnersNext` are voters of
 *   the outgoing half.
 */

import type { JointVoters } from "../quorum/joint.ts";
import {
  allVoters,
  describeJointVoters,
  isJoint,
  jointCommittedIndex,
  jointVoteResult,
} from "../quorum/joint.ts";
import type { VoteResult } from "../quorum/majority.ts";
import { describeVoters, EMPTY_VOTERS, sortedIDs } from "../quorum/majority.ts";
import type { ConfState } from "../raftpb/types.ts";
import { Inflights } from "./inflights.ts";
import type { Progress } from "./progress.ts";

/** A configuration; never changed, always replaced. */
export interface Configuration {
  readonly voters: JointVoters;
  readonly learners: ReadonlySet<bigint>;
  readonly learnersNext: ReadonlySet<bigint>;
  /** The joint configuration is left as soon as it is in force. */
  readonly autoLeave: boolean;
}

export const EMPTY_CONFIGURATION: Configuration = {
  voters: { incoming: EMPTY_VOTERS, outgoing: EMPTY_VOTERS },
  learners: EMPTY_VOTERS,
  learnersNext: EMPTY_VOTERS,
  autoLeave: false,
};

export function describeConfiguration(configuration: Configuration): string {
  let text = `voters=${describeJointVoters(configuration.voters)}`;
  if (configuration.learners.size > 0) {
    text += ` learners=${describeVoters(configuration.learners)}`;
  }
  if (configuration.learnersNext.size > 0) {
    text += ` learners_next=${describeVoters(configuration.learnersNext)}`;
  }
  if (configuration.autoLeave) text += " autoleave";
  return text;
}

export function confStateOf(configuration: Configuration): ConfState {
  return {
    voters: sortedIDs(configuration.voters.incoming),
    votersOutgoing: sortedIDs(configuration.voters.outgoing),
    learners: sortedIDs(configuration.learners),
    learnersNext: sortedIDs(configuration.learnersNext),
    autoLeave: configuration.autoLeave,
  };
}

export class ProgressTracker {
  readonly #inflightMessagesMax: number;
  readonly #inflightBytesMax: number;
  #configuration: Configuration = EMPTY_CONFIGURATION;
  #progress: ReadonlyMap<bigint, Progress> = new Map();
  #votes = new Map<bigint, boolean>();

  constructor(inflightMessagesMax: number, inflightBytesMax: number) {
    this.#inflightMessagesMax = inflightMessagesMax;
    this.#inflightBytesMax = inflightBytesMax;
  }

  get configuration(): Configuration {
    return this.#configuration;
  }

  get progress(): ReadonlyMap<bigint, Progress> {
    return this.#progress;
  }

  /** Puts a configuration in force, with its members in ascending order. */
  switchTo(configuration: Configuration, progress: ReadonlyMap<bigint, Progress>): void {
    this.#configuration = configuration;
    this.#progress = new Map(sortedIDs(progress.keys()).map((id) => [id, progress.get(id)!]));
  }

  /** Starts anew on what is known of the members; their number and roles stay. */
  resetProgress(make: (id: bigint, old: Progress) => Progress): void {
    const progress = new Map<bigint, Progress>();
    for (const [id, old] of this.#progress) progress.set(id, make(id, old));
    this.#progress = progress;
  }

  newInflights(): Inflights {
    return new Inflights(this.#inflightMessagesMax, this.#inflightBytesMax);
  }

  /** Whether one member alone decides everything. */
  isSingleton(): boolean {
    const { voters } = this.#configuration;
    return voters.incoming.size === 1 && !isJoint(voters);
  }

  /** The highest index the voters have acknowledged by quorum. */
  committedIndex(): number {
    return jointCommittedIndex(this.#configuration.voters, (id) => this.#progress.get(id)?.match);
  }

  /** Whether a quorum of the voters has been heard of lately. */
  isQuorumActive(): boolean {
    const active = new Map<bigint, boolean>();
    for (const [id, progress] of this.#progress) {
      if (!progress.isLearner) active.set(id, progress.recentActive);
    }
    return jointVoteResult(this.#configuration.voters, active) === "VoteWon";
  }

  /** Voters of both halves, ascending. */
  voterIDs(): bigint[] {
    return sortedIDs(allVoters(this.#configuration.voters));
  }

  resetVotes(): void {
    this.#votes = new Map();
  }

  /** Only the first vote of a member counts. */
  recordVote(id: bigint, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  tallyVotes(): { granted: number; rejected: number; result: VoteResult } {
    let granted = 0;
    let rejected = 0;
    for (const [id, progress] of this.#progress) {
      if (progress.isLearner) continue;
      const vote = this.#votes.get(id);
      if (vote === true) granted++;
      else if (vote === false) rejected++;
    }
    return {
      granted,
      rejected,
      result: jointVoteResult(this.#configuration.voters, this.#votes),
    };
  }
}
