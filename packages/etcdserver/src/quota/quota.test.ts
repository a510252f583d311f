import { expect, test } from "vitest";

import { DeleteRangeRequestCodec, PutRequestCodec } from "@etcd-ts/api";
import type { RequestOp } from "@etcd-ts/api";
import { MemoryLogger, MemoryMetrics } from "@etcd-ts/base";

import { BackendQuota, QUOTA_DEFAULT_BYTES, putCost, txnCost } from "./quota.ts";

const put = PutRequestCodec.create({ key: new Uint8Array(3), value: new Uint8Array(40) });
const op: RequestOp = { kind: "put", put };
const deletion: RequestOp = { kind: "deleteRange", deleteRange: DeleteRangeRequestCodec.create() };

function quota(configuredBytes: number, sizeBytes: number): BackendQuota {
  const sinks = { logger: new MemoryLogger(), metrics: new MemoryMetrics() };
  return new BackendQuota(configuredBytes, () => sizeBytes, sinks);
}

test("putCost() and txnCost() count puts alone, by the dearer branch, transactions inside included", () => {
  expect(putCost(put)).toBe(256 + 43);
  expect(txnCost({ compare: [], success: [deletion], failure: [] })).toBe(0);
  const inner: RequestOp = { kind: "txn", txn: { compare: [], success: [op, op], failure: [op] } };
  expect(txnCost({ compare: [], success: [op, deletion], failure: [] })).toBe(299);
  expect(txnCost({ compare: [], success: [op], failure: [inner, op] })).toBe(3 * 299);
});

test("isAvailable() judges what is there and what would come", () => {
  expect(quota(1000, 700).isAvailable(299)).toBe(true);
  expect(quota(1000, 701).isAvailable(299)).toBe(false);
  expect(quota(1000, 5000).isAvailable(0)).toBe(true);
  expect(quota(0, QUOTA_DEFAULT_BYTES).isAvailable(1)).toBe(false);
  expect(quota(0, 0).limitBytes).toBe(QUOTA_DEFAULT_BYTES);
  expect(quota(-1, 1e15).isAvailable(1)).toBe(true);
});
