/**
 * The rules by which one configuration follows another.
 *
 * Source: Raft thesis, chapter 4: one voter at a time in one step, or any change through a joint
 * configuration whose outgoing half is the configuration before.
 *
 * Invariants:
 * - Nothing given is changed; a step that breaks a rule leaves everything as it was.
 * - Every voter and learner has a progress, and nobody else has one.
 * - `learners` and voters of either half do not overlap; `learnersNext` lies in the outgoing half,
 *   and is empty, as is `autoLeave` false, unless the configuration is joint.
 */

import { EtcdError, invariant } from "@etcd-ts/base";
import { isJoint } from "../quorum/joint.ts";
import type { VoterSet } from "../quorum/majority.ts";
import { EMPTY_VOTERS } from "../quorum/majority.ts";
import type { ConfChangeSingle } from "../raftpb/types.ts";
import { NONE } from "../raftpb/types.ts";
import type { Inflights } from "../tracker/inflights.ts";
import { Progress } from "../tracker/progress.ts";
import type { Configuration } from "../tracker/tracker.ts";

/** A change that breaks a rule. */
export class ConfChangeError extends EtcdError {
  readonly code = "RAFT_CONF_CHANGE";
}

/** A configuration and what is known of its members. */
export interface Membership {
  readonly configuration: Configuration;
  readonly progress: ReadonlyMap<bigint, Progress>;
}

/** What a member that is new starts with. */
export interface ChangeContext {
  /** Last index of the leader's log: where a new member is probed first. */
  readonly lastIndex: number;
  newInflights(): Inflights;
}

interface Draft {
  readonly incoming: Set<bigint>;
  readonly outgoing: VoterSet;
  readonly learners: Set<bigint>;
  readonly learnersNext: Set<bigint>;
  /** Members removed on the way: if they come back, they come back as new ones. */
  readonly forgotten: Set<bigint>;
}

function draftOf({ configuration }: Membership, outgoing: VoterSet): Draft {
  return {
    incoming: new Set(configuration.voters.incoming),
    outgoing,
    learners: new Set(configuration.learners),
    learnersNext: new Set(configuration.learnersNext),
    forgotten: new Set(),
  };
}

/**
 * Carries out `changes` in one step.
 *
 * @throws {ConfChangeError} if more than one voter would change, none would be left, or the
 * configuration is joint
 */
export function changeSimple(
  base: Membership,
  context: ChangeContext,
  changes: readonly ConfChangeSingle[],
): Membership {
  const { voters } = base.configuration;
  if (isJoint(voters))
    throw new ConfChangeError("can't apply simple config change in joint config");
  const draft = draftOf(base, EMPTY_VOTERS);
  applyChanges(draft, changes);
  if (countDifferences(voters.incoming, draft.incoming) > 1) {
    throw new ConfChangeError("more than one voter changed without entering joint config");
  }
  return finish(base, context, draft, false);
}

/**
 * Enters a joint configuration: the present one beside the one `changes` lead to.
 *
 * @throws {ConfChangeError} if it is joint already, or has or would have no voters
 */
export function enterJoint(
  base: Membership,
  context: ChangeContext,
  autoLeave: boolean,
  changes: readonly ConfChangeSingle[],
): Membership {
  const { voters } = base.configuration;
  if (isJoint(voters)) throw new ConfChangeError("config is already joint");
  if (voters.incoming.size === 0) {
    throw new ConfChangeError("can't make a zero-voter config joint");
  }
  const draft = draftOf(base, voters.incoming);
  applyChanges(draft, changes);
  return finish(base, context, draft, autoLeave);
}

/**
 * Leaves a joint configuration for its incoming half; staged learners become learners.
 *
 * @throws {ConfChangeError} if it is not joint
 */
