/**
 * What a configuration change means, whichever of its two forms it came in.
 *
 * Source: Raft thesis, chapter 4. A change of one member may be made in one step; several at once
 * go through a joint configuration that needs both the old and the new majority.
 */

import { decodeMessage, EMPTY_BYTES, encodeMessage, unreachable } from "@etcd-ts/base";
import { ConfChangeCodec, ConfChangeV2Codec } from "./codec.ts";
import type { ConfChange, ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry } from "./types.ts";

/** A change that leaves a joint configuration; an entry without data decodes to it. */
export const LEAVE_JOINT: ConfChangeV2 = {
  transition: "ConfChangeTransitionAuto",
  changes: [],
  context: EMPTY_BYTES,
};

function isV2(change: ConfChange | ConfChangeV2): change is ConfChangeV2 {
  return "changes" in change;
}

export function asConfChangeV2(change: ConfChange | ConfChangeV2): ConfChangeV2 {
  if (isV2(change)) return change;
  return {
    transition: "ConfChangeTransitionAuto",
    changes: [{ type: change.type, nodeID: change.nodeID }],
    context: change.context,
  };
}

/** Type and data of the entry that carries `change`. */
export function encodeConfChange(change: ConfChange | ConfChangeV2): Pick<Entry, "type" | "data"> {
  if (isV2(change)) {
    return { type: "EntryConfChangeV2", data: encodeMessage(ConfChangeV2Codec, change) };
  }
  return { type: "EntryConfChange", data: encodeMessage(ConfChangeCodec, change) };
}

/**
 * The change an entry carries; undefined for a normal entry.
 *
 * @throws {WireFormatError} if its data is no configuration change
 */
export function decodeConfChange(entry: Entry): ConfChange | ConfChangeV2 | undefined {
  switch (entry.type) {
    case "EntryNormal":
      return undefined;
    case "EntryConfChange":
      return decodeMessage(ConfChangeCodec, entry.data);
    case "EntryConfChangeV2":
      return decodeMessage(ConfChangeV2Codec, entry.data);
    default:
      return unreachable(entry.type, "decodeConfChange");
  }
}

/** How a change is carried out on the configuration before it. */
export type ConfChangeStep = "simple" | "enterJoint" | "enterJointAutoLeave" | "leaveJoint";

export function confChangeStep(change: ConfChangeV2): ConfChangeStep {
  switch (change.transition) {
    case "ConfChangeTransitionAuto":
      if (change.changes.length === 0) return "leaveJoint";
      return change.changes.length > 1 ? "enterJointAutoLeave" : "simple";
    case "ConfChangeTransitionJointImplicit":
      return "enterJointAutoLeave";
    case "ConfChangeTransitionJointExplicit":
      return "enterJoint";
    default:
      return unreachable(change.transition, "confChangeStep");
  }
}

const TYPE_OF_LETTER: ReadonlyMap<string, ConfChangeType> = new Map([
  ["v", "ConfChangeAddNode"],
  ["l", "ConfChangeAddLearnerNode"],
  ["r", "ConfChangeRemoveNode"],
  ["u", "ConfChangeUpdateNode"],
]);

/** The short form of changes, such as `v1 l2 r3`: make a voter, make a learner, remove. */
export function confChangesToString(changes: readonly ConfChangeSingle[]): string {
  return changes.map((change) => `${letterOf(change.type)}${change.nodeID}`).join(" ");
}

function letterOf(type: ConfChangeType): string {
  for (const [letter, named] of TYPE_OF_LETTER) if (named === type) return letter;
  return "unknown";
}

/** The inverse of `confChangesToString`; on bad input, the text that says what is wrong. */
export function confChangesFromString(text: string): readonly ConfChangeSingle[] | string {
  const trimmed = text.trim();
  if (trimmed === "") return [];
  const changes: ConfChangeSingle[] = [];
  for (const token of trimmed.split(" ")) {
    if (token.length < 2) return `unknown token ${token}`;
    const type = TYPE_OF_LETTER.get(token[0]!);
    if (type === undefined) return `unknown input: ${token}`;
    const digits = token.slice(1);
    if (!/^[0-9]+$/.test(digits)) return `strconv.ParseUint: parsing "${digits}": invalid syntax`;
    const nodeID = BigInt(digits);
    if (nodeID > 0xffff_ffff_ffff_ffffn) {
      return `strconv.ParseUint: parsing "${digits}": value out of range`;
    }
    changes.push({ type, nodeID });
  }
  return changes;
}
