/**
 * Raft snapshots of this member: on disk every `snapshotCount` entries, so that old log segments
 * can go; in memory more often, so that the entries kept for slow followers stay few.
 *
 * Order on disk: the backend's commit, so that it stands at or above the snapshot; the `.snap`
 * file; the log's snapshot record; then segments below are let go. A crash in between leaves a
 * snapshot the log does not know, which a start passes over.
 */

import type { Snapshot } from "@etcd-ts/raft";

import type { MemberCore } from "./member-core.ts";

/** Entries applied between two compactions of the log in memory. */
const MEMORY_SNAPSHOT_ENTRIES = 100;

export class DiskSnapshots {
  readonly #core: MemberCore;
  /** Of the newest snapshot on disk or on its way there. */
  #diskIndex: number;
  #savedIndex: number;
  #memoryIndex: number;
  #isForced = false;
  #saving: Promise<void> | undefined;

  constructor(core: MemberCore) {
    this.#core = core;
    this.#diskIndex = core.boot.snapshot?.metadata.index ?? 0;
    this.#savedIndex = this.#diskIndex;
    this.#memoryIndex = this.#diskIndex;
  }

  /** The newest snapshot on disk; 0 for none. */
  get savedIndex(): number {
    return this.#savedIndex;
  }

  /** The next look takes one, whatever the count: a lower cluster version must not find old entries. */
  force(): void {
    this.#isForced = true;
  }

  /** A leader's snapshot is on disk, and is what the member now goes on from. */
  installed(index: number): void {
    this.#diskIndex = index;
    this.#savedIndex = index;
    this.#memoryIndex = index;
  }

  /** To be called when raft knows of everything applied. */
  takeIfNeeded(): void {
    const { config, applier } = this.#core;
    const { appliedIndex } = applier;
    const isDue =
      (this.#isForced && appliedIndex !== this.#diskIndex) ||
      appliedIndex - this.#diskIndex > config.snapshotCount;
    const toDisk = isDue && this.#saving === undefined;
    if (!toDisk && appliedIndex <= this.#memoryIndex + MEMORY_SNAPSHOT_ENTRIES) return;
    if (appliedIndex > this.#memoryIndex) this.#takeInMemory(appliedIndex);
    if (toDisk) this.#startSaving(appliedIndex);
  }

  /** Resolves when no snapshot is being written. */
  async finish(): Promise<void> {
    await this.#saving;
  }

  #takeInMemory(appliedIndex: number): void {
    const { boot, cluster, applier, config, ports } = this.#core;
    boot.raftStorage.createSnapshot(appliedIndex, applier.confState, cluster.encodeV2Store());
    this.#memoryIndex = appliedIndex;
    if (this.#core.peerMessages.holdsLog) {
      ports.logger.info("skip compaction since there is an inflight snapshot");
      return;
    }
    const compactIndex = appliedIndex - config.snapshotCatchUpEntries;
    if (compactIndex < boot.raftStorage.firstIndex()) return;
    boot.raftStorage.compact(compactIndex);
    ports.logger.debug("compacted Raft logs", { "compact-index": compactIndex });
  }

  #startSaving(appliedIndex: number): void {
    const { memberID, boot, config, ports } = this.#core;
    ports.logger.info("triggering snapshot", {
      "local-member-id": memberID.toString(16),
      "local-member-applied-index": appliedIndex,
      "local-member-snapshot-index": this.#diskIndex,
      "local-member-snapshot-count": config.snapshotCount,
      "snapshot-forced": this.#isForced,
    });
    this.#isForced = false;
    this.#diskIndex = appliedIndex;
    this.#saving = this.#save(boot.raftStorage.snapshot()).then(
      () => {
        this.#saving = undefined;
      },
      (error: unknown) => {
        this.#saving = undefined;
        this.#core.fail(error);
      },
    );
  }

  async #save(snapshot: Snapshot): Promise<void> {
    const { backend, boot, ports } = this.#core;
    const { index } = snapshot.metadata;
    await backend.commit();
    await boot.snapshotter.save(snapshot);
    await boot.wal.saveSnapshot(snapshot.metadata);
    this.#savedIndex = index;
    await boot.wal.releaseTo(index);
    await boot.snapshotter.releaseDatabasesBefore(index);
    ports.logger.info("saved snapshot to disk", { "snapshot-index": index });
  }
}
