/**
 * What a follower does with a message of its term, and how any member takes a leader's entries.
 *
 * Invariants:
 * - An entry is acknowledged only up to where this log is known to equal the leader's.
 */

import { hexFromID } from "@etcd-ts/base";
import type { Membership } from "./confchange/changer.ts";
import { ConfChangeError } from "./confchange/changer.ts";
import { maybeCampaign } from "./election.ts";
import { restoredMembership, switchTo } from "./membership.ts";
import type { Raft } from "./raft.ts";
import type { ConfState, Message, Snapshot } from "./raftpb/types.ts";
import { EMPTY_SNAPSHOT, NONE } from "./raftpb/types.ts";
import type { StepResult } from "./ready.ts";

export function stepFollower(raft: Raft, message: Message): StepResult {
  switch (message.type) {
    case "MsgProp":
      return forwardProposal(raft, message);
    case "MsgApp":
      hearLeader(raft, message);
      handleAppend(raft, message);
      return "ok";
    case "MsgHeartbeat":
      hearLeader(raft, message);
      handleHeartbeat(raft, message);
      return "ok";
    case "MsgSnap":
      hearLeader(raft, message);
      handleSnapshot(raft, message);
      return "ok";
    case "MsgTransferLeader":
      forward(raft, message, "leader transfer msg");
      return "ok";
    case "MsgReadIndex":
      forward(raft, message, "index reading msg");
      return "ok";
    case "MsgForgetLeader":
      forgetLeader(raft);
      return "ok";
    case "MsgTimeoutNow":
      raft.logger.info(
        `${raft.name} [term ${raft.term}] received MsgTimeoutNow from ` +
          `${hexFromID(message.from)} and starts an election to get leadership.`,
      );
      // Without a pre-vote: the leader itself asked for it.
      maybeCampaign(raft, "transfer");
      return "ok";
    case "MsgReadIndexResp":
      handleReadIndexResponse(raft, message);
      return "ok";
    default:
      return "ok";
  }
}

function hearLeader(raft: Raft, message: Message): void {
  raft.electionElapsed = 0;
  raft.leadID = message.from;
}

function forwardProposal(raft: Raft, message: Message): StepResult {
  if (raft.leadID === NONE) {
    raft.logger.info(`${raft.name} no leader at term ${raft.term}; dropping proposal`);
    return "dropped";
  }
  if (raft.disableProposalForwarding) {
    raft.logger.info(
      `${raft.name} not forwarding to leader ${hexFromID(raft.leadID)} at term ${raft.term}; ` +
        "dropping proposal",
    );
    return "dropped";
  }
  sendToLeader(raft, message);
  return "ok";
}

function forward(raft: Raft, message: Message, what: string): void {
  if (raft.leadID === NONE) {
    raft.logger.info(`${raft.name} no leader at term ${raft.term}; dropping ${what}`);
    return;
  }
  sendToLeader(raft, message);
}

function sendToLeader(raft: Raft, { type, from, entries }: Message): void {
  raft.send({ type, to: raft.leadID, from, entries });
}

