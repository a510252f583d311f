/**
 * From the configuration a snapshot or a restart tells of, back to one in force.
 *
 * Invariants:
 * - Only the ordinary steps are used, so that what comes out keeps their rules: the outgoing half
 *   is built first, one voter at a time, then the joint state is entered from it.
 */

import type { ConfChangeSingle, ConfChangeType, ConfState } from "../raftpb/types.ts";
import { EMPTY_CONFIGURATION } from "../tracker/tracker.ts";
import { sortedIDs } from "../quorum/majority.ts";
import type { ChangeContext, Membership } from "./changer.ts";
import { changeSimple, ConfChangeError, enterJoint } from "./changer.ts";

function changesOf(type: ConfChangeType, ids: readonly bigint[]): ConfChangeSingle[] {
  return ids.map((nodeID) => ({ type, nodeID }));
}

/** @throws {ConfChangeError} if no sequence of changes leads to `state` */
export function restoreMembership(context: ChangeContext, state: ConfState): Membership {
  const incoming = [
    ...changesOf("ConfChangeAddNode", state.voters),
    ...changesOf("ConfChangeAddLearnerNode", state.learners),
    ...changesOf("ConfChangeAddLearnerNode", state.learnersNext),
  ];
  const base: Membership = { configuration: EMPTY_CONFIGURATION, progress: new Map() };
  if (state.votersOutgoing.length === 0) return oneByOne(base, context, incoming);
  const outgoing = oneByOne(base, context, changesOf("ConfChangeAddNode", state.votersOutgoing));
  return enterJoint(outgoing, context, state.autoLeave, [
    ...changesOf("ConfChangeRemoveNode", state.votersOutgoing),
    ...incoming,
  ]);
}

function oneByOne(
  base: Membership,
  context: ChangeContext,
  changes: readonly ConfChangeSingle[],
): Membership {
  let membership = base;
  for (const change of changes) membership = changeSimple(membership, context, [change]);
  return membership;
}

/** @throws {ConfChangeError} unless the two name the same members in the same roles */
export function checkConfStatesEquivalent(a: ConfState, b: ConfState): void {
  const textA = describeSorted(a);
  const textB = describeSorted(b);
  if (textA === textB) return;
  throw new ConfChangeError(`ConfStates not equivalent after sorting:\n${textA}\n${textB}`);
}

function describeSorted(state: ConfState): string {
  const list = (ids: readonly bigint[]): string => `[${sortedIDs(ids).join(" ")}]`;
  return (
    `Voters:${list(state.voters)} VotersOutgoing:${list(state.votersOutgoing)} ` +
    `Learners:${list(state.learners)} LearnersNext:${list(state.learnersNext)} ` +
    `AutoLeave:${state.autoLeave}`
  );
}
