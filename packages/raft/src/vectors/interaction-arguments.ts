/** The arguments of the commands that build members and change configurations. */

import { utf8FromString } from "@etcd-ts/base";
import type { ReadOnlyOption } from "../config.ts";
import { confChangesFromString } from "../raftpb/conf-change.ts";
import type { ConfChange, ConfChangeTransition, ConfChangeV2, Snapshot } from "../raftpb/types.ts";
import { EMPTY_CONF_STATE } from "../raftpb/types.ts";
import type { Argument, Block } from "./datadriven.ts";
import { parseBoolean, parseID, parseNumber, TranscriptError } from "./datadriven.ts";
import type { MemberOptions } from "./transcript-member.ts";

const DEFAULT_OPTIONS: MemberOptions = {
  electionTicks: 3,
  heartbeatTicks: 1,
  maxSizePerMessageBytes: Number.POSITIVE_INFINITY,
  maxInflightMessages: 0x7fff_ffff,
};

const TRANSITIONS: ReadonlyMap<string, ConfChangeTransition> = new Map([
  ["auto", "ConfChangeTransitionAuto"],
  ["implicit", "ConfChangeTransitionJointImplicit"],
  ["explicit", "ConfChangeTransitionJointExplicit"],
]);

/** What `add-nodes` builds its members from. */
export function parseMemberArguments(args: readonly Argument[]): {
  options: MemberOptions;
  snapshot: Snapshot;
} {
  const options = { ...DEFAULT_OPTIONS };
  const voters: bigint[] = [];
  const learners: bigint[] = [];
  let index = 0;
  let content = "";
  for (const { key, values } of args) {
    for (const value of values) {
      if (key === "voters") voters.push(parseID(value));
      else if (key === "learners") learners.push(parseID(value));
      else if (key === "index") index = parseNumber(value);
      else if (key === "content") content = value;
      else Object.assign(options, parseOption(key, value));
    }
  }
  const confState = { ...EMPTY_CONF_STATE, voters, learners };
  const snapshot = { data: utf8FromString(content), metadata: { confState, index, term: 0 } };
  return { options, snapshot };
}

function parseOption(key: string, value: string): Partial<MemberOptions> {
  switch (key) {
    case "inflight":
      return { maxInflightMessages: parseNumber(value) };
    case "async-storage-writes":
      return { asyncStorageWrites: parseBoolean(value) };
    case "prevote":
      return { preVote: parseBoolean(value) };
    case "checkquorum":
      return { checkQuorum: parseBoolean(value) };
    case "max-committed-size-per-ready":
      return { maxCommittedSizePerReadyBytes: parseNumber(value) };
    case "disable-conf-change-validation":
      return { disableConfChangeValidation: parseBoolean(value) };
    case "read-only":
      return { readOnly: parseReadOnly(value) };
    case "step-down-on-removal":
      return { stepDownOnRemoval: parseBoolean(value) };
    default:
      // An option nobody knows has no effect, as in etcd's own runner.
      return {};
  }
}

function parseReadOnly(value: string): ReadOnlyOption {
  if (value === "safe") return "safe";
  if (value === "lease-based") return "leaseBased";
  throw new TranscriptError(`invalid read-only option "${value}"`);
}

/** The change `propose-conf-change` asks for. */
export function parseConfChange(block: Block): ConfChange | ConfChangeV2 {
  let isV1 = false;
  let transition: ConfChangeTransition = "ConfChangeTransitionAuto";
  for (const { key, values } of block.arguments.slice(1)) {
    for (const value of values) {
      if (key === "v1") isV1 = parseBoolean(value);
      else if (key === "transition") {
        const named = TRANSITIONS.get(value);
        if (named === undefined) throw new TranscriptError(`unknown transition ${value}`);
        transition = named;
      } else throw new TranscriptError(`unknown command ${key}`);
    }
  }
  const changes = confChangesFromString(block.input);
  if (typeof changes === "string") throw new TranscriptError(changes);
  const context = new Uint8Array(0);
  if (!isV1) return { transition, changes, context };
  const change = changes[0];
  if (change === undefined || changes.length > 1 || transition !== "ConfChangeTransitionAuto") {
    throw new TranscriptError("v1 conf change can only have one operation and no transition");
  }
  return { id: 0n, ...change, context };
}
