import * as http from "node:http";

import { GRPC_CODES } from "@etcd-ts/api";
import { afterEach, describe, expect, test } from "vitest";

import { CLOCK, startBed, until } from "../../compliance/echo-bed.ts";
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
  await Promise.all([bed.server.close(50_000), bed.server.close(50_000)]);
  expect(CLOCK.monotonicMs() - startMs).toBeLessThan(25_000);
  await expect(bed.connect()).rejects.toMatchObject({ grpcCode: GRPC_CODES.UNAVAILABLE });
  agent.destroy();
});

describe("an HTTP/1.1 request", () => {
  const served = {
    httpHandler: (_incoming: unknown, response: { end(text: string): unknown }) =>
      void response.end("served"),
  };
  const answerTo = async (bed: Bed, text: string): Promise<string> => {
    const raw = await bed.raw();
    raw.socket.write(text);
    await raw.closed;
    return raw.received().toString().split("\r\n")[0]!;
  };
  const end = "Host: a\r\nConnection: close\r\n\r\n";

  test.each([
    ["headers of 60 KiB", `X: ${"x".repeat(60_000)}\r\n`, "200 OK"],
    ["headers above 64 KiB", `X: ${"x".repeat(70_000)}\r\n`, "431 Request Header Fields Too Large"],
    ["more headers than Node looks at by itself", "A: b\r\n".repeat(2_500), "200 OK"],
    ["two hosts", "hOST: b\r\n", "400 Bad Request"],
  ])("with %s", async (_name, headers, status) => {
    const bed = await bedWith(served);
    expect(await answerTo(bed, `GET / HTTP/1.1\r\n${headers}${end}`)).toBe(`HTTP/1.1 ${status}`);
  });

  test("for a host that is none is refused", async () => {
    const bed = await bedWith(served);
    const text = 'GET / HTTP/1.1\r\nHost: a"b\r\nConnection: close\r\n\r\n';
    expect(await answerTo(bed, text)).toBe("HTTP/1.1 400 Bad Request");
  });

  test("of another version is refused", async () => {
    const bed = await bedWith(served);
    expect(await answerTo(bed, `GET / HTTP/2.0\r\n${end}`)).toBe("HTTP/1.1 400 Bad Request");
  });

  test("for a websocket that nobody takes over is served as another", async () => {
    const bed = await bedWith({ ...served, upgradeHandler: () => false });
    const raw = await bed.raw();
    raw.socket.write(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    await until(() => raw.received().includes("served"), "answer");
  });

  test("that asks two hosts for a websocket is refused", async () => {
    const bed = await bedWith({ ...served, upgradeHandler: () => true });
    const text =
      "GET / HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: a\r\n\r\n";
    expect(await answerTo(bed, text)).toBe("HTTP/1.1 400 Bad Request");
  });
});
