/**
 * The public transcripts, replayed in place, and a few of our own that show the runner can fail.
 *
 * The transcripts lie beside the project; where they do not, their suite is reported as skipped.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseTranscript } from "./datadriven.ts";
import { replayTranscript, TRANSCRIPT_KINDS } from "./run.ts";

const root = fileURLToPath(new URL("../../../..", import.meta.url));
const vectors = join(root, "../shared/vectors/raft");

describe.skipIf(!existsSync(vectors))("the transcripts in ../shared/vectors/raft", () => {
  for (const kind of TRANSCRIPT_KINDS) {
    const folder = join(vectors, kind);
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      test(`${kind}/${name}`, () => {
        const { failure } = replayTranscript(kind, readFileSync(join(folder, name), "utf8"));
        expect(failure).toBeUndefined();
      });
    }
  }
});

describe("replayTranscript()", () => {
  test("tells the first line that differs", () => {
    const text =
      "committed cfg=(1,2) idx=(7,_)\n----\n      idx\nx>      7    (id=1)\n?       0    (id=2)\n7\n";
    const { failure } = replayTranscript("quorum", text);
    expect(failure).toContain("line 1: committed: output line 4 differs");
    expect(failure).toContain("- 7");
    expect(failure).toContain("+ 0");
  });

  test("fails for output that is missing", () => {
    expect(replayTranscript("quorum", "vote cfg=(1) votes=(y)\n----\n").failure).toBeDefined();
  });

  test("fails for a file without blocks, an unknown command, a missing member", () => {
    expect(replayTranscript("quorum", "# nothing\n").failure).toBe("no blocks");
    expect(replayTranscript("quorum", "guess\n----\n").failure).toContain("unknown command");
    expect(replayTranscript("interaction", "campaign 1\n----\nok\n").failure).toContain(
      "no member",
    );
  });

  test("shows errors of commands as output", () => {
    const text = "add-nodes 1\n----\nok\n";
    expect(replayTranscript("interaction", `log-level none\n----\nok\n\n${text}`).failure).toBe(
      undefined,
    );
    expect(
      replayTranscript(
        "interaction",
        "log-level loud\n----\nlog levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]\n",
      ).failure,
    ).toBeUndefined();
  });
});

describe("parseTranscript()", () => {
  test("reads arguments, continued lines, input and fenced output", () => {
    const blocks = parseTranscript(
      "# note\nadd 3 voters=(1, 2,(3)) empty= \\\n  x=y\n\n in\n----\n----\na\n\nb\n----\n----\n\nnext\n----\nok\n",
    );
    expect(blocks).toEqual([
      {
        line: 2,
        command: "add",
        arguments: [
          { key: "3", values: [] },
          { key: "voters", values: ["1", "2", "(3)"] },
          { key: "empty", values: [""] },
          { key: "x", values: ["y"] },
        ],
        input: "in",
        expected: "a\n\nb\n",
      },
      { line: 14, command: "next", arguments: [], input: "", expected: "ok\n" },
    ]);
  });

  test("refuses what cannot be read", () => {
    expect(() => parseTranscript("a b=(1\n----\n")).toThrow("cannot parse");
    expect(() => parseTranscript("subtest one\n\na\n----\n")).toThrow("within a subtest");
  });
});
