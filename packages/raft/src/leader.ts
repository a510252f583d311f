/**
 * What a leader does with a message of its term.
 *
 * Invariants:
 * - A leader never replaces an entry of its own log; it only adds.
 * - It counts replicas only for entries of its own term (Raft, section 5.4.2); earlier ones are
 *   committed with them.
 * - Reads are answered only after the first commit of the term: before it, the leader does not
 *   know yet what its predecessors had committed.
 */

import { hexFromID, WireFormatError } from "@etcd-ts/base";
import { describeConfChange } from "./describe.ts";
import { isJoint } from "./quorum/joint.ts";
import type { Raft } from "./raft.ts";
import { asConfChangeV2, decodeConfChange } from "./raftpb/conf-change.ts";
import type { ConfChange, ConfChangeV2, Entry, Message } from "./raftpb/types.ts";
import { NONE } from "./raftpb/types.ts";
import type { StepResult } from "./ready.ts";
import { broadcastAppend, broadcastHeartbeat, maybeSendAppend } from "./replication.ts";
import type { Progress } from "./tracker/progress.ts";
import { describeConfiguration } from "./tracker/tracker.ts";

export function stepLeader(raft: Raft, message: Message): StepResult {
  switch (message.type) {
    case "MsgBeat":
      broadcastHeartbeat(raft);
      return "ok";
    case "MsgCheckQuorum":
      checkQuorum(raft);
      return "ok";
    case "MsgProp":
      return propose(raft, message);
    case "MsgReadIndex":
      handleReadIndex(raft, message);
      return "ok";
    case "MsgForgetLeader":
      return "ok";
    default:
      break;
  }
  const progress = raft.tracker.progress.get(message.from);
  if (progress === undefined) {
    raft.debug(() => `${raft.name} no progress available for ${hexFromID(message.from)}`);
    return "ok";
  }
  switch (message.type) {
    case "MsgAppResp":
      handleAppendResponse(raft, message, progress);
      return "ok";
    case "MsgHeartbeatResp":
      handleHeartbeatResponse(raft, message, progress);
      return "ok";
    case "MsgSnapStatus":
      handleSnapshotStatus(raft, message, progress);
      return "ok";
    case "MsgUnreachable":
      handleUnreachable(raft, message, progress);
      return "ok";
    case "MsgTransferLeader":
      handleTransfer(raft, message, progress);
      return "ok";
    default:
      return "ok";
  }
}

function checkQuorum(raft: Raft): void {
  if (!raft.tracker.isQuorumActive()) {
    raft.logger.warn(`${raft.name} stepped down to follower since quorum is not active`);
    raft.becomeFollower(raft.term, NONE);
  }
  for (const [id, progress] of raft.tracker.progress) {
    if (id !== raft.id) progress.recentActive = false;
  }
}

// --- proposals

type NewEntry = Pick<Entry, "type" | "data">;

const EMPTY_ENTRY: NewEntry = { type: "EntryNormal", data: new Uint8Array(0) };

function propose(raft: Raft, message: Message): StepResult {
  // A leader that has been removed takes nothing new.
  if (!raft.tracker.progress.has(raft.id)) return "dropped";
  if (raft.leadTransferee !== NONE) {
    raft.debug(
      () =>
        `${raft.name} [term ${raft.term}] transfer leadership to ` +
        `${hexFromID(raft.leadTransferee)} is in progress; dropping proposal`,
    );
    return "dropped";
  }
  const entries: NewEntry[] = [];
  for (const entry of message.entries) {
    if (entry.type === "EntryNormal") {
      entries.push(entry);
      continue;
    }
    const change = decodeProposedChange(entry);
    if (change === undefined) return "malformed";
    entries.push(maybeTakeConfChange(raft, change, entries.length + 1) ? entry : EMPTY_ENTRY);
  }
  if (!appendAsLeader(raft, entries)) return "dropped";
  broadcastAppend(raft);
  return "ok";
}

function decodeProposedChange(entry: Entry): ConfChange | ConfChangeV2 | undefined {
  try {
    return decodeConfChange(entry);
  } catch (error) {
    if (error instanceof WireFormatError) return undefined;
    throw error;
  }
}

/**
 * Whether a proposed change fits the present configuration. One that does not is replaced by an
 * empty entry, so that its proposer learns of it by what is applied.
 *
 * @param distance - from the end of the log to where the change would lie
 */
