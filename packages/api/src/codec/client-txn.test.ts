import { encodeMessage, WireReader, WireWriter } from "@etcd-ts/base";
import { describe, expect, test } from "vitest";

import { ClientTxnRequestCodec, TXN_PIECES_MAX } from "./client-txn.ts";
import { PutRequestCodec } from "./kv.ts";
import { TxnRequestCodec } from "./txn.ts";
import type { RequestOp, TxnRequest } from "./txn.ts";

const put: RequestOp = { kind: "put", put: PutRequestCodec.create() };
const of = (success: readonly RequestOp[], failure: readonly RequestOp[] = []): TxnRequest => ({
  compare: [],
  success,
  failure,
});
const many = (count: number): RequestOp[] => Array.from({ length: count }, () => put);
const nested = (txn: TxnRequest): RequestOp => ({ kind: "txn", txn });

const decoded = (txn: TxnRequest): TxnRequest =>
  ClientTxnRequestCodec.decode(new WireReader(encodeMessage(TxnRequestCodec, txn)));

describe("ClientTxnRequestCodec", () => {
  test("decode() takes as many operations as there may be, at whatever depth", () => {
    const half = TXN_PIECES_MAX / 2;
    const txn = of([...many(half - 1), nested(of(many(half / 2), many(half / 2)))]);
    expect(decoded(txn)).toEqual(txn);
  });

  test.each([
    ["at the top", of(many(TXN_PIECES_MAX + 1))],
    ["in two branches", of(many(TXN_PIECES_MAX), [put])],
    ["deep inside", of([nested(of([nested(of(many(TXN_PIECES_MAX - 1)))]))])],
  ])("decode() refuses one more, %s", (_name, txn) => {
    expect(() => decoded(txn)).toThrow("more than 65536 operations");
    // A log entry is read all the same.
    const bytes = encodeMessage(TxnRequestCodec, txn);
    expect(TxnRequestCodec.decode(new WireReader(bytes))).toEqual(txn);
  });

  test("decode() counts comparisons, and looks between the offsets of its reader alone", () => {
    const writer = new WireWriter();
    for (let i = 0; i <= TXN_PIECES_MAX; i++) writer.bytesField(1, new Uint8Array(0));
    const bytes = writer.finish();
    expect(() => ClientTxnRequestCodec.decode(new WireReader(bytes))).toThrow("more than 65536");
    const { compare } = ClientTxnRequestCodec.decode(new WireReader(bytes, 2));
    expect(compare).toHaveLength(TXN_PIECES_MAX);
  });
});
