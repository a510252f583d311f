/** Writes over HTTP/2, which come in batches, beside the same writes one by one in process. */

import {
  CompareCodec,
  DeleteRangeRequestCodec,
  KV,
  PutRequestCodec,
  PutResponseCodec,
  RangeRequestCodec,
  TxnResponseCodec,
} from "@etcd-ts/api";
import type { PutRequest, PutResponse, RequestOp, TxnRequest, TxnResponse } from "@etcd-ts/api";
import { encodeMessage } from "@etcd-ts/base";
import type { RpcClient } from "@etcd-ts/rpc";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";

import type { FixtureOptions } from "./services-fixture.ts";
import { bytes, ServicesFixture } from "./services-fixture.ts";

const fixtures: ServicesFixture[] = [];

afterEach(async () => {
  for (const fixture of fixtures.splice(0).reverse()) await fixture.stop();
});

interface Bed {
  readonly f: ServicesFixture;
  readonly client: RpcClient;
  /** How many calls were answered in batches. */
  batched(): number;
}

async function start(options: FixtureOptions = {}): Promise<Bed> {
  const f = await ServicesFixture.start(options);
  fixtures.push(f);
  let answered = 0;
  f.table.intercept({
    mayBatch: () => true,
    onBatchAnswered: (batch) => {
      answered += batch.answered;
    },
  });
  const client = await f.connect();
  // The first calls of a connection are ordinary ones.
  for (let i = 0; i < 4; i++) {
    await client.unary(KV.Put, put("first", "", { ignoreValue: i > 0 }));
    await client.unary(KV.Txn, txn("first", 0, [], []));
    await client.unary(KV.Txn, txn("first", 0, [putOp("first", "")], [putOp("first", "")]));
  }
  return { f, client, batched: () => answered };
}

function put(key: string, value: string, more: Partial<PutRequest> = {}): PutRequest {
  return { ...PutRequestCodec.create(), key: bytes(key), value: bytes(value), ...more };
}

const putOp = (key: string, value: string, more: Partial<PutRequest> = {}): RequestOp => ({
  kind: "put",
  put: put(key, value, more),
});
const getOp = (key: string, rangeEnd = ""): RequestOp => ({
  kind: "range",
  range: { ...RangeRequestCodec.create(), key: bytes(key), rangeEnd: bytes(rangeEnd) },
});
const deleteOp = (key: string): RequestOp => ({
  kind: "deleteRange",
  deleteRange: { ...DeleteRangeRequestCodec.create(), key: bytes(key), prevKV: true },
});

/** If the key's version is `version`. */
function txn(
  key: string,
  version: number,
  success: readonly RequestOp[],
  failure: readonly RequestOp[],
): TxnRequest {
  const compare = CompareCodec.create({ key: bytes(key), value: { kind: "version", version } });
  return { compare: [compare], success, failure };
}

type Write =
  | { readonly kind: "put"; readonly request: PutRequest }
  | { readonly kind: "txn"; readonly request: TxnRequest };

const keys = fc.constantFrom("a", "b", "c", "");
const values = fc.constantFrom("", "v", "x".repeat(3000));
const puts = fc
  .record({
    key: keys,
    value: values,
    more: fc.constantFrom<Partial<PutRequest>>(
      ...[{}, {}, {}, { prevKV: true }, { lease: 77n }, { ignoreValue: true }],
      ...[{ ignoreLease: true }, { ignoreLease: true, lease: 1n }],
    ),
  })
  .map(({ key, value, more }) => put(key, value, more));
const ops = fc.array(
  fc.oneof(
    puts.map((request): RequestOp => ({ kind: "put", put: request })),
    keys.map((key) => getOp(key)),
    keys.map((key) => deleteOp(key)),
    fc.constant(getOp("a", "{")),
  ),
  { maxLength: 3 },
);
const writes: fc.Arbitrary<Write> = fc.oneof(
  puts.map((request): Write => ({ kind: "put", request })),
  fc
    .record({ key: keys, version: fc.nat(2), success: ops, failure: ops })
    .map(({ key, version, success, failure }): Write => ({
      kind: "txn",
      request: txn(key, version, success, failure),
    })),
);

type Channel = Pick<RpcClient, "unary">;

