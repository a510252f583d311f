import * as http2 from "node:http2";
import type { Readable, Writable } from "node:stream";

import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";

import {
  Both,
  CLOCK,
  Down,
  EchoCodec,
  Flood,
  Hang,
  Headers,
  Unary,
  Up,
  echo,
  echoTable,
  startBed,
  until,
} from "../../compliance/echo-bed.ts";
import type { Bed, RawConnection } from "../../compliance/echo-bed.ts";
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
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
} from "../../compliance/h2-frames.ts";
import type { ParsedFrame } from "../../compliance/h2-frames.ts";
import { encodeFrame } from "../grpc/framing.ts";
import type { HttpHandler } from "../server/transport.ts";
import type { RpcServerOptions } from "../server/rpc-server.ts";
import { FrameTransport } from "./frame-transport.ts";
import type { HeaderField } from "./header-field.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import {
  HTTP2_CONTINUATIONS_MAX,
  HTTP2_IDLE_FRAMES_BURST_MAX,
  HTTP2_RESETS_BURST_MAX,
  HTTP2_SMALL_DATA_BURST_MAX,
  HTTP2_STREAM_WINDOW_BYTES,
} from "./limits.ts";

const PRIORITY = 2;
const PROTOCOL_ERROR = 1;
const FLOW_CONTROL_ERROR = 3;
const STREAM_CLOSED = 5;
const FRAME_SIZE_ERROR = 6;
const REFUSED_STREAM = 7;
const ENHANCE_YOUR_CALM = 11;
const HELLO = Buffer.concat([PREFACE, settings()]);

const beds: Bed[] = [];

async function bedWith(options: Partial<RpcServerOptions> = {}): Promise<Bed> {
  const echoes = echoTable();
  const transport = new FrameTransport({ clock: CLOCK, table: echoes.table, ...options });
  const bed = await startBed({ ...options, transport }, echoes);
  beds.push(bed);
  return bed;
}

async function rawWith(options: Partial<RpcServerOptions> = {}): Promise<[RawConnection, Bed]> {
  const bed = await bedWith(options);
  const raw = await bed.raw();
  return [raw, bed];
}

afterEach(async () => {
  await Promise.all(beds.splice(0).map((bed) => bed.close()));
});

const message = (text: string, count = 0): Uint8Array => encodeFrame(EchoCodec, echo(text, count));

function headers(stream: number, path: string, flags = 0, more = {}): Buffer {
  return frame(HEADERS, END_HEADERS | flags, stream, headerBlock(callHeaders(path, more)));
}

const data = (stream: number, bytes: Uint8Array, flags = 0): Buffer =>
  frame(DATA, flags, stream, bytes);

const call = (stream: number, path: string, body: Uint8Array): Buffer =>
  Buffer.concat([headers(stream, path), data(stream, body, END_STREAM)]);

function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const windowUpdate = (stream: number, bytes: number): Buffer =>
  frame(WINDOW_UPDATE, 0, stream, number32(bytes));

const ofStream = (raw: RawConnection, stream: number): ParsedFrame[] =>
  parseFrames(raw.received()).filter((one) => one.stream === stream);

function dataOf(raw: RawConnection, stream: number): Buffer {
  const frames = ofStream(raw, stream).filter((one) => one.type === DATA);
  return Buffer.concat(frames.map(({ payload }) => payload));
}

const resetCode = (raw: RawConnection, stream: number): number | undefined =>
  ofStream(raw, stream)
    .find((one) => one.type === RST_STREAM)
    ?.payload.readUInt32BE(0);

/** All header fields of the answers, block by block. */
function blocks(raw: RawConnection): { stream: number; fields: string[] }[] {
  const decoder = new HpackDecoder();
  const all: { stream: number; fields: string[] }[] = [];
  let parts: Buffer[] = [];
  for (const { type, flags, stream, payload } of parseFrames(raw.received())) {
    if (type !== HEADERS && type !== CONTINUATION) continue;
    parts.push(payload);
    if ((flags & END_HEADERS) === 0) continue;
    const block = Buffer.concat(parts);
    parts = [];
    const fields: HeaderField[] = [];
    decoder.decode(block, 0, block.length, 1 << 20, fields);
    all.push({ stream, fields: fields.map((field) => `${field.name}: ${field.value}`) });
  }
  return all;
}

