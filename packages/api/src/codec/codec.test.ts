/**
 * Hand-written codecs against the generated ones, message by message.
 *
 * Messages are drawn from the generated descriptors, so a field that a codec forgets is drawn too.
 * Both sides are brought into one form, `Plain`, with names in lower case: `prev_kv` is `prevKV`.
 */

import { create, fromBinary, ScalarType, toBinary } from "@bufbuild/protobuf";
import type { DescField, DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import { Edition } from "@bufbuild/protobuf/wkt";
import { reflect } from "@bufbuild/protobuf/reflect";
import {
  concatBytes,
  decodeMessage,
  encodeMessage,
  WIRE_BYTES,
  WireFormatError,
  WireReader,
  WireWriter,
} from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  InternalRaftRequestSchema,
  RequestHeaderSchema,
} from "../gen/etcdserverpb/raft_internal_pb.ts";
import * as rpc from "../gen/etcdserverpb/rpc_pb.ts";
import { LeaseSchema } from "../gen/leasepb/lease_pb.ts";
import { EventSchema, KeyValueSchema } from "../gen/mvccpb/kv_pb.ts";
import * as alarm from "./alarm.ts";
import { EventCodec, KeyValueCodec } from "./key-value.ts";
import * as kv from "./kv.ts";
import * as lease from "./lease.ts";
import { InternalRaftRequestCodec, RequestHeaderCodec } from "./raft-internal.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import * as txn from "./txn.ts";
import * as watch from "./watch.ts";

const PAIRS: readonly (readonly [DescMessage, Codec<unknown>])[] = [
  [KeyValueSchema, KeyValueCodec],
  [EventSchema, EventCodec],
  [LeaseSchema, lease.LeaseRecordCodec],
  [InternalRaftRequestSchema, InternalRaftRequestCodec],
  [RequestHeaderSchema, RequestHeaderCodec],
  [rpc.ResponseHeaderSchema, ResponseHeaderCodec],
  [rpc.RangeRequestSchema, kv.RangeRequestCodec],
  [rpc.RangeResponseSchema, kv.RangeResponseCodec],
  [rpc.PutRequestSchema, kv.PutRequestCodec],
  [rpc.PutResponseSchema, kv.PutResponseCodec],
  [rpc.DeleteRangeRequestSchema, kv.DeleteRangeRequestCodec],
  [rpc.DeleteRangeResponseSchema, kv.DeleteRangeResponseCodec],
  [rpc.CompactionRequestSchema, kv.CompactionRequestCodec],
  [rpc.CompactionResponseSchema, kv.CompactionResponseCodec],
  [rpc.CompareSchema, txn.CompareCodec],
  [rpc.RequestOpSchema, txn.RequestOpCodec],
  [rpc.ResponseOpSchema, txn.ResponseOpCodec],
  [rpc.TxnRequestSchema, txn.TxnRequestCodec],
  [rpc.TxnResponseSchema, txn.TxnResponseCodec],
  [rpc.WatchRequestSchema, watch.WatchRequestCodec],
  [rpc.WatchCreateRequestSchema, watch.WatchCreateRequestCodec],
  [rpc.WatchCancelRequestSchema, watch.WatchCancelRequestCodec],
  [rpc.WatchResponseSchema, watch.WatchResponseCodec],
  [rpc.LeaseGrantRequestSchema, lease.LeaseGrantRequestCodec],
  [rpc.LeaseGrantResponseSchema, lease.LeaseGrantResponseCodec],
  [rpc.LeaseRevokeRequestSchema, lease.LeaseRevokeRequestCodec],
  [rpc.LeaseRevokeResponseSchema, lease.LeaseRevokeResponseCodec],
  [rpc.LeaseKeepAliveRequestSchema, lease.LeaseKeepAliveRequestCodec],
  [rpc.LeaseKeepAliveResponseSchema, lease.LeaseKeepAliveResponseCodec],
  [rpc.LeaseCheckpointSchema, lease.LeaseCheckpointCodec],
  [rpc.LeaseCheckpointRequestSchema, lease.LeaseCheckpointRequestCodec],
  [rpc.AlarmMemberSchema, alarm.AlarmMemberCodec],
  [rpc.AlarmRequestSchema, alarm.AlarmRequestCodec],
  [rpc.AlarmResponseSchema, alarm.AlarmResponseCodec],
];

const RUNS = { numRuns: 30 };

// ---- Drawing messages -----------------------------------------------------------------------

/** 64-bit fields that are identities: they use all bits. */
const IDENTITIES = new Set(["ID", "lease", "cluster_id", "member_id", "memberID"]);

function isIdentity(field: DescField): boolean {
  return IDENTITIES.has(field.name) || field.parent.file.edition === Edition.EDITION_PROTO2;
}

