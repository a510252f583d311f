/**
 * Decisions that need a majority of two sets of voters at once.
 *
 * Source: Raft thesis, section 4.3. While a group changes from one configuration to another, both
 * must agree; an empty half agrees to everything, so a plain configuration is one with an empty
 * outgoing half.
 */

import type { AckedIndex, VoteResult, VoterSet } from "./majority.ts";
import {
  describeAcked,
  describeVoters,
  majorityCommittedIndex,
  majorityVoteResult,
} from "./majority.ts";

export interface JointVoters {
  readonly incoming: VoterSet;
  /** Empty unless the configuration is joint. */
  readonly outgoing: VoterSet;
}

export function isJoint(voters: JointVoters): boolean {
  return voters.outgoing.size > 0;
}

export function hasVoter(voters: JointVoters, id: bigint): boolean {
  return voters.incoming.has(id) || voters.outgoing.has(id);
}

/** The voters of both halves. */
export function allVoters(voters: JointVoters): VoterSet {
  if (!isJoint(voters)) return voters.incoming;
  return new Set([...voters.incoming, ...voters.outgoing]);
}

export function jointCommittedIndex(voters: JointVoters, acked: AckedIndex): number {
  return Math.min(
    majorityCommittedIndex(voters.incoming, acked),
    majorityCommittedIndex(voters.outgoing, acked),
  );
}

export function jointVoteResult(
  voters: JointVoters,
  votes: ReadonlyMap<bigint, boolean>,
): VoteResult {
  const incoming = majorityVoteResult(voters.incoming, votes);
  const outgoing = majorityVoteResult(voters.outgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === "VoteLost" || outgoing === "VoteLost" ? "VoteLost" : "VotePending";
}

/** `(1 2 3)`, or `(1 2 3)&&(2 3 4)` when joint. */
export function describeJointVoters(voters: JointVoters): string {
  const incoming = describeVoters(voters.incoming);
  return isJoint(voters) ? `${incoming}&&${describeVoters(voters.outgoing)}` : incoming;
}

export function describeJointAcked(voters: JointVoters, acked: AckedIndex): string {
  return describeAcked(allVoters(voters), acked);
}