/** What a client would see, but for the member's name in it. */
async function outcome(channel: Channel, { kind, request }: Write): Promise<string> {
  try {
    if (kind === "put") return plainPut(await channel.unary(KV.Put, request));
    return plainTxn(await channel.unary(KV.Txn, request));
  } catch (error) {
    return String(error);
  }
}

const headerOf = (revision = 0) => ({ clusterID: 0n, memberID: 0n, revision, raftTerm: 0 });
const latin1 = (message: Uint8Array): string => Buffer.from(message).toString("latin1");

function plainPut(response: PutResponse): string {
  const header = headerOf(response.header?.revision);
  return latin1(encodeMessage(PutResponseCodec, { ...response, header }));
}

function plainTxn(response: TxnResponse): string {
  const header = headerOf(response.header?.revision);
  return latin1(encodeMessage(TxnResponseCodec, { ...response, header }));
}

/** Longer values take several frames, between which the client sends others. */
test("writes in batches have the outcome of one by one, in the order they were sent", async () => {
  const { f, client, batched } = await start();
  const { f: other } = await start();
  await fc.assert(
    fc.asyncProperty(
      // A get alone waits for no write that was sent before it.
      fc.array(
        writes.filter((write) => write.kind === "put" || hasWrites(write.request)),
        { minLength: 1, maxLength: 30, size: "max" },
      ),
      async (list) => {
        const many = await Promise.all(list.map((write) => outcome(client, write)));
        const one: string[] = [];
        for (const write of list) one.push(await outcome(other.channel, write));
        expect(many).toEqual(one);
      },
    ),
    { numRuns: 40 },
  );
  expect(batched()).toBeGreaterThan(100);
  expect(await all(f)).toEqual(await all(other));
});

function hasWrites({ success, failure }: TxnRequest): boolean {
  return [...success, ...failure].some(({ kind }) => kind !== "range");
}

async function all(f: ServicesFixture): Promise<string[]> {
  const { kvs } = await f.range("\0", { rangeEnd: bytes("\0") });
  return kvs.map(
    (kv) =>
      `${latin1(kv.key)} ${kv.createRevision} ${kv.modRevision} ${kv.version} ${latin1(kv.value)}`,
  );
}

test("writes in batches count like others", async () => {
  const { f, client, batched } = await start();
  const named = { grpc_type: "unary", grpc_service: "etcdserverpb.KV", grpc_method: "Put" };
  const handled = () => f.metrics.value("grpc_server_handled_total", { ...named, grpc_code: "OK" });
  const before = handled()!;
  const batchedBefore = batched();
  await Promise.all(Array.from({ length: 50 }, (_, i) => client.unary(KV.Put, put("k", `${i}`))));
  expect(batched() - batchedBefore).toBeGreaterThan(45);
  expect(handled()).toBe(before + 50);
  for (const name of ["started", "msg_received", "msg_sent"]) {
    expect(f.metrics.value(`grpc_server_${name}_total`, named)).toBe(before + 50);
  }
});

test("slow writes are in the request log, and were made once", async () => {
  const { f, client, batched } = await start({ config: { warningUnaryRequestDurationMs: 0 } });
  const before = batched();
  await Promise.all(Array.from({ length: 20 }, () => client.unary(KV.Put, put("k", "v"))));
  expect(batched()).toBe(before);
  const { kvs } = await f.range("k");
  expect(kvs[0]!.version).toBe(20);
  const slow = f.logger.events.filter(({ message }) => message === "request stats");
  expect(slow.length).toBeGreaterThanOrEqual(20);
});

test("writes that their callers give up are made once, and others go on", async () => {
  const { f, client } = await start();
  const given = Array.from({ length: 30 }, (_, i) => {
    const control = new AbortController();
    const call = client
      .unary(KV.Put, put("k", `${i}`), { signal: control.signal })
      .catch(() => undefined);
    if (i % 3 === 0) setImmediate(() => control.abort());
    return call;
  });
  await Promise.all(given);
  await client.unary(KV.Put, put("last", ""));
  const { kvs } = await f.range("k");
  expect(kvs[0]!.version).toBeLessThanOrEqual(30);
  expect(kvs[0]!.version).toBeGreaterThanOrEqual(20);
});
