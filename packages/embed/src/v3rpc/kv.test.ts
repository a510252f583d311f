import { expect, test } from "vitest";

import { KV } from "@etcd-ts/api";

import { bytes, endOf, failure, ServicesFixture, text } from "./services-fixture.ts";

test("the KV service answers with complete headers, and refuses with etcd's statuses", async () => {
  const f = await ServicesFixture.start({ config: { txnOpsMax: 2 } });
  const put = await f.put("a", "1");
  expect(put.header).toEqual(f.server.responseHeader(2));
  expect((await f.range("a")).header).toEqual(f.server.responseHeader(2));
  expect((await f.delete("a")).header).toEqual(f.server.responseHeader(3));

  const refusals = [
    [f.put(""), 3, "etcdserver: key is not provided"],
    [f.put("a", "v", { ignoreValue: true }), 3, "etcdserver: value is provided"],
    [f.put("a", "v", { lease: 77n }), 5, "etcdserver: requested lease not found"],
    [f.range("a", { sortOrder: 9 }), 3, "etcdserver: invalid sort option"],
    [
      f.range("a", { revision: 100 }),
      11,
      "etcdserver: mvcc: required revision is a future revision",
    ],
    [f.delete(""), 3, "etcdserver: key is not provided"],
    [f.compact(100), 11, "etcdserver: mvcc: required revision is a future revision"],
    [
      f.channel.unary(KV.Txn, { compare: [], success: [{ kind: "none" }], failure: [] }),
      3,
      "etcdserver: key not found",
    ],
    [
      f.channel.unary(KV.Txn, {
        compare: [],
        success: Array.from({ length: 3 }, () => ({ kind: "none" }) as const),
        failure: [],
      }),
      3,
      "etcdserver: too many operations in txn request",
    ],
  ] as const;
  for (const [call, grpcCode, message] of refusals) {
    expect(await failure(call)).toMatchObject({ grpcCode, message });
  }
  expect(f.fatal).toBeUndefined();
  await f.stop();
});

test("a txn answers each of its operations with the revision alone in their headers", async () => {
  const f = await ServicesFixture.start();
  await f.put("k", "0");
  const range = { key: bytes("k"), rangeEnd: endOf("k") };
  const before = await f.range("k", range);
  const response = await f.channel.unary(KV.Txn, {
    compare: [],
    success: [{ kind: "deleteRange", deleteRange: { ...range, prevKV: true } }],
    failure: [],
  });
  expect(response.header).toEqual(f.server.responseHeader(3));
  const [op] = response.responses;
  if (op?.kind !== "deleteRange") throw new Error(`answered with ${op?.kind}`);
  expect(op.deleteRange.header).toEqual({
    clusterID: 0n,
    memberID: 0n,
    raftTerm: 0,
    revision: 3,
  });
  expect(op.deleteRange.prevKVs.map(({ key }) => text(key))).toEqual(
    before.kvs.map(({ key }) => text(key)),
  );
  await f.stop();
});