function maybeTakeConfChange(
  raft: Raft,
  change: ConfChange | ConfChangeV2,
  distance: number,
): boolean {
  const { configuration } = raft.tracker;
  const leavesJoint = asConfChangeV2(change).changes.length === 0;
  const joint = isJoint(configuration.voters);
  let problem: string | undefined;
  if (raft.pendingConfIndex > raft.log.applied) {
    problem =
      `possible unapplied conf change at index ${raft.pendingConfIndex} ` +
      `(applied to ${raft.log.applied})`;
  } else if (joint && !leavesJoint) {
    problem = "must transition out of joint config first";
  } else if (!joint && leavesJoint) {
    problem = "not in joint state; refusing empty conf change";
  }
  if (problem !== undefined && !raft.disableConfChangeValidation) {
    raft.logger.info(
      `${raft.name} ignoring conf change ${describeConfChange(change)} at config ` +
        `${describeConfiguration(configuration)}: ${problem}`,
    );
    return false;
  }
  raft.pendingConfIndex = raft.log.lastIndex() + distance;
  return true;
}

/**
 * Adds entries of this term to the log; false if they would cross the bound on what is not yet
 * committed. Entries without data are always taken, and so is any if nothing else is waiting.
 */
export function appendAsLeader(raft: Raft, entries: readonly NewEntry[]): boolean {
  let bytes = 0;
  for (const entry of entries) bytes += entry.data.length;
  const total = raft.uncommittedBytes + bytes;
  if (raft.uncommittedBytes > 0 && bytes > 0 && total > raft.maxUncommittedBytes) {
    raft.logger.warn(
      `${raft.name} appending new entries to log would exceed uncommitted entry size limit; ` +
        "dropping proposal",
    );
    return false;
  }
  raft.uncommittedBytes = total;
  const { term } = raft;
  const first = raft.log.lastIndex() + 1;
  raft.log.append(entries.map(({ type, data }, i) => ({ type, term, index: first + i, data })));
  // The leader's own copy counts once it is on disk, like anyone's.
  raft.send({ type: "MsgAppResp", to: raft.id, index: raft.log.lastIndex() });
  return true;
}

// --- replication

function handleAppendResponse(raft: Raft, message: Message, progress: Progress): void {
  // Nobody can hold entries of this leader that it does not have.
  if (!message.reject && message.index > raft.log.lastIndex()) return;
  progress.recentActive = true;
  if (message.reject) handleRejection(raft, message, progress);
  else handleAcknowledgement(raft, message, progress);
}

function handleRejection(raft: Raft, message: Message, progress: Progress): void {
  const { from, index, rejectHint, logTerm } = message;
  raft.debug(
    () =>
      `${raft.name} received MsgAppResp(rejected, hint: (index ${rejectHint}, ` +
      `term ${logTerm})) from ${hexFromID(from)} for index ${index}`,
  );
  // The follower's term at the hint bounds its terms before it. Where our terms are higher, the
  // logs cannot agree: at most one probe is spent on each of our terms.
  const probe = logTerm > 0 ? raft.log.findConflictByTerm(rejectHint, logTerm).index : rejectHint;
  if (!progress.maybeDecreaseTo(index, probe)) return;
  raft.debug(
    () => `${raft.name} decreased progress of ${hexFromID(from)} to [${progress.toString()}]`,
  );
  if (progress.state === "replicate") progress.becomeProbe();
  maybeSendAppend(raft, from, progress, true);
}

function handleAcknowledgement(raft: Raft, message: Message, progress: Progress): void {
  const { from, index } = message;
  // An answer that brings nothing new still shows that a probed follower is back.
  const isProbeAnswer = progress.match === index && progress.state === "probe";
  if (!progress.maybeUpdate(index) && !isProbeAnswer) return;
  advanceState(raft, message, progress);
  if (raft.maybeCommit()) {
    releasePostponedReads(raft);
    broadcastAppend(raft);
  } else if (from !== raft.id && progress.canBumpCommit(raft.log.committed)) {
    maybeSendAppend(raft, from, progress, true);
  }
  if (from === raft.id) return;
  // The window has room again: fill it.
  while (maybeSendAppend(raft, from, progress, false));
  if (from === raft.leadTransferee && progress.match === raft.log.lastIndex()) {
    raft.logger.info(
      `${raft.name} sent MsgTimeoutNow to ${hexFromID(from)} after received MsgAppResp`,
    );
    raft.send({ type: "MsgTimeoutNow", to: from });
  }
}

function advanceState(raft: Raft, message: Message, progress: Progress): void {
  switch (progress.state) {
    case "probe":
      progress.becomeReplicate();
      return;
    case "replicate":
      progress.inflights.freeTo(message.index);
      return;
    case "snapshot":
      // Whichever snapshot it took, and from whomever: what counts is that the log goes on from
      // there.
      if (progress.match + 1 < raft.log.firstIndex()) return;
      raft.debug(
        () =>
          `${raft.name} recovered from needing snapshot, resumed sending replication ` +
          `messages to ${hexFromID(message.from)} [${progress.toString()}]`,
      );
      progress.becomeProbe();
      progress.becomeReplicate();
      return;
  }
}

