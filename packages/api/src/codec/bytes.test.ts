/**
 * Bytes the reference wrote (etcd 3.6.14, Go), and what is particular to single codecs: bounds,
 * stored records, oneofs.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  bytesFromHex,
  bytesFromLatin1,
  concatBytes,
  decodeMessage,
  encodeMessage,
  hexFromBytes,
  WireFormatError,
  WireReader,
  WireWriter,
} from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";
import fc from "fast-check";
import { expect, test } from "vitest";

import { InternalRaftRequestSchema } from "../gen/etcdserverpb/raft_internal_pb.ts";
import { AuthEnableRequestSchema, MemberAddRequestSchema } from "../gen/etcdserverpb/rpc_pb.ts";
import { ClusterVersionSetRequestSchema } from "../gen/membershippb/membership_pb.ts";
import { generatedCodec } from "./generated-codec.ts";
import { EventType, generatedKeyValue, KeyValueCodec } from "./key-value.ts";
import type { Event } from "./key-value.ts";
import { CompactionRequestCodec, PutRequestCodec, RangeRequestCodec } from "./kv.ts";
import { LeaseRecordCodec } from "./lease.ts";
import { InternalRaftRequestCodec, writeProposal } from "./raft-internal.ts";
import type { RaftOperation } from "./raft-internal.ts";
import { generatedHeader, ResponseHeaderCodec } from "./response-header.ts";
import {
  CompareResult,
  CompareTarget,
  MESSAGE_DEPTH_MAX,
  TXN_DEPTH_MAX,
  TxnRequestCodec,
  TxnResponseCodec,
} from "./txn.ts";
import type { RequestOp, TxnRequest } from "./txn.ts";
import { WatchCreateRequestCodec, WatchRequestCodec, WatchResponseCodec } from "./watch.ts";

const b = bytesFromLatin1;

function hexOf<T>(codec: Codec<T>, message: T): string {
  return hexFromBytes(encodeMessage(codec, message));
}

const STORED = KeyValueCodec.create({
  key: b("foo"),
  createRevision: 2,
  modRevision: 2 ** 40,
  version: 300,
  value: b("bar"),
  lease: -2n,
});
const STORED_HEX = "0a03666f6f10021880808080802020ac022a0362617230feffffffffffffffff01";

test("a stored record has the reference's bytes", () => {
  expect(hexOf(KeyValueCodec, STORED)).toBe(STORED_HEX);
  const tombstone = KeyValueCodec.create({ key: b("foo"), modRevision: 7 });
  expect(hexOf(KeyValueCodec, tombstone)).toBe("0a03666f6f1807");
});

test("log entries have the reference's bytes", () => {
  const put = InternalRaftRequestCodec.create({
    header: { id: 0xfedcba9876543210n, username: "root", authRevision: 5 },
    operation: {
      kind: "put",
      request: PutRequestCodec.create({
        key: b("k"),
        value: b("v"),
        lease: 0x694d77aa9e38260fn,
        prevKV: true,
      }),
    },
  });
  expect(hexOf(InternalRaftRequestCodec, put)).toBe(
    "22120a016b120176188fcce0f1a9f5dda6692001a206130890e4d0b287d3aeeefe011204726f6f741805",
  );
  const authEnable = InternalRaftRequestCodec.create({
    header: { id: 1n, username: "", authRevision: 0 },
    operation: { kind: "authEnable", request: create(AuthEnableRequestSchema) },
  });
  expect(hexOf(InternalRaftRequestCodec, authEnable)).toBe("a206020801c23e00");
  const version = InternalRaftRequestCodec.create({
    header: { id: 9n, username: "", authRevision: 0 },
    operation: {
      kind: "clusterVersionSet",
      request: create(ClusterVersionSetRequestSchema, { ver: "3.6.0" }),
    },
  });
  expect(hexOf(InternalRaftRequestCodec, version)).toBe("a206020809a251070a05332e362e30");
});

test("writeProposal() writes what the codec of log entries does", () => {
  const operations: RaftOperation[] = [
    { kind: "put", request: PutRequestCodec.create({ key: b("k"), value: b("v") }) },
    { kind: "authEnable", request: create(AuthEnableRequestSchema) },
  ];
  const uint64 = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
  fc.assert(
    fc.property(
      fc.oneof(
        uint64,
        uint64.map((id) => id >> 30n || 1n),
      ),
      fc.constantFrom("", "root"),
      fc.oneof(fc.constant(0), fc.maxSafeNat()),
      fc.constantFrom(...operations),
      (id, username, authRevision, operation) => {
        const header = { id, username, authRevision };
        const writer = new WireWriter();
        const high = Number(id >> 32n);
        writeProposal(writer, high, Number(id & 0xffff_ffffn), username, authRevision, operation);
        const entry = InternalRaftRequestCodec.create({ header, operation });
        expect(writer.finish()).toEqual(encodeMessage(InternalRaftRequestCodec, entry));
      },
    ),
  );
});

test("a transaction has the reference's bytes", () => {
  const all = Uint8Array.of(0);
  const txn = TxnRequestCodec.create({
    compare: [
      {
        result: CompareResult.NOT_EQUAL,
        target: CompareTarget.LEASE,
        key: b("a"),
        rangeEnd: b("b"),
        value: { kind: "lease", lease: 0n },
      },
      {
        result: CompareResult.GREATER,
        target: CompareTarget.VALUE,
        key: b("c"),
        rangeEnd: b(""),
        value: { kind: "value", value: b("") },
      },
    ],
    success: [{ kind: "range", range: RangeRequestCodec.create() }, { kind: "none" }],
    failure: [
      {
        kind: "txn",
        txn: TxnRequestCodec.create({
          success: [
            { kind: "deleteRange", deleteRange: { key: all, rangeEnd: all, prevKV: true } },
          ],
        }),
      },
    ],
  });
  expect(hexOf(TxnRequestCodec, txn)).toBe(
    "0a0d080310041a01614000820401620a09080110031a01633a0012020a0012001a0e220c120a1a080a01001201001801",
  );
});

test("watch messages have the reference's bytes", () => {
  const response = WatchResponseCodec.create({
    header: {
      clusterID: 0xcdf818194e3a8c32n,
      memberID: 0x8e9e05c52164694dn,
      revision: 12,
      raftTerm: 2,
    },
    watchID: -1,
    canceled: true,
    cancelReason: "gone",
    events: [
      { type: EventType.PUT, kv: STORED, prevKV: undefined },
      { type: EventType.DELETE, kv: KeyValueCodec.create(), prevKV: STORED },
    ],
  });
  expect(hexOf(WatchResponseCodec, response)).toBe(
    `0a1a08b298eaf1948386fccd0110cdd2918bd2b881cf8e01180c200210ffffffffffffffffff0120013204676f6e65` +
      `5a231221${STORED_HEX}5a27080112001a21${STORED_HEX}`,
  );
  const createRequest = WatchCreateRequestCodec.create({
    key: b("w"),
    startRevision: -3,
    filters: [1, 0],
    watchID: 4,
    fragment: true,
  });
  expect(hexOf(WatchRequestCodec, { kind: "create", create: createRequest })).toBe(
    "0a160a017718fdffffffffffffffff012a02010038044001",
  );
  expect(hexOf(WatchRequestCodec, { kind: "progress" })).toBe("1a00");
});

test("KeyValue.encoded is written as it is", () => {
  const encoded = bytesFromHex(STORED_HEX)!;
  const response = WatchResponseCodec.create({
    events: [
      { type: EventType.PUT, kv: { ...KeyValueCodec.create(), encoded }, prevKV: undefined },
    ],
  });
  expect(hexOf(WatchResponseCodec, response)).toBe(`5a231221${STORED_HEX}`);
});

test("a list of events that comes again is written as it was the first time", () => {
  const eventOf = (text: string): Event => {
    const kv = KeyValueCodec.create({ key: b(text), modRevision: 7 });
    return { type: EventType.PUT, kv, prevKV: undefined };
  };
  const lists = [[eventOf("a")], [eventOf("b"), eventOf("c")], [eventOf("x".repeat(70_000))]];
  const encoded = (events: readonly Event[]): string =>
    hexOf(WatchResponseCodec, WatchResponseCodec.create({ watchID: 1, events }));
  for (const list of [0, 0, 0, 1, 0, 1, 1, 2, 2, 2, 1, 1, 1]) {
    expect(encoded(lists[list]!)).toBe(encoded([...lists[list]!]));
    expect(encoded(lists[list]!)).toBe(encoded([...lists[list]!]));
  }
  // Three in a row, which is when the kept bytes are written.
  const inARow = lists.map((events) => [1, 2, 3].map(() => encoded(events)));
  expect(inARow).toEqual(lists.map((events) => [1, 2, 3].map(() => encoded([...events]))));
});

test("headers of several members in turn carry their own ids", () => {
  const headers = [
    [1n, 2n],
    [1n, 2n],
    [1n, 3n],
    [0n, 0n],
    [0n, 3n],
    [2n ** 64n - 1n, 1n],
  ].map(([clusterID, memberID]) => ({
    ...{ clusterID: clusterID!, memberID: memberID! },
    ...{ revision: 5, raftTerm: 2 },
  }));
  expect(headers.map((header) => hexOf(ResponseHeaderCodec, header))).toEqual([
    "0801100218052002",
    "0801100218052002",
    "0801100318052002",
    "18052002",
    "100318052002",
    "08ffffffffffffffffff01100118052002",
  ]);
});

function int64Field(field: number, value: bigint): Uint8Array {
  const writer = new WireWriter();
  writer.varint64Field(field, value);
  return writer.finish();
}

test("counters of requests are clamped", () => {
  const compaction = (value: bigint): number =>
    decodeMessage(CompactionRequestCodec, int64Field(1, value)).revision;
  expect(compaction(2n ** 63n - 1n)).toBe(Number.MAX_SAFE_INTEGER);
  expect(compaction(2n ** 53n)).toBe(Number.MAX_SAFE_INTEGER);
  expect(compaction(2n ** 53n - 1n)).toBe(Number.MAX_SAFE_INTEGER);
  expect(compaction(2n ** 53n - 2n)).toBe(Number.MAX_SAFE_INTEGER - 1);
  expect(compaction(-(2n ** 63n))).toBe(Number.MIN_SAFE_INTEGER);
  expect(compaction(-(2n ** 53n) + 2n)).toBe(Number.MIN_SAFE_INTEGER + 1);
  expect(compaction(-1n)).toBe(-1);
});

test("counters of stored records and answers are refused beyond 2^53 - 1", () => {
  for (const value of [2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    expect(() => decodeMessage(KeyValueCodec, int64Field(3, value))).toThrow(WireFormatError);
    expect(() => decodeMessage(LeaseRecordCodec, int64Field(2, value))).toThrow(WireFormatError);
    expect(() => decodeMessage(ResponseHeaderCodec, int64Field(4, value))).toThrow(WireFormatError);
  }
});

/** A transaction with `depth` others inside one another. */
function nested(depth: number): Uint8Array {
  let bytes: Uint8Array = new Uint8Array(0);
  for (let i = 0; i < depth; i++) {
    const op = new WireWriter();
    op.bytesField(4, bytes);
    const txn = new WireWriter();
    txn.bytesField(3, op.finish());
    bytes = txn.finish();
  }
  return bytes;
}