const COUNTER_MAX = BigInt(Number.MAX_SAFE_INTEGER) - 1n;

function arbitraryInteger(field: DescField): fc.Arbitrary<bigint> {
  const isSigned = field.scalar === ScalarType.INT64;
  if (isIdentity(field))
    return isSigned ? fc.bigInt(-(1n << 63n), (1n << 63n) - 1n) : fc.bigInt(0n, (1n << 64n) - 1n);
  return fc.oneof(
    fc.bigInt(isSigned ? -300n : 0n, 300n),
    fc.bigInt(isSigned ? -COUNTER_MAX : 0n, COUNTER_MAX),
  );
}

function arbitraryScalar(field: DescField): fc.Arbitrary<unknown> {
  switch (field.scalar) {
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.BYTES:
      return fc.oneof(
        fc.uint8Array({ maxLength: 6 }),
        fc.uint8Array({ minLength: 120, maxLength: 300 }),
      );
    case ScalarType.STRING:
      return fc.string({ unit: "binary", maxLength: 8 });
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return arbitraryInteger(field);
    default:
      throw new Error(`arbitraryScalar: ${field.toString()}`);
  }
}

/** Known numbers and such as a later release may add. */
const arbitraryEnum = fc.oneof(
  fc.integer({ min: 0, max: 5 }),
  fc.constantFrom(-1, 2 ** 31 - 1, -(2 ** 31)),
);

function arbitraryValue(field: DescField, depth: number): fc.Arbitrary<unknown> {
  switch (field.fieldKind) {
    case "scalar":
      return arbitraryScalar(field);
    case "enum":
      return arbitraryEnum;
    case "message":
      return arbitraryMessage(field.message, depth - 1);
    case "list":
      return fc.array(arbitraryItem(field, depth), { maxLength: depth > 0 ? 3 : 0 });
    default:
      throw new Error(`arbitraryValue: ${field.toString()}`);
  }
}

function arbitraryItem(
  field: DescField & { fieldKind: "list" },
  depth: number,
): fc.Arbitrary<unknown> {
  if (field.listKind === "message") return arbitraryMessage(field.message, depth - 1);
  return field.listKind === "enum" ? arbitraryEnum : arbitraryScalar(field);
}

/** A generated message; below `depth` zero no message is nested in it. */
function arbitraryMessage(desc: DescMessage, depth = 4): fc.Arbitrary<Message> {
  const isNested = (field: DescField): boolean => field.fieldKind === "message";
  const usable = (field: DescField): boolean => depth > 0 || !isNested(field);
  const members: Record<string, fc.Arbitrary<unknown>> = {};
  const operations: DescField[] = [];
  for (const field of desc.fields) {
    if (field.oneof !== undefined || !usable(field)) continue;
    if (desc === InternalRaftRequestSchema && isNested(field) && field.number !== 100) {
      operations.push(field);
    } else members[field.localName] = fc.option(arbitraryValue(field, depth), { nil: undefined });
  }
  for (const oneof of desc.oneofs) {
    const cases = oneof.fields
      .filter(usable)
      .map((field) =>
        arbitraryValue(field, depth).map((value) => ({ case: field.localName, value })),
      );
    members[oneof.localName] = fc.oneof(fc.constant({ case: undefined }), ...cases);
  }
  const fields = fc.record(members);
  if (operations.length === 0)
    return fields.map((init) => create(desc, init as MessageInitShape<DescMessage>));
  return fc
    .tuple(
      fields,
      fc.oneof(
        fc.constant({}),
        ...operations.map((field) =>
          arbitraryValue(field, depth).map((value) => ({ [field.localName]: value })),
        ),
      ),
    )
    .map(([init, operation]) =>
      create(desc, { ...init, ...operation } as MessageInitShape<DescMessage>),
    );
}

// ---- One form for both sides ----------------------------------------------------------------

type Plain = unknown;

/** Counters as requests decode them; text as far as it is told apart where it is no UTF-8. */
function plainScalar(field: DescField, value: unknown): Plain {
  if (typeof value === "string") return value.replaceAll(/\uFFFD+/g, "\uFFFD");
  if (typeof value !== "bigint" || isIdentity(field)) return value;
  const safe = BigInt(Number.MAX_SAFE_INTEGER);
  return value > safe ? safe : value < -safe ? -safe : value;
}