function forgetLeader(raft: Raft): void {
  if (raft.readOnly === "leaseBased") {
    raft.logger.error("ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
    return;
  }
  if (raft.leadID === NONE) return;
  raft.logger.info(`${raft.name} forgetting leader ${hexFromID(raft.leadID)} at term ${raft.term}`);
  raft.leadID = NONE;
}

function handleReadIndexResponse(raft: Raft, message: Message): void {
  const entry = message.entries[0];
  if (entry === undefined || message.entries.length !== 1) {
    raft.logger.error(
      `${raft.name} invalid format of MsgReadIndexResp from ${hexFromID(message.from)}, ` +
        `entries count: ${message.entries.length}`,
    );
    return;
  }
  raft.readStates.push({ index: message.index, context: entry.data });
}

export function handleAppend(raft: Raft, message: Message): void {
  const { log } = raft;
  const { from: to, index, logTerm } = message;
  if (index < log.committed) {
    raft.send({ type: "MsgAppResp", to, index: log.committed });
    return;
  }
  const lastNewIndex = log.maybeAppend({ term: logTerm, index }, message.entries, message.commit);
  if (lastNewIndex !== undefined) {
    raft.send({ type: "MsgAppResp", to, index: lastNewIndex });
    return;
  }
  raft.debug(
    () =>
      `${raft.name} [logterm: ${log.term(index) ?? 0}, index: ${index}] rejected MsgApp ` +
      `[logterm: ${logTerm}, index: ${index}] from ${hexFromID(to)}`,
  );
  // Terms never fall within a log, so no entry of ours with a term above the leader's at `index`
  // can be the leader's: the hint skips a whole tail of such entries at once.
  const hint = log.findConflictByTerm(Math.min(index, log.lastIndex()), logTerm);
  raft.send({
    type: "MsgAppResp",
    to,
    index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

export function handleHeartbeat(raft: Raft, message: Message): void {
  raft.log.commitTo(message.commit);
  raft.send({ type: "MsgHeartbeatResp", to: message.from, context: message.context });
}

export function handleSnapshot(raft: Raft, message: Message): void {
  const snapshot = message.snapshot ?? EMPTY_SNAPSHOT;
  const { index, term } = snapshot.metadata;
  const restored = restore(raft, snapshot);
  const { log } = raft;
  raft.logger.info(
    `${raft.name} [commit: ${log.committed}] ${restored ? "restored" : "ignored"} snapshot ` +
      `[index: ${index}, term: ${term}]`,
  );
  raft.send({
    type: "MsgAppResp",
    to: message.from,
    index: restored ? log.lastIndex() : log.committed,
  });
}

/** Replaces the log and the membership by a snapshot; false if it is of no use. */
function restore(raft: Raft, snapshot: Snapshot): boolean {
  const { log } = raft;
  const { index, term, confState } = snapshot.metadata;
  if (index <= log.committed) return false;
  if (raft.state !== "follower") {
    raft.logger.warn(`${raft.name} attempted to restore snapshot as leader; should never happen`);
    raft.becomeFollower(raft.term + 1, NONE);
    return false;
  }
  if (!isMember(confState, raft.id)) {
    raft.logger.warn(
      `${raft.name} attempted to restore snapshot but it is not in the ConfState ` +
        `${plainConfState(confState)}; should never happen`,
    );
    return false;
  }
  if (log.matchesTerm({ term, index })) {
    const last = log.lastEntryID();
    raft.logger.info(
      `${raft.name} [commit: ${log.committed}, lastindex: ${last.index}, ` +
        `lastterm: ${last.term}] fast-forwarded commit to snapshot ` +
        `[index: ${index}, term: ${term}]`,
    );
    log.commitTo(index);
    return false;
  }
  const membership = restorableMembership(raft, snapshot);
  if (membership === undefined) return false;
  log.restore(snapshot);
  raft.tracker.resetVotes();
  switchTo(raft, membership);
  const last = log.lastEntryID();
  raft.logger.info(
    `${raft.name} [commit: ${log.committed}, lastindex: ${last.index}, lastterm: ${last.term}] ` +
      `restored snapshot [index: ${index}, term: ${term}]`,
  );
  return true;
}

/** The membership of a snapshot; undefined if no sequence of changes could have led to it. */
function restorableMembership(raft: Raft, snapshot: Snapshot): Membership | undefined {
  const { confState, index } = snapshot.metadata;
  try {
    return restoredMembership(raft, confState, index);
  } catch (error) {
    if (!(error instanceof ConfChangeError)) throw error;
    raft.logger.warn(
      `${raft.name} unable to restore config ${plainConfState(confState)}: ${error.message}`,
    );
    return undefined;
  }
}

/** Learners to be are voters of the outgoing configuration and need no look of their own. */
function isMember(state: ConfState, id: bigint): boolean {
  return (
    state.voters.includes(id) || state.learners.includes(id) || state.votersOutgoing.includes(id)
  );
}

function plainConfState(state: ConfState): string {
  const lists = [state.voters, state.learners, state.votersOutgoing, state.learnersNext];
  return `{${lists.map((ids) => `[${ids.join(" ")}]`).join(" ")} ${state.autoLeave}}`;
}
