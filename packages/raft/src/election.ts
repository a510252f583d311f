/**
 * How a member stands for election, and how it votes.
 *
 * Source: Raft thesis, sections 3.4 and 3.6.1; pre-vote is section 9.6, and the leader's lease
 * that `checkQuorum` gives it, sections 4.2.3 and 6.2.
 *
 * Invariants:
 * - A member votes at most once in a term, and only for one whose log holds at least as much as
 *   its own; so a leader has all that was ever committed.
 */

import { bytesFromLatin1, equalBytes, hexFromID } from "@etcd-ts/base";
import type { VoteResult } from "./quorum/majority.ts";
import type { Raft } from "./raft.ts";
import type { Message, MessageType } from "./raftpb/types.ts";
import { NONE } from "./raftpb/types.ts";

/** Why an election is held; a transfer skips the pre-vote and overrides the leader's lease. */
export type CampaignKind = "preElection" | "election" | "transfer";

/** Context of the MsgVote of a leadership transfer. */
const TRANSFER_CONTEXT = bytesFromLatin1("CampaignTransfer");

/** Whether this member may stand for election. */
export function isPromotable(raft: Raft): boolean {
  const own = raft.tracker.progress.get(raft.id);
  return own !== undefined && !own.isLearner && !raft.log.hasNextOrInProgressSnapshot();
}

/** Stands for election, unless something forbids it. */
export function maybeCampaign(raft: Raft, kind: CampaignKind): void {
  if (raft.state === "leader") {
    raft.debug(() => `${raft.name} ignoring MsgHup because already leader`);
    return;
  }
  if (!isPromotable(raft)) {
    raft.logger.warn(`${raft.name} is unpromotable and can not campaign`);
    return;
  }
  if (raft.log.hasUnappliedConfChange()) {
    raft.logger.warn(
      `${raft.name} cannot campaign at term ${raft.term} since there are still ` +
        "pending configuration changes to apply",
    );
    return;
  }
  raft.logger.info(`${raft.name} is starting a new election at term ${raft.term}`);
  campaign(raft, kind);
}

export function campaign(raft: Raft, kind: CampaignKind): void {
  const isPreVote = kind === "preElection";
  if (isPreVote) raft.becomePreCandidate();
  else raft.becomeCandidate();
  const type: MessageType = isPreVote ? "MsgPreVote" : "MsgVote";
  const term = isPreVote ? raft.term + 1 : raft.term;
  const last = raft.log.lastEntryID();
  for (const id of raft.tracker.voterIDs()) {
    if (id === raft.id) {
      // The own vote counts once it is on disk, like anyone's.
      raft.send({ type: isPreVote ? "MsgPreVoteResp" : "MsgVoteResp", to: id, term });
      continue;
    }
    raft.logger.info(
      `${raft.name} [logterm: ${last.term}, index: ${last.index}] sent ${type} request to ` +
        `${hexFromID(id)} at term ${raft.term}`,
    );
    raft.send({
      type,
      to: id,
      term,
      index: last.index,
      logTerm: last.term,
      ...(kind === "transfer" ? { context: TRANSFER_CONTEXT } : {}),
    });
  }
}

/** Counts a vote and says how the election stands. */
export function poll(raft: Raft, message: Message): VoteResult {
  const { from, type, reject } = message;
  raft.logger.info(
    `${raft.name} received ${type}${reject ? " rejection" : ""} from ${hexFromID(from)} ` +
      `at term ${raft.term}`,
  );
  raft.tracker.recordVote(from, !reject);
  const { granted, rejected, result } = raft.tracker.tallyVotes();
  raft.logger.info(
    `${raft.name} has received ${granted} ${type} votes and ${rejected} vote rejections`,
  );
  return result;
}

/**
 * Learners vote too: they may have been made voters without knowing it yet, and the candidate
 * who asks does know.
 */
export function answerVote(raft: Raft, message: Message): void {
  const { type, from, term } = message;
  const mayVote =
    raft.vote === from ||
    (raft.vote === NONE && raft.leadID === NONE) ||
    (type === "MsgPreVote" && term > raft.term);
  const candidate = { term: message.logTerm, index: message.index };
  if (!mayVote || !raft.log.isUpToDate(candidate)) {
    rejectVote(raft, message);
    return;
  }
  logVote(raft, "cast", message);
  // The answer carries the term asked for: for a pre-vote, that is not the present one, and an
  // answer at the present one would be taken for a stale message.
  raft.send({ type: type === "MsgVote" ? "MsgVoteResp" : "MsgPreVoteResp", to: from, term });
  if (type === "MsgVote") {
    raft.electionElapsed = 0;
    raft.vote = from;
  }
}

export function rejectVote(raft: Raft, message: Message): void {
  logVote(raft, "rejected", message);
  // A member that has seen no term yet has none to say no with; the candidate asks again.
  if (raft.term === 0) return;
  raft.send({
    type: message.type === "MsgVote" ? "MsgVoteResp" : "MsgPreVoteResp",
    to: message.from,
    term: raft.term,
    reject: true,
  });
}

export function logVote(raft: Raft, verdict: "cast" | "rejected", message: Message): void {
  const last = raft.log.lastEntryID();
  raft.logger.info(
    `${raft.name} [logterm: ${last.term}, index: ${last.index}, vote: ` +
      `${hexFromID(raft.vote)}] ${verdict} ${message.type} ` +
      `${verdict === "cast" ? "for" : "from"} ${hexFromID(message.from)} ` +
      `[logterm: ${message.logTerm}, index: ${message.index}] at term ${raft.term}`,
  );
}

/** Whether this member has heard of a leader lately and will not help to depose it. */
export function isInLease(raft: Raft, message: Message): boolean {
  if (equalBytes(message.context, TRANSFER_CONTEXT)) return false;
  return raft.checkQuorum && raft.leadID !== NONE && raft.electionElapsed < raft.electionTicks;
}
