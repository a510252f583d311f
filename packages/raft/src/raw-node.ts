/**
 * One member of a Raft group, driven from outside: it is told of time, proposals and messages, and
 * hands out work.
 *
 * The loop of a member: `while (node.hasReady()) { const ready = node.ready(); ...;
 * node.advance(ready); }`, with `tick()` at a steady pace and `step()` for each message that
 * comes in. Everything is synchronous; nothing here waits or fails because of the world.
 *
 * Invariants:
 * - Without `asyncStorageWrites`, there is at most one `Ready` between two calls of `advance`.
 * - What a `Ready` holds is never changed afterwards.
 */

import { invariant } from "@etcd-ts/base";
import type { RaftConfig } from "./config.ts";
import { RaftConfigError } from "./config.ts";
import { applyConfChange } from "./membership.ts";
import { isMalformed } from "./message-check.ts";
import { Raft } from "./raft.ts";
import { asConfChangeV2, encodeConfChange } from "./raftpb/conf-change.ts";
import type {
  ConfChange,
  ConfChangeV2,
  ConfState,
  Entry,
  HardState,
  Message,
} from "./raftpb/types.ts";
import {
  EMPTY_HARD_STATE,
  equalHardState,
  isEmptyHardState,
  isLocalMessageType,
  isLocalTarget,
  isResponseMessageType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  newMessage,
  NONE,
} from "./raftpb/types.ts";
import type { ProposeResult, Ready, SoftState, StepResult } from "./ready.ts";
import type { BasicStatus, Status } from "./status.ts";
import { entriesSizeBytes } from "./storage.ts";

/** A member a new group is founded with. */
export interface Peer {
  readonly id: bigint;
  /** Carried in the configuration change that adds it. */
  readonly context: Uint8Array;
}

/** The part of a `Ready` that storage carries out. */
type Work = Pick<Ready, "hardState" | "entries" | "snapshot" | "committedEntries">;

export class RawNode {
  readonly #raft: Raft;
  readonly #asyncStorageWrites: boolean;
  #previousSoftState: SoftState;
  #previousHardState: HardState;
  /** What `advance` will tell the core: acknowledgements of the `Ready` under way. */
  #stepsOnAdvance: Message[] = [];

  /** @throws {RaftConfigError} */
  constructor(config: RaftConfig) {
    this.#raft = new Raft(config);
    this.#asyncStorageWrites = config.asyncStorageWrites ?? false;
    this.#previousSoftState = this.#raft.softState();
    this.#previousHardState = this.#raft.hardState();
  }

  /**
   * Founds a new group: the log begins with one committed configuration change a peer, in the
   * given order, at term 1. All founding members must give the same peers in the same order.
   *
   * @throws {RaftConfigError} if there are no peers or the storage is not empty
   */
  bootstrap(peers: readonly Peer[]): void {
    const raft = this.#raft;
    if (peers.length === 0) {
      throw new RaftConfigError("must provide at least one peer to Bootstrap");
    }
    if (raft.log.lastIndex() !== 0) {
      throw new RaftConfigError("can't bootstrap a nonempty Storage");
    }
    // Nothing is on disk yet, so that the first Ready must carry the hard state.
    this.#previousHardState = EMPTY_HARD_STATE;
    raft.becomeFollower(1, NONE);
    const changes = peers.map(({ id, context }): ConfChange => ({
      id: 0n,
      type: "ConfChangeAddNode",
      nodeID: id,
      context,
    }));
    raft.log.append(
      changes.map((change, i) => ({ ...encodeConfChange(change), term: 1, index: i + 1 })),
    );
    raft.log.commitTo(peers.length);
    // In force at once, so that the group can elect a leader; the application meets the same
    // changes again among the committed entries, where they change nothing.
    for (const change of changes) applyConfChange(raft, asConfChangeV2(change));
  }

  /** One step of time. */
  tick(): void {
    this.#raft.tick();
  }

  /** Stands for election now. */
  campaign(): void {
    this.#raft.step(newMessage({ type: "MsgHup" }));
  }

  propose(data: Uint8Array): ProposeResult {
    return this.proposeBatch([data]);
  }

  /** Proposes several entries at once: all are taken, or none. */
  proposeBatch(batch: readonly Uint8Array[]): ProposeResult {
    if (batch.length === 0) return "ok";
    const entries = batch.map((data): Entry => ({ type: "EntryNormal", term: 0, index: 0, data }));
    return this.#proposeEntries(entries);
  }

  /**
   * Proposes a change of the configuration. One that does not fit the configuration is logged as
   * an empty entry.
   */
  proposeConfChange(change: ConfChange | ConfChangeV2): ProposeResult {
    return this.#proposeEntries([{ ...encodeConfChange(change), term: 0, index: 0 }]);
  }

