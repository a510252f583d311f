/** The byte layout of the Raft messages, by example, and its inverse, by property. */

import type { Codec } from "@etcd-ts/base";
import { bytesFromHex, decodeMessage, encodeMessage, hexFromBytes } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ConfChangeCodec,
  ConfChangeV2Codec,
  ConfStateCodec,
  EntryCodec,
  entrySizeBytes,
  HardStateCodec,
  MessageCodec,
  SnapshotCodec,
} from "./codec.ts";
import type { Message } from "./types.ts";
import {
  CONF_CHANGE_TRANSITIONS,
  CONF_CHANGE_TYPES,
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  EMPTY_SNAPSHOT,
  ENTRY_TYPES,
  LOCAL_APPEND_THREAD,
  MESSAGE_TYPES,
  newMessage,
} from "./types.ts";

const id = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const counter = fc.maxSafeNat();
const bytes = fc.uint8Array({ maxLength: 300 });
const ids = fc.array(id, { maxLength: 5 });

const entry = fc.record({
  type: fc.constantFrom(...ENTRY_TYPES),
  term: counter,
  index: counter,
  data: bytes,
});
const confState = fc.record({
  voters: ids,
  learners: ids,
  votersOutgoing: ids,
  learnersNext: ids,
  autoLeave: fc.boolean(),
});
const snapshot = fc.record({
  data: bytes,
  metadata: fc.record({ confState, index: counter, term: counter }),
});

function messageOf(responses: fc.Arbitrary<readonly Message[]>): fc.Arbitrary<Message> {
  return fc.record({
    type: fc.constantFrom(...MESSAGE_TYPES),
    to: id,
    from: id,
    term: counter,
    logTerm: counter,
    index: counter,
    entries: fc.array(entry, { maxLength: 4 }),
    commit: counter,
    vote: id,
    snapshot: fc.option(snapshot, { nil: undefined }),
    reject: fc.boolean(),
    rejectHint: counter,
    context: bytes,
    responses,
  });
}
const message = messageOf(fc.array(messageOf(fc.constant([])), { maxLength: 2 }));

const confChange = fc.record({
  id,
  type: fc.constantFrom(...CONF_CHANGE_TYPES),
  nodeID: id,
  context: bytes,
});
const confChangeV2 = fc.record({
  transition: fc.constantFrom(...CONF_CHANGE_TRANSITIONS),
  changes: fc.array(fc.record({ type: fc.constantFrom(...CONF_CHANGE_TYPES), nodeID: id })),
  context: bytes,
});

function checkRoundTrip<T>(codec: Codec<T>, values: fc.Arbitrary<T>): void {
  fc.assert(
    fc.property(values, (value) => {
      expect(decodeMessage(codec, encodeMessage(codec, value))).toEqual(value);
    }),
  );
}

describe("codecs", () => {
  test("EntryCodec decodes what it encoded", () => checkRoundTrip(EntryCodec, entry));
  test("ConfStateCodec decodes what it encoded", () => checkRoundTrip(ConfStateCodec, confState));
  test("SnapshotCodec decodes what it encoded", () => checkRoundTrip(SnapshotCodec, snapshot));
  test("MessageCodec decodes what it encoded", () => checkRoundTrip(MessageCodec, message));
  test("ConfChangeCodec decodes what it encoded", () =>
    checkRoundTrip(ConfChangeCodec, confChange));
  test("ConfChangeV2Codec decodes what it encoded", () =>
    checkRoundTrip(ConfChangeV2Codec, confChangeV2));
  test("HardStateCodec decodes what it encoded", () =>
    checkRoundTrip(HardStateCodec, fc.record({ term: counter, vote: id, commit: counter })));

  test("entrySizeBytes() is the length of the encoded entry", () => {
    fc.assert(
      fc.property(entry, (value) => {
        expect(entrySizeBytes(value)).toBe(encodeMessage(EntryCodec, value).length);
      }),
    );
  });
});

function hexOf<T>(codec: Codec<T>, value: T): string {
  return hexFromBytes(encodeMessage(codec, value));
}

function fromHex<T>(codec: Codec<T>, hex: string): T {
  return decodeMessage(codec, bytesFromHex(hex)!);
}

