import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import {
  Both,
  CLOCK,
  Down,
  Flood,
  Hang,
  Headers,
  Missing,
  Unary,
  Up,
  echo,
  echoTable,
  startBed,
  until,
} from "../../compliance/echo-bed.ts";
import type { Bed, Echo } from "../../compliance/echo-bed.ts";
import { InProcessChannel, Metadata, RpcClient, RpcServer } from "../index.ts";
import type { CallOptions, ClientStream, RpcChannel } from "../index.ts";

let bed: Bed;
let gzip: RpcClient;
let plain: RpcClient;
let inProcess: InProcessChannel;

beforeAll(async () => {
  bed = await startBed();
  plain = await bed.connect();
  gzip = await bed.connect({ encoding: "gzip" });
  inProcess = new InProcessChannel({ table: bed.table, clock: CLOCK });
});
afterAll(() => bed.close());

async function collect(stream: ClientStream<Echo, Echo>): Promise<Echo[]> {
  const messages: Echo[] = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

async function failureOf(promise: Promise<unknown>): Promise<RpcError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(RpcError);
    return error as RpcError;
  }
  throw new Error("the call succeeded");
}

describe.each<[string, () => RpcChannel]>([
  ["plain", () => plain],
  ["gzip", () => gzip],
  ["in process", () => inProcess],
])("RpcChannel, %s", (_name, channelOf) => {
  test("unary() returns the response", async () => {
    expect(await channelOf().unary(Unary, echo("hé", 5))).toEqual(echo("hé", 5));
  });

  test("unary() many at once keep their answers apart", async () => {
    const calls = Array.from({ length: 200 }, (_, i) => channelOf().unary(Unary, echo(`t${i}`, i)));
    expect((await Promise.all(calls)).map((answer) => answer.count)).toEqual(
      Array.from({ length: 200 }, (_, i) => i),
    );
  });

  test("unary() throws the status with its text as it was", async () => {
    const text = "50% of “äöü”\n\u0001 ok";
    const error = await failureOf(channelOf().unary(Unary, echo(text, 0, GRPC_CODES.NOT_FOUND)));
    expect([error.grpcCode, error.message]).toEqual([GRPC_CODES.NOT_FOUND, text]);
  });

  test("unary() to what is not served is Unimplemented", async () => {
    const error = await failureOf(channelOf().unary(Missing, echo("")));
    expect([error.grpcCode, error.message]).toEqual([
      GRPC_CODES.UNIMPLEMENTED,
      "unknown method Missing for service test.Echo",
    ]);
  });

  test("unary() past its time-out is DeadlineExceeded, and the handler hears of it", async () => {
    bed.events.length = 0;
    const error = await failureOf(channelOf().unary(Hang, echo(""), { timeoutMs: 30 }));
    expect([error.grpcCode, error.message]).toEqual([
      GRPC_CODES.DEADLINE_EXCEEDED,
      "context deadline exceeded",
    ]);
    await until(() => bed.events.some((event) => event.startsWith("cancel Hang")), "cancelled");
  });

  test("stream() receives a server stream in order", async () => {
    const stream = channelOf().stream(Down);
    stream.send(echo("x".repeat(1000), 500));
    stream.end();
    expect((await collect(stream)).map((message) => message.count)).toEqual(
      Array.from({ length: 500 }, (_, i) => i),
    );
  });

  test("stream() gives the messages before the status", async () => {
    const stream = channelOf().stream(Down);
    stream.send(echo("x", 3, GRPC_CODES.ABORTED));
    stream.end();
    const messages: Echo[] = [];
    const error = await failureOf(
      (async () => {
        for await (const message of stream) messages.push(message);
      })(),
    );
    expect([messages.length, error.grpcCode]).toEqual([3, GRPC_CODES.ABORTED]);
  });

  test("stream() sends a client stream", async () => {
    const stream = channelOf().stream(Up);
    for (const text of ["a", "b", "c"]) stream.send(echo(text));
    stream.end();
    expect(await collect(stream)).toEqual([echo("a,b,c", 3)]);
  });

  test("stream() answers while both sides are open", async () => {
    const stream = channelOf().stream(Both);
    const answers: string[] = [];
    stream.onMessage((message) => void answers.push(message.text));
    stream.send(echo("one"));
    await until(() => answers.length === 1, "first answer");
    stream.send(echo("two"));
    await until(() => answers.length === 2, "second answer");
    const ended = new Promise((resolve) => stream.onEnd(resolve));
    stream.end();
    expect([await ended, answers]).toEqual([undefined, ["one", "two"]]);
  });

  test("stream() ended by the server while the client still may send", async () => {
    const stream = channelOf().stream(Both);
    const ended = new Promise<RpcError | undefined>((resolve) => stream.onEnd(resolve));
    stream.send(echo("enough", 0, GRPC_CODES.UNAVAILABLE));
    const error = await ended;
    expect([error?.grpcCode, error?.message]).toEqual([GRPC_CODES.UNAVAILABLE, "enough"]);
  });

  test("cancel() reaches the handler", async () => {
    bed.events.length = 0;
    const abort = new AbortController();
    const call = failureOf(channelOf().unary(Hang, echo(""), { signal: abort.signal }));
    await until(() => bed.events.includes("start Hang"), "started");
    abort.abort();
    expect((await call).grpcCode).toBe(GRPC_CODES.CANCELED);
    await until(() => bed.events.includes("cancel Hang context canceled"), "cancelled");
  });

  test("pause() holds back a sender that minds the high-water mark", async () => {
    bed.events.length = 0;
    const stream = channelOf().stream(Down);
    let received = 0;
    stream.onMessage(() => {
      received++;
      if (received === 1) stream.pause();
    });
    stream.send(echo(randomBytes(10_000).toString("base64"), 100_000));
    await until(() => received > 0, "first message");
    await new Promise((resolve) => setTimeout(resolve, 50));
    stream.cancel();
    await until(() => bed.events.length > 0, "cancelled");
    const sent = Number(/cancel Down at (\d+)/.exec(bed.events[0]!)?.[1]);
    expect(sent).toBeLessThan(20_000);
  });

  test("pause() and resume() lose nothing", async () => {
    const stream = channelOf().stream(Down);
    const counts: number[] = [];
    stream.onMessage((message) => {
      counts.push(message.count);
      if (message.count % 100 === 7) {
        stream.pause();
        setTimeout(() => stream.resume(), 1);
      }
    });
    const ended = new Promise((resolve) => stream.onEnd(resolve));
    stream.send(echo("x".repeat(500), 1_000));
    expect(await ended).toBeUndefined();
    expect(counts).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
  });

  test("metadata crosses in both directions", async () => {
    const metadata = new Metadata();
    metadata.append("Token", "abc");
    metadata.append("many", "1");
    metadata.append("many", "2");
    metadata.append("raw-bin", "\u0000\u00fe,");
    const stream = channelOf().stream(Headers, {
      metadata,
      timeoutMs: 5_000,
    } satisfies CallOptions);
    const headers = new Promise<Metadata>((resolve) => stream.onHeaders(resolve));
    stream.send(echo(""));
    stream.end();
    const [answer] = await collect(stream);
    const lines = answer!.text.split("\n");
    expect(lines).toContain("token=abc");
    expect(lines.join().replaceAll("many=", "").includes("1") && lines.join().includes("2")).toBe(
      true,
    );
    expect(lines).toContain("raw-bin=\u0000\u00fe,");
    expect(lines.some((line) => /^(te|grpc-timeout|content-type|:path)=/.test(line))).toBe(false);
    expect(answer!.count).toBeGreaterThan(0);
    expect([(await headers).get("x-answer"), (await headers).get("x-bytes-bin")]).toEqual([
      "yes",
      "\u0000\u00ff",
    ]);
  });
});