function plainFromGenerated(message: Message, desc: DescMessage): Plain {
  const view = reflect(desc, message);
  const plain: Record<string, Plain> = {};
  for (const field of desc.fields) {
    const name = field.name.replaceAll("_", "").toLowerCase();
    if (field.fieldKind === "list") {
      const items = [...view.get(field)];
      plain[name] =
        field.listKind === "message"
          ? items.map((item) =>
              plainFromGenerated((item as { message: Message }).message, field.message),
            )
          : items.map((item) => plainScalar(field, item));
    } else if (view.isSet(field) || (field.fieldKind !== "message" && field.oneof === undefined)) {
      const value = view.get(field);
      plain[name] =
        field.fieldKind === "message"
          ? plainFromGenerated((value as { message: Message }).message, field.message)
          : plainScalar(field, value);
    }
  }
  return plain;
}

/** The names of oneof members, which the interfaces shorten. */
const MEMBER_NAMES: Readonly<Record<string, (kind: string) => string>> = {
  "etcdserverpb.RequestOp": (kind) => `request${kind}`,
  "etcdserverpb.ResponseOp": (kind) => `response${kind}`,
  "etcdserverpb.WatchRequest": (kind) => `${kind}request`,
  "etcdserverpb.InternalRaftRequest": (kind) => kind,
  "etcdserverpb.Compare": (kind) => kind,
};

function plainFromHand(message: unknown, desc: DescMessage): Plain {
  if (typeof message === "object" && message !== null && "$typeName" in message) {
    return plainFromGenerated(message as Message, desc);
  }
  const plain: Record<string, Plain> = {};
  const take = (name: string, value: unknown): void => {
    const field = desc.fields.find((one) => one.name.replaceAll("_", "").toLowerCase() === name);
    if (field === undefined) throw new Error(`${desc.typeName} has no ${name}`);
    if (Array.isArray(value)) {
      plain[name] =
        field.fieldKind === "list" && field.listKind === "message"
          ? value.map((item) => plainFromHand(item, field.message))
          : value;
    } else if (field.fieldKind === "message")
      plain[name] = plainFromHand(value ?? {}, field.message);
    else
      plain[name] =
        field.fieldKind === "scalar" && typeof value === "number" ? BigInt(value) : value;
  };
  const takeUnion = (union: { kind: string } & Record<string, unknown>): void => {
    if (union.kind === "none") return;
    const name = MEMBER_NAMES[desc.typeName]!(union.kind.toLowerCase());
    take(name, union["request"] ?? union[union.kind]);
  };
  if (typeof message === "object" && message !== null && "kind" in message) {
    takeUnion(message as { kind: string } & Record<string, unknown>);
    return plain;
  }
  for (const [name, value] of Object.entries(message as Record<string, unknown>)) {
    if (typeof value === "object" && value !== null && "kind" in value) {
      takeUnion(value as { kind: string } & Record<string, unknown>);
    } else if (value !== undefined) take(name.toLowerCase(), value);
  }
  return plain;
}

// ---- Other spellings of the same message ----------------------------------------------------

/** Each field of a message with its tag, in the order written. */
function splitFields(bytes: Uint8Array): { number: number; bytes: Uint8Array; body: Uint8Array }[] {
  const fields = [];
  const reader = new WireReader(bytes);
  for (let start = 0; reader.next(); start = reader.offset) {
    const { field: number, wireType } = reader;
    const bodyStart = reader.offset;
    reader.skip();
    const whole = bytes.subarray(start, reader.offset);
    let body = bytes.subarray(bodyStart, reader.offset);
    if (wireType === WIRE_BYTES) {
      const again = new WireReader(whole);
      again.next();
      body = again.view();
    }
    fields.push({ number, bytes: whole, body });
  }
  return fields;
}

function bytesField(number: number, body: Uint8Array): Uint8Array {
  const writer = new WireWriter();
  writer.bytesField(number, body);
  return writer.finish();
}

/** Fields no release has: one of every wire type, and a group. */
const UNKNOWN_FIELDS: readonly Uint8Array[] = [
  [0xe0, 0x3f, 0x81, 0x01],
  [0xe1, 0x3f, 1, 2, 3, 4, 5, 6, 7, 8],
  [0xe2, 0x3f, 2, 9, 9],
  [0xe5, 0x3f, 1, 2, 3, 4],
  [0xe3, 0x3f, 0x08, 0x01, 0xe4, 0x3f],
].map((bytes) => Uint8Array.from(bytes));

/**
 * Spells a message in another valid way: fields in another order, nested messages in two pieces,
 * packed numbers one by one, unknown fields anywhere. `draw(n)` gives a number below `n`.
 */