test("transactions nest up to TXN_DEPTH_MAX", () => {
  const deepest = nested(TXN_DEPTH_MAX);
  expect(encodeMessage(TxnRequestCodec, decodeMessage(TxnRequestCodec, deepest))).toEqual(deepest);
  expect(encodeMessage(TxnResponseCodec, decodeMessage(TxnResponseCodec, deepest))).toEqual(
    deepest,
  );
  for (const depth of [TXN_DEPTH_MAX + 1, 5_000]) {
    const tooDeep = nested(depth);
    expect(() => decodeMessage(TxnRequestCodec, tooDeep)).toThrow(WireFormatError);
    expect(() => decodeMessage(TxnResponseCodec, tooDeep)).toThrow(WireFormatError);
  }
});

test("generated messages nest as deep within MESSAGE_DEPTH_MAX", () => {
  const entry = toBinary(
    InternalRaftRequestSchema,
    fromBinary(InternalRaftRequestSchema, entryAround(nested(TXN_DEPTH_MAX)), {
      recursionLimit: MESSAGE_DEPTH_MAX,
    }),
  );
  expect(entry).toEqual(entryAround(nested(TXN_DEPTH_MAX)));
});

function entryAround(txn: Uint8Array): Uint8Array {
  const writer = new WireWriter();
  writer.bytesField(6, txn);
  return writer.finish();
}

