import { concatBytes, encodeMessage, equalBytes, utf8FromString } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { KeyValue } from "./key-value.ts";
import { encodeTxnInChunks, isLongTxnResponse } from "./txn-chunks.ts";
import { TxnResponseCodec } from "./txn.ts";
import type { ResponseOp, TxnResponse } from "./txn.ts";

const header = fc.option(
  fc.record({
    clusterID: fc.constant(7n),
    memberID: fc.constant(8n),
    revision: fc.nat(),
    raftTerm: fc.nat(),
  }),
  { nil: undefined },
);

function pairOf(n: number, valueBytes: number): KeyValue {
  const key = utf8FromString(`key ${n}`);
  const value = new Uint8Array(valueBytes).fill(n);
  return { key, createRevision: n, modRevision: n + 1, version: 1, value, lease: 0n };
}

const range: fc.Arbitrary<ResponseOp> = fc
  .record({
    header,
    kvs: fc.array(fc.tuple(fc.nat(1000), fc.nat(3000)).map(([n, bytes]) => pairOf(n, bytes))),
    more: fc.boolean(),
    count: fc.nat(),
  })
  .map((each) => ({ kind: "range", range: each }));
const put: fc.Arbitrary<ResponseOp> = header.map((each) => ({
  kind: "put",
  put: { header: each, prevKV: undefined },
}));
const { txn } = fc.letrec<{ txn: TxnResponse; op: ResponseOp }>((tie) => ({
  op: fc.oneof(
    { maxDepth: 2 },
    range,
    put,
    tie("txn").map((each): ResponseOp => ({ kind: "txn", txn: each })),
  ),
  txn: fc.record({
    header,
    succeeded: fc.boolean(),
    responses: fc.array(tie("op"), { maxLength: 4 }),
  }),
}));

describe("encodeTxnInChunks()", () => {
  test("gives what TxnResponseCodec writes", async () => {
    await fc.assert(
      fc.asyncProperty(txn, async (response) => {
        const { bytes, chunks } = await encodeTxnInChunks(response, async () => undefined);
        const joined = concatBytes(chunks);
        expect(joined.length).toBe(bytes);
        expect(equalBytes(joined, encodeMessage(TxnResponseCodec, response))).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("pauses as it goes, and only long responses need it", async () => {
    const kvs = Array.from({ length: 10_000 }, (_, n) => pairOf(n, 1000));
    const response = (count: number): TxnResponse => ({
      header: undefined,
      succeeded: true,
      responses: [
        {
          kind: "range",
          range: { header: undefined, kvs: kvs.slice(0, count), more: false, count },
        },
      ],
    });
    let pauses = 0;
    const pause = async (): Promise<void> => void pauses++;
    await encodeTxnInChunks(response(10_000), pause);
    expect(pauses).toBe(5);
    const nested: TxnResponse = {
      header: undefined,
      succeeded: true,
      responses: [{ kind: "txn", txn: response(10_000) }],
    };
    expect([10, 10_000].map((count) => isLongTxnResponse(response(count)))).toEqual([false, true]);
    expect(isLongTxnResponse(nested)).toBe(true);
  });
});
