/**
 * Takes over a leader's state: the database that came with a snapshot takes the place of the one in
 * use, and everything in memory is read anew.
 *
 * Order, so that a crash at any point leaves a member that starts: the `.snap` file, its record in
 * the log, the hard state that makes it count; only then is the database renamed. A start between
 * the two renames it itself (`bootstrap.ts`). Until the rename nothing of the old state is touched.
 */

import { EtcdError, invariant } from "@etcd-ts/base";
import type { Snapshot } from "@etcd-ts/raft";
import type { Backend } from "@etcd-ts/storage";

import type { MemberCore } from "./member-core.ts";

/** A snapshot whose database never arrived, or is gone. */
export class SnapshotDatabaseError extends EtcdError {
  readonly code = "SNAPSHOT_DATABASE";
}

/** Keeps the snapshot itself, and records it in the log. */
export async function saveLeaderSnapshot(core: MemberCore, snapshot: Snapshot): Promise<void> {
  const { boot } = core;
  await boot.snapshotter.save(snapshot);
  await boot.wal.saveSnapshot(snapshot.metadata);
}

/** Nothing may be applied meanwhile. Gives back the backend that is no longer used. */
export async function installSnapshot(core: MemberCore, snapshot: Snapshot): Promise<Backend> {
  const { boot, ports, applier, metrics } = core;
  const { index, term } = snapshot.metadata;
  const fields = {
    "current-applied-index": applier.appliedIndex,
    "incoming-leader-snapshot-index": index,
    "incoming-leader-snapshot-term": term,
  };
  ports.logger.info("applying snapshot", fields);
  invariant(
    index > applier.appliedIndex,
    () => `unexpected leader snapshot from outdated index: ${index} <= ${applier.appliedIndex}`,
  );
  metrics.snapshotInstalls.add(1);
  try {
    const before = core.backend;
    const backend = await openReceived(core, index);
    // Leases before keys: a key is attached to its lease as it is read.
    core.lessor.recover(backend);
    await core.store.restore(backend);
    core.alarms.recover(backend);
    core.auth.recover(backend);
    recoverMembers(core, snapshot, backend);
    core.adopt(backend, snapshot.metadata);
    await boot.wal.releaseTo(index);
    await boot.snapshotter.releaseDatabasesBefore(index);
    ports.logger.info("applied snapshot", fields);
    return before;
  } finally {
    metrics.snapshotInstalls.add(-1);
  }
}

/** The received database under the name of the one in use, which goes on without a name. */
async function openReceived(core: MemberCore, index: number): Promise<Backend> {
  const { boot, ports } = core;
  const received = boot.snapshotter.databasePath(index);
  if (!(await boot.snapshotter.hasDatabase(index))) {
    throw new SnapshotDatabaseError(`failed to find database snapshot file (${received})`);
  }
  await ports.disk.rename(received, boot.paths.database);
  await ports.disk.syncDirectory(boot.paths.snap);
  return boot.openBackend();
}

function recoverMembers(core: MemberCore, snapshot: Snapshot, backend: Backend): void {
  const { cluster, ports, memberID } = core;
  const before = cluster.members();
  cluster.recoverFromV2Store(snapshot.data);
  cluster.attachBackend(backend);
  cluster.recoverFromBackend();
  cluster.syncLearnerPromotions();
  for (const { id } of before) {
    if (id !== memberID && cluster.member(id) === undefined) ports.transport?.removePeer(id);
  }
  const known = new Set(before.map(({ id }) => id));
  for (const { id, peerURLs } of cluster.members()) {
    if (id === memberID) continue;
    if (known.has(id)) ports.transport?.updatePeer(id, peerURLs);
    else ports.transport?.addPeer(id, peerURLs);
  }
}