test("what a client may nest also fits into a log entry", () => {
  const txn = decodeMessage(TxnRequestCodec, nested(TXN_DEPTH_MAX));
  const entry = InternalRaftRequestCodec.create({ operation: { kind: "txn", request: txn } });
  const bytes = encodeMessage(InternalRaftRequestCodec, entry);
  let depth = 0;
  let inner: TxnRequest | undefined = operationTxn(bytes);
  for (; inner?.failure[0] !== undefined; depth++) inner = txnOf(inner.failure[0]);
  expect(depth).toBe(TXN_DEPTH_MAX);
});

function operationTxn(bytes: Uint8Array): TxnRequest | undefined {
  const { operation } = decodeMessage(InternalRaftRequestCodec, bytes);
  return operation.kind === "txn" ? operation.request : undefined;
}

function txnOf(op: RequestOp): TxnRequest | undefined {
  return op.kind === "txn" ? op.txn : undefined;
}

test("of several operations in one entry the lowest field number counts", () => {
  const put = entryWith("put");
  const auth = entryWith("authEnable");
  for (const bytes of [concatBytes([put, auth]), concatBytes([auth, put])]) {
    expect(decodeMessage(InternalRaftRequestCodec, bytes).operation.kind).toBe("put");
  }
});

function entryWith(operation: "put" | "authEnable"): Uint8Array {
  return toBinary(
    InternalRaftRequestSchema,
    create(InternalRaftRequestSchema, { [operation]: {} }),
  );
}