const isAnswered = (raw: RawConnection, stream: number): boolean =>
  ofStream(raw, stream).some((one) => (one.flags & END_STREAM) !== 0 && one.type <= HEADERS);

describe("frames", () => {
  const requests = Buffer.concat([
    HELLO,
    headers(1, Both.path),
    headers(3, Up.path),
    data(3, message("a").subarray(0, 3)),
    data(1, message("one")),
    data(3, Buffer.concat([message("a").subarray(3), message("b")])),
    frame(
      DATA,
      END_STREAM | 8,
      1,
      Buffer.concat([Buffer.from([4]), message("two"), Buffer.alloc(4)]),
    ),
    data(3, message("c"), END_STREAM),
    call(5, Unary.path, message("unary")),
  ]);

  test("interleaved streams cut anywhere give the same answers", async () => {
    const bed = await bedWith();
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: requests.length - 1 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(cuts, async (at) => {
        const raw = await bed.raw();
        const edges = [0, ...at.toSorted((a, b) => a - b), requests.length];
        for (let i = 1; i < edges.length; i++) {
          raw.socket.write(requests.subarray(edges[i - 1], edges[i]));
          await new Promise((resolve) => setImmediate(resolve));
        }
        await until(() => [1, 3, 5].every((stream) => isAnswered(raw, stream)), "answers");
        expect(dataOf(raw, 1)).toEqual(Buffer.concat([message("one"), message("two")]));
        expect(dataOf(raw, 3)).toEqual(Buffer.from(message("a,b,c", 3)));
        expect(dataOf(raw, 5)).toEqual(Buffer.from(message("unary")));
        raw.socket.destroy();
      }),
      { numRuns: 60 },
    );
  });

  test("the answers of a read leave in one write", async () => {
    const [raw] = await rawWith();
    let chunks = 0;
    raw.socket.write(HELLO);
    await until(() => parseFrames(raw.received()).some((one) => one.flags === 1), "settings");
    raw.socket.on("data", () => chunks++);
    const calls = Array.from({ length: 200 }, (_, i) => call(2 * i + 1, Unary.path, message("x")));
    raw.socket.write(Buffer.concat(calls));
    await until(() => isAnswered(raw, 399), "answers");
    expect(chunks).toBeLessThan(5);
    expect(blocks(raw).filter(({ fields }) => fields.includes("grpc-status: 0")).length).toBe(200);
  });

  test("an :authority with a scheme is taken as it is", async () => {
    const [raw] = await rawWith();
    const authority = "http://127.0.0.1:2379";
    raw.socket.write(
      Buffer.concat([
        HELLO,
        headers(1, Headers.path, 0, { ":authority": authority }),
        data(1, message(""), END_STREAM),
      ]),
    );
    await until(() => isAnswered(raw, 1), "answer");
    expect(dataOf(raw, 1).toString()).toContain(`:authority=${authority}`);
  });

  test.each([
    ["no path", undefined, 'malformed method name: ""'],
    ["a path without a slash", "test.Echo/Unary", 'malformed method name: "test.Echo/Unary"'],
  ])("a call with %s is Unimplemented", async (_name, path, text) => {
    const [raw] = await rawWith();
    const fields: { [name: string]: string } = callHeaders(path ?? "");
    if (path === undefined) delete fields[":path"];
    raw.socket.write(
      Buffer.concat([HELLO, frame(HEADERS, END_HEADERS | END_STREAM, 1, headerBlock(fields))]),
    );
    await until(() => isAnswered(raw, 1), "answer");
    expect(blocks(raw)[0]!.fields).toEqual(
      expect.arrayContaining(["grpc-status: 12", `grpc-message: ${text}`]),
    );
  });

  test("headers that do not fit a frame are continued, coming and going", async () => {
    const bed = await bedWith();
    const client = await bed.connect();
    const error = await client.unary(Unary, echo("é".repeat(4_000), 0, 5)).catch((e: Error) => e);
    expect(error).toMatchObject({ message: "é".repeat(4_000) });
    const raw = await bed.raw();
    const block = headerBlock(callHeaders(Headers.path, { "x-long": "y".repeat(40_000) }));
    raw.socket.write(
      Buffer.concat([
        HELLO,
        frame(HEADERS, 0, 1, block.subarray(0, 16_384)),
        frame(CONTINUATION, 0, 1, block.subarray(16_384, 32_768)),
        frame(CONTINUATION, END_HEADERS, 1, block.subarray(32_768)),
        data(1, message(""), END_STREAM),
      ]),
    );
    await until(() => isAnswered(raw, 1), "answer");
    expect(dataOf(raw, 1).toString()).toContain(`x-long=${"y".repeat(40_000)}`);
  });

  test("a client that stops indexing is told of an empty table and understands", async () => {
    const [raw] = await rawWith();
    raw.socket.write(Buffer.concat([HELLO, call(1, Unary.path, message("a"))]));
    await until(() => isAnswered(raw, 1), "answer");
    raw.socket.write(Buffer.concat([settings([1, 0]), call(3, Unary.path, message("b"))]));
    await until(() => isAnswered(raw, 3), "answer");
    expect(blocks(raw).filter(({ stream }) => stream === 3)).toEqual([
      { stream: 3, fields: [":status: 200", "content-type: application/grpc"] },
      { stream: 3, fields: ["grpc-status: 0", "grpc-message: "] },
    ]);
  });

  test("trailers end a call; a body longer or shorter than announced does not", async () => {
    const [raw] = await rawWith();
    const trailers = headerBlock({ "x-checksum": "1" });
    const length = String(message("a").length);
    raw.socket.write(
      Buffer.concat([
        HELLO,
        headers(1, Up.path, 0, { "content-length": length }),
        data(1, message("a")),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers),
        headers(3, Up.path, 0, { "content-length": length }),
        data(3, Buffer.concat([message("a"), message("b")])),
        headers(5, Up.path, 0, { "content-length": "1000" }),
        data(5, message("a"), END_STREAM),
      ]),
    );
    await until(() => resetCode(raw, 5) !== undefined, "refusal");
    expect(dataOf(raw, 1)).toEqual(Buffer.from(message("a", 1)));
    expect([resetCode(raw, 3), resetCode(raw, 5)]).toEqual([PROTOCOL_ERROR, PROTOCOL_ERROR]);
  });
});

