/** The checks of a data directory beside its database: the log, the `.snap` files, and raft's state. */

import { CorruptionError, NULL_LOGGER, decodeMessage, hexFromID } from "@etcd-ts/base";
import { LogMetadataSchema, generatedCodec } from "@etcd-ts/api";
import { Cluster, MembershipError } from "@etcd-ts/etcdserver";
import { ConfChangeCodec } from "@etcd-ts/raft";
import type { Snapshot } from "@etcd-ts/raft";
import { Snapshotter, WriteAheadLog } from "@etcd-ts/wal";
import type { WalContents, WalSnapshot } from "@etcd-ts/wal";
import type { DataDirectoryContext } from "./context.ts";
import { START_OF_LOG, readSnapFiles, startingSnapshot } from "./raft-files.ts";
import type { SnapFile } from "./raft-files.ts";
import type { DatabaseFacts } from "./verify-database.ts";
import { runCheck, skipped } from "./verify-report.ts";
import type { Check, CheckResult } from "./verify-report.ts";

const LogMetadataCodec = generatedCodec(LogMetadataSchema);

export interface RaftPaths {
  readonly wal: string;
  readonly snap: string;
}

/** @param facts - undefined if the database cannot be read */
export async function checkRaft(
  context: DataDirectoryContext,
  paths: RaftPaths,
  facts: DatabaseFacts | undefined,
): Promise<CheckResult[]> {
  const { disk } = context;
  const snapFiles = await readSnapFiles(disk, paths.snap);
  let valid: readonly WalSnapshot[] = [];
  let log: WalContents | undefined;
  let start: Snapshot | undefined;
  context.onProgress?.({ step: "log", done: 0, total: 0 });
  const logCheck = await runCheck("log", async (check) => {
    if (!(await WriteAheadLog.exists(disk, paths.wal))) {
      check.error(`there is no log in ${paths.wal}: if it is kept elsewhere, say where`);
      return "none";
    }
    valid = await WriteAheadLog.validSnapshots(disk, paths.wal, context);
    start = startingSnapshot(snapFiles, valid);
    const read = await WriteAheadLog.readAll(
      disk,
      paths.wal,
      start === undefined ? START_OF_LOG : { ...start.metadata },
      context,
    );
    log = read;
    if (read.torn !== undefined) {
      check.warn(
        `the last write was cut short (${read.torn}): nothing in it was acknowledged, the next start cuts it off`,
      );
    }
    const first = (start?.metadata.index ?? 0) + 1;
    const segments = (await disk.list(paths.wal)).filter((name) => name.endsWith(".wal")).length;
    return `${segments} segments, ${read.entries.length} entries from index ${first}`;
  });
  const snapCheck = await runCheck("snapshots", (check) =>
    checkSnapFiles(check, snapFiles, valid, start),
  );
  if (log === undefined) return [logCheck, snapCheck, skipped("raft state", "no log to check")];
  const contents: WalContents = log;
  const snapshotter = new Snapshotter(disk, paths.snap, context);
  const index = start?.metadata.index ?? 0;
  // One received from a leader takes the database's place at the next start.
  const isReplaced = index > 0 && (await snapshotter.hasDatabase(index));
  const raftCheck = await runCheck("raft state", (check) =>
    checkState(check, contents, start, isReplaced ? undefined : facts),
  );
  return [logCheck, snapCheck, raftCheck];
}

function checkSnapFiles(
  check: Check,
  files: readonly SnapFile[],
  valid: readonly WalSnapshot[],
  start: Snapshot | undefined,
): string {
  for (const { name, snapshot } of files) {
    if (snapshot instanceof CorruptionError) check.error(snapshot.message);
    else if (snapshot.metadata.confState.voters.length === 0) {
      check.error(`${name}: nobody has a vote`);
    }
  }
  const newest = valid.findLast(({ index }) => index > 0);
  if (newest !== undefined && newest.index > (start?.metadata.index ?? 0)) {
    check.error(`the log knows a snapshot at ${newest.index}, of which no readable file is here`);
  }
  if (start === undefined) return `${files.length} files, the log starts at its beginning`;
  checkMembership(check, start);
  const { index, term } = start.metadata;
  return `${files.length} files, a start is made from index ${index}, term ${term}`;
}

