/**
 * Reads the log and the raft snapshots of a member without changing or locking anything.
 *
 * A `.snap` file is `snappb.snapshot`: 1 crc, 2 data; data is a `raftpb.Snapshot` and crc its CRC-32C.
 */

import { CorruptionError, WireReader, crc32c, decodeMessage } from "@etcd-ts/base";
import type { Disk } from "@etcd-ts/base";
import { SnapshotCodec } from "@etcd-ts/raft";
import type { Snapshot } from "@etcd-ts/raft";
import { WriteAheadLog } from "@etcd-ts/wal";
import type { WalContents, WalSnapshot } from "@etcd-ts/wal";
import type { DataDirectoryContext } from "./context.ts";

export const START_OF_LOG: WalSnapshot = { index: 0, term: 0, confState: undefined };

export interface SnapFile {
  readonly name: string;
  /** What is in it, or why it cannot be read. */
  readonly snapshot: Snapshot | CorruptionError;
}

/** All `.snap` files, newest first. */
export async function readSnapFiles(disk: Disk, directory: string): Promise<SnapFile[]> {
  const stat = await disk.stat(directory);
  if (stat?.kind !== "directory") return [];
  const files: SnapFile[] = [];
  const names = await disk.list(directory);
  for (const name of names.filter((one) => /^[0-9a-f]{16}-[0-9a-f]{16}\.snap$/.test(one))) {
    files.push({ name, snapshot: await readSnapFile(disk, `${directory}/${name}`) });
  }
  return files.reverse();
}

async function readSnapFile(disk: Disk, path: string): Promise<Snapshot | CorruptionError> {
  const file = await disk.open(path, { mode: "read" });
  try {
    const bytes = new Uint8Array(file.sizeBytes());
    return decodeSnapFile(bytes.subarray(0, file.read(bytes, 0)), path);
  } catch (cause) {
    if (cause instanceof CorruptionError) return cause;
    return new CorruptionError("snap: file does not decode", path, 0, { cause });
  } finally {
    await file.close();
  }
}

function decodeSnapFile(bytes: Uint8Array, path: string): Snapshot {
  let crc = 0;
  let data: Uint8Array | undefined;
  const reader = new WireReader(bytes);
  while (reader.next()) {
    if (reader.field === 1) crc = reader.uint64Number();
    else if (reader.field === 2) data = reader.view();
    else reader.skip();
  }
  if (data === undefined || data.length === 0 || crc === 0) {
    throw new CorruptionError("snap: empty snapshot", path, 0);
  }
  if (crc32c(0, data) !== crc) throw new CorruptionError("snap: crc mismatch", path, 0);
  return decodeMessage(SnapshotCodec, data);
}

export interface RaftFiles {
  readonly snapFiles: readonly SnapFile[];
  /** Snapshot records of the log at or below its commit index, oldest first. */
  readonly valid: readonly WalSnapshot[];
  /** The snapshot a member starts from; undefined: from the start of the log. */
  readonly snapshot: Snapshot | undefined;
  /** What the log holds after it. */
  readonly log: WalContents;
}

/** Which snapshot a member would start from: the newest readable one the log knows. */
export function startingSnapshot(
  snapFiles: readonly SnapFile[],
  valid: readonly WalSnapshot[],
): Snapshot | undefined {
  const known = new Set(valid.map(({ term, index }) => `${term}-${index}`));
  for (const { snapshot } of snapFiles) {
    if (snapshot instanceof CorruptionError) continue;
    const { term, index } = snapshot.metadata;
    if (known.has(`${term}-${index}`)) return snapshot;
  }
  return undefined;
}

/** @throws {CorruptionError | WalError} */
export async function readRaftFiles(
  context: DataDirectoryContext,
  paths: { readonly wal: string; readonly snap: string },
): Promise<RaftFiles> {
  const { disk } = context;
  const valid = await WriteAheadLog.validSnapshots(disk, paths.wal, context);
  const snapFiles = await readSnapFiles(disk, paths.snap);
  const snapshot = startingSnapshot(snapFiles, valid);
  const start = snapshot === undefined ? START_OF_LOG : { ...snapshot.metadata };
  const log = await WriteAheadLog.readAll(disk, paths.wal, start, context);
  return { snapFiles, valid, snapshot, log };
}
