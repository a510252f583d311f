/**
 * Transcripts of quorum decisions.
 *
 * `committed cfg=(1,2,3) idx=(5,_,7)` asks for the index a majority has acknowledged,
 * `vote cfg=(1,2,3) votes=(y,n,_)` for the outcome of an election; `cfgj=` names the other half of
 * a joint configuration. Values belong to the voters in the order they are named, each voter once;
 * `_` says nothing is known of one.
 */

import type { JointVoters } from "../quorum/joint.ts";
import {
  allVoters,
  describeJointAcked,
  jointCommittedIndex,
  jointVoteResult,
} from "../quorum/joint.ts";
import type { VoterSet } from "../quorum/majority.ts";
import {
  describeAcked,
  describeIndex,
  EMPTY_VOTERS,
  majorityCommittedIndex,
  majorityVoteResult,
  sortedIDs,
} from "../quorum/majority.ts";
import type { Block } from "./datadriven.ts";
import { parseID, parseNumber, TranscriptError } from "./datadriven.ts";

interface Question {
  readonly incoming: bigint[];
  readonly outgoing: bigint[];
  isJoint: boolean;
  /** 0 where nothing is known; votes are 2 for and 1 against. */
  readonly indexes: number[];
  readonly votes: number[];
}

const VOTE_VALUES: ReadonlyMap<string, number> = new Map([
  ["y", 2],
  ["n", 1],
  ["_", 0],
]);

export function answerQuorumBlock(block: Block): string {
  const question = parseQuestion(block);
  const voters: JointVoters = {
    incoming: new Set(question.incoming),
    outgoing: new Set(question.outgoing),
  };
  const input = block.command === "vote" ? question.votes : question.indexes;
  const all = allVoters(voters);
  if (all.size !== input.length) {
    const names = sortedIDs(all).map((id) => `${id}:{}`);
    return (
      `error: mismatched input (explicit or _) for voters map[${names.join(" ")}]: ` +
      `[${input.join(" ")}]`
    );
  }
  const known = valuesByVoter(question, input);
  switch (block.command) {
    case "committed":
      return question.isJoint
        ? answerJointCommitted(voters, known)
        : answerCommitted(voters.incoming, known);
    case "vote":
      return answerVote(voters, question.isJoint, known);
    default:
      throw new TranscriptError(`unknown command: ${block.command}`);
  }
}

function parseQuestion(block: Block): Question {
  const question: Question = { incoming: [], outgoing: [], isJoint: false, indexes: [], votes: [] };
  for (const { key, values } of block.arguments) {
    switch (key) {
      case "cfg":
        question.incoming.push(...values.map(parseID));
        break;
      case "cfgj":
        question.isJoint = true;
        if (values.length !== 1 || values[0] !== "zero") {
          question.outgoing.push(...values.map(parseID));
        }
        break;
      case "idx":
        question.indexes.push(...values.map((value) => (value === "_" ? 0 : parseIndex(value))));
        break;
      case "votes":
        question.votes.push(...values.map(parseVote));
        break;
      default:
        throw new TranscriptError(`unknown arg ${key}`);
    }
  }
  return question;
}

function parseIndex(text: string): number {
  const index = parseNumber(text);
  if (index <= 0) throw new TranscriptError("cannot use 0 as idx");
  return index;
}

function parseVote(text: string): number {
  const value = VOTE_VALUES.get(text);
  if (value === undefined) throw new TranscriptError(`unknown vote: ${text}`);
  return value;
}

function valuesByVoter(question: Question, values: readonly number[]): Map<bigint, number> {
  const known = new Map<bigint, number>();
  const order = new Set([...question.incoming, ...question.outgoing]);
  let position = 0;
  for (const id of order) {
    const value = values[position++]!;
    if (value !== 0) known.set(id, value);
  }
  return known;
}

/** Counts acknowledgements index by index: slow, and plain enough to trust. */
export function naiveCommittedIndex(voters: VoterSet, acked: ReadonlyMap<bigint, number>): number {
  if (voters.size === 0) return Number.POSITIVE_INFINITY;
  let committed = 0;
  for (const candidate of acked.values()) {
    let count = 0;
    for (const id of voters) if ((acked.get(id) ?? 0) >= candidate) count++;
    if (count > voters.size / 2) committed = Math.max(committed, candidate);
  }
  return committed;
}

/** Also reckons what must not change the outcome, and says so if it does. */
function answerCommitted(voters: VoterSet, known: ReadonlyMap<bigint, number>): string {
  const acked = (id: bigint): number | undefined => known.get(id);
  const index = majorityCommittedIndex(voters, acked);
  let text = describeAcked(voters, acked);
  const compare = (other: number, how: string): void => {
    if (other !== index) text += `${describeIndex(other)} <-- ${how}`;
  };
  compare(naiveCommittedIndex(voters, known), "via alternative computation\n");
  compare(
    jointCommittedIndex({ incoming: voters, outgoing: EMPTY_VOTERS }, acked),
    "via zero-joint quorum\n",
  );
  compare(
    jointCommittedIndex({ incoming: voters, outgoing: voters }, acked),
    "via self-joint quorum\n",
  );
  for (const id of voters) {
    const own = known.get(id) ?? 0;
    if (own === 0 || own >= index) continue;
    // Whoever lies below what is committed may fall back further without changing it.
    for (const lower of [own - 1, 0]) {
      const other = majorityCommittedIndex(voters, (other) =>
        other === id ? lower : acked(other),
      );
      compare(other, `overlaying ${id}->${lower === 0 ? 0 : own}`);
    }
  }
  return `${text}${describeIndex(index)}\n`;
}

function answerJointCommitted(voters: JointVoters, known: ReadonlyMap<bigint, number>): string {
  const acked = (id: bigint): number | undefined => known.get(id);
  const index = jointCommittedIndex(voters, acked);
  let text = describeJointAcked(voters, acked);
  const mirrored = jointCommittedIndex(mirror(voters), acked);
  if (mirrored !== index) text += `${describeIndex(mirrored)} <-- via symmetry\n`;
  return `${text}${describeIndex(index)}\n`;
}

function answerVote(
  voters: JointVoters,
  isJoint: boolean,
  known: ReadonlyMap<bigint, number>,
): string {
  const votes = new Map([...known].map(([id, value]) => [id, value === 2]));
  if (!isJoint) return `${majorityVoteResult(voters.incoming, votes)}\n`;
  const result = jointVoteResult(voters, votes);
  const mirrored = jointVoteResult(mirror(voters), votes);
  const note = mirrored === result ? "" : `${mirrored} <-- via symmetry\n`;
  return `${note}${result}\n`;
}

function mirror({ incoming, outgoing }: JointVoters): JointVoters {
  return { incoming: outgoing, outgoing: incoming };
}
