import { Health, HealthCheckRequestSchema, HealthListRequestSchema } from "@etcd-ts/api";
import type { RpcError } from "@etcd-ts/api";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";

import { CLOCK } from "../compliance/echo-bed.ts";
import { HealthService, InProcessChannel, ServiceTable } from "./index.ts";

const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;

function bed(): { health: HealthService; channel: InProcessChannel } {
  const table = new ServiceTable();
  const health = new HealthService();
  health.register(table);
  return { health, channel: new InProcessChannel({ table, clock: CLOCK }) };
}

const check = (service: string) => create(HealthCheckRequestSchema, { service });

test("Check answers the status, and NotFound for a service nobody knows", async () => {
  const { health, channel } = bed();
  expect((await channel.unary(Health.Check, check(""))).status).toBe(SERVING);
  health.setServing(false);
  expect((await channel.unary(Health.Check, check(""))).status).toBe(NOT_SERVING);
  const error = await channel
    .unary(Health.Check, check("etcdserverpb.KV"))
    .catch((e: unknown) => e);
  expect((error as RpcError).message).toBe("unknown service");
});

test("List names the server", async () => {
  const { channel } = bed();
  const { statuses } = await channel.unary(Health.List, create(HealthListRequestSchema));
  expect(Object.entries(statuses).map(([name, { status }]) => [name, status])).toEqual([
    ["", SERVING],
  ]);
});

test("Watch sends the status at once and at each change, until it is cancelled", () => {
  const { health, channel } = bed();
  const seen: number[] = [];
  const stream = channel.stream(Health.Watch);
  stream.onMessage((message) => void seen.push(message.status));
  stream.send(check(""));
  health.setServing(false);
  health.setServing(false);
  health.setServing(true);
  expect(seen).toEqual([SERVING, NOT_SERVING, SERVING]);
  stream.cancel();
  health.setServing(false);
  expect(seen.length).toBe(3);
});

test("Watch of a service nobody knows says so and stays open", () => {
  const { channel } = bed();
  const seen: number[] = [];
  const stream = channel.stream(Health.Watch);
  stream.onMessage((message) => void seen.push(message.status));
  stream.send(check("x"));
  expect([seen, stream.isEnded]).toEqual([[SERVICE_UNKNOWN], false]);
  stream.cancel();
});
