import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  CompareCodec,
  DeleteRangeRequestCodec,
  PutRequestCodec,
  RPC_ERRORS,
  RangeRequestCodec,
} from "@etcd-ts/api";
import type { RequestOp, TxnRequest } from "@etcd-ts/api";
import { bytesFromLatin1, latin1FromBytes } from "@etcd-ts/base";

import {
  checkDeleteRangeRequest,
  checkPutRequest,
  checkRangeRequest,
  checkTxnRequest,
} from "./checks.ts";

const key = bytesFromLatin1("k");

function put(name: string): RequestOp {
  return { kind: "put", put: PutRequestCodec.create({ key: bytesFromLatin1(name) }) };
}

function remove(name: string, end = ""): RequestOp {
  const fields = { key: bytesFromLatin1(name), rangeEnd: bytesFromLatin1(end) };
  return { kind: "deleteRange", deleteRange: DeleteRangeRequestCodec.create(fields) };
}

function txn(success: RequestOp[], failure: RequestOp[] = []): TxnRequest {
  return { compare: [], success, failure };
}

function nested(success: RequestOp[], failure: RequestOp[] = []): RequestOp {
  return { kind: "txn", txn: txn(success, failure) };
}

describe("single requests", () => {
  test("checkRangeRequest() wants a key and known sort options", () => {
    expect(checkRangeRequest(RangeRequestCodec.create())).toBe(RPC_ERRORS.emptyKey);
    expect(checkRangeRequest(RangeRequestCodec.create({ key }))).toBeUndefined();
    for (const fields of [{ sortOrder: 3 }, { sortOrder: -1 }, { sortTarget: 5 }]) {
      const request = RangeRequestCodec.create({ key, ...fields });
      expect(checkRangeRequest(request)).toBe(RPC_ERRORS.invalidSortOption);
    }
  });

  test("checkPutRequest() refuses what is given and to be ignored", () => {
    expect(checkPutRequest(PutRequestCodec.create())).toBe(RPC_ERRORS.emptyKey);
    const value = PutRequestCodec.create({ key, value: key, ignoreValue: true });
    expect(checkPutRequest(value)).toBe(RPC_ERRORS.valueProvided);
    const lease = PutRequestCodec.create({ key, lease: -1n, ignoreLease: true });
    expect(checkPutRequest(lease)).toBe(RPC_ERRORS.leaseProvided);
    const both = PutRequestCodec.create({ key, ignoreValue: true, ignoreLease: true });
    expect(checkPutRequest(both)).toBeUndefined();
  });

  test("checkDeleteRangeRequest() wants a key", () => {
    expect(checkDeleteRangeRequest(DeleteRangeRequestCodec.create())).toBe(RPC_ERRORS.emptyKey);
    expect(checkDeleteRangeRequest(DeleteRangeRequestCodec.create({ key }))).toBeUndefined();
  });
});

describe("checkTxnRequest()", () => {
  test("counts the longest list, and leaves the rest to transactions inside", () => {
    const many = Array.from({ length: 4 }, (_, i) => put(`${i}`));
    expect(checkTxnRequest(txn(many), 4)).toBeUndefined();
    expect(checkTxnRequest(txn(many), 3)).toBe(RPC_ERRORS.tooManyOps);
    expect(checkTxnRequest(txn([nested(many)]), 5)).toBeUndefined();
    expect(checkTxnRequest(txn([nested(many)]), 4)).toBe(RPC_ERRORS.tooManyOps);
  });

  test("refuses empty keys and empty operations anywhere", () => {
    const compare = { compare: [CompareCodec.create()], success: [], failure: [] };
    expect(checkTxnRequest(compare, 10)).toBe(RPC_ERRORS.emptyKey);
    expect(checkTxnRequest(txn([], [nested([put("")])]), 10)).toBe(RPC_ERRORS.emptyKey);
    expect(checkTxnRequest(txn([{ kind: "none" }]), 10)).toBe(RPC_ERRORS.keyNotFound);
  });

  test.each<[string, TxnRequest, boolean]>([
    ["two puts", txn([put("a"), put("a")]), true],
    ["a put in each branch", txn([put("a")], [put("a")]), false],
    ["a put in a deleted range", txn([remove("a", "c"), put("b")]), true],
    ["a put before the deletion", txn([put("b"), remove("a", "c")]), true],
    ["a put at the end of a range", txn([remove("a", "c"), put("c")]), false],
    ["a put of a deleted key", txn([remove("a"), put("a")]), true],
    ["two deletions", txn([remove("a", "c"), remove("b", "d")]), false],
    ["a put among all keys from here", txn([remove("a", "\0"), put("b")]), false],
    ["a put inside and out", txn([nested([put("a")]), put("a")]), true],
    ["branches of one inside", txn([nested([put("a")], [put("a")])]), false],
    ["two inside", txn([nested([put("a")]), nested([], [put("a")])]), true],
    ["a deletion out, a put inside", txn([remove("a"), nested([put("a")])]), true],
    ["a deletion inside, a put out", txn([nested([remove("a")]), put("a")]), true],
    [
      "a deletion inside, a put in the next",
      txn([nested([remove("a")]), nested([put("a")])]),
      true,
    ],
    [
      "a put inside, a deletion in the next",
      txn([nested([put("a")]), nested([remove("a")])]),
      false,
    ],
  ])("%s", (_name, request, isRefused) => {
    expect(checkTxnRequest(request, 128)).toBe(isRefused ? RPC_ERRORS.duplicateKey : undefined);
  });

  const name = fc.constantFrom("a", "b", "c", "d");
  const leaf = fc.oneof(
    name.map(put),
    fc.tuple(name, fc.constantFrom("", "b", "c", "d", "e")).map(([from, to]) => remove(from, to)),
  );

  test("finds a key written twice by a flat list, as comparing all pairs does", () => {
    fc.assert(
      fc.property(fc.array(leaf, { maxLength: 5 }), (ops) => {
        const isRefused = checkTxnRequest(txn(ops), 128) === RPC_ERRORS.duplicateKey;
        expect(isRefused).toBe(
          ops.some((op, i) => ops.some((other, j) => i !== j && clash(op, other))),
        );
      }),
    );
  });

  function clash(one: RequestOp, other: RequestOp): boolean {
    if (one.kind !== "put") return false;
    const written = latin1FromBytes(one.put.key);
    if (other.kind === "put") return latin1FromBytes(other.put.key) === written;
    if (other.kind !== "deleteRange") return false;
    const begin = latin1FromBytes(other.deleteRange.key);
    const end = latin1FromBytes(other.deleteRange.rangeEnd);
    return end === "" ? begin === written : begin <= written && written < end;
  }
});