describe("flow control", () => {
  test("no byte goes beyond a window, and all come when it opens", async () => {
    const [raw] = await rawWith();
    raw.socket.write(
      Buffer.concat([
        PREFACE,
        settings([4, 1_000]),
        call(1, Unary.path, message("x".repeat(5_000))),
      ]),
    );
    await until(() => dataOf(raw, 1).length === 1_000, "the window");
    raw.socket.write(settings([4, 1_500]));
    await until(() => dataOf(raw, 1).length === 1_500, "the larger window");
    raw.socket.write(windowUpdate(1, 10_000));
    await until(() => isAnswered(raw, 1), "the rest");
    expect(dataOf(raw, 1)).toEqual(Buffer.from(message("x".repeat(5_000))));
  });

  test("the connection's window is shared frame by frame", async () => {
    const [raw] = await rawWith();
    const text = "x".repeat(16_000);
    raw.socket.write(
      Buffer.concat([
        PREFACE,
        settings([4, 1_000_000]),
        ...[0, 1, 2, 3].map((i) => headers(2 * i + 1, Flood.path)),
        ...[0, 1, 2, 3].map((i) => data(2 * i + 1, message(text, 4))),
      ]),
    );
    const received = (): number[] => [1, 3, 5, 7].map((stream) => dataOf(raw, stream).length);
    const sum = (): number => received().reduce((a, b) => a + b);
    await until(() => sum() === 65_535, "the window");
    raw.socket.write(windowUpdate(0, 3 * 16_384));
    await until(() => sum() === 65_535 + 3 * 16_384, "the larger window");
    expect(
      received()
        .slice(1)
        .every((bytes) => bytes >= 16_384),
    ).toBe(true);
  });

  test("messages larger than the stream window arrive, both ways", async () => {
    const bed = await bedWith();
    const client = await bed.connect();
    const text = "x".repeat(3 * HTTP2_STREAM_WINDOW_BYTES);
    expect(await client.unary(Unary, echo(text))).toEqual(echo(text));
  });

  test.each([
    ["a stream's", 3, windowUpdate(3, 0x7fff_ffff), true],
    ["the connection's", 0, windowUpdate(0, 0x7fff_ffff), false],
    ["every stream's", 0, settings([4, 0x7fff_ffff]), false],
  ])("%s window above 2^31-1 is an overflow", async (_name, _id, overflow, isStream) => {
    const [raw] = await rawWith();
    raw.socket.write(
      Buffer.concat([
        HELLO,
        headers(3, Hang.path),
        windowUpdate(3, 1),
        overflow,
        call(5, Unary.path, message("on")),
      ]),
    );
    if (isStream) {
      await until(() => isAnswered(raw, 5), "the connection goes on");
      expect(resetCode(raw, 3)).toBe(FLOW_CONTROL_ERROR);
    } else {
      await raw.closed;
      expect(goaways(raw.received())[0]?.code).toBe(FLOW_CONTROL_ERROR);
    }
  });

  test("a client that ignores our window is cut off", async () => {
    const [raw] = await rawWith({ httpHandler: () => undefined });
    const fields = { ...callHeaders("/slow"), "content-type": "text/plain" };
    const sent = [HELLO, frame(HEADERS, END_HEADERS, 1, headerBlock(fields))];
    const chunk = Buffer.alloc(16_384);
    for (let i = 0; i <= HTTP2_STREAM_WINDOW_BYTES / chunk.length; i++) sent.push(data(1, chunk));
    raw.socket.write(Buffer.concat(sent));
    await raw.closed;
    expect(goaways(raw.received())[0]?.code).toBe(FLOW_CONTROL_ERROR);
  });

  test("answers nobody takes are bounded by the connection's memory", async () => {
    const bed = await bedWith({ connectionMemoryBytesMax: 1_000_000 });
    const raw = await bed.raw();
    const calls = Array.from({ length: 40 }, (_, i) =>
      call(2 * i + 1, Unary.path, message("x".repeat(50_000))),
    );
    raw.socket.write(Buffer.concat([PREFACE, settings([4, 0])]));
    for (const one of calls) {
      // In frames that are short enough.
      const [head, body] = [one.subarray(0, one.indexOf(Buffer.from("trailers")) + 8), one];
      raw.socket.write(head);
      const payload = body.subarray(head.length + 9);
      const id = head.readUInt32BE(5);
      for (let at = 0; at < payload.length; at += 16_000) {
        const last = at + 16_000 >= payload.length;
        raw.socket.write(data(id, payload.subarray(at, at + 16_000), last ? END_STREAM : 0));
      }
    }
    await until(() => resetCode(raw, 79) !== undefined, "refusal");
    expect(resetCode(raw, 79)).toBe(REFUSED_STREAM);
    expect(resetCode(raw, 1)).toBeUndefined();
  });

  test("connections that hold too much together lose calls, the largest first", async () => {
    const bed = await bedWith({ memoryBytesMax: 1_000_000 });
    const [small, large] = [await bed.raw(), await bed.raw()];
    // Messages that never end.
    const begun = (stream: number, bytes: number): Buffer => {
      const body = Buffer.alloc(5 + bytes);
      body.writeUInt32BE(bytes + 1, 1);
      const parts = [headers(stream, Unary.path)];
      for (let at = 0; at < body.length; at += 16_000) {
        parts.push(data(stream, body.subarray(at, at + 16_000)));
      }
      return Buffer.concat(parts);
    };
    small.socket.write(Buffer.concat([HELLO, begun(1, 100_000)]));
    large.socket.write(Buffer.concat([HELLO, begun(1, 400_000), begun(3, 400_000)]));
    large.socket.write(begun(5, 400_000));
    await until(() => resetCode(large, 5) !== undefined, "reset");
    expect(resetCode(large, 5)).toBe(ENHANCE_YOUR_CALM);
    small.socket.write(call(3, Unary.path, message("still served")));
    await until(() => dataOf(small, 3).length > 0, "answer");
    expect(resetCode(small, 1)).toBeUndefined();
    // What a connection held goes with it.
    large.socket.destroy();
    const next = await bed.raw();
    next.socket.write(Buffer.concat([HELLO, begun(1, 400_000), begun(3, 400_000)]));
    next.socket.write(call(5, Unary.path, message("served")));
    await until(() => dataOf(next, 5).length > 0, "answer");
    expect(resetCode(next, 3)).toBeUndefined();
  });

  test("a socket nobody reads stops being read", async () => {
    const [raw, bed] = await rawWith();
    raw.socket.write(HELLO);
    raw.socket.pause();
    // Headers only: no window holds these answers back.
    let sent = 0;
    for (let turn = 0; turn < 400 && raw.socket.writableLength < 1_000_000; turn++) {
      const calls = Array.from({ length: 100 }, () =>
        frame(
          HEADERS,
          END_HEADERS | END_STREAM,
          2 * sent++ + 1,
          headerBlock(callHeaders(`/${"n".repeat(2_000)}/x`)),
        ),
      );
      raw.socket.write(Buffer.concat(calls));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(raw.socket.writableLength).toBeGreaterThan(500_000);
    const client = await bed.connect();
    expect(await client.unary(Unary, echo("others go on"))).toEqual(echo("others go on"));
    raw.socket.resume();
    await until(() => raw.socket.writableLength === 0, "taken up again");
  });
});

describe("misbehaviour ends the connection", () => {
  const open = headers(1, Hang.path);
  const ended = call(1, Hang.path, message(""));

  test.each<[string, Buffer, number]>([
    ["WINDOW_UPDATE by 0", Buffer.concat([open, windowUpdate(1, 0)]), PROTOCOL_ERROR],
    ["DATA after END_STREAM", Buffer.concat([ended, data(1, message("x"))]), STREAM_CLOSED],
    ["HEADERS after END_STREAM", Buffer.concat([ended, headers(1, Hang.path)]), STREAM_CLOSED],
    [
      "PRIORITY of a wrong length",
      Buffer.concat([open, frame(PRIORITY, 0, 1, Buffer.alloc(4))]),
      FRAME_SIZE_ERROR,
    ],
    [
      "a stream depending on itself",
      Buffer.concat([open, frame(PRIORITY, 0, 1, Buffer.from([0, 0, 0, 1, 0]))]),
      PROTOCOL_ERROR,
    ],
    ["DATA on an idle stream", data(1, message("x")), PROTOCOL_ERROR],
    [
      "padding longer than its frame",
      Buffer.concat([open, frame(DATA, 8, 1, Buffer.from([9, 0]))]),
      PROTOCOL_ERROR,
    ],
    [
      "padding longer than its headers",
      frame(HEADERS, END_HEADERS | 8, 1, Buffer.from([9, 0x82])),
      PROTOCOL_ERROR,
    ],
    ["a frame too long", frame(DATA, 0, 1, Buffer.alloc(16_385)), FRAME_SIZE_ERROR],
    ["a pushed promise", frame(5, END_HEADERS, 1, Buffer.alloc(4)), PROTOCOL_ERROR],
    ["an even stream id", headers(2, Hang.path), PROTOCOL_ERROR],
    [
      "a stream id that goes back",
      Buffer.concat([headers(5, Hang.path), headers(3, Hang.path)]),
      PROTOCOL_ERROR,
    ],
    [
      "frames inside a header block",
      Buffer.concat([frame(HEADERS, 0, 1, Buffer.from([0x82])), data(1, message("x"))]),
      PROTOCOL_ERROR,
    ],
  ])("%s", async (_name, bytes, code) => {
    const [raw, bed] = await rawWith();
    raw.socket.write(Buffer.concat([HELLO, bytes]));
    await raw.closed;
    expect(goaways(raw.received())).toMatchObject([{ code }]);
    expect(bed.events.filter((event) => event.startsWith("start")).length).toBe(
      bed.events.filter((event) => event.startsWith("cancel")).length,
    );
  });

  /** Sends `flooding(i)` again and again; the server must hang up within `count`. */
  async function flood(
    flooding: (i: number) => Buffer,
    count: number,
    options: Partial<RpcServerOptions> = {},
  ): Promise<RawConnection> {
    const [raw] = await rawWith(options);
    raw.socket.write(HELLO);
    for (let i = 0; i < count && !raw.isClosed(); i++) {
      raw.socket.write(flooding(i));
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => raw.isClosed(), "hung up");
    expect(goaways(raw.received())[0]?.code).toBe(ENHANCE_YOUR_CALM);
    return raw;
  }

  test("resets provoked by window overflows are counted like the client's own", async () => {
    const raw = await flood(
      (i) => Buffer.concat([headers(2 * i + 1, Hang.path), windowUpdate(2 * i + 1, 0x7fff_ffff)]),
      HTTP2_RESETS_BURST_MAX + 200,
    );
    expect(goaways(raw.received())[0]?.text).toBe("too_many_resets");
  });

  test("resets provoked by malformed requests are counted", async () => {
    const block = headerBlock({ ...callHeaders(Unary.path), connection: "close" });
    await flood(
      (i) => frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, block),
      HTTP2_RESETS_BURST_MAX + 200,
    );
  });

  test("frames that say nothing", async () => {
    const frames = [
      frame(PRIORITY, 0, 3, Buffer.from([0, 0, 0, 0, 0])),
      frame(0x42, 0, 0, Buffer.alloc(3)),
      frame(SETTINGS, 1, 0, Buffer.alloc(0)),
      frame(6, 1, 0, Buffer.alloc(8)),
    ];
    for (const one of frames) await flood(() => one, HTTP2_IDLE_FRAMES_BURST_MAX + 200);
  });

  test("a window opened byte by byte", async () => {
    const raw = await flood(
      (i) =>
        i === 0
          ? Buffer.concat([settings([4, 0]), call(1, Unary.path, message("x".repeat(10_000)))])
          : windowUpdate(1, 1),
      HTTP2_SMALL_DATA_BURST_MAX + 500,
    );
    expect(goaways(raw.received())[0]?.text).toBe("too_small_windows");
  });

  test("too many continuations, though small", async () => {
    await flood(
      (i) => frame(i === 0 ? HEADERS : CONTINUATION, 0, 1, Buffer.alloc(0)),
      HTTP2_CONTINUATIONS_MAX + 10,
    );
  });

  test("HPACK bombs are refused one by one, then for good", async () => {
    const name = Buffer.from("x");
    const bomb = Buffer.concat([
      Buffer.from([0x40, 1]),
      name,
      Buffer.from([0x7f, 0xa1, 0x1e]),
      Buffer.alloc(4_000, 0x61),
      Buffer.alloc(12_000, 0xbe),
    ]);
    await flood((i) => frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, bomb), 40);
  });

  test("headers that trickle in", async () => {
    const [raw] = await rawWith({ handshakeTimeoutMs: 60 });
    const bytes = headers(1, Hang.path);
    raw.socket.write(HELLO);
    for (let at = 0; at < bytes.length - 1 && !raw.isClosed(); at++) {
      raw.socket.write(bytes.subarray(at, at + 1));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await raw.closed;
    expect(goaways(raw.received())[0]?.text).toBe("slow_headers");
  });
});

