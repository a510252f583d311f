/**
 * `--force-new-cluster`: what one member's log holds becomes a cluster of that member alone.
 *
 * Entries that are not known as committed are dropped, since nobody is left to say whether they
 * were; then the other members are removed by entries of the log that count as committed, as if
 * the cluster had decided so. The last resort after a quorum is lost for good.
 */

import { decodeMessage, encodeMessage } from "@etcd-ts/base";
import type { Logger } from "@etcd-ts/base";
import { ConfChangeCodec, EMPTY_HARD_STATE } from "@etcd-ts/raft";
import type { ConfChange, Entry, HardState, Snapshot } from "@etcd-ts/raft";
import type { WalContents, WriteAheadLog } from "@etcd-ts/wal";

import { encodeConfChangeContext } from "./membership/index.ts";

/** Who the log says is in the cluster: whether each may vote. */
function membersOf(
  snapshot: Snapshot | undefined,
  entries: readonly Entry[],
): Map<bigint, boolean> {
  const members = new Map<bigint, boolean>();
  for (const id of snapshot?.metadata.confState.voters ?? []) members.set(id, true);
  for (const id of snapshot?.metadata.confState.learners ?? []) members.set(id, false);
  for (const entry of entries) {
    if (entry.type !== "EntryConfChange") continue;
    const change = decodeMessage(ConfChangeCodec, entry.data);
    if (change.type === "ConfChangeAddNode") members.set(change.nodeID, true);
    else if (change.type === "ConfChangeAddLearnerNode") members.set(change.nodeID, false);
    else if (change.type === "ConfChangeRemoveNode") members.delete(change.nodeID);
  }
  return members;
}

/** Writes the new end of the log. @returns the log as the member is to start from it */
export async function forceNewCluster(
  wal: WriteAheadLog,
  log: WalContents,
  snapshot: Snapshot | undefined,
  self: { readonly id: bigint; readonly peerURLs: readonly string[] },
  logger: Logger,
): Promise<WalContents> {
  const before = log.hardState ?? EMPTY_HARD_STATE;
  const entries = log.entries.filter(({ index }) => index <= before.commit);
  const dropped = log.entries.length - entries.length;
  if (dropped > 0) {
    logger.info("discarding uncommitted WAL entries", {
      "entry-index": before.commit + 1,
      "commit-index-from-wal": before.commit,
      "number-of-discarded-entries": dropped,
    });
  }
  const appended: Entry[] = [];
  const append = (change: Omit<ConfChange, "id">): void => {
    appended.push({
      type: "EntryConfChange",
      term: before.term,
      index: before.commit + 1 + appended.length,
      data: encodeMessage(ConfChangeCodec, { id: 0n, ...change }),
    });
  };
  const members = membersOf(snapshot, entries);
  // First of all somebody must be left who can decide.
  if (members.get(self.id) !== true) append(addition(self, members.has(self.id)));
  for (const id of members.keys()) {
    if (id === self.id) continue;
    append({ type: "ConfChangeRemoveNode", nodeID: id, context: new Uint8Array(0) });
  }
  const hardState: HardState = { ...before, commit: before.commit + appended.length };
  await wal.save(hardState, appended);
  await wal.sync();
  logger.info("forcing restart member", {
    "local-member-id": self.id.toString(16),
    "commit-index": hardState.commit,
  });
  return { ...log, hardState, entries: [...entries, ...appended] };
}

function addition(
  { id, peerURLs }: { readonly id: bigint; readonly peerURLs: readonly string[] },
  isLearner: boolean,
): Omit<ConfChange, "id"> {
  const member = { id, peerURLs: [...peerURLs], name: "", clientURLs: [], isLearner: false };
  return {
    type: "ConfChangeAddNode",
    nodeID: id,
    context: encodeConfChangeContext(member, isLearner),
  };
}
