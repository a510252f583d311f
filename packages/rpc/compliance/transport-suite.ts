/**
 * What every `RpcServerTransport` must do, seen from the wire: gRPC and HTTP, refusals, pings,
 * attacks. One suite for all implementations.
 */

import * as http2 from "node:http2";
import * as net from "node:net";
import { gunzipSync, gzipSync } from "node:zlib";

import { GRPC_CODES } from "@etcd-ts/api";
import { decodeMessage, encodeMessage } from "@etcd-ts/base";
import { afterEach, describe, expect, test } from "vitest";

import {
  Both,
  CLOCK,
  Down,
  EchoCodec,
  Hang,
  Long,
  Unary,
  echo,
  echoTable,
  startBed,
  until,
} from "./echo-bed.ts";
import type { Bed, RawConnection } from "./echo-bed.ts";
import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  PING,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
  callHeaders,
  frame,
  goaways,
  headerBlock,
  parseFrames,
  settings,
} from "./h2-frames.ts";
import { FrameReader, encodeFrame, frameOf } from "../src/grpc/framing.ts";
import type { RpcServerOptions, RpcServerTransport, TransportOptions } from "../src/index.ts";

const ENHANCE_YOUR_CALM = 11;

const PING_FRAME = frame(PING, 0, 0, Buffer.alloc(8));

function call(stream: number, path: string, body: Uint8Array): Buffer {
  return Buffer.concat([
    frame(HEADERS, END_HEADERS, stream, headerBlock(callHeaders(path))),
    frame(DATA, END_STREAM, stream, body),
  ]);
}

function dataOf(bytes: Buffer, stream: number): Buffer {
  const parts = parseFrames(bytes).filter((one) => one.type === DATA && one.stream === stream);
  return Buffer.concat(parts.map(({ payload }) => payload));
}