describe("ends", () => {
  test("a deadline drops a call whose answer is stuck", async () => {
    const [raw, bed] = await rawWith();
    raw.socket.write(
      Buffer.concat([
        PREFACE,
        settings([4, 0]),
        headers(1, Down.path, 0, { "grpc-timeout": "50m" }),
        data(1, message("x".repeat(1_000), 100_000), END_STREAM),
      ]),
    );
    await until(() => resetCode(raw, 1) !== undefined, "reset");
    expect(bed.events[0]).toMatch(/^cancel Down/);
  });

  test("an answer before the end of the request resets the rest without error", async () => {
    const [raw] = await rawWith();
    raw.socket.write(Buffer.concat([HELLO, headers(1, "/none/Such")]));
    await until(() => resetCode(raw, 1) !== undefined, "reset");
    expect(resetCode(raw, 1)).toBe(0);
    raw.socket.write(
      Buffer.concat([data(1, message("late")), data(1, message("late"), END_STREAM)]),
    );
    raw.socket.write(call(3, Unary.path, message("on")));
    await until(() => isAnswered(raw, 3), "the connection goes on");
    expect(goaways(raw.received())).toEqual([]);
  });

  test("close() lets running calls end, and tells clients which were not begun", async () => {
    const [raw, bed] = await rawWith();
    raw.socket.write(Buffer.concat([HELLO, headers(1, Both.path), data(1, message("first"))]));
    await until(() => dataOf(raw, 1).length > 0, "first answer");
    const closed = bed.server.close(5_000);
    await until(() => goaways(raw.received()).length > 0, "told");
    const goaway = parseFrames(raw.received()).find((one) => one.type === GOAWAY)!;
    expect([goaway.payload.readUInt32BE(0), goaway.payload.readUInt32BE(4)]).toEqual([1, 0]);
    raw.socket.write(call(3, Unary.path, message("too late")));
    raw.socket.write(data(1, message("second"), END_STREAM));
    await raw.closed;
    await closed;
    expect(dataOf(raw, 1)).toEqual(Buffer.concat([message("first"), message("second")]));
    expect(ofStream(raw, 3)).toEqual([]);
  });

  test("close() drops what does not end in time", async () => {
    const [raw, bed] = await rawWith();
    raw.socket.write(Buffer.concat([HELLO, call(1, Hang.path, message(""))]));
    await until(() => bed.events.length > 0, "started");
    await bed.server.close(30);
    await raw.closed;
    expect(bed.events).toEqual(["start Hang", "cancel Hang context canceled"]);
  });
});

