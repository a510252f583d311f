import * as http from "node:http";

import { GRPC_CODES } from "@etcd-ts/api";
import { afterEach, describe, expect, test } from "vitest";

import { CLOCK, startBed } from "../../compliance/echo-bed.ts";
import type { Bed } from "../../compliance/echo-bed.ts";
import { transportSuite } from "../../compliance/transport-suite.ts";
import { FrameTransport } from "../http2/frame-transport.ts";
import { Http2Transport } from "./http2-transport.ts";
import type { RpcServerOptions } from "./rpc-server.ts";

describe("FrameTransport", () => transportSuite((options) => new FrameTransport(options)));
describe("Http2Transport", () => transportSuite((options) => new Http2Transport(options)));

const beds: Bed[] = [];

async function bedWith(options: Partial<RpcServerOptions> = {}): Promise<Bed> {
  const bed = await startBed(options);
  beds.push(bed);
  return bed;
}

afterEach(async () => {
  await Promise.all(beds.splice(0).map((bed) => bed.close()));
});

test("RpcServer.close() is idempotent, and refuses what comes after", async () => {
  const bed = await bedWith({ httpHandler: (_incoming, response) => void response.end("x") });
  const agent = new http.Agent({ keepAlive: true });
  await new Promise<void>((resolve) => {
    http.get({ host: bed.address.host, port: bed.address.port, agent }, (response) => {
      response.resume();
      response.on("end", () => resolve());
    });
  });
  const startMs = CLOCK.monotonicMs();
  await Promise.all([bed.server.close(5_000), bed.server.close(5_000)]);
  expect(CLOCK.monotonicMs() - startMs).toBeLessThan(1_000);
  await expect(bed.connect()).rejects.toMatchObject({ grpcCode: GRPC_CODES.UNAVAILABLE });
  agent.destroy();
});
