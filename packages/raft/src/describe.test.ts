/** The texts of logs and transcripts. */

import { utf8FromString } from "@etcd-ts/base";
import { describe, expect, test } from "vitest";
import { describeEntry, describeMessage, describeReady, quoteBytes } from "./describe.ts";
import { encodeConfChange } from "./raftpb/conf-change.ts";
import type { Entry } from "./raftpb/types.ts";
import { newMessage } from "./raftpb/types.ts";

describe("quoteBytes()", () => {
  test("quotes as Go does", () => {
    const quoted = (text: string): string => quoteBytes(utf8FromString(text));
    expect(quoted("")).toBe('""');
    expect(quoted('a"b\\c\n\t\u0001\u007f')).toBe('"a\\"b\\\\c\\n\\t\\x01\\x7f"');
    expect(quoted("ü€😀")).toBe('"ü€😀"');
    expect(quoted("\u00a0\u2028\u{e0001}\ufffd")).toBe('"\\u00a0\\u2028\\U000e0001\ufffd"');
    expect(quoteBytes(Uint8Array.of(0xff, 0x41, 0xe2, 0x82))).toBe('"\\xffA\\xe2\\x82"');
  });
});

describe("describeMessage()", () => {
  const entry: Entry = { type: "EntryNormal", term: 2, index: 5, data: utf8FromString("x") };

  test("leaves out what is zero", () => {
    expect(describeMessage(newMessage({ type: "MsgBeat", from: 17n }))).toBe(
      "11->None MsgBeat Term:0 Log:0/0",
    );
  });

  test("shows one entry in line, more on lines of their own", () => {
    const message = newMessage({ type: "MsgApp", from: 1n, to: 2n, term: 2, entries: [entry] });
    expect(describeMessage(message)).toBe(
      '1->2 MsgApp Term:2 Log:0/0 Entries:[2/5 EntryNormal "x"]',
    );
    expect(describeMessage({ ...message, entries: [entry, { ...entry, index: 6 }] })).toBe(
      '1->2 MsgApp Term:2 Log:0/0 Entries:[\n  2/5 EntryNormal "x"\n  2/6 EntryNormal "x"\n]',
    );
  });
});

describe("describeEntry()", () => {
  test("shows a change in short form, or why it is none", () => {
    const change = encodeConfChange({
      transition: "ConfChangeTransitionAuto",
      changes: [
        { type: "ConfChangeAddNode", nodeID: 3n },
        { type: "ConfChangeAddLearnerNode", nodeID: 4n },
      ],
      context: new Uint8Array(0),
    });
    expect(describeEntry({ ...change, term: 1, index: 2 })).toBe("1/2 EntryConfChangeV2 v3 l4");
    const broken = { type: "EntryConfChange", term: 1, index: 2, data: Uint8Array.of(1) } as const;
    expect(describeEntry(broken)).toContain("proto:");
  });
});

describe("describeReady()", () => {
  test("shows read states", () => {
    expect(
      describeReady({
        softState: undefined,
        hardState: undefined,
        readStates: [{ index: 5, context: Uint8Array.of(1, 2) }],
        entries: [],
        snapshot: undefined,
        committedEntries: [],
        messages: [],
        mustSync: false,
      }),
    ).toBe("Ready MustSync=false:\nReadStates [{5 [1 2]}]\n");
  });
});