  #proposeEntries(entries: readonly Entry[]): ProposeResult {
    const message = newMessage({ type: "MsgProp", from: this.#raft.id, entries });
    return this.#raft.step(message) === "ok" ? "ok" : "dropped";
  }

  /**
   * Puts a committed change of the configuration in force. To be called for each such entry that
   * is applied, unless the application refuses the change.
   *
   * @throws {InvariantError} if the change breaks a rule of `confchange/changer.ts`
   */
  applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    return applyConfChange(this.#raft, asConfChangeV2(change));
  }

  /** Takes a message from another member or from a local storage thread. */
  step(message: Message): StepResult {
    const fromThread = this.#asyncStorageWrites && isLocalTarget(message.from);
    if (!fromThread) {
      if (isLocalMessageType(message.type) || isLocalTarget(message.from)) return "localMessage";
      if (isResponseMessageType(message.type) && !this.#raft.tracker.progress.has(message.from)) {
        return "peerNotFound";
      }
      if (isMalformed(message, this.#raft.id)) return "malformed";
    }
    return this.#raft.step(message);
  }

  /** Whether `ready` has anything to tell. */
  hasReady(): boolean {
    const raft = this.#raft;
    const hardState = raft.hardState();
    return (
      raft.messages.length > 0 ||
      raft.messagesAfterAppend.length > 0 ||
      raft.readStates.length > 0 ||
      this.#isNewSoftState(raft.softState()) ||
      (!isEmptyHardState(hardState) && !equalHardState(hardState, this.#previousHardState)) ||
      raft.log.nextUnstableSnapshot() !== undefined ||
      raft.log.hasNextUnstableEntries() ||
      raft.log.hasNextCommittedEntries(this.#appliesUnstable())
    );
  }

  #isNewSoftState(state: SoftState): boolean {
    const previous = this.#previousSoftState;
    return state.leadID !== previous.leadID || state.state !== previous.state;
  }

  /** Whether a committed entry may be applied before it is on this member's own disk. */
  #appliesUnstable(): boolean {
    return !this.#asyncStorageWrites;
  }

  /** The work there is; it must be done, and then reported with `advance`. */
  ready(): Ready {
    const ready = this.#collect();
    this.#accept(ready);
    return ready;
  }

  #collect(): Ready {
    const raft = this.#raft;
    const softState = raft.softState();
    const hardState = raft.hardState();
    const previous = this.#previousHardState;
    const isNewHardState = !equalHardState(hardState, previous) && !isEmptyHardState(hardState);
    const entries = raft.log.nextUnstableEntries();
    const snapshot = raft.log.nextUnstableSnapshot();
    const committedEntries = raft.log.nextCommittedEntries(this.#appliesUnstable());
    const work: Work = {
      hardState: isNewHardState ? hardState : undefined,
      entries,
      snapshot,
      committedEntries,
    };
    return {
      softState: this.#isNewSoftState(softState) ? softState : undefined,
      hardState: work.hardState,
      readStates: raft.readStates,
      entries,
      snapshot,
      committedEntries,
      messages: this.#outgoing(work),
      mustSync:
        entries.length > 0 || hardState.vote !== previous.vote || hardState.term !== previous.term,
    };
  }

  #outgoing(work: Work): readonly Message[] {
    const raft = this.#raft;
    const messages = raft.messages;
    if (this.#asyncStorageWrites) {
      if (this.#needsStorageAppend(work)) messages.push(this.#storageAppend(work));
      if (work.committedEntries.length > 0) messages.push(this.#storageApply(work));
      return messages;
    }
    for (const message of raft.messagesAfterAppend) {
      if (message.to !== raft.id) messages.push(message);
    }
    return messages;
  }

  #accept(ready: Ready): void {
    const raft = this.#raft;
    if (ready.softState !== undefined) this.#previousSoftState = ready.softState;
    if (ready.hardState !== undefined) this.#previousHardState = ready.hardState;
    if (!this.#asyncStorageWrites) {
      invariant(
        this.#stepsOnAdvance.length === 0,
        () => "two accepted Ready structs without call to Advance",
      );
      const steps = raft.messagesAfterAppend.filter((message) => message.to === raft.id);
      if (this.#needsStorageAppendResponse(ready)) steps.push(this.#storageAppendResponse(ready));
      if (ready.committedEntries.length > 0) steps.push(this.#storageApplyResponse(ready));
      this.#stepsOnAdvance = steps;
    }
    raft.readStates = [];
    raft.messages = [];
    raft.messagesAfterAppend = [];
    raft.log.acceptUnstable();
    const last = ready.committedEntries.at(-1);
    if (last !== undefined) {
      const bytes = entriesSizeBytes(ready.committedEntries);
      raft.log.acceptApplying(last.index, bytes, this.#appliesUnstable());
    }
  }

  #needsStorageAppend(work: Work): boolean {
    return (
      work.entries.length > 0 ||
      work.hardState !== undefined ||
      work.snapshot !== undefined ||
      this.#raft.messagesAfterAppend.length > 0
    );
  }

  #needsStorageAppendResponse(work: Work): boolean {
    return this.#raft.log.hasNextOrInProgressUnstableEntries() || work.snapshot !== undefined;
  }

  #storageAppend(work: Work): Message {
    const raft = this.#raft;
    const responses = [...raft.messagesAfterAppend];
    // Behind the member's own acknowledgements, which are quicker while the tail still holds
    // what they speak of.
    if (this.#needsStorageAppendResponse(work)) responses.push(this.#storageAppendResponse(work));
    const state = work.hardState ?? EMPTY_HARD_STATE;
    return newMessage({
      type: "MsgStorageAppend",
      to: LOCAL_APPEND_THREAD,
      from: raft.id,
      term: state.term,
      vote: state.vote,
      commit: state.commit,
      entries: work.entries,
      snapshot: work.snapshot,
      responses,
    });
  }

  /**
   * Tells the core that its whole tail, as it is now, is on disk.
   *
   * It names the end of the tail and the present term even if this write adds nothing: an answer
   * is ignored when the term has changed meanwhile, since another leader's entries may be on
   * their way to the disk by then; the first write of the new term makes up for it.
   */
  #storageAppendResponse(work: Work): Message {
    const { id, term, log } = this.#raft;
    const last = log.hasNextOrInProgressUnstableEntries()
      ? log.lastEntryID()
      : { index: 0, term: 0 };
    return newMessage({
      type: "MsgStorageAppendResp",
      to: id,
      from: LOCAL_APPEND_THREAD,
      term,
      index: last.index,
      logTerm: last.term,
      snapshot: work.snapshot,
    });
  }

  #storageApply(work: Work): Message {
    return newMessage({
      type: "MsgStorageApply",
      to: LOCAL_APPLY_THREAD,
      from: this.#raft.id,
      entries: work.committedEntries,
      responses: [this.#storageApplyResponse(work)],
    });
  }

  #storageApplyResponse(work: Work): Message {
    return newMessage({
      type: "MsgStorageApplyResp",
      to: this.#raft.id,
      from: LOCAL_APPLY_THREAD,
      entries: work.committedEntries,
    });
  }

  /** Reports that the last `Ready` has been carried out. Not with `asyncStorageWrites`. */
  advance(_ready: Ready): void {
    invariant(
      !this.#asyncStorageWrites,
      () => "Advance must not be called when using AsyncStorageWrites",
    );
    const steps = this.#stepsOnAdvance;
    this.#stepsOnAdvance = [];
    for (const message of steps) this.#raft.step(message);
  }

  /**
   * Asks for the index a linearizable read must wait for; it comes as a read state with the same
   * context, or never if leadership is lost meanwhile.
   */
  readIndex(context: Uint8Array): void {
    const entry: Entry = { type: "EntryNormal", term: 0, index: 0, data: context };
    this.#raft.step(newMessage({ type: "MsgReadIndex", entries: [entry] }));
  }

  /** Asks the leader to hand over to `transferee`. */
  transferLeader(transferee: bigint): void {
    this.#raft.step(newMessage({ type: "MsgTransferLeader", from: transferee }));
  }

  /** Lets a follower forget its leader, so that it helps to elect another one at once. */
  forgetLeader(): void {
    this.#raft.step(newMessage({ type: "MsgForgetLeader" }));
  }

  /** Tells that a message to `id` could not be delivered. */
  reportUnreachable(id: bigint): void {
    this.#raft.step(newMessage({ type: "MsgUnreachable", from: id }));
  }

  /** Tells what became of a snapshot sent to `id`. */
  reportSnapshot(id: bigint, outcome: "finish" | "failure"): void {
    this.#raft.step(newMessage({ type: "MsgSnapStatus", from: id, reject: outcome === "failure" }));
  }

  basicStatus(): BasicStatus {
    const raft = this.#raft;
    return {
      id: raft.id,
      ...raft.hardState(),
      ...raft.softState(),
      applied: raft.log.applied,
      leadTransferee: raft.leadTransferee,
    };
  }

  status(): Status {
    const { tracker, state } = this.#raft;
    const progress = state === "leader" ? [...tracker.progress] : [];
    return {
      ...this.basicStatus(),
      configuration: tracker.configuration,
      progress: new Map(progress.map(([id, one]) => [id, one.clone()])),
    };
  }

  /** Fixes the election timeout until the role changes: for transcripts and simulations. */
  setRandomizedElectionTicks(ticks: number): void {
    this.#raft.randomizedElectionTicks = ticks;
  }
}