test("a slow reader costs only its own bound", async () => {
  bed.events.length = 0;
  const stream = plain.stream(Flood);
  stream.pause();
  stream.send(echo("x".repeat(10_000), 1_000));
  await until(() => bed.events.length > 0, "flooded");
  expect(Number(/buffered (\d+)/.exec(bed.events[0]!)?.[1])).toBeGreaterThan(1_000_000);
  expect(await plain.unary(Unary, echo("others go on"))).toEqual(echo("others go on"));
  stream.cancel();
  await until(() => bed.events.includes("cancel Flood"), "cancelled");
});

test("RpcServer.listen() serves a unix socket", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-ts-rpc-"));
  const address = { kind: "unix", path: join(directory, "s") } as const;
  const server = new RpcServer({ clock: CLOCK, table: echoTable().table });
  try {
    await server.listen(address);
    const client = await RpcClient.connect(address);
    expect(await client.unary(Unary, echo("unix"))).toEqual(echo("unix"));
    await client.close();
  } finally {
    await server.close(0);
    rmSync(directory, { recursive: true });
  }
});

test("RpcServer.listen() refuses a port that is taken", async () => {
  await expect(bed.server.listen(bed.address)).rejects.toMatchObject({ code: "EADDRINUSE" });
});

test("RpcClient.connect() to nobody is Unavailable", async () => {
  const error = await failureOf(RpcClient.connect({ kind: "unix", path: "/nonexistent/socket" }));
  expect(error.grpcCode).toBe(GRPC_CODES.UNAVAILABLE);
});

test("RpcServer.close() lets a running call end, then drops what is left", async () => {
  const draining = await startBed();
  const client = await draining.connect();
  const finishing = client.stream(Both);
  const hanging = failureOf(client.unary(Hang, echo("")));
  let answers = 0;
  finishing.onMessage(() => answers++);
  finishing.send(echo("1"));
  await until(() => answers === 1 && draining.events.includes("start Hang"), "both run");
  const closed = draining.server.close(200);
  await new Promise((resolve) => setTimeout(resolve, 20));
  finishing.send(echo("2"));
  await until(() => answers === 2, "answer while draining");
  const error = await failureOf(client.unary(Unary, echo("late")));
  expect(error.grpcCode).toBe(GRPC_CODES.UNAVAILABLE);
  await closed;
  expect((await hanging).grpcCode).not.toBe(GRPC_CODES.OK);
  expect(draining.events.some((event) => event.startsWith("cancel Hang"))).toBe(true);
});
