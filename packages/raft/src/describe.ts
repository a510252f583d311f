/**
 * The core's values as etcd's logs and transcripts show them.
 *
 * Members are hexadecimal in messages and decimal elsewhere, as etcd has it.
 */

import { stringFromUtf8, WireFormatError } from "@etcd-ts/base";
import { asConfChangeV2, confChangesToString, decodeConfChange } from "./raftpb/conf-change.ts";
import type {
  ConfChange,
  ConfChangeV2,
  ConfState,
  Entry,
  HardState,
  Message,
  Snapshot,
} from "./raftpb/types.ts";
import { isEmptySnapshot, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NONE } from "./raftpb/types.ts";
import type { RaftState, ReadState, Ready, SoftState } from "./ready.ts";

/** How a normal entry's data is shown; the default quotes it. */
export type EntryFormatter = (data: Uint8Array) => string;

const STATE_NAMES: { readonly [state in RaftState]: string } = {
  follower: "StateFollower",
  candidate: "StateCandidate",
  leader: "StateLeader",
  preCandidate: "StatePreCandidate",
};

export function describeState(state: RaftState): string {
  return STATE_NAMES[state];
}

export function describeSoftState(state: SoftState): string {
  return `Lead:${state.leadID} State:${describeState(state.state)}`;
}

export function describeHardState(state: HardState): string {
  const vote = state.vote === NONE ? "" : ` Vote:${state.vote}`;
  return `Term:${state.term}${vote} Commit:${state.commit}`;
}

function describeIDs(ids: readonly bigint[]): string {
  return `[${ids.join(" ")}]`;
}

export function describeConfState(state: ConfState): string {
  return (
    `Voters:${describeIDs(state.voters)} VotersOutgoing:${describeIDs(state.votersOutgoing)} ` +
    `Learners:${describeIDs(state.learners)} LearnersNext:${describeIDs(state.learnersNext)} ` +
    `AutoLeave:${state.autoLeave}`
  );
}

export function describeSnapshot(snapshot: Snapshot): string {
  const { index, term, confState } = snapshot.metadata;
  return `Index:${index} Term:${term} ConfState:${describeConfState(confState)}`;
}

export function describeConfChange(change: ConfChange | ConfChangeV2): string {
  const { transition, changes, context } = asConfChangeV2(change);
  let text = `transition:${transition}`;
  for (const { type, nodeID } of changes) text += ` changes:{type:${type} node_id:${nodeID}}`;
  if (context.length > 0) text += ` context:${quoteBytes(context)}`;
  return text;
}

export function describeEntry(entry: Entry, format: EntryFormatter = quoteBytes): string {
  const content = entry.type === "EntryNormal" ? format(entry.data) : describeChangeOf(entry);
  return `${entry.term}/${entry.index} ${entry.type}${content === "" ? "" : ` ${content}`}`;
}

function describeChangeOf(entry: Entry): string {
  try {
    const change = decodeConfChange(entry);
    return change === undefined ? "" : confChangesToString(asConfChangeV2(change).changes);
  } catch (error) {
    if (error instanceof WireFormatError) return error.message;
    throw error;
  }
}

/** One line an entry. */
export function describeEntries(entries: readonly Entry[], format?: EntryFormatter): string {
  return entries.map((entry) => `${describeEntry(entry, format)}\n`).join("");
}

function describeTarget(id: bigint): string {
  if (id === NONE) return "None";
  if (id === LOCAL_APPEND_THREAD) return "AppendThread";
  if (id === LOCAL_APPLY_THREAD) return "ApplyThread";
  return id.toString(16);
}

export function describeMessage(message: Message, format?: EntryFormatter): string {
  return describeIndented("", message, format);
}