describe("HTTP requests", () => {
  async function session(handler: HttpHandler): Promise<http2.ClientHttp2Session> {
    const bed = await bedWith({ httpHandler: handler });
    const client = http2.connect(`http://${bed.address.host}:${bed.address.port}`);
    client.on("error", () => undefined);
    return client;
  }

  function fetch(
    client: http2.ClientHttp2Session,
    fields: http2.OutgoingHttpHeaders,
    body?: Buffer,
  ): Promise<{ headers: http2.IncomingHttpHeaders; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const stream = client.request(fields, { endStream: body === undefined });
      const chunks: Buffer[] = [];
      let answer: http2.IncomingHttpHeaders = {};
      stream.on("response", (got) => (answer = got));
      stream.on("data", (chunk: Buffer) => void chunks.push(chunk));
      stream.on("error", reject);
      stream.on("end", () => resolve({ headers: answer, body: Buffer.concat(chunks) }));
      if (body !== undefined) stream.end(body);
    });
  }

  test("a request looks like Node's", async () => {
    const client = await session((request, response) => {
      const { method, url, httpVersion, headers: got, rawHeaders: raw } = request;
      const seen = { method, url, httpVersion, host: got.host, cookie: got.cookie, raw };
      response.writeHead(201, { "Content-Type": "text/plain", "X-Many": ["a", "b"] });
      response.end(JSON.stringify(seen));
    });
    const answer = await fetch(client, { ":path": "/v?x=1", cookie: ["a=1", "b=2"], "x-y": "z" });
    client.destroy();
    const seen: unknown = JSON.parse(answer.body.toString());
    expect(seen).toMatchObject({ method: "GET", url: "/v?x=1", httpVersion: "2.0" });
    expect(seen).toMatchObject({
      cookie: "a=1; b=2",
      host: expect.stringMatching(/^127/) as string,
    });
    expect(answer.headers).toMatchObject({
      ":status": 201,
      "content-type": "text/plain",
      "x-many": "a, b",
      date: expect.any(String) as string,
    });
  });

  test("bodies of any size pass both ways with backpressure", async () => {
    const client = await session((request, response) => {
      (request as Readable).pipe(response as Writable);
    });
    const body = Buffer.alloc(5_000_000, "0123456789");
    const answer = await fetch(client, { ":method": "POST", ":path": "/" }, body);
    client.destroy();
    expect(answer.body.equals(body)).toBe(true);
  });

  test("HEAD has headers only, and a client that leaves closes the response", async () => {
    const events: string[] = [];
    const client = await session((request, response) => {
      if (request.method === "HEAD") {
        response.setHeader("content-length", 5);
        response.end("hello");
        return;
      }
      response.on("close", () => events.push("closed"));
      (response as Writable).write("begin");
    });
    const answer = await fetch(client, { ":method": "HEAD", ":path": "/" });
    expect([answer.headers["content-length"], answer.body.length]).toEqual(["5", 0]);
    const stream = client.request({ ":path": "/" });
    stream.on("error", () => undefined);
    stream.on("data", () => stream.close(http2.constants.NGHTTP2_CANCEL));
    await until(() => events.length > 0, "closed");
    client.destroy();
  });
});
