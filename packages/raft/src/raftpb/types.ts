/**
 * The messages of the Raft protocol, as they travel between members and lie in the log.
 *
 * Invariants:
 * - All of these are values: nobody changes one after it has been handed on.
 * - Members are `bigint`, with 0n for "none"; terms, indexes and counts are `number` below 2^53.
 * - An absent byte string is the empty one.
 */

import { EMPTY_BYTES } from "@etcd-ts/base";

/** Stands for "no member": no leader, no vote. */
export const NONE = 0n;

/** Target of `MsgStorageAppend`, for a member that writes its storage asynchronously. */
export const LOCAL_APPEND_THREAD = 0xffff_ffff_ffff_ffffn;

/** Target of `MsgStorageApply`, for a member that writes its storage asynchronously. */
export const LOCAL_APPLY_THREAD = 0xffff_ffff_ffff_fffen;

/** Position is the number on the wire. */
export const ENTRY_TYPES = ["EntryNormal", "EntryConfChange", "EntryConfChangeV2"] as const;
export type EntryType = (typeof ENTRY_TYPES)[number];

export interface Entry {
  readonly type: EntryType;
  readonly term: number;
  readonly index: number;
  /** Empty for the entry a new leader begins its term with. */
  readonly data: Uint8Array;
}

/** What a member must find again after a restart, besides its log. */
export interface HardState {
  readonly term: number;
  readonly vote: bigint;
  readonly commit: number;
}

export const EMPTY_HARD_STATE: HardState = { term: 0, vote: NONE, commit: 0 };

/** The members of the group; joint while `votersOutgoing` is not empty. */
export interface ConfState {
  readonly voters: readonly bigint[];
  readonly learners: readonly bigint[];
  readonly votersOutgoing: readonly bigint[];
  /** Voters of the outgoing configuration that become learners when it is left. */
  readonly learnersNext: readonly bigint[];
  readonly autoLeave: boolean;
}

export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export interface SnapshotMetadata {
  readonly confState: ConfState;
  readonly index: number;
  readonly term: number;
}

export interface Snapshot {
  readonly data: Uint8Array;
  readonly metadata: SnapshotMetadata;
}

export const EMPTY_SNAPSHOT: Snapshot = {
  data: EMPTY_BYTES,
  metadata: { confState: EMPTY_CONF_STATE, index: 0, term: 0 },
};

/** Position is the number on the wire. */
export const MESSAGE_TYPES = [
  "MsgHup",
  "MsgBeat",
  "MsgProp",
  "MsgApp",
  "MsgAppResp",
  "MsgVote",
  "MsgVoteResp",
  "MsgSnap",
  "MsgHeartbeat",
  "MsgHeartbeatResp",
  "MsgUnreachable",
  "MsgSnapStatus",
  "MsgCheckQuorum",
  "MsgTransferLeader",
  "MsgTimeoutNow",
  "MsgReadIndex",
  "MsgReadIndexResp",
  "MsgPreVote",
  "MsgPreVoteResp",
  "MsgStorageAppend",
  "MsgStorageAppendResp",
  "MsgStorageApply",
  "MsgStorageApplyResp",
  "MsgForgetLeader",
] as const;
export type MessageType = (typeof MESSAGE_TYPES)[number];

export interface Message {
  readonly type: MessageType;
  readonly to: bigint;
  readonly from: bigint;
  /** The sender's term; 0 for messages that belong to no term (local ones, MsgProp). */
  readonly term: number;
  /** Term of the entry at `index`; on a rejection, of the one at `rejectHint`. */
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly vote: bigint;
  readonly snapshot: Snapshot | undefined;
  readonly reject: boolean;
  readonly rejectHint: number;
  readonly context: Uint8Array;
  /** To be delivered once a storage message has been carried out. */
  readonly responses: readonly Message[];
}

const NO_ENTRIES: readonly Entry[] = [];
const NO_RESPONSES: readonly Message[] = [];

