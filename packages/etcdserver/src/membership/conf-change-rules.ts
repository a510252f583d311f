/** When a change of membership is refused: pure rules over who is in the cluster. */

import { SERVER_ERRORS } from "@etcd-ts/api";
import { unreachable } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import type { ConfChange } from "@etcd-ts/raft";
import { decodeConfChangeContext, decodeMemberContext } from "./member.ts";
import type { Member } from "./member.ts";

/**
 * Whether a committed change may be applied.
 *
 * @param members - before the change
 * @param removed - ids that were removed and are never used again
 * @returns why not; undefined if it may
 * @throws {WireFormatError} if the change's context does not decode
 */
export function refusalOf(
  change: ConfChange,
  members: ReadonlyMap<bigint, Member>,
  removed: ReadonlySet<bigint>,
  learnersMax: number,
): EtcdError | undefined {
  const id = change.nodeID;
  if (removed.has(id)) return SERVER_ERRORS.memberIDRemoved;
  switch (change.type) {
    case "ConfChangeAddNode":
    case "ConfChangeAddLearnerNode": {
      const { member, isPromote } = decodeConfChangeContext(change.context);
      if (isPromote) return promotionRefusal(members.get(id));
      if (members.has(id)) return SERVER_ERRORS.memberIDExists;
      if (sharesURL(member, members)) return SERVER_ERRORS.peerURLExists;
      const isLearner = member.isLearner && change.type === "ConfChangeAddLearnerNode";
      const learners = [...members.values()].filter((other) => other.isLearner).length;
      return isLearner && learners >= learnersMax ? SERVER_ERRORS.tooManyLearners : undefined;
    }
    case "ConfChangeRemoveNode":
      return members.has(id) ? undefined : SERVER_ERRORS.memberIDNotFound;
    case "ConfChangeUpdateNode": {
      if (!members.has(id)) return SERVER_ERRORS.memberIDNotFound;
      const member = { ...decodeMemberContext(change.context), id };
      return sharesURL(member, members) ? SERVER_ERRORS.peerURLExists : undefined;
    }
    default:
      return unreachable(change.type, "refusalOf");
  }
}

function promotionRefusal(member: Member | undefined): EtcdError | undefined {
  if (member === undefined) return SERVER_ERRORS.memberIDNotFound;
  return member.isLearner ? undefined : SERVER_ERRORS.memberNotLearner;
}

function sharesURL(member: Member, members: ReadonlyMap<bigint, Member>): boolean {
  const taken = new Set<string>();
  for (const other of members.values()) {
    if (other.id !== member.id) for (const url of other.peerURLs) taken.add(url);
  }
  return member.peerURLs.some((url) => taken.has(url));
}

/** Voters, and how many of them have started, that is: have a name. */
interface VoterCount {
  readonly voters: number;
  readonly started: number;
}

export function countVoters(members: Iterable<Member>): VoterCount {
  let voters = 0;
  let started = 0;
  for (const member of members) {
    if (member.isLearner) continue;
    voters++;
    if (member.name !== "") started++;
  }
  return { voters, started };
}

/** Whether enough voters have started for a quorum, the new one not counted as started. */
export function isReadyToAddVoter({ voters, started }: VoterCount): boolean {
  // A cluster of one is how a lost cluster is restored: its second member is let in.
  if (started === 1 && voters === 1) return true;
  return started >= quorum(voters + 1);
}

/** Whether enough voters have started among those that stay. */
export function isReadyToRemoveVoter(staying: VoterCount): boolean {
  return staying.started >= quorum(staying.voters);
}

/** A learner to be promoted has started. */
export function isReadyToPromote({ voters, started }: VoterCount): boolean {
  return started + 1 >= quorum(voters + 1);
}

function quorum(voters: number): number {
  return Math.floor(voters / 2) + 1;
}
