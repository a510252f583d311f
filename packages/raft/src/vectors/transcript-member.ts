/**
 * A member of a transcript's group, with a state machine that appends what is proposed to it, and
 * a snapshot of every state it was in.
 */

import type { Logger } from "@etcd-ts/base";
import { concatBytes, SeededRandom } from "@etcd-ts/base";
import type { RaftConfig } from "../config.ts";
import { MemoryStorage } from "../memory-storage.ts";
import { decodeConfChange } from "../raftpb/conf-change.ts";
import type { Entry, HardState, Message, Snapshot } from "../raftpb/types.ts";
import { RawNode } from "../raw-node.ts";
import { TranscriptError } from "./datadriven.ts";

/** A log whose snapshot is the newest state of the member, whatever was last compacted. */
class MemberStorage extends MemoryStorage {
  readonly history: Snapshot[];

  constructor(initial: Snapshot) {
    super();
    this.history = [initial];
  }

  override snapshot(): Snapshot {
    return this.history.at(-1)!;
  }
}

export type MemberOptions = Omit<RaftConfig, "id" | "storage" | "logger" | "random" | "applied">;

export class TranscriptMember {
  readonly id: bigint;
  readonly node: RawNode;
  readonly storage: MemberStorage;
  readonly options: MemberOptions;
  /** Storage messages not yet carried out, in order. */
  readonly appendWork: Message[] = [];
  readonly applyWork: Message[] = [];

  /** @param initial - the state to begin with; undefined for a member without any */
  constructor(
    id: bigint,
    options: MemberOptions,
    initial: Snapshot,
    isBootstrapped: boolean,
    logger: Logger,
  ) {
    this.id = id;
    this.options = options;
    this.storage = new MemberStorage(initial);
    if (isBootstrapped) this.storage.applySnapshot(initial);
    this.node = new RawNode({
      ...options,
      id,
      storage: this.storage,
      applied: initial.metadata.index,
      logger,
      random: new SeededRandom(id),
    });
  }

  /** @throws {SnapshotOutOfDateError} */
  append(
    hardState: HardState | undefined,
    entries: readonly Entry[],
    snapshot: Snapshot | undefined,
  ): void {
    if (hardState !== undefined) this.storage.setHardState(hardState);
    if (snapshot === undefined) {
      this.storage.append(entries);
      return;
    }
    if (entries.length > 0) {
      throw new TranscriptError("can't apply snapshot and entries at the same time");
    }
    this.storage.applySnapshot(snapshot);
  }

  apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const change = decodeConfChange(entry);
      const last = this.storage.history.at(-1)!;
      const confState =
        change === undefined ? last.metadata.confState : this.node.applyConfChange(change);
      const update = change === undefined ? entry.data : change.context;
      this.storage.history.push({
        data: concatBytes([last.data, update]),
        metadata: { confState, index: entry.index, term: entry.term },
      });
    }
  }
}
