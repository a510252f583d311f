import { concatBytes, EMPTY_BYTES, WireWriter } from "@etcd-ts/base";
import type { Entry, Message } from "@etcd-ts/raft";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ByteQueue } from "./byte-queue.ts";
import { LINK_HEARTBEAT } from "./frames.ts";
import type { StreamDecoder, StreamEncoder } from "./frames.ts";
import { MessageStreamDecoder, MessageStreamEncoder } from "./message-stream.ts";
import { MsgAppStreamDecoder, MsgAppStreamEncoder } from "./msgapp-stream.ts";
import {
  decodeHashKVRequest,
  decodeHashKVResponse,
  decodeMembers,
  decodeTimeToLiveRequest,
  decodeTimeToLiveResponse,
  encodeHashKVRequest,
  encodeHashKVResponse,
  encodeTimeToLiveRequest,
  encodeTimeToLiveResponse,
} from "./peer-messages.ts";

const LOCAL = 0x8211_f1d0_f64f_3269n;
const REMOTE = 0x91bc_3c39_8fb3_c146n;

const counter = fc.nat({ max: 1_000_000 });
const data = fc.uint8Array({ maxLength: 300 }).map((bytes) => new Uint8Array(bytes));

function entriesAfter(
  index: number,
  items: readonly { term: number; data: Uint8Array }[],
): Entry[] {
  return items.map((item, i) => ({ type: "EntryNormal", index: index + 1 + i, ...item }));
}

const append: fc.Arbitrary<Message> = fc
  .record({
    term: fc.integer({ min: 1, max: 3 }),
    logTerm: fc.integer({ min: 1, max: 3 }),
    index: fc.nat({ max: 4 }),
    items: fc.array(fc.record({ term: fc.integer({ min: 1, max: 3 }), data }), { maxLength: 4 }),
    commit: counter,
  })
  .map(({ items, index, ...rest }) => ({
    ...LINK_HEARTBEAT,
    ...rest,
    type: "MsgApp",
    from: REMOTE,
    to: LOCAL,
    index,
    entries: entriesAfter(index, items),
  }));

const other: fc.Arbitrary<Message> = fc
  .record({
    type: fc.constantFrom("MsgVote", "MsgAppResp", "MsgHeartbeat", "MsgProp", "MsgReadIndex"),
    term: counter,
    index: counter,
    context: data,
    reject: fc.boolean(),
  })
  .map((fields) => ({ ...LINK_HEARTBEAT, from: REMOTE, to: LOCAL, ...fields }) as Message);

/** Appends that continue each other, as a leader sends them, between ones that do not. */
const appends: fc.Arbitrary<Message[]> = fc
  .array(fc.oneof(append, fc.constant("continue" as const), fc.constant(LINK_HEARTBEAT)), {
    maxLength: 12,
  })
  .map((steps) => {
    const messages: Message[] = [];
    let last: Message | undefined;
    for (const step of steps) {
      if (step !== "continue") messages.push(step);
      else if (last !== undefined) {
        const { term } = last;
        const index = last.entries.at(-1)?.index ?? last.index;
        const entries = entriesAfter(index, [{ term, data: Uint8Array.of(index % 256) }]);
        messages.push({ ...last, logTerm: term, index, entries });
      }
      const newest = messages.at(-1);
      if (newest?.type === "MsgApp") last = newest;
    }
    return messages;
  });

function encodeAll(encoder: StreamEncoder, messages: readonly Message[]): Uint8Array {
  const writer = new WireWriter(16);
  for (const message of messages) encoder.encode(message, writer);
  return writer.finish();
}

function decodeInPieces(
  decoder: StreamDecoder,
  bytes: Uint8Array,
  cuts: readonly number[],
): Message[] {
  const messages: Message[] = [];
  const bounds = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length];
  let start = 0;
  for (const end of bounds.toSorted((a, b) => a - b)) {
    decoder.push(Buffer.from(bytes.subarray(start, end)));
    start = end;
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) {
      // The core relies on `slice` making a copy.
      for (const entry of next.message.entries) expect(entry.data).not.toBeInstanceOf(Buffer);
      messages.push(next.message);
    }
  }
  return messages;
}

const cuts = fc.array(fc.nat({ max: 5000 }), { maxLength: 30 });

