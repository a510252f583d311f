import { expect, test } from "vitest";

import { Lock, RPC_ERRORS, Watch } from "@etcd-ts/api";
import type { RpcError } from "@etcd-ts/api";
import { VirtualClock } from "@etcd-ts/base";
import { InProcessChannel, Metadata, ServiceTable } from "@etcd-ts/rpc";

import { OpenCalls } from "./open-calls.ts";

function setUp() {
  const clock = new VirtualClock();
  const table = new ServiceTable();
  const member = { hasLeader: true };
  const open = new OpenCalls(() => member.hasLeader, clock, 1000);
  table.intercept(open);
  const freed: (RpcError | undefined)[] = [];
  table.stream(Watch.Watch, (call) => {
    open.add(call, (reason) => freed.push(reason));
    call.onMessage((request) => {
      if (request.kind === "progress") call.end();
      else if (request.kind === "cancel") throw new TypeError("broken handler");
    });
  });
  table.unary(Lock.Lock, (_request, call) => open.add(call, (reason) => freed.push(reason)));
  const channel = new InProcessChannel({ table, clock });
  const watch = (metadata = new Metadata()) => {
    const stream = channel.stream(Watch.Watch, { metadata });
    const outcome: { error?: RpcError | undefined } = {};
    stream.onEnd((error) => {
      outcome.error = error;
    });
    return { stream, outcome };
  };
  return { clock, member, open, freed, channel, watch };
}

test("OpenCalls frees what a call holds once, whichever side ends it", () => {
  const { open, freed, watch } = setUp();
  const cancelled = watch();
  cancelled.stream.cancel();
  expect([open.size, freed.length]).toEqual([0, 1]);
  const ended = watch();
  ended.stream.send({ kind: "progress" });
  expect(ended.outcome).toEqual({ error: undefined });
  expect([open.size, freed.length]).toEqual([0, 2]);
  const broken = watch();
  broken.stream.send({ kind: "cancel", cancel: { watchID: 1 } });
  expect(broken.outcome.error?.message).toBe("broken handler");
  expect([open.size, freed.length]).toEqual([0, 3]);
});

test("OpenCalls.close() ends streams and waiting calls, and refuses new ones", async () => {
  const { open, freed, watch, channel } = setUp();
  const streaming = watch();
  const request = {
    $typeName: "v3lockpb.LockRequest",
    name: new Uint8Array(1),
    lease: 0n,
  } as const;
  const waiting = channel.unary(Lock.Lock, request).catch((error: unknown) => error);
  expect(open.size).toBe(2);
  open.close();
  open.close();
  const stopped = { grpcCode: 14, message: "etcdserver: server stopped" };
  expect(streaming.outcome.error).toMatchObject(stopped);
  expect(await waiting).toMatchObject(stopped);
  expect(freed).toEqual([RPC_ERRORS.stopped, RPC_ERRORS.stopped]);
  expect(watch().outcome.error).toMatchObject(stopped);
  expect(open.size).toBe(0);
});

test("OpenCalls ends leader-bound streams at the third check in a row without a leader", () => {
  const { clock, member, open, watch } = setUp();
  const bound = watch(Metadata.of({ hasleader: "true" }));
  const free = watch();
  const pass = (hasLeader: boolean, checks: number) => {
    member.hasLeader = hasLeader;
    for (let i = 0; i < checks; i++) clock.advance(1000);
  };
  pass(true, 5);
  pass(false, 2);
  pass(true, 1);
  pass(false, 2);
  expect(open.size).toBe(2);
  pass(false, 1);
  expect(bound.outcome.error).toMatchObject({ grpcCode: 14, message: "etcdserver: no leader" });
  expect(free.stream.isEnded).toBe(false);
  expect(open.size).toBe(1);
});