function respell(desc: DescMessage, bytes: Uint8Array, draw: (n: number) => number): Uint8Array {
  const pieces: Uint8Array[][] = [];
  let previous = 0;
  for (const field of splitFields(bytes)) {
    const known = desc.fields.find((one) => one.number === field.number)!;
    const run = field.number === previous ? pieces.pop()! : [];
    previous = field.number;
    if (
      known.fieldKind === "message" ||
      (known.fieldKind === "list" && known.listKind === "message")
    ) {
      const body = respell(known.message!, field.body, draw);
      const parts = splitFields(body);
      const cut = known.fieldKind === "message" ? draw(parts.length + 1) : 0;
      if (cut > 0)
        run.push(
          bytesField(field.number, concatBytes(parts.slice(0, cut).map((part) => part.bytes))),
        );
      run.push(bytesField(field.number, concatBytes(parts.slice(cut).map((part) => part.bytes))));
    } else if (known.fieldKind === "list" && known.listKind === "enum" && draw(2) === 1) {
      const numbers = new WireReader(field.body);
      while (numbers.offset < numbers.end) {
        const one = new WireWriter();
        one.varintField(field.number, numbers.int32());
        run.push(one.finish());
      }
    } else run.push(field.bytes);
    pieces.push(run);
  }
  for (let i = draw(3); i > 0; i--) pieces.push([UNKNOWN_FIELDS[draw(UNKNOWN_FIELDS.length)]!]);
  for (let i = pieces.length - 1; i > 0; i--) {
    const j = draw(i + 1);
    [pieces[i], pieces[j]] = [pieces[j]!, pieces[i]!];
  }
  return concatBytes(pieces.flat());
}

function drawer(numbers: readonly number[]): (n: number) => number {
  let at = 0;
  return (n) => (numbers.length === 0 ? 0 : numbers[at++ % numbers.length]! % n);
}

/** What both decoders make of the same bytes; undefined where one refuses them. */
function decodeBoth(desc: DescMessage, codec: Codec<unknown>, bytes: Uint8Array): [Plain, Plain] {
  let hand: Plain;
  let generated: Plain;
  try {
    hand = plainFromHand(decodeMessage(codec, bytes), desc);
  } catch (error) {
    expect(error).toBeInstanceOf(WireFormatError);
  }
  try {
    generated = plainFromGenerated(fromBinary(desc, bytes), desc);
  } catch {
    // The library has no class of its own for bytes it refuses.
  }
  return [hand, generated];
}

// ---- Properties -----------------------------------------------------------------------------

describe.each(PAIRS.map(([desc, codec]) => ({ name: desc.typeName, desc, codec })))(
  "$name",
  ({ desc, codec }) => {
    const arbitrary = arbitraryMessage(desc);

    test("decode() takes every field and encode() writes the same bytes", () => {
      fc.assert(
        fc.property(arbitrary, (message) => {
          const bytes = toBinary(desc, message);
          const hand = decodeMessage(codec, bytes);
          expect(plainFromHand(hand, desc)).toEqual(plainFromGenerated(message, desc));
          expect(encodeMessage(codec, hand)).toEqual(bytes);
        }),
        RUNS,
      );
    });

    test("decode() reads every valid spelling", () => {
      fc.assert(
        fc.property(
          arbitrary,
          fc.array(fc.nat(), { minLength: 20, maxLength: 40 }),
          (message, numbers) => {
            const bytes = toBinary(desc, message);
            const respelled = respell(desc, bytes, drawer(numbers));
            expect(encodeMessage(codec, decodeMessage(codec, respelled))).toEqual(bytes);
          },
        ),
        RUNS,
      );
    });

    test("decode() merges two messages as protobuf does", () => {
      // Two operations in one entry are no merge but a choice; that has a test of its own.
      const second = desc === InternalRaftRequestSchema ? fc.constant(undefined) : arbitrary;
      fc.assert(
        fc.property(arbitrary, second, (first, other) => {
          const bytes = concatBytes([toBinary(desc, first), toBinary(desc, other ?? first)]);
          const [hand, generated] = decodeBoth(desc, codec, bytes);
          expect(generated).toBeDefined();
          expect(hand).toEqual(generated);
        }),
        RUNS,
      );
    });

    test("decode() refuses truncated messages with WireFormatError alone", () => {
      fc.assert(
        fc.property(arbitrary, fc.nat(), (message, cut) => {
          const whole = toBinary(desc, message);
          const [hand, generated] = decodeBoth(
            desc,
            codec,
            whole.subarray(0, cut % (whole.length + 1)),
          );
          expect(hand).toEqual(generated);
        }),
        RUNS,
      );
    });

    test("decode() answers damaged bytes with the right message or WireFormatError", () => {
      const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 });
      fc.assert(
        fc.property(
          arbitrary,
          damage,
          fc.uint8Array({ maxLength: 24 }),
          (message, changes, tail) => {
            const bytes = toBinary(desc, message);
            for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
            const [hand, generated] = decodeBoth(desc, codec, concatBytes([bytes, tail]));
            if (hand === undefined || generated === undefined) return;
            if (desc !== InternalRaftRequestSchema) expect(hand).toEqual(generated);
          },
        ),
        RUNS,
      );
    });
  },
);