describe("streams", () => {
  test("the message stream gives back every message, however it is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(append, other), { maxLength: 8 }), cuts, (messages, at) => {
        const bytes = encodeAll(new MessageStreamEncoder(), messages);
        expect(decodeInPieces(new MessageStreamDecoder(), bytes, at)).toEqual(messages);
      }),
    );
  });

  test("the stream of appends gives back every message, however it is cut", () => {
    fc.assert(
      fc.property(appends, cuts, (messages, at) => {
        const bytes = encodeAll(new MsgAppStreamEncoder(), messages);
        const decoder = new MsgAppStreamDecoder(LOCAL, REMOTE);
        expect(decodeInPieces(decoder, bytes, at)).toEqual(messages);
      }),
    );
  });

  test("an append that continues the last one leaves out its head", () => {
    const entries = entriesAfter(7, [{ term: 2, data: Uint8Array.of(1, 2, 3) }]);
    const base = { ...LINK_HEARTBEAT, type: "MsgApp" as const, from: REMOTE, to: LOCAL, commit: 7 };
    const first: Message = {
      ...base,
      term: 2,
      logTerm: 2,
      index: 6,
      entries: entriesAfter(6, [{ term: 2, data: EMPTY_BYTES }]),
    };
    const second: Message = { ...base, term: 2, logTerm: 2, index: 7, entries };
    const encoder = new MsgAppStreamEncoder();
    expect(encodeAll(encoder, [first])[0]).toBe(2);
    const bytes = encodeAll(encoder, [second]);
    // Type, count, length, entry (type 0, term 2, index 8, data), commit: as a Go member writes it.
    const entry = [8, 0, 16, 2, 24, 8, 34, 3, 1, 2, 3];
    const number = (value: number): number[] => [0, 0, 0, 0, 0, 0, 0, value];
    expect([...bytes]).toEqual([1, ...number(1), ...number(entry.length), ...entry, ...number(7)]);
    expect([...encodeAll(encoder, [LINK_HEARTBEAT])]).toEqual([0]);
  });

  test("a frame beyond the bound is refused before its bytes arrive", () => {
    const huge = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    const above = new Uint8Array(8);
    new DataView(above.buffer).setBigUint64(0, 513n * 1024n * 1024n);
    for (const length of [huge, above]) {
      const messages = new MessageStreamDecoder();
      messages.push(length);
      expect(() => messages.next()).toThrow("rafthttp: error limit exceeded");
      for (const frame of [[2], [1], [1, 0, 0, 0, 0, 0, 0, 0, 1]]) {
        const decoder = new MsgAppStreamDecoder(LOCAL, REMOTE);
        decoder.push(concatBytes([Uint8Array.from(frame), length]));
        expect(() => decoder.next()).toThrow("rafthttp: error limit exceeded");
      }
    }
  });

  test("garbage ends in a FrameError or in waiting, never in anything else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), cuts, (garbage, at) => {
        for (const decoder of [
          new MessageStreamDecoder(),
          new MsgAppStreamDecoder(LOCAL, REMOTE),
        ]) {
          try {
            decodeInPieces(decoder, garbage, at);
          } catch (error) {
            expect(error).toMatchObject({ code: "PEER_FRAME" });
          }
        }
      }),
    );
    const decoder = new MsgAppStreamDecoder(LOCAL, REMOTE);
    decoder.push(Uint8Array.of(9));
    expect(() => decoder.next()).toThrow("failed to parse type 9 in msgappv2 stream");
  });
});

test("ByteQueue.take() gives the bytes in order, whatever the portions", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 10 }),
      fc.array(fc.nat({ max: 25 }), { maxLength: 20 }),
      (chunks, portions) => {
        const queue = new ByteQueue();
        for (const chunk of chunks) queue.push(chunk);
        const all = concatBytes(chunks);
        const taken: Uint8Array[] = [];
        for (const portion of portions) {
          if (portion <= queue.length) taken.push(queue.take(portion).slice());
        }
        taken.push(queue.takeAll());
        expect([...concatBytes(taken)]).toEqual([...all]);
        expect(queue.length).toBe(0);
      },
    ),
  );
});

describe("questions between members", () => {
  test("decodeMembers() keeps ids that exceed a number", () => {
    const text =
      '[{"id":18446744073709551615,"peerURLs":["http://a:1"],"name":"x\\"id\\":5"},' +
      '{"id":7,"peerURLs":["http://b:1"],"isLearner":true,"clientURLs":["http://b:2"]}]\n';
    expect(decodeMembers(new TextEncoder().encode(text))).toEqual([
      {
        id: 18446744073709551615n,
        name: 'x"id":5',
        peerURLs: ["http://a:1"],
        clientURLs: [],
        isLearner: false,
      },
      { id: 7n, name: "", peerURLs: ["http://b:1"], clientURLs: ["http://b:2"], isLearner: true },
    ]);
    for (const bad of ["{}", "[1]", '[{"id":"x"}]', "[", '[{"id":1,"peerURLs":"http://a"}]']) {
      expect(() => decodeMembers(new TextEncoder().encode(bad))).toThrow();
    }
  });

  test("lease and hash messages come back as they were", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.boolean(),
        fc.array(data, { maxLength: 3 }),
        counter,
        (id, withKeys, keys, n) => {
          const asked = encodeTimeToLiveRequest(id, withKeys);
          expect(decodeTimeToLiveRequest(asked)).toEqual({ id, withKeys });
          const result = { id, ttlSeconds: n, grantedTTLSeconds: n + 1, keys };
          expect(decodeTimeToLiveResponse(encodeTimeToLiveResponse(result))).toEqual(result);
          const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
          expect(decodeHashKVRequest(utf8(encodeHashKVRequest(n)))).toBe(n);
          const hash = { hash: n, hashRevision: 1, compactRevision: 0, currentRevision: n };
          expect(decodeHashKVResponse(utf8(encodeHashKVResponse(hash)))).toEqual(hash);
        },
      ),
    );
    expect(decodeHashKVRequest(new TextEncoder().encode("nonsense"))).toBeUndefined();
  });
});