export function leaveJoint(base: Membership, context: ChangeContext): Membership {
  if (!isJoint(base.configuration.voters)) {
    throw new ConfChangeError("can't leave a non-joint config");
  }
  const draft = draftOf(base, EMPTY_VOTERS);
  for (const id of draft.learnersNext) draft.learners.add(id);
  draft.learnersNext.clear();
  return finish(base, context, draft, false);
}

function applyChanges(draft: Draft, changes: readonly ConfChangeSingle[]): void {
  for (const { type, nodeID } of changes) {
    // The application zeroes the id of a committed change it decided to refuse.
    if (nodeID === NONE) continue;
    switch (type) {
      case "ConfChangeAddNode":
        makeVoter(draft, nodeID);
        break;
      case "ConfChangeAddLearnerNode":
        makeLearner(draft, nodeID);
        break;
      case "ConfChangeRemoveNode":
        remove(draft, nodeID);
        if (!draft.outgoing.has(nodeID)) draft.forgotten.add(nodeID);
        break;
      case "ConfChangeUpdateNode":
        break;
    }
  }
  if (draft.incoming.size === 0) throw new ConfChangeError("removed all voters");
}

function makeVoter(draft: Draft, id: bigint): void {
  remove(draft, id);
  draft.incoming.add(id);
}

/** A voter of the outgoing half cannot be a learner before that half is left. */
function makeLearner(draft: Draft, id: bigint): void {
  remove(draft, id);
  (draft.outgoing.has(id) ? draft.learnersNext : draft.learners).add(id);
}

function remove(draft: Draft, id: bigint): void {
  draft.incoming.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
}

function countDifferences(a: VoterSet, b: VoterSet): number {
  let count = 0;
  for (const id of a) if (!b.has(id)) count++;
  for (const id of b) if (!a.has(id)) count++;
  return count;
}

function finish(
  base: Membership,
  context: ChangeContext,
  draft: Draft,
  autoLeave: boolean,
): Membership {
  const members = [...draft.incoming, ...draft.outgoing, ...draft.learners];
  const progress = new Map<bigint, Progress>();
  for (const id of members) {
    const known = draft.forgotten.has(id) ? undefined : base.progress.get(id);
    progress.set(id, progressOf(known, context, draft.learners.has(id)));
  }
  const configuration: Configuration = {
    voters: { incoming: draft.incoming, outgoing: draft.outgoing },
    learners: draft.learners,
    learnersNext: draft.learnersNext,
    autoLeave,
  };
  checkMembership({ configuration, progress });
  return { configuration, progress };
}

function progressOf(
  known: Progress | undefined,
  context: ChangeContext,
  isLearner: boolean,
): Progress {
  if (known !== undefined) {
    if (known.isLearner === isLearner) return known;
    const copy = known.clone();
    copy.isLearner = isLearner;
    return copy;
  }
  return new Progress({
    match: 0,
    next: Math.max(context.lastIndex, 1),
    isLearner,
    // A member just added counts as heard of, or the next quorum check could depose the leader
    // before the two have spoken.
    recentActive: true,
    inflights: context.newInflights(),
  });
}

/** @throws {InvariantError} if the roles contradict each other */
export function checkMembership({ configuration, progress }: Membership): void {
  const { voters, learners, learnersNext, autoLeave } = configuration;
  for (const id of learnersNext) {
    invariant(voters.outgoing.has(id), () => `${id} is in LearnersNext, but not Voters[1]`);
    invariant(!learners.has(id), () => `${id} is in LearnersNext and Learners`);
  }
  for (const id of learners) {
    invariant(!voters.outgoing.has(id), () => `${id} is in Learners and Voters[1]`);
    invariant(!voters.incoming.has(id), () => `${id} is in Learners and Voters[0]`);
  }
  for (const [id, one] of progress) {
    invariant(one.isLearner === learners.has(id), () => `${id} has a progress of the wrong role`);
  }
  if (!isJoint(voters)) {
    invariant(learnersNext.size === 0, () => "LearnersNext must be empty when not joint");
    invariant(!autoLeave, () => "AutoLeave must be false when not joint");
  }
}
