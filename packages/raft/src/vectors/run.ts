/** Replays transcripts and says where they differ from what happened. */

import { unreachable } from "@etcd-ts/base";
import { ConfChangeTranscript } from "./confchange-transcript.ts";
import type { Block } from "./datadriven.ts";
import { parseTranscript } from "./datadriven.ts";
import { InteractionTranscript } from "./interaction-transcript.ts";
import { answerQuorumBlock } from "./quorum-transcript.ts";

/** Named by the folder a transcript lies in. */
export const TRANSCRIPT_KINDS = ["interaction", "confchange", "quorum"] as const;
export type TranscriptKind = (typeof TRANSCRIPT_KINDS)[number];

export interface TranscriptResult {
  /** Blocks replayed. */
  readonly blocks: number;
  /** What went wrong first; undefined if all blocks came out as written. */
  readonly failure: string | undefined;
}

/** Replays one transcript. A group goes on from its first difference as it will, so that ends it. */
export function replayTranscript(kind: TranscriptKind, text: string): TranscriptResult {
  let blocks = 0;
  let line = 0;
  try {
    const answer = answererOf(kind);
    for (const block of parseTranscript(text)) {
      line = block.line;
      blocks++;
      const output = answer(block);
      const actual = output === "" || output.endsWith("\n") ? output : `${output}\n`;
      if (actual !== block.expected) return { blocks, failure: describeDifference(block, actual) };
    }
  } catch (error) {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { blocks, failure: `line ${line}: ${reason}` };
  }
  return blocks === 0 ? { blocks, failure: "no blocks" } : { blocks, failure: undefined };
}

function answererOf(kind: TranscriptKind): (block: Block) => string {
  switch (kind) {
    case "interaction": {
      const transcript = new InteractionTranscript();
      return (block) => transcript.answer(block);
    }
    case "confchange": {
      const transcript = new ConfChangeTranscript();
      return (block) => transcript.answer(block);
    }
    case "quorum":
      return answerQuorumBlock;
    default:
      return unreachable(kind, "answererOf");
  }
}

function describeDifference(block: Block, actual: string): string {
  const expected = block.expected.split("\n");
  const got = actual.split("\n");
  let position = 0;
  while (position < expected.length && expected[position] === got[position]) position++;
  const show = (lines: readonly string[], mark: string): string =>
    lines
      .slice(Math.max(0, position - 2), position + 3)
      .map((one) => `  ${mark} ${one}\n`)
      .join("");
  return (
    `line ${block.line}: ${block.command}: output line ${position + 1} differs\n` +
    `${show(expected, "-")}${show(got, "+")}`
  );
}
