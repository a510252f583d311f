/** Gets over HTTP/2, which come in batches, beside the same gets one by one in process. */

import { create } from "@bufbuild/protobuf";
import { Auth, KV, RangeRequestCodec, RangeResponseCodec } from "@etcd-ts/api";
import type { RangeRequest, RangeResponse } from "@etcd-ts/api";
import { encodeMessage } from "@etcd-ts/base";
import type { EtcdServer, KeyReads, ServerOperations } from "@etcd-ts/etcdserver";
import type { RpcClient } from "@etcd-ts/rpc";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";

import type { FixtureOptions } from "./services-fixture.ts";
import { bytes, endOf, failure, ServicesFixture, text, until } from "./services-fixture.ts";

/** Counts the reads of batches, and holds linearizable reads back while told to. */
class Between {
  reads = 0;
  isHeld = false;
  readonly held: (() => void)[] = [];

  readonly between = (server: EtcdServer): ServerOperations => {
    const { keyReads } = server;
    const counted: KeyReads = {
      get isOpenToAll() {
        return keyReads.isOpenToAll;
      },
      begin: () => keyReads.begin(),
      read: (...read) => {
        this.reads++;
        return keyReads.read(...read);
      },
    };
    return new Proxy<ServerOperations>(server, {
      get: (target, name) => {
        if (name === "keyReads") return counted;
        if (name === "linearizableRead") {
          const ask: ServerOperations["linearizableRead"] = (context, done) => {
            const run = (): void => target.linearizableRead(context, done);
            if (this.isHeld) this.held.push(run);
            else run();
          };
          return ask;
        }
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };

  release(): void {
    this.isHeld = false;
    for (const run of this.held.splice(0)) run();
  }
}

const fixtures: ServicesFixture[] = [];

afterEach(async () => {
  for (const fixture of fixtures.splice(0).reverse()) await fixture.stop();
});

interface Bed {
  readonly f: ServicesFixture;
  readonly client: RpcClient;
  readonly between: Between;
  get(key: string, more?: Partial<RangeRequest>): ReturnType<ServicesFixture["range"]>;
}

async function start(options: FixtureOptions = {}): Promise<Bed> {
  const between = new Between();
  const f = await ServicesFixture.start({ ...options, between: between.between });
  fixtures.push(f);
  const client = await f.connect();
  const get: Bed["get"] = (key, more = {}) =>
    client.unary(KV.Range, { ...RangeRequestCodec.create(), key: bytes(key), ...more });
  // The first calls of a connection are ordinary ones.
  for (let i = 0; i < 4; i++) await get("nothing");
  return { f, client, between, get };
}

type Outcome = RangeResponse | string;

const rangeHandled = (f: ServicesFixture, code = "OK"): number | undefined =>
  f.metrics.value("grpc_server_handled_total", {
    grpc_type: "unary",
    grpc_service: "etcdserverpb.KV",
    grpc_method: "Range",
    grpc_code: code,
  });

test("gets in batches are answered as one by one, whatever was written and asked for", async () => {
  const { f, between, get } = await start();
  const keys = ["a", "b", "c", "d", "a-key-longer-than-a-hundred-and-twenty-seven-bytes".repeat(4)];
  const change = fc.record({
    key: fc.constantFrom(...keys),
    value: fc.oneof(fc.constant(undefined), fc.constantFrom("", "v", "x".repeat(20_000))),
  });
  const asked = fc.record({
    key: fc.constantFrom(...keys, "missing"),
    serializable: fc.boolean(),
    more: fc.constantFrom<Partial<RangeRequest>>(
      ...[{}, {}, {}, {}, { keysOnly: true }, { countOnly: true }, { limit: 1 }],
      ...[{ revision: 1 }, { revision: 1_000_000 }, { rangeEnd: endOf("z") }, { sortOrder: 9 }],
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 5 }),
      fc.array(asked, { minLength: 1, maxLength: 30, size: "max" }),
      async (changes, gets) => {
        for (const { key, value } of changes) {
          if (value === undefined) await f.delete(key);
          else await f.put(key, value);
        }
        const outcome = (call: Promise<RangeResponse>): Promise<Outcome> =>
          call.catch((error: unknown) => String(error));
        const one = await Promise.all(
          gets.map(({ key, serializable, more }) =>
            outcome(f.range(key, { serializable, ...more })),
          ),
        );
        const many = await Promise.all(
          gets.map(({ key, serializable, more }) => outcome(get(key, { serializable, ...more }))),
        );
        expect(many.map(plain)).toEqual(one.map(plain));
      },
    ),
    { numRuns: 40 },
  );
  expect(between.reads).toBeGreaterThan(100);
});

/** What a client would see. */
function plain(outcome: Outcome): string {
  if (typeof outcome === "string") return outcome;
  return Buffer.from(encodeMessage(RangeResponseCodec, outcome)).toString("latin1");
}

test("gets in batches count like others", async () => {
  const { f, between, get } = await start();
  await f.put("k", "v");
  const before = rangeHandled(f)!;
  const requests = { type: "unary", client_api_version: "unknown" };
  const requestsBefore = f.metrics.value("etcd_server_client_requests_total", requests)!;
  await Promise.all(Array.from({ length: 50 }, () => get("k")));
  expect(between.reads).toBeGreaterThan(45);
  expect(rangeHandled(f)).toBe(before + 50);
  const named = { grpc_type: "unary", grpc_service: "etcdserverpb.KV", grpc_method: "Range" };
  for (const name of ["started", "msg_received", "msg_sent"]) {
    expect(f.metrics.value(`grpc_server_${name}_total`, named)).toBe(before + 50);
  }
  expect(f.metrics.value("etcd_server_client_requests_total", requests)).toBe(requestsBefore + 50);
});

test("gets that wait while authentication is turned on are refused", async () => {
  const passwords = {
    hash: (password: string) => Promise.resolve(bytes(`plain:${password}`)),
    matches: (password: string, hash: Uint8Array) =>
      Promise.resolve(text(hash) === `plain:${password}`),
    hashNow: (password: string) => bytes(`plain:${password}`),
  };
  const { f, between, get } = await start({
    auth: { passwords, tokens: { kind: "simple", ttlMs: 60_000 } },
  });
  await f.put("k", "secret");
  between.isHeld = true;
  const waiting = Array.from({ length: 5 }, () => failure(get("k")));
  await until(() => between.held.length > 0);
  const { channel } = f;
  const root = { name: "root" };
  await channel.unary(Auth.RoleAdd, create(Auth.RoleAdd.requestSchema, root));
  const user = { ...root, password: "r" };
  await channel.unary(Auth.UserAdd, create(Auth.UserAdd.requestSchema, user));
  const grant = { user: "root", role: "root" };
  await channel.unary(Auth.UserGrantRole, create(Auth.UserGrantRole.requestSchema, grant));
  await channel.unary(Auth.AuthEnable, create(Auth.AuthEnable.requestSchema, {}));
  between.release();
  for (const refused of await Promise.all(waiting)) {
    expect(refused.message).toBe("etcdserver: user name is empty");
  }
  const serializable = { serializable: true };
  expect((await failure(get("k", serializable))).message).toBe("etcdserver: user name is empty");
});

test("slow gets are in the request log, key by key", async () => {
  const { f, between, get } = await start({ config: { warningUnaryRequestDurationMs: 5 } });
  await f.put("k", "v");
  between.isHeld = true;
  const reads = between.reads;
  const waiting = Array.from({ length: 3 }, () => get("k"));
  await until(() => between.held.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  between.release();
  for (const { count } of await Promise.all(waiting)) expect(count).toBe(1);
  // They were read one by one after all.
  expect(between.reads).toBe(reads);
  const slow = f.logger.events.filter(({ message }) => message === "request stats");
  expect(slow.length).toBeGreaterThanOrEqual(3);
});
