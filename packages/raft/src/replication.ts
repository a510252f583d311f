/**
 * What a leader sends: entries, snapshots, heartbeats.
 *
 * Invariants:
 * - A follower's progress says what it has been sent; it is changed with each message, here.
 * - A commit index goes to a follower only up to what it is known to hold.
 */

import { hexFromID, invariant } from "@etcd-ts/base";
import type { Raft } from "./raft.ts";
import type { Entry, Snapshot } from "./raftpb/types.ts";
import { isEmptySnapshot } from "./raftpb/types.ts";
import { SnapshotTemporarilyUnavailableError } from "./storage.ts";
import type { Progress } from "./tracker/progress.ts";

const NO_ENTRIES: readonly Entry[] = [];

/** Sends to each other member what it lacks, and the commit index even if it lacks nothing. */
export function broadcastAppend(raft: Raft): void {
  for (const [id, progress] of raft.tracker.progress) {
    if (id !== raft.id) maybeSendAppend(raft, id, progress, true);
  }
}

/**
 * Sends the next entries to a follower, or a snapshot if they are no longer in the log.
 *
 * @param sendIfEmpty - send a MsgApp without entries too, for its commit index
 * @returns whether a message was sent
 */
export function maybeSendAppend(
  raft: Raft,
  to: bigint,
  progress: Progress,
  sendIfEmpty: boolean,
): boolean {
  if (progress.isPaused()) return false;
  const previousIndex = progress.next - 1;
  const previousTerm = raft.log.term(previousIndex);
  if (previousTerm === undefined) return maybeSendSnapshot(raft, to, progress);
  // With a full window only an empty message may go: if all in the window were lost, its answer
  // is what tells.
  const isThrottled = progress.state === "replicate" && progress.inflights.isFull();
  const entries = isThrottled
    ? NO_ENTRIES
    : raft.log.entriesFrom(progress.next, raft.maxMessageBytes);
  if ((entries === undefined || entries.length === 0) && !sendIfEmpty) return false;
  if (entries === undefined) return maybeSendSnapshot(raft, to, progress);
  const commit = raft.log.committed;
  raft.send({
    type: "MsgApp",
    to,
    index: previousIndex,
    logTerm: previousTerm,
    entries,
    commit,
  });
  let bytes = 0;
  for (const entry of entries) bytes += entry.data.length;
  progress.sentEntries(entries.length, bytes);
  progress.sentCommit(commit);
  return true;
}

function maybeSendSnapshot(raft: Raft, to: bigint, progress: Progress): boolean {
  const name = hexFromID(to);
  if (!progress.recentActive) {
    raft.debug(() => `ignore sending snapshot to ${name} since it is not recently active`);
    return false;
  }
  const snapshot = availableSnapshot(raft);
  if (snapshot === undefined) {
    raft.debug(
      () =>
        `${raft.name} failed to send snapshot to ${name} because snapshot is ` +
        "temporarily unavailable",
    );
    return false;
  }
  invariant(!isEmptySnapshot(snapshot), () => "need non-empty snapshot");
  const { index, term } = snapshot.metadata;
  raft.debug(
    () =>
      `${raft.name} [firstindex: ${raft.log.firstIndex()}, commit: ${raft.log.committed}] ` +
      `sent snapshot[index: ${index}, term: ${term}] to ${name} [${progress.toString()}]`,
  );
  progress.becomeSnapshot(index);
  raft.debug(
    () => `${raft.name} paused sending replication messages to ${name} [${progress.toString()}]`,
  );
  raft.send({ type: "MsgSnap", to, snapshot });
  return true;
}

function availableSnapshot(raft: Raft): Snapshot | undefined {
  try {
    return raft.log.snapshot();
  } catch (error) {
    if (error instanceof SnapshotTemporarilyUnavailableError) return undefined;
    throw error;
  }
}

/** Sends a heartbeat to each other member; it also asks them to confirm the reads that wait. */
export function broadcastHeartbeat(raft: Raft): void {
  const context = raft.readQueue.heartbeatContext();
  for (const [id, progress] of raft.tracker.progress) {
    if (id === raft.id) continue;
    const commit = Math.min(progress.match, raft.log.committed);
    raft.send({ type: "MsgHeartbeat", to: id, commit, context });
    progress.sentCommit(commit);
  }
}