/** What a start takes from the snapshot: the members as the log gave them. */
function checkMembership(check: Check, { data, metadata }: Snapshot): void {
  const cluster = Cluster.empty(NULL_LOGGER);
  try {
    cluster.recoverFromV2Store(data);
  } catch (error) {
    if (!(error instanceof MembershipError)) throw error;
    check.error(`the snapshot at ${metadata.index}: ${error.message}`);
    return;
  }
  const { voters, learners, votersOutgoing, learnersNext } = metadata.confState;
  for (const id of new Set([...voters, ...learners, ...votersOutgoing, ...learnersNext])) {
    if (cluster.member(id) !== undefined) continue;
    check.error(`the snapshot at ${metadata.index} counts ${hexFromID(id)}, which is no member`);
  }
}

function checkState(
  check: Check,
  log: WalContents,
  start: Snapshot | undefined,
  facts: DatabaseFacts | undefined,
): string {
  const { NodeID, ClusterID } = decodeMessage(LogMetadataCodec, log.metadata);
  if (NodeID === 0n || ClusterID === 0n) check.error("the log has no member or cluster id");
  const startIndex = start?.metadata.index ?? 0;
  let term = start?.metadata.term ?? 0;
  for (const entry of log.entries) {
    if (entry.term < term) {
      check.error(`entry ${entry.index} has term ${entry.term}, after one of term ${term}`);
    }
    term = Math.max(term, entry.term);
  }
  const lastIndex = startIndex + log.entries.length;
  const hardState = log.hardState ?? { term: 0, vote: 0n, commit: 0 };
  if (hardState.term < term) {
    check.error(`the member's term is ${hardState.term}, but an entry has ${term}`);
  }
  if (hardState.commit < startIndex) {
    check.error(`commit index ${hardState.commit} is below the snapshot at ${startIndex}`);
  }
  if (hardState.commit > lastIndex) {
    check.error(`commit index ${hardState.commit} is above the last entry, ${lastIndex}`);
  }
  if (facts !== undefined) {
    checkFacts(check, facts, startIndex, lastIndex, NodeID);
    checkMembers(check, facts, membersByLog(log, start, facts.consistentIndex));
  }
  return `member ${hexFromID(NodeID)} of cluster ${hexFromID(ClusterID)}, term ${hardState.term}, commit ${hardState.commit}, last index ${lastIndex}`;
}

/** Who is a member at an index, as the snapshot and the log behind it have it. */
function membersByLog(
  log: WalContents,
  start: Snapshot | undefined,
  index: number,
): ReadonlySet<bigint> {
  const { voters = [], learners = [] } = start?.metadata.confState ?? {};
  const members = new Set<bigint>([...voters, ...learners]);
  for (const entry of log.entries) {
    if (entry.index > index || entry.type !== "EntryConfChange") continue;
    const { type, nodeID } = decodeMessage(ConfChangeCodec, entry.data);
    if (type === "ConfChangeRemoveNode") members.delete(nodeID);
    else if (type !== "ConfChangeUpdateNode") members.add(nodeID);
  }
  return members;
}

function checkMembers(check: Check, facts: DatabaseFacts, byLog: ReadonlySet<bigint>): void {
  // Databases from before 3.6 may keep their members in the snapshots alone.
  if (facts.memberIDs.size === 0) return;
  for (const id of byLog) {
    if (facts.memberIDs.has(BigInt.asUintN(64, id))) continue;
    check.error(`the log has member ${hexFromID(id)}, the database does not`);
  }
  const known = new Set([...byLog].map((id) => BigInt.asUintN(64, id)));
  for (const id of facts.memberIDs) {
    if (known.has(id)) continue;
    check.error(`the database has member ${hexFromID(id)}, the log does not`);
  }
}

/** The database against the log. */
function checkFacts(
  check: Check,
  facts: DatabaseFacts,
  startIndex: number,
  lastIndex: number,
  memberID: bigint,
): void {
  const { consistentIndex, memberIDs, removedIDs } = facts;
  if (consistentIndex > lastIndex) {
    check.error(`the database is at index ${consistentIndex}, the log ends at ${lastIndex}`);
  }
  if (consistentIndex < startIndex) {
    check.error(`the database is at index ${consistentIndex}, below the snapshot at ${startIndex}`);
  }
  if (removedIDs.has(memberID)) check.warn("this member was removed from its cluster");
  else if (memberIDs.size > 0 && !memberIDs.has(memberID)) {
    check.warn("this member is not in the database's list of members");
  }
}
