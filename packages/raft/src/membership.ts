/**
 * How a member takes over a configuration, and what a leader makes of a new one.
 *
 * Invariants:
 * - A configuration is in force from when its entry is applied; until then, another change is not
 *   taken (`pendingConfIndex`).
 */

import { InvariantError, unreachable } from "@etcd-ts/base";
import type { ChangeContext, Membership } from "./confchange/changer.ts";
import { changeSimple, ConfChangeError, enterJoint, leaveJoint } from "./confchange/changer.ts";
import { checkConfStatesEquivalent, restoreMembership } from "./confchange/restore.ts";
import { releaseConfirmedReads } from "./leader.ts";
import { hasVoter } from "./quorum/joint.ts";
import type { Raft } from "./raft.ts";
import { confChangeStep } from "./raftpb/conf-change.ts";
import type { ConfChangeV2, ConfState } from "./raftpb/types.ts";
import { NONE } from "./raftpb/types.ts";
import { broadcastAppend, maybeSendAppend } from "./replication.ts";
import { confStateOf, describeConfiguration } from "./tracker/tracker.ts";

function changeContext(raft: Raft): ChangeContext {
  return {
    lastIndex: raft.log.lastIndex(),
    newInflights: () => raft.tracker.newInflights(),
  };
}

/** The membership a snapshot tells of. @throws {ConfChangeError} if it makes no sense */
export function restoredMembership(
  raft: Raft,
  confState: ConfState,
  lastIndex: number,
): Membership {
  const context = { ...changeContext(raft), lastIndex };
  const membership = restoreMembership(context, confState);
  checkConfStatesEquivalent(confState, confStateOf(membership.configuration));
  return membership;
}

/** Puts a committed change in force. @throws {InvariantError} if it breaks a rule */
export function applyConfChange(raft: Raft, change: ConfChangeV2): ConfState {
  let membership: Membership;
  try {
    membership = changedMembership(raft, change);
  } catch (error) {
    if (!(error instanceof ConfChangeError)) throw error;
    // It is in everybody's log; to pass over it here would part this member from the others.
    raft.logger.log("panic", error.message);
    throw new InvariantError(`applyConfChange: ${error.message}`);
  }
  return switchTo(raft, membership);
}

function changedMembership(raft: Raft, change: ConfChangeV2): Membership {
  const context = changeContext(raft);
  const step = confChangeStep(change);
  switch (step) {
    case "simple":
      return changeSimple(raft.tracker, context, change.changes);
    case "leaveJoint":
      return leaveJoint(raft.tracker, context);
    case "enterJoint":
    case "enterJointAutoLeave":
      return enterJoint(raft.tracker, context, step === "enterJointAutoLeave", change.changes);
    default:
      return unreachable(step, "changedMembership");
  }
}

/** Puts a membership in force, and acts on what it changes for a leader. */
export function switchTo(raft: Raft, { configuration, progress }: Membership): ConfState {
  raft.tracker.switchTo(configuration, progress);
  raft.logger.info(
    `${raft.name} switched to configuration ${describeConfiguration(configuration)}`,
  );
  const confState = confStateOf(configuration);
  const own = progress.get(raft.id);
  raft.isLearner = own?.isLearner ?? false;
  if (raft.state !== "leader") return confState;
  if (own === undefined || own.isLearner) {
    if (raft.stepDownOnRemoval) raft.becomeFollower(raft.term, NONE);
    return confState;
  }
  if (confState.voters.length === 0) return confState;
  if (raft.maybeCommit()) {
    broadcastAppend(raft);
  } else {
    // Whoever is new need not wait for the next heartbeat.
    for (const [id, one] of raft.tracker.progress) {
      if (id !== raft.id) maybeSendAppend(raft, id, one, false);
    }
  }
  releaseConfirmedReads(raft);
  if (!hasVoter(configuration.voters, raft.leadTransferee)) raft.leadTransferee = NONE;
  return confState;
}