function handleHeartbeatResponse(raft: Raft, message: Message, progress: Progress): void {
  progress.recentActive = true;
  progress.flowPaused = false;
  // Also to a follower that lacks nothing but is probed: its answer brings it back.
  if (progress.match < raft.log.lastIndex() || progress.state === "probe") {
    maybeSendAppend(raft, message.from, progress, true);
  }
  if (raft.readOnly !== "safe" || message.context.length === 0) return;
  raft.readQueue.acknowledgeContext(message.from, message.context);
  releaseConfirmedReads(raft);
}

function handleSnapshotStatus(raft: Raft, message: Message, progress: Progress): void {
  if (progress.state !== "snapshot") return;
  // After a failure, probing goes on from what is known to match, not from behind the snapshot.
  if (message.reject) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  raft.debug(
    () =>
      `${raft.name} snapshot ${message.reject ? "failed" : "succeeded"}, resumed sending ` +
      `replication messages to ${hexFromID(message.from)} [${progress.toString()}]`,
  );
  // Wait for the follower's answer, or for a heartbeat's if there was a failure.
  progress.flowPaused = true;
}

function handleUnreachable(raft: Raft, message: Message, progress: Progress): void {
  // What streamed out is probably lost.
  if (progress.state === "replicate") progress.becomeProbe();
  raft.debug(
    () =>
      `${raft.name} failed to send message to ${hexFromID(message.from)} because it is ` +
      `unreachable [${progress.toString()}]`,
  );
}

function handleTransfer(raft: Raft, message: Message, progress: Progress): void {
  const transferee = message.from;
  const name = hexFromID(transferee);
  if (progress.isLearner) {
    raft.debug(() => `${raft.name} is learner. Ignored transferring leadership`);
    return;
  }
  if (raft.leadTransferee !== NONE) {
    if (raft.leadTransferee === transferee) {
      raft.logger.info(
        `${raft.name} [term ${raft.term}] transfer leadership to ${name} is in progress, ` +
          `ignores request to same node ${name}`,
      );
      return;
    }
    const previous = hexFromID(raft.leadTransferee);
    raft.leadTransferee = NONE;
    raft.logger.info(
      `${raft.name} [term ${raft.term}] abort previous transferring leadership to ${previous}`,
    );
  }
  if (transferee === raft.id) {
    raft.debug(() => `${raft.name} is already leader. Ignored transferring leadership to self`);
    return;
  }
  raft.logger.info(`${raft.name} [term ${raft.term}] starts to transfer leadership to ${name}`);
  // The transfer has one election timeout to succeed.
  raft.electionElapsed = 0;
  raft.leadTransferee = transferee;
  if (progress.match === raft.log.lastIndex()) {
    raft.send({ type: "MsgTimeoutNow", to: transferee });
    raft.logger.info(
      `${raft.name} sends MsgTimeoutNow to ${name} immediately as ${name} already has ` +
        "up-to-date log",
    );
  } else {
    maybeSendAppend(raft, transferee, progress, true);
  }
}

// --- reads

function handleReadIndex(raft: Raft, message: Message): void {
  if (!raft.hasCommittedInTerm()) {
    raft.postponedReads.push(message);
    return;
  }
  const { configuration } = raft.tracker;
  const isSoleVoter = raft.tracker.isSingleton() && configuration.voters.incoming.has(raft.id);
  if (isSoleVoter || raft.readOnly === "leaseBased") {
    answerRead(raft, message, raft.log.committed);
    return;
  }
  raft.readQueue.add({ request: message, index: raft.log.committed });
  raft.readQueue.acknowledge(raft.id, raft.readQueue.last);
  broadcastHeartbeat(raft);
}

function releasePostponedReads(raft: Raft): void {
  if (raft.postponedReads.length === 0 || !raft.hasCommittedInTerm()) return;
  const reads = raft.postponedReads;
  raft.postponedReads = [];
  for (const message of reads) handleReadIndex(raft, message);
}

/** Answers the reads a quorum has confirmed by now. */
export function releaseConfirmedReads(raft: Raft): void {
  const { voters } = raft.tracker.configuration;
  for (const { request, index } of raft.readQueue.takeConfirmed(voters)) {
    answerRead(raft, request, index);
  }
}

/** To this member itself by a read state, to any other by a message. */
function answerRead(raft: Raft, request: Message, index: number): void {
  if (request.from === NONE || request.from === raft.id) {
    raft.readStates.push({ index, context: request.entries[0]!.data });
    return;
  }
  raft.send({ type: "MsgReadIndexResp", to: request.from, index, entries: request.entries });
}
