/** The log of a member that starts again, and the snapshot it starts from. */

import type { Disk } from "@etcd-ts/base";
import type { Snapshot } from "@etcd-ts/raft";
import { WalError, WriteAheadLog } from "@etcd-ts/wal";
import type { Snapshotter, WalContents, WalOptions, WalSnapshot } from "@etcd-ts/wal";

const START_OF_LOG: WalSnapshot = { index: 0, term: 0, confState: undefined };

export interface StartingLog extends WalContents {
  readonly wal: WriteAheadLog;
  /** Undefined: from the start of the log. */
  readonly snapshot: Snapshot | undefined;
}

/**
 * Opens the log at the newest snapshot that it has as valid: recorded, and committed.
 *
 * Mostly that is the newest there is a file of, and the segments from it on say so. Then those
 * before, which are most of the log, are not read: a start would take twice as long.
 *
 * @throws {CorruptionError | DiskError | WalError}
 */
export async function openStartingLog(
  disk: Disk,
  directory: string,
  snapshotter: Snapshotter,
  options: WalOptions,
): Promise<StartingLog> {
  const newest = await snapshotter.load();
  if (newest === undefined) return openAt(disk, directory, undefined, options);
  try {
    const log = await openAt(disk, directory, newest, options);
    if ((log.hardState?.commit ?? 0) >= newest.metadata.index) return log;
    await log.wal.close();
  } catch (error) {
    // Not a snapshot to start from, or nothing to start with: the whole log tells.
    if (!(error instanceof WalError)) throw error;
  }
  const valid = await WriteAheadLog.validSnapshots(disk, directory, options);
  return openAt(disk, directory, await snapshotter.loadNewestAvailable(valid), options);
}

async function openAt(
  disk: Disk,
  directory: string,
  snapshot: Snapshot | undefined,
  options: WalOptions,
): Promise<StartingLog> {
  const start = snapshot?.metadata ?? START_OF_LOG;
  return { snapshot, ...(await WriteAheadLog.open(disk, directory, start, options)) };
}
