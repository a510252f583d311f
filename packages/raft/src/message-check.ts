/**
 * The gate for messages from the network: what no correct member sends goes no further, so that
 * the core behind it may rely on what it reads.
 */

import type { Entry, Message } from "./raftpb/types.ts";
import { isLocalTarget, NONE } from "./raftpb/types.ts";

/** Whether a message for member `id` has contents that no correct sender gives it. */
export function isMalformed(message: Message, id: bigint): boolean {
  const { type, from } = message;
  if (isLocalTarget(from)) return false;
  if (from === NONE) return type !== "MsgForgetLeader";
  if (from === id && !mayComeFromSelf(message)) return true;
  if (message.term === 0 && !mayLackTerm(message)) return true;
  switch (type) {
    case "MsgProp":
      return message.entries.length === 0;
    case "MsgReadIndex":
      return message.entries.length !== 1;
    case "MsgApp":
      return !isLogSlice(message.term, message.logTerm, message.index, message.entries);
    case "MsgSnap":
      return message.term !== 0 && (message.snapshot?.metadata.term ?? 0) > message.term;
    default:
      return false;
  }
}

/**
 * A member's own acknowledgements come back to it; so may a proposal or a read it sent to a leader
 * that has since made way for it; a transfer names the transferee as sender.
 */
function mayComeFromSelf({ type }: Message): boolean {
  switch (type) {
    case "MsgAppResp":
    case "MsgVoteResp":
    case "MsgPreVoteResp":
    case "MsgProp":
    case "MsgReadIndex":
    case "MsgTransferLeader":
      return true;
    default:
      return false;
  }
}

/**
 * Proposals and reads belong to no term, nor does the wish for another leader. A snapshot may come
 * from elsewhere than the leader, and a member that has not seen a term yet answers it at term 0;
 * what they speak of is committed, and so the same in every term.
 */
function mayLackTerm({ type }: Message): boolean {
  switch (type) {
    case "MsgProp":
    case "MsgReadIndex":
    case "MsgForgetLeader":
    case "MsgSnap":
    case "MsgAppResp":
    case "MsgTransferLeader":
      return true;
    default:
      return false;
  }
}

/** Whether `entries` can follow an entry of `logTerm` at `index` in the log of a leader of `term`. */
function isLogSlice(
  term: number,
  logTerm: number,
  index: number,
  entries: readonly Entry[],
): boolean {
  let previousTerm = logTerm;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    if (entry.index !== index + 1 + i || entry.term < previousTerm) return false;
    previousTerm = entry.term;
  }
  return previousTerm <= term;
}