describe("the layout", () => {
  test("EntryCodec writes zeros, but no empty data", () => {
    const empty = { type: "EntryNormal", term: 0, index: 0, data: new Uint8Array(0) } as const;
    expect(hexOf(EntryCodec, empty)).toBe("080010001800");
    expect(hexOf(EntryCodec, { ...empty, data: Uint8Array.of(7) })).toBe("080010001800220107");
  });

  test("HardStateCodec writes zeros", () => {
    expect(hexOf(HardStateCodec, EMPTY_HARD_STATE)).toBe("080010001800");
  });

  test("ConfStateCodec writes one tag a member, and always autoLeave", () => {
    expect(hexOf(ConfStateCodec, EMPTY_CONF_STATE)).toBe("2800");
    const state = { ...EMPTY_CONF_STATE, voters: [1n, 300n], learners: [2n], autoLeave: true };
    expect(hexOf(ConfStateCodec, state)).toBe("080108ac0210022801");
  });

  test("SnapshotCodec writes empty messages within it", () => {
    expect(hexOf(SnapshotCodec, EMPTY_SNAPSHOT)).toBe("12080a02280010001800");
  });

  test("MessageCodec writes zeros in the order of the field numbers", () => {
    expect(hexOf(MessageCodec, newMessage({ type: "MsgHup" }))).toBe(
      "0800100018002000280030004000500058006800",
    );
    expect(
      hexOf(
        MessageCodec,
        newMessage({
          type: "MsgApp",
          to: 2n,
          from: LOCAL_APPEND_THREAD,
          vote: 3n,
          context: Uint8Array.of(9),
          snapshot: EMPTY_SNAPSHOT,
        }),
      ),
    ).toBe(
      "0803100218ffffffffffffffffff01200028003000" +
        "40004a0a12080a0228001000180050005800620109" +
        "6803",
    );
  });

  test("ConfChangeCodec writes zeros", () => {
    const empty = new Uint8Array(0);
    const change = { id: 0n, type: "ConfChangeAddNode", nodeID: 0n, context: empty } as const;
    expect(hexOf(ConfChangeCodec, change)).toBe("080010001800");
    expect(
      hexOf(ConfChangeV2Codec, {
        transition: "ConfChangeTransitionAuto",
        changes: [{ type: "ConfChangeRemoveNode", nodeID: 5n }],
        context: empty,
      }),
    ).toBe("0800120408011005");
  });

  test("decode() takes absent fields for zero", () => {
    expect(fromHex(EntryCodec, "")).toEqual({
      type: "EntryNormal",
      term: 0,
      index: 0,
      data: new Uint8Array(0),
    });
    expect(fromHex(MessageCodec, "")).toEqual(newMessage({ type: "MsgHup" }));
    expect(fromHex(SnapshotCodec, "")).toEqual(EMPTY_SNAPSHOT);
  });

  test("decode() takes packed members and passes over unknown fields", () => {
    expect(fromHex(ConfStateCodec, "0a0301ac02a20600")).toEqual({
      ...EMPTY_CONF_STATE,
      voters: [1n, 300n],
    });
  });

  test("decode() refuses what it cannot represent", () => {
    expect(() => fromHex(EntryCodec, "0803")).toThrow("raftpb.EntryType 3 is unknown");
    expect(() => fromHex(EntryCodec, "10ffffffffffffffffff01")).toThrow("exceeds 2^53-1");
    expect(() => fromHex(EntryCodec, "2205aa")).toThrow("unexpected EOF");
    let nested = encodeMessage(MessageCodec, newMessage({ type: "MsgHup" }));
    for (let i = 0; i < 20; i++) {
      nested = Uint8Array.of(0x72, nested.length, ...nested);
      if (nested.length > 125) break;
    }
    expect(() => decodeMessage(MessageCodec, nested)).toThrow("nested too deep");
  });

  test("decode() of any bytes yields a message or a wire error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        try {
          decodeMessage(MessageCodec, input);
        } catch (error) {
          expect((error as { code?: string }).code).toBe("WIRE_FORMAT");
        }
      }),
    );
  });
});