function describeIndented(
  indent: string,
  message: Message,
  format: EntryFormatter | undefined,
): string {
  let text =
    `${indent}${describeTarget(message.from)}->${describeTarget(message.to)} ${message.type} ` +
    `Term:${message.term} Log:${message.logTerm}/${message.index}`;
  if (message.reject) text += ` Rejected (Hint: ${message.rejectHint})`;
  if (message.commit !== 0) text += ` Commit:${message.commit}`;
  if (message.vote !== NONE) text += ` Vote:${message.vote}`;
  const entries = message.entries.map((entry) => describeEntry(entry, format));
  if (entries.length === 1) text += ` Entries:[${entries[0]!}]`;
  else if (entries.length > 1) {
    text += ` Entries:[\n${entries.map((entry) => `${indent}  ${entry}\n`).join("")}${indent}]`;
  }
  if (message.snapshot !== undefined && !isEmptySnapshot(message.snapshot)) {
    text += `\n${indent}  Snapshot: ${describeSnapshot(message.snapshot)}`;
  }
  if (message.responses.length > 0) {
    const responses = message.responses.map(
      (response) => `\n${describeIndented(`${indent}  `, response, format)}`,
    );
    text += ` Responses:[${responses.join("")}\n${indent}]`;
  }
  return text;
}

export function describeReadState(state: ReadState): string {
  return `{${state.index} [${state.context.join(" ")}]}`;
}

export function describeReady(ready: Ready, format?: EntryFormatter): string {
  let text = "";
  if (ready.softState !== undefined) text += `${describeSoftState(ready.softState)}\n`;
  if (ready.hardState !== undefined) text += `HardState ${describeHardState(ready.hardState)}\n`;
  if (ready.readStates.length > 0) {
    text += `ReadStates [${ready.readStates.map(describeReadState).join(" ")}]\n`;
  }
  if (ready.entries.length > 0) text += `Entries:\n${describeEntries(ready.entries, format)}`;
  if (ready.snapshot !== undefined) text += `Snapshot ${describeSnapshot(ready.snapshot)}\n`;
  if (ready.committedEntries.length > 0) {
    text += `CommittedEntries:\n${describeEntries(ready.committedEntries, format)}`;
  }
  if (ready.messages.length > 0) {
    const messages = ready.messages.map((message) => `${describeMessage(message, format)}\n`);
    text += `Messages:\n${messages.join("")}`;
  }
  return text === "" ? "<empty Ready>" : `Ready MustSync=${ready.mustSync}:\n${text}`;
}

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\x07", "\\a"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\v", "\\v"],
]);

/** Bytes as a double-quoted Go string: what is neither UTF-8 nor printable is escaped. */
export function quoteBytes(bytes: Uint8Array): string {
  const text = stringFromUtf8(bytes);
  // A replacement character may stand for bytes that are no UTF-8: only then look at each.
  const quoted = text.includes("\ufffd")
    ? quoteIllFormed(bytes)
    : Array.from(text, quoteCharacter).join("");
  return `"${quoted}"`;
}

function quoteIllFormed(bytes: Uint8Array): string {
  let quoted = "";
  for (let i = 0; i < bytes.length;) {
    const lead = bytes[i]!;
    const length = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const part = bytes.subarray(i, i + length);
    const character = stringFromUtf8(part);
    const isWhole =
      part.length === length &&
      Array.from(character).length === 1 &&
      (character !== "\ufffd" || length === 3);
    if (isWhole) {
      quoted += quoteCharacter(character);
      i += length;
    } else {
      quoted += `\\x${lead.toString(16).padStart(2, "0")}`;
      i++;
    }
  }
  return quoted;
}

function quoteCharacter(character: string): string {
  const short = SHORT_ESCAPES.get(character);
  if (short !== undefined) return short;
  if (character === " " || /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(character)) return character;
  const point = character.codePointAt(0)!;
  if (point < 0x20 || point === 0x7f) return `\\x${point.toString(16).padStart(2, "0")}`;
  if (point < 0x1_0000) return `\\u${point.toString(16).padStart(4, "0")}`;
  return `\\U${point.toString(16).padStart(8, "0")}`;
}
