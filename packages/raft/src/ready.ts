/** The work a core hands to its member, and the small values that come with it. */

import { unreachable } from "@etcd-ts/base";
import type { Entry, HardState, Message, Snapshot } from "./raftpb/types.ts";

export type RaftState = "follower" | "candidate" | "leader" | "preCandidate";

/** What a member need not remember across a restart. */
export interface SoftState {
  /** The leader this member follows; 0n for none. */
  readonly leadID: bigint;
  readonly state: RaftState;
}

/** Answer to `readIndex`: the read may run once `index` has been applied. */
export interface ReadState {
  readonly index: number;
  /** What the reader handed to `readIndex`. */
  readonly context: Uint8Array;
}

/**
 * One batch of work. Do it in field order, then call `advance`.
 *
 * Of `messages`, only MsgAppResp, MsgVoteResp and MsgPreVoteResp promise what the fields before
 * them hold, and must wait until it is on disk; the others may be sent at once, so that a leader
 * and its followers write at the same time.
 *
 * With `asyncStorageWrites` only `messages` is to be acted on: it holds MsgStorageAppend and
 * MsgStorageApply, whose `responses` are delivered when they have been carried out, and `advance`
 * is not called.
 */
export interface Ready {
  /** Undefined when unchanged. */
  readonly softState: SoftState | undefined;
  /** Undefined when unchanged. */
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  /** To be appended to the log. */
  readonly entries: readonly Entry[];
  /** Replaces the log and the application's state. */
  readonly snapshot: Snapshot | undefined;
  /** Already durable on a quorum; to be applied in order. */
  readonly committedEntries: readonly Entry[];
  /** The fate of a MsgSnap must be told with `reportSnapshot`. */
  readonly messages: readonly Message[];
  /** Whether `hardState` and `entries` must be synced; if not, a plain write will do. */
  readonly mustSync: boolean;
}

/** What became of a proposal: taken, or dropped for good so that the proposer can fail fast. */
export type ProposeResult = "ok" | "dropped";

/** The text etcd gives a dropped proposal. */
export const PROPOSAL_DROPPED_TEXT = "raft proposal dropped";

/**
 * What became of a message:
 * - `dropped`: a proposal nobody takes at present;
 * - `localMessage`: a type that must not come over the network;
 * - `peerNotFound`: an answer from a member this one does not know;
 * - `malformed`: contents no correct member sends; nothing was done.
 */
export type StepResult = ProposeResult | "localMessage" | "peerNotFound" | "malformed";

/** Etcd's text for a message that was not taken. */
export function stepResultText(result: Exclude<StepResult, "ok">): string {
  switch (result) {
    case "dropped":
      return PROPOSAL_DROPPED_TEXT;
    case "localMessage":
      return "raft: cannot step raft local message";
    case "peerNotFound":
      return "raft: cannot step as peer not found";
    case "malformed":
      return "raft: malformed message";
    default:
      return unreachable(result, "stepResultText");
  }
}