test("create() gives every message its own lists", () => {
  const first = decodeMessage(TxnRequestCodec, nested(1));
  expect(first.failure).toHaveLength(1);
  expect(TxnRequestCodec.create().failure).toHaveLength(0);
});

test("decoded bytes view the input", () => {
  const input = bytesFromHex("0a03666f6f")!;
  const { key } = decodeMessage(PutRequestCodec, input);
  expect(key.buffer).toBe(input.buffer);
});

test("generatedHeader() and generatedKeyValue() say the same as what they are made from", () => {
  const header = { clusterID: 2n ** 64n - 1n, memberID: 1n, revision: 2 ** 50, raftTerm: 3 };
  const generated = generatedHeader(header);
  expect([generated.clusterId, generated.memberId, generated.revision, generated.raftTerm]).toEqual(
    [2n ** 64n - 1n, 1n, 2n ** 50n, 3n],
  );
  const kv = generatedKeyValue(STORED);
  expect([kv.createRevision, kv.modRevision, kv.version, kv.lease]).toEqual([
    2n,
    2n ** 40n,
    300n,
    -2n,
  ]);
});

test("generatedCodec() reads within bounds, drops unknown fields, and throws WireFormatError", () => {
  const codec = generatedCodec(MemberAddRequestSchema);
  const bytes = encodeMessage(
    codec,
    create(MemberAddRequestSchema, { peerURLs: ["http://a:1"], isLearner: true }),
  );
  const framed = concatBytes([b("xx"), bytes, int64Field(99, 7n), b("yy")]);
  const reader = new WireReader(framed, 2, framed.length - 2);
  const message = codec.decode(reader);
  expect(reader.offset).toBe(reader.end);
  expect([message.peerURLs, message.isLearner]).toEqual([["http://a:1"], true]);
  expect(encodeMessage(codec, message)).toEqual(bytes);
  expect(() => decodeMessage(codec, bytes.subarray(0, 5))).toThrow(WireFormatError);
});