/** A message with its absent fields meaning zero. */
export type MessageFields = { readonly type: MessageType } & Partial<Omit<Message, "type">>;

/**
 * Fills in the absent fields. All messages are made here or by the codec, field by field and in
 * one order: a spread costs microseconds on Node 20, and messages of one shape are quick to read.
 *
 * @param from - the sender, in place of `fields.from`
 * @param term - the term, in place of `fields.term`
 */
export function newMessage(
  fields: MessageFields,
  from: bigint = fields.from ?? NONE,
  term: number = fields.term ?? 0,
): Message {
  return {
    type: fields.type,
    to: fields.to ?? NONE,
    from,
    term,
    logTerm: fields.logTerm ?? 0,
    index: fields.index ?? 0,
    entries: fields.entries ?? NO_ENTRIES,
    commit: fields.commit ?? 0,
    vote: fields.vote ?? NONE,
    snapshot: fields.snapshot,
    reject: fields.reject ?? false,
    rejectHint: fields.rejectHint ?? 0,
    context: fields.context ?? EMPTY_BYTES,
    responses: fields.responses ?? NO_RESPONSES,
  };
}

/** Position is the number on the wire. */
export const CONF_CHANGE_TYPES = [
  "ConfChangeAddNode",
  "ConfChangeRemoveNode",
  "ConfChangeUpdateNode",
  "ConfChangeAddLearnerNode",
] as const;
export type ConfChangeType = (typeof CONF_CHANGE_TYPES)[number];

/** One change of one member: what etcd logs. */
export interface ConfChange {
  /** Threaded through for the proposer to find its request again; not read here. */
  readonly id: bigint;
  readonly type: ConfChangeType;
  readonly nodeID: bigint;
  readonly context: Uint8Array;
}

/** Position is the number on the wire. */
export const CONF_CHANGE_TRANSITIONS = [
  "ConfChangeTransitionAuto",
  "ConfChangeTransitionJointImplicit",
  "ConfChangeTransitionJointExplicit",
] as const;
export type ConfChangeTransition = (typeof CONF_CHANGE_TRANSITIONS)[number];

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeID: bigint;
}

/** Several changes at once, by joint consensus where needed; none at all leaves a joint state. */
export interface ConfChangeV2 {
  readonly transition: ConfChangeTransition;
  readonly changes: readonly ConfChangeSingle[];
  readonly context: Uint8Array;
}

export function isEmptyHardState(state: HardState): boolean {
  return state.term === 0 && state.vote === NONE && state.commit === 0;
}

export function equalHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}

export function isEmptySnapshot(snapshot: Snapshot): boolean {
  return snapshot.metadata.index === 0;
}

/** Whether messages of this type never cross the network. */
export function isLocalMessageType(type: MessageType): boolean {
  switch (type) {
    case "MsgHup":
    case "MsgBeat":
    case "MsgUnreachable":
    case "MsgSnapStatus":
    case "MsgCheckQuorum":
    case "MsgStorageAppend":
    case "MsgStorageAppendResp":
    case "MsgStorageApply":
    case "MsgStorageApplyResp":
      return true;
    default:
      return false;
  }
}

/** Whether messages of this type answer another one and need a known sender. */
export function isResponseMessageType(type: MessageType): boolean {
  switch (type) {
    case "MsgAppResp":
    case "MsgVoteResp":
    case "MsgHeartbeatResp":
    case "MsgUnreachable":
    case "MsgReadIndexResp":
    case "MsgPreVoteResp":
    case "MsgStorageAppendResp":
    case "MsgStorageApplyResp":
      return true;
    default:
      return false;
  }
}

/** Whether `id` names one of the member's own storage threads. */
export function isLocalTarget(id: bigint): boolean {
  return id === LOCAL_APPEND_THREAD || id === LOCAL_APPLY_THREAD;
}