interface HttpAnswer {
  readonly headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** One HTTP/2 request by Node's client, with any headers. */
async function request(
  bed: Bed,
  headers: http2.OutgoingHttpHeaders,
  ...body: readonly Uint8Array[]
): Promise<HttpAnswer> {
  const session = http2.connect(`http://${bed.address.host}:${bed.address.port}`);
  session.on("error", () => undefined);
  try {
    return await new Promise<HttpAnswer>((resolve, reject) => {
      const stream = session.request({
        ":method": "POST",
        "content-type": "application/grpc",
        te: "trailers",
        ...headers,
      });
      let answer: HttpAnswer["headers"] | undefined;
      let trailers: http2.IncomingHttpHeaders = {};
      const chunks: Buffer[] = [];
      stream.on("response", (got) => (answer = got));
      stream.on("trailers", (got) => (trailers = got));
      stream.on("data", (chunk: Buffer) => void chunks.push(chunk));
      stream.on("error", reject);
      stream.on("close", () => {
        if (answer === undefined) reject(new Error(`no answer, code ${stream.rstCode}`));
        else resolve({ headers: answer, trailers, body: Buffer.concat(chunks) });
      });
      for (const part of body) stream.write(part);
      stream.end();
    });
  } finally {
    session.destroy();
  }
}

export type TransportFactory = (options: TransportOptions) => RpcServerTransport;

/** Registers the suite for the transports that `create` makes. */
export function transportSuite(create: TransportFactory): void {
  const beds: Bed[] = [];

  async function bedWith(
    options: Partial<RpcServerOptions> = {},
    echoes = echoTable(),
  ): Promise<Bed> {
    const transport = create({ clock: CLOCK, table: echoes.table, ...options });
    const bed = await startBed({ ...options, transport }, echoes);
    beds.push(bed);
    return bed;
  }

  afterEach(async () => {
    await Promise.all(beds.splice(0).map((bed) => bed.close()));
  });

  describe("telling protocols apart", () => {
    const httpHandler: RpcServerOptions["httpHandler"] = (incoming, response) => {
      let length = 0;
      incoming.on("data", (chunk: Buffer) => (length += chunk.length));
      incoming.on("end", () => {
        response.setHeader("x-version", incoming.httpVersion);
        response.statusCode = 200;
        response.end(`${incoming.method} ${incoming.url} ${length}`);
      });
    };

    test.each([1, 2, 3, 7, 24, 25, 1_000])(
      "a gRPC call sent %i bytes at a time loses none",
      async (step) => {
        const bed = await bedWith({ httpHandler });
        const raw = await bed.raw();
        const sent = Buffer.concat([
          PREFACE,
          settings(),
          call(1, Unary.path, encodeFrame(EchoCodec, echo("first"))),
          call(3, Unary.path, encodeFrame(EchoCodec, echo("second"))),
        ]);
        for (let at = 0; at < sent.length; at += step) {
          raw.socket.write(sent.subarray(at, at + step));
          if (step < 25) await new Promise((resolve) => setImmediate(resolve));
        }
        await until(() => dataOf(raw.received(), 3).length > 0, "second answer");
        expect(dataOf(raw.received(), 1)).toEqual(
          Buffer.from(encodeFrame(EchoCodec, echo("first"))),
        );
        expect(dataOf(raw.received(), 3)).toEqual(
          Buffer.from(encodeFrame(EchoCodec, echo("second"))),
        );
      },
    );

    test.each([1, 3, 10_000])(
      "an HTTP/1.1 request sent %i bytes at a time loses none",
      async (step) => {
        const bed = await bedWith({ httpHandler });
        const raw = await bed.raw();
        const sent = Buffer.from(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello`);
        for (let at = 0; at < sent.length; at += step) {
          raw.socket.write(sent.subarray(at, at + step));
          await new Promise((resolve) => setImmediate(resolve));
        }
        await until(() => raw.received().includes("PUT /x 5"), "answer");
      },
    );

    test("handleConnection() takes a socket that was accepted paused and has bytes waiting", async () => {
      const bed = await bedWith({ httpHandler });
      const waiting: net.Socket[] = [];
      const listener = net.createServer({ pauseOnConnect: true }, (socket) => waiting.push(socket));
      await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
      const { port } = listener.address() as net.AddressInfo;
      try {
        const client = net.connect({ host: "127.0.0.1", port });
        const received: Buffer[] = [];
        client.on("data", (chunk: Buffer) => void received.push(chunk));
        const body = encodeFrame(EchoCodec, echo("waited"));
        client.write(Buffer.concat([PREFACE, settings(), call(1, Unary.path, body)]));
        await until(() => waiting.length === 1, "accepted");
        await new Promise((resolve) => setTimeout(resolve, 20));
        waiting[0]!.resume();
        bed.server.handleConnection(waiting[0]!, { address: "x", commonName: undefined });
        await until(() => dataOf(Buffer.concat(received), 1).length > 0, "answer");
        client.destroy();
      } finally {
        listener.close();
      }
    });

    test("HTTP/1.1 keeps its connection and takes pipelined requests", async () => {
      const bed = await bedWith({ httpHandler });
      const raw = await bed.raw();
      raw.socket.write("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
      await until(() => raw.received().includes("GET /2 0"), "both answers");
      raw.socket.write("GET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
      await until(() => raw.received().includes("GET /3 0"), "third answer");
    });

    test("an upgrade that is not offered is ignored, body included", async () => {
      const bed = await bedWith({
        httpHandler,
        upgradeHandler: (_request, socket) => {
          socket.destroy();
          return true;
        },
      });
      const raw = await bed.raw();
      raw.socket.write(
        "POST /u HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" +
          "HTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nhe",
      );
      await new Promise((resolve) => setTimeout(resolve, 10));
      raw.socket.write("lloGET /v HTTP/1.1\r\nHost: h\r\n\r\n");
      await until(() => raw.received().includes("GET /v 0"), "both answers");
      expect(raw.received().includes("POST /u 5")).toBe(true);
    });

    test("an HTTP/1.1 header that takes too long is refused", async () => {
      const bed = await bedWith({ httpHandler, httpHeadersTimeoutMs: 50 });
      const raw = await bed.raw();
      raw.socket.write("GET / HTTP/1.1\r\nHost: h\r\nX");
      await raw.closed;
      expect(raw.received().toString()).toContain("408 Request Timeout");
    });

    test("what is no gRPC on HTTP/2 goes to the HTTP handler", async () => {
      const bed = await bedWith({ httpHandler });
      const answer = await request(
        bed,
        {
          ":path": "/health",
          "content-type": "application/json",
        },
        Buffer.from("abc"),
      );
      expect([
        answer.headers[":status"],
        answer.headers["x-version"],
        answer.body.toString(),
      ]).toEqual([200, "2.0", "POST /health 3"]);
    });

    test("what is no gRPC is answered 415 where there is no HTTP handler", async () => {
      const bed = await bedWith();
      const answer = await request(bed, {
        ":path": "/health",
        "content-type": "application/grpcx",
      });
      expect(answer.headers).toMatchObject({
        ":status": 415,
        "content-type": "application/grpc",
        "grpc-status": "3",
        "grpc-message": 'invalid gRPC request content-type "application/grpcx"',
      });
    });

    test("`serve` closes connections of the other protocol", async () => {
      const grpcOnly = await (await bedWith({ httpHandler, serve: "grpc" })).raw();
      grpcOnly.socket.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      await grpcOnly.closed;
      const httpOnly = await (await bedWith({ httpHandler, serve: "http" })).raw();
      httpOnly.socket.write(Buffer.concat([PREFACE, settings()]));
      await httpOnly.closed;
      expect([grpcOnly.received().length, httpOnly.received().length]).toEqual([0, 0]);
    });

    test.each([
      ["nothing", Buffer.alloc(0)],
      ["half a preface", PREFACE.subarray(0, 10)],
      ["a preface without SETTINGS", PREFACE],
    ])("a connection that says %s is dropped in time", async (_name, bytes) => {
      const bed = await bedWith({ handshakeTimeoutMs: 50 });
      const raw = await bed.raw();
      raw.socket.write(bytes);
      await raw.closed;
      const client = await bed.connect();
      await new Promise((resolve) => setTimeout(resolve, 80));
      expect(await client.unary(Unary, echo("kept"))).toEqual(echo("kept"));
    });
  });

  describe("gRPC over HTTP/2", () => {
    test.each([
      ["/no.Such/Method", "unknown service no.Such"],
      ["/test.Echo/Nope", "unknown method Nope for service test.Echo"],
      ["/nothing", 'malformed method name: "/nothing"'],
      ["/test.Echo/Unary/", "unknown service test.Echo/Unary"],
    ])("%s is Unimplemented", async (path, text) => {
      const { headers } = await request(await bedWith(), { ":path": path });
      expect(headers).toMatchObject({
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-status": "12",
        "grpc-message": text,
      });
    });

    test.each([
      ["a malformed time-out", { "grpc-timeout": "5" }, 400, "13", "malformed grpc-timeout"],
      ["malformed binary metadata", { "x-bin": "§" }, 400, "13", "malformed binary metadata"],
      ["a method that is not POST", { ":method": "GET" }, 405, "13", "should be POST"],
      ["a time-out of zero", { "grpc-timeout": "0S" }, 200, "4", "context deadline exceeded"],
      [
        "an unknown encoding",
        { "grpc-encoding": "br" },
        200,
        "12",
        'Decompressor is not installed for grpc-encoding "br"',
      ],
    ])("refuses %s", async (_name, more, status, code, text) => {
      const { headers } = await request(await bedWith(), { ":path": Unary.path, ...more });
      expect([headers[":status"], headers["grpc-status"]]).toEqual([status, code]);
      expect(headers["grpc-message"]).toContain(text);
    });

    test.each([
      ["application/grpc", "application/grpc"],
      ["application/grpc+proto", "application/grpc+proto"],
      ["application/grpc;charset=utf-8", "application/grpc"],
    ])("takes %s", async (contentType, answered) => {
      const answer = await request(
        await bedWith(),
        { ":path": Unary.path, "content-type": contentType },
        encodeFrame(EchoCodec, echo("x")),
      );
      expect([answer.headers["content-type"], answer.trailers["grpc-status"]]).toEqual([
        answered,
        "0",
      ]);
    });

    test.each<[string, Uint8Array[], { readonly [name: string]: string }, number, string]>([
      [
        "a message above the maximum",
        [frameOf(new Uint8Array(1_001), false)],
        {},
        8,
        "grpc: received message larger than max (1001 vs. 1000)",
      ],
      [
        "a length without its bytes",
        [new Uint8Array([0, 255, 0, 0, 0])],
        {},
        8,
        "grpc: received message larger than max (4278190080 vs. 1000)",
      ],
      [
        "an unknown flag",
        [new Uint8Array([7, 0, 0, 0, 0])],
        {},
        13,
        "grpc: received unexpected payload format 7",
      ],
      ["a message cut short", [new Uint8Array([0, 0, 0, 0, 9, 1])], {}, 2, "unexpected EOF"],
      ["no message", [], {}, 2, "EOF"],
      [
        "bytes that are no message",
        [frameOf(new Uint8Array([0x0a, 50]), false)],
        {},
        13,
        "grpc: error unmarshalling request: unexpected EOF",
      ],
      [
        "compression without an encoding",
        [frameOf(gzipSync("x"), true)],
        {},
        13,
        "grpc: compressed flag set with identity or empty encoding",
      ],
      [
        "what is no gzip",
        [frameOf(new Uint8Array(9), true)],
        { "grpc-encoding": "gzip" },
        13,
        "grpc: failed to decompress the message",
      ],
      [
        "a message that inflates above the maximum",
        [frameOf(gzipSync(Buffer.alloc(500_000)), true)],
        { "grpc-encoding": "gzip" },
        8,
        "grpc: received message after decompression larger than max 1000",
      ],
    ])("refuses %s", async (_name, body, more, code, text) => {
      const bed = await bedWith({ receiveMessageBytesMax: 1_000 });
      const { headers } = await request(bed, { ":path": Unary.path, ...more }, ...body);
      expect(headers["grpc-status"]).toBe(String(code));
      expect(decodeURIComponent(String(headers["grpc-message"]))).toContain(text);
    });

    test("takes a message exactly at the maximum, and several in one frame", async () => {
      const bed = await bedWith({ receiveMessageBytesMax: 1_000 });
      const largest = encodeFrame(EchoCodec, echo("x".repeat(997)));
      expect(largest.length).toBe(1_005);
      const messages = [
        largest,
        encodeFrame(EchoCodec, echo("y")),
        encodeFrame(EchoCodec, echo("z")),
      ];
      const answer = await request(bed, { ":path": Both.path }, Buffer.concat(messages));
      expect([answer.body, answer.trailers["grpc-status"]]).toEqual([Buffer.concat(messages), "0"]);
    });

    test.each([1, 60_000, 20_000_000])(
      "an answer of %i bytes in chunks arrives whole, within the memory of a connection",
      async (count) => {
        const bed = await bedWith({ connectionMemoryBytesMax: 1024 * 1024 });
        const answer = await request(
          bed,
          { ":path": Long.path },
          encodeFrame(EchoCodec, echo("", count)),
        );
        expect(answer.trailers["grpc-status"]).toBe("0");
        const frames = new FrameReader(2 * count + 100);
        frames.push(answer.body);
        const { payload, compressed } = frames.next()!;
        expect([compressed, frames.isPartial]).toEqual([false, false]);
        expect(decodeMessage(EchoCodec, payload).text).toBe("x".repeat(count));
      },
    );

    test("an answer in chunks that nobody reads waits, and goes with its connection", async () => {
      const bed = await bedWith({ connectionMemoryBytesMax: 1024 * 1024 });
      const raw = await bed.raw();
      const body = encodeFrame(EchoCodec, echo("", 20_000_000));
      raw.socket.write(Buffer.concat([PREFACE, settings(), call(1, Long.path, body)]));
      await until(() => dataOf(raw.received(), 1).length >= 65_535, "a window of data");
      const other = await request(bed, { ":path": Unary.path }, encodeFrame(EchoCodec, echo("a")));
      expect(other.trailers["grpc-status"]).toBe("0");
      expect(dataOf(raw.received(), 1).length).toBe(65_535);
      raw.socket.write(frame(RST_STREAM, 0, 1, Buffer.from([0, 0, 0, 8])));
      raw.socket.write(call(3, Unary.path, encodeFrame(EchoCodec, echo("b"))));
      raw.socket.write(frame(WINDOW_UPDATE, 0, 0, Buffer.from([0, 1, 0, 0])));
      await until(() => dataOf(raw.received(), 3).length > 0, "the next call");
    });

    test("an answer in chunks is compressed as others are", async () => {
      const bed = await bedWith();
      const answer = await request(
        bed,
        { ":path": Long.path, "grpc-encoding": "gzip" },
        frameOf(gzipSync(encodeMessage(EchoCodec, echo("", 200_000))), true),
      );
      expect([answer.headers["grpc-encoding"], answer.body[0]]).toEqual(["gzip", 1]);
      const payload = gunzipSync(answer.body.subarray(5));
      expect(decodeMessage(EchoCodec, payload).text).toBe("x".repeat(200_000));
    });

    test("answers gzip with gzip", async () => {
      const message = encodeFrame(EchoCodec, echo("z".repeat(5_000))).subarray(5);
      const answer = await request(
        await bedWith(),
        { ":path": Unary.path, "grpc-encoding": "gzip" },
        frameOf(gzipSync(message), true),
      );
      expect([answer.headers["grpc-encoding"], answer.body[0]]).toEqual(["gzip", 1]);
      expect(answer.body.length).toBeLessThan(500);
    });

    test("counts message bytes and runs interceptors around each call", async () => {
      const counted = { received: 0, sent: 0 };
      const log: string[] = [];
      const echoes = echoTable();
      echoes.table.intercept({
        onStart: (started, message) => {
          log.push(`start ${started.method.name} ${message === undefined ? "stream" : "request"}`);
          return started.metadata.get("refuse") === undefined
            ? undefined
            : Object.assign(new Error("refused"), { code: "T", grpcCode: GRPC_CODES.ABORTED });
        },
        onMessageReceived: () => void log.push("received"),
        onMessageSent: () => void log.push("sent"),
        onFinish: (_call, code, message) => void log.push(`finish ${code} ${message}`),
      });
      const bed = await bedWith(
        {
          byteCounters: {
            received: (bytes) => (counted.received += bytes),
            sent: (bytes) => (counted.sent += bytes),
          },
        },
        echoes,
      );
      const body = encodeFrame(EchoCodec, echo("four"));
      await request(bed, { ":path": Unary.path }, body);
      await request(bed, { ":path": Unary.path, refuse: "1" }, body);
      await request(bed, { ":path": Both.path }, body, body);
      expect(counted).toEqual({ received: 4 * 6, sent: 3 * 6 });
      expect(log).toEqual([
        ...["start Unary request", "received", "sent", "finish 0 "],
        ...["start Unary request", "finish 10 refused"],
        ...["start Both stream", "received", "sent", "received", "sent", "finish 0 "],
      ]);
    });

    test("a reset cancels the handler, and the connection goes on", async () => {
      const bed = await bedWith();
      const raw = await bed.raw();
      raw.socket.write(
        Buffer.concat([PREFACE, settings(), call(1, Hang.path, encodeFrame(EchoCodec, echo("")))]),
      );
      await until(() => bed.events.includes("start Hang"), "started");
      raw.socket.write(frame(RST_STREAM, 0, 1, Buffer.from([0, 0, 0, 8])));
      await until(() => bed.events.includes("cancel Hang context canceled"), "cancelled");
      raw.socket.write(call(3, Unary.path, encodeFrame(EchoCodec, echo("on"))));
      await until(() => dataOf(raw.received(), 3).length > 0, "answer");
    });

    test("a connection that breaks cancels its calls", async () => {
      const bed = await bedWith();
      const raw = await bed.raw();
      raw.socket.write(
        Buffer.concat([PREFACE, settings(), call(1, Hang.path, encodeFrame(EchoCodec, echo("")))]),
      );
      await until(() => bed.events.includes("start Hang"), "started");
      raw.socket.resetAndDestroy();
      await until(() => bed.events.includes("cancel Hang context canceled"), "cancelled");
    });

    test("calls above the maximum of a connection are refused", async () => {
      const bed = await bedWith({ concurrentStreamsMax: 3 });
      const raw = await bed.raw();
      const calls = [1, 3, 5, 7].map((id) => call(id, Hang.path, encodeFrame(EchoCodec, echo(""))));
      raw.socket.write(Buffer.concat([PREFACE, settings(), ...calls]));
      await until(
        () =>
          parseFrames(raw.received()).some((one) => one.type === RST_STREAM && one.stream === 7),
        "refusal",
      );
      expect(bed.events.filter((event) => event === "start Hang").length).toBe(3);
    });

    test("a reader that opens no window holds only its own call", async () => {
      const bed = await bedWith();
      const raw = await bed.raw();
      raw.socket.write(
        Buffer.concat([
          PREFACE,
          settings([4, 0]),
          call(1, Down.path, encodeFrame(EchoCodec, echo("x".repeat(1_000), 100_000))),
          frame(WINDOW_UPDATE, 0, 3, Buffer.from([0, 1, 0, 0])),
        ]),
      );
      const client = await bed.connect();
      expect(await client.unary(Unary, echo("free"))).toEqual(echo("free"));
      raw.socket.destroy();
      await until(() => bed.events.length > 0, "cancelled");
      const sent = Number(/cancel Down at (\d+)/.exec(bed.events[0]!)?.[1]);
      expect(sent).toBeLessThan(200);
    });
  });

  describe("keepalive", () => {
    const keepalive = { timeMs: 3_600_000, timeoutMs: 1_000, minTimeMs: 60_000 };

    /** Each after the one before it has been answered: what comes late must not come together. */
    async function pingAtADistance(raw: RawConnection): Promise<void> {
      const answers = (): number =>
        parseFrames(raw.received()).filter(({ type, flags }) => type === PING && flags === ACK)
          .length;
      for (let i = 0; i < 8; i++) {
        raw.socket.write(PING_FRAME);
        await until(() => answers() > i || raw.isClosed(), "a ping is answered");
        await new Promise((resolve) => setTimeout(resolve, 4));
      }
    }

    test("pings without a call end the connection with too_many_pings", async () => {
      const raw = await (await bedWith({ keepalive })).raw();
      raw.socket.write(
        Buffer.concat([PREFACE, settings(), PING_FRAME, PING_FRAME, PING_FRAME, PING_FRAME]),
      );
      await raw.closed;
      expect(goaways(raw.received())[0]).toEqual({
        code: ENHANCE_YOUR_CALM,
        text: "too_many_pings",
      });
    });

    test("pings that keep their distance, or follow data, are no offence", async () => {
      const bed = await bedWith({ keepalive: { ...keepalive, minTimeMs: 1 } });
      const raw = await bed.raw();
      raw.socket.write(
        Buffer.concat([PREFACE, settings(), call(1, Hang.path, encodeFrame(EchoCodec, echo("")))]),
      );
      await pingAtADistance(raw);
      const strict = await (await bedWith({ keepalive })).raw();
      strict.socket.write(Buffer.concat([PREFACE, settings()]));
      for (let i = 0; i < 8; i++) {
        const before = strict.received().length;
        strict.socket.write(call(2 * i + 1, Unary.path, encodeFrame(EchoCodec, echo("x"))));
        await until(
          () => dataOf(strict.received().subarray(before), 2 * i + 1).length > 0,
          "answer",
        );
        strict.socket.write(PING_FRAME);
      }
      await new Promise((resolve) => setTimeout(resolve, 30));
      expect([goaways(raw.received()), goaways(strict.received())]).toEqual([[], []]);
      expect([raw.socket.destroyed, strict.socket.destroyed]).toEqual([false, false]);
    });

    test("permitWithoutStream lets idle clients ping", async () => {
      const options = { keepalive: { ...keepalive, minTimeMs: 1, permitWithoutStream: true } };
      const raw = await (await bedWith(options)).raw();
      raw.socket.write(Buffer.concat([PREFACE, settings()]));
      await pingAtADistance(raw);
      expect(goaways(raw.received())).toEqual([]);
    });

    test("a client that answers no ping is dropped, one that does is kept", async () => {
      const bed = await bedWith({ keepalive: { timeMs: 40, timeoutMs: 2_000 } });
      const deaf = await bed.raw();
      deaf.socket.write(Buffer.concat([PREFACE, settings()]));
      const client = await bed.connect();
      await deaf.closed;
      expect(parseFrames(deaf.received()).some((one) => one.type === PING && one.flags === 0)).toBe(
        true,
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(await client.unary(Unary, echo("kept"))).toEqual(echo("kept"));
    });
  });

  describe("attacks are bounded", () => {
    /** Sends `flood` again and again until the server hangs up, or enough was sent. */
    async function flood(
      options: Partial<RpcServerOptions>,
      flooding: (i: number) => Buffer,
      count: number,
    ): Promise<{ received: Buffer; sent: number }> {
      const bed = await bedWith(options);
      const raw = await bed.raw();
      raw.socket.write(Buffer.concat([PREFACE, settings()]));
      let sent = 0;
      while (sent < count && !raw.isClosed()) {
        raw.socket.write(flooding(sent++));
        if (sent % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await until(() => raw.isClosed(), "hung up");
      const client = await bed.connect();
      expect(await client.unary(Unary, echo("honest"))).toEqual(echo("honest"));
      return { received: raw.received(), sent };
    }

    test("PING flood", async () => {
      const { received } = await flood(
        {},
        () => Buffer.concat(Array(50).fill(PING_FRAME) as Buffer[]),
        5_000,
      );
      expect(goaways(received)[0]?.text).toBe("too_many_pings");
      expect(parseFrames(received).filter((one) => one.type === PING).length).toBeLessThan(20_000);
    });

    test("SETTINGS flood", async () => {
      const { received } = await flood({}, () => settings([3, 100]), 5_000);
      expect(goaways(received)[0]).toEqual({ code: ENHANCE_YOUR_CALM, text: "too_many_settings" });
    });

    test("empty DATA flood", async () => {
      const empty = frame(DATA, 0, 1, Buffer.alloc(0));
      const start = frame(HEADERS, END_HEADERS, 1, headerBlock(callHeaders(Both.path)));
      await flood(
        {},
        (i) => (i === 0 ? start : Buffer.concat(Array(50).fill(empty) as Buffer[])),
        2_000,
      );
    });

    test("CONTINUATION flood", async () => {
      const start = frame(HEADERS, 0, 1, headerBlock(callHeaders(Both.path)));
      const more = frame(CONTINUATION, 0, 1, headerBlock({ "x-pad": "y".repeat(8_000) }));
      const { sent } = await flood({}, (i) => (i === 0 ? start : more), 2_000);
      expect(sent).toBeLessThan(2_000);
    });

    test("rapid reset", async () => {
      const bed = await bedWith({ keepalive: { timeoutMs: 50 } });
      const raw = await bed.raw();
      raw.socket.write(Buffer.concat([PREFACE, settings()]));
      const reset = Buffer.from([0, 0, 0, 8]);
      for (let i = 0; i < 20_000 && !raw.isClosed(); i++) {
        const id = 2 * i + 1;
        raw.socket.write(
          Buffer.concat([
            frame(HEADERS, END_HEADERS, id, headerBlock(callHeaders(Hang.path))),
            frame(RST_STREAM, 0, id, reset),
          ]),
        );
        if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await until(() => goaways(raw.received()).length > 0 || raw.isClosed(), "told to go");
      raw.socket.write(PING_FRAME);
      await until(() => raw.isClosed(), "hung up");
      expect(bed.events).toEqual([]);
    });

    test("a header block that never ends", async () => {
      const bed = await bedWith({ handshakeTimeoutMs: 50, keepalive: { timeoutMs: 50 } });
      const raw = await bed.raw();
      raw.socket.write(
        Buffer.concat([
          PREFACE,
          settings(),
          frame(HEADERS, 0, 1, headerBlock(callHeaders(Both.path))),
        ]),
      );
      await raw.closed;
      expect(bed.events).toEqual([]);
    });

    test("header lists above the maximum", async () => {
      const bed = await bedWith({ headerListBytesMax: 4_000 });
      const raw = await bed.raw();
      const block = headerBlock(callHeaders(Unary.path, { "x-pad": "y".repeat(5_000) }));
      const flags = END_HEADERS | END_STREAM;
      const refused = (): number =>
        parseFrames(raw.received()).filter((one) => one.type === RST_STREAM).length;
      raw.socket.write(Buffer.concat([PREFACE, settings(), frame(HEADERS, flags, 1, block)]));
      await until(() => refused() === 1, "refused");
      raw.socket.write(call(3, Unary.path, encodeFrame(EchoCodec, echo("small"))));
      await until(() => dataOf(raw.received(), 3).length > 0, "a small one goes on");
      for (let id = 5; id < 100; id += 2) raw.socket.write(frame(HEADERS, flags, id, block));
      await raw.closed;
    });

    test("frames that are none", async () => {
      const bed = await bedWith({ keepalive: { timeoutMs: 50 } });
      for (const bytes of [
        Buffer.concat([PREFACE, Buffer.alloc(100, 0xff)]),
        Buffer.concat([PREFACE, settings(), frame(DATA, 0, 0, Buffer.alloc(3))]),
        Buffer.concat([
          PREFACE,
          settings(),
          frame(HEADERS, END_HEADERS, 1, Buffer.from([0xff, 0xff, 0xff])),
        ]),
        Buffer.concat([PREFACE, settings(), frame(SETTINGS, ACK, 0, Buffer.alloc(6))]),
      ]) {
        const raw = await bed.raw();
        raw.socket.write(bytes);
        await raw.closed;
      }
      const client = await bed.connect();
      expect(await client.unary(Unary, echo("alive"))).toEqual(echo("alive"));
    });
  });
}
