import { Duplex } from "node:stream";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { VirtualClock, WireReader } from "@etcd-ts/base";

import { EchoCodec, Hang, Unary, echo, statusError } from "../../compliance/echo-bed.ts";
import type { Echo } from "../../compliance/echo-bed.ts";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  PREFACE,
  RST_STREAM,
  WINDOW_UPDATE,
  callHeaders,
  frame,
  headerBlock,
  parseFrames,
  settings,
} from "../../compliance/h2-frames.ts";
import type { UnaryCall } from "../call.ts";
import { encodeFrame } from "../grpc/framing.ts";
import { ServiceTable } from "../service-table.ts";
import type { BatchHandler } from "../service-table.ts";
import type { TransportOptions } from "../server/transport.ts";
import type { CallBatch } from "./call-batch.ts";
import { FrameTransport } from "./frame-transport.ts";
import type { HeaderField } from "./header-field.ts";
import { HpackDecoder } from "./hpack-decoder.ts";

const INITIAL_WINDOW_SIZE = 4;
const HEADER_TABLE_SIZE = 1;
const STREAM_CLOSED = 5;
const REFUSED_STREAM = 7;
const CANCEL = 8;

/** What a handler does is told by the first letter of the text. */
function answer(request: Echo, call: UnaryCall<Echo>, clock: VirtualClock): void {
  const run = (): void => {
    if (request.status === 0) call.respond(request);
    else call.fail(statusError(request.status, request.text));
  };
  if (request.text.startsWith("later")) clock.nextTurn(run);
  else run();
}

/** The same for a batch: quick answers are written, all others are handed over. */
class EchoBatches implements BatchHandler {
  taken = 0;
  readonly #clock: VirtualClock;
  readonly #accepts: boolean;

  constructor(clock: VirtualClock, accepts: boolean) {
    this.#clock = clock;
    this.#accepts = accepts;
  }

  accepts(): boolean {
    return this.#accepts;
  }

  run(batch: CallBatch): void {
    const late: number[] = [];
    for (let i = 0; i < batch.count; i++) {
      if (!batch.isOpen(i)) continue;
      const request = requestOf(batch, i);
      this.taken++;
      if (request?.text.startsWith("later") === true) late.push(i);
      else this.#answer(batch, i, request);
    }
    if (late.length === 0) return;
    this.#clock.nextTurn(() => {
      for (const i of late) if (batch.isOpen(i)) this.#answer(batch, i, requestOf(batch, i));
    });
  }

  #answer(batch: CallBatch, i: number, request: Echo | undefined): void {
    if (request === undefined || request.text.startsWith("over")) {
      batch.handOver(i);
      return;
    }
    if (request.status !== 0) {
      batch.handOver(i, (_, call) => call.fail(statusError(request.status, request.text)));
      return;
    }
    const writer = batch.begin(i);
    EchoCodec.encode(request, writer);
    if (!request.text.startsWith("drop")) batch.respond(i);
    else {
      batch.drop();
      batch.handOver(i);
    }
  }
}

/** Undefined if it is no message. */
function requestOf(batch: CallBatch, i: number): Echo | undefined {
  try {
    return EchoCodec.decode(new WireReader(batch.bytes, batch.starts[i]!, batch.ends[i]!));
  } catch {
    return undefined;
  }
}

/** A client's end in memory: what it pushes is one read. */
class Wire extends Duplex {
  readonly sent: Buffer[] = [];

  override _read(): void {
    // Pushed by the test.
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.sent.push(Buffer.from(chunk));
    done();
  }
}

interface Counts {
  started: number;
  received: number;
  sent: number;
  readonly codes: Map<number, number>;
}

/** One connection to a server whose unary method takes batches, or does not. */
class Served {
  readonly clock = new VirtualClock();
  readonly wire = new Wire();
  readonly batches: EchoBatches;
  readonly counts: Counts = { started: 0, received: 0, sent: 0, codes: new Map() };
  readonly transport: FrameTransport;
  mayBatch = true;

  constructor(inBatches: boolean, options: Partial<TransportOptions> = {}) {
    const { clock, counts } = this;
    const table = new ServiceTable();
    this.batches = new EchoBatches(clock, inBatches);
    table.unary(Unary, (request, call) => answer(request, call, clock), this.batches);
    table.unary(Hang, () => undefined);
    table.intercept({
      onStart: () => void counts.started++,
      onFinish: (_, code) => void counts.codes.set(code, (counts.codes.get(code) ?? 0) + 1),
      mayBatch: () => this.mayBatch,
      onBatchAnswered: ({ answered }) => {
        counts.started += answered;
        counts.codes.set(0, (counts.codes.get(0) ?? 0) + answered);
      },
    });
    const byteCounters = {
      received: (bytes: number) => void (counts.received += bytes),
      sent: (bytes: number) => void (counts.sent += bytes),
    };
    this.transport = new FrameTransport({ clock, table, byteCounters, ...options });
    this.transport.handleConnection(this.wire, { address: "test", commonName: undefined });
  }

  /** One read. */
  read(bytes: Uint8Array): void {
    this.wire.push(bytes);
  }

  /** All that was put off to a later turn. */
  turn(): void {
    this.clock.advance(0);
  }

  async hello(...pairs: (readonly [number, number])[]): Promise<void> {
    await settled();
    this.read(Buffer.concat([PREFACE, settings(...pairs)]));
    this.turn();
  }

  get sent(): Buffer {
    return Buffer.concat(this.wire.sent);
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const body = (text: string, status = 0): Uint8Array =>
  encodeFrame(EchoCodec, echo(text, 0, status));
const BLOCK = headerBlock(callHeaders(Unary.path));

function call(stream: number, message: Uint8Array, block: Buffer = BLOCK): Buffer {
  return Buffer.concat([
    frame(HEADERS, END_HEADERS, stream, block),
    frame(DATA, END_STREAM, stream, message),
  ]);
}

function number32(type: number, stream: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, 0, stream, payload);
}

interface Outcome {
  headers: string[];
  data: string;
  hasEnded: boolean;
  reset: number | undefined;
}

/** What a client makes of the answers, by stream. */
function outcomes(bytes: Buffer): { streams: Map<number, Outcome>; goaways: number[] } {
  const decoder = new HpackDecoder();
  const streams = new Map<number, Outcome>();
  const codes: number[] = [];
  for (const { type, flags, stream, payload } of parseFrames(bytes)) {
    if (type === GOAWAY) codes.push(payload.readUInt32BE(4));
    if (stream === 0) continue;
    let outcome = streams.get(stream);
    if (outcome === undefined) {
      outcome = { headers: [], data: "", hasEnded: false, reset: undefined };
      streams.set(stream, outcome);
    }
    if (type === HEADERS) {
      const fields: HeaderField[] = [];
      decoder.decode(payload, 0, payload.length, 1 << 20, fields);
      outcome.headers.push(fields.map(({ name, value }) => `${name}: ${value}`).join(", "));
    }
    if (type === DATA) outcome.data += payload.toString("latin1");
    if (type === RST_STREAM) outcome.reset = payload.readUInt32BE(0);
    if (type <= HEADERS && (flags & END_STREAM) !== 0) outcome.hasEnded = true;
  }
  return { streams, goaways: codes };
}

const textArbitrary = fc
  .tuple(
    fc.constantFrom("", "later", "over", "drop", "later-over"),
    fc.oneof(fc.nat(40), fc.nat(3000)),
  )
  .map(([how, length]) => how + "x".repeat(length));

type Step =
  | {
      kind: "call";
      text: string;
      status: number;
      head: number;
      isMessage: boolean;
      isHeadFirst: boolean;
    }
  | { kind: "reset"; back: number }
  | { kind: "window"; back: number; bytes: number }
  | { kind: "settings"; id: number; value: number }
  | { kind: "stray"; type: number; back: number }
  | { kind: "turn" };

const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 70,
    arbitrary: fc.record({
      kind: fc.constant("call" as const),
      text: textArbitrary,
      status: fc.constantFrom(0, 0, 0, 0, 5),
      head: fc.constantFrom(...Array.from({ length: 20 }, () => 0), 1, 1, 2, 3, 4, 5, 5),
      isHeadFirst: fc.boolean(),
      isMessage: fc.constantFrom(true, true, true, true, true, true, false),
    }),
  },
  {
    weight: 15,
    arbitrary: fc.record({ kind: fc.constant("reset" as const), back: fc.nat(6) }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("window" as const),
      back: fc.nat(6),
      bytes: fc.constantFrom(1, 100, 70_000, 0x7fff_ffff),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("settings" as const),
      id: fc.constantFrom(INITIAL_WINDOW_SIZE, INITIAL_WINDOW_SIZE, HEADER_TABLE_SIZE),
      value: fc.constantFrom(0, 10, 1000, 65_535, 200_000),
    }),
  },
  { weight: 20, arbitrary: fc.record({ kind: fc.constant("turn" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("stray" as const),
      type: fc.constantFrom(DATA, HEADERS),
      back: fc.nat(3),
    }),
  },
);

/** Literals with incremental indexing: each adds to the table. */
const indexed = (name: string, value: string): Buffer =>
  Buffer.concat([
    Buffer.from([0x40, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);

/** Different heads of one method; the later ones are no heads of calls that can be batched. */
function blockOf(head: number): Buffer {
  switch (head) {
    case 1:
      return headerBlock(callHeaders(Unary.path, { "x-other": "1" }));
    case 2:
      return Buffer.concat([BLOCK, indexed("x-indexed", "2")]);
    case 3:
      return headerBlock(callHeaders(Unary.path, { "grpc-timeout": "10S" }));
    case 4:
      return headerBlock(callHeaders(Hang.path));
    case 5:
      return headerBlock(callHeaders(Unary.path, { "content-length": "12" }));
    default:
      return BLOCK;
  }
}

/**
 * What a client sends, turn by turn, and the last stream it opened. Calls may come in one read; what
 * else is said about them has reads of its own, or it would matter that a batch is answered at the
 * end of its read and not in the middle.
 */
function script(steps: readonly Step[]): { turns: Buffer[][]; last: number } {
  let next = 1;
  let parts: Buffer[] = [];
  let heads: Buffer[] = [];
  let isHeadsFirst = false;
  let calls: Buffer[] = [];
  const turns: Buffer[][] = [];
  const endCalls = (): void => {
    parts.push(Buffer.concat([...heads, ...calls]));
    heads = [];
    calls = [];
  };
  for (const step of steps) {
    const stream = "back" in step ? next - 2 - 2 * step.back : 0;
    if ("back" in step && stream < 1) continue;
    if (step.kind === "call") {
      const block = step.head === 0 ? BLOCK : blockOf(step.head);
      const message = step.isMessage
        ? body(step.text, step.status)
        : Buffer.from([0, 0, 0, 0, 1, 7]);
      // As they stand, or all heads first.
      const bytes = call(next, message, block);
      if (calls.length === 0) isHeadsFirst = step.isHeadFirst;
      const split = isHeadsFirst ? 9 + block.length : 0;
      heads.push(bytes.subarray(0, split));
      calls.push(bytes.subarray(split));
      next += 2;
      continue;
    }
    endCalls();
    if (step.kind === "reset") parts.push(number32(RST_STREAM, stream, CANCEL));
    else if (step.kind === "window") parts.push(number32(WINDOW_UPDATE, stream, step.bytes));
    else if (step.kind === "settings") parts.push(settings([step.id, step.value]));
    else if (step.kind === "stray") {
      const payload = step.type === DATA ? body("stray") : BLOCK;
      parts.push(frame(step.type, END_STREAM | END_HEADERS, stream, payload));
    } else {
      turns.push(parts);
      parts = [];
    }
  }
  endCalls();
  turns.push(parts);
  return { turns, last: next - 2 };
}

/** Plays the turns, cut into reads, then opens all windows. */
async function play(
  served: Served,
  turns: readonly (readonly Buffer[])[],
  last: number,
  cuts: readonly number[],
): Promise<void> {
  await served.hello();
  let cut = 0;
  for (const parts of turns) {
    for (const bytes of parts) {
      for (let at = 0; at < bytes.length;) {
        const length = cuts[cut++ % cuts.length]!;
        served.read(bytes.subarray(at, at + length));
        at += length;
      }
    }
    served.turn();
  }
  served.read(settings([INITIAL_WINDOW_SIZE, 100_000]));
  served.read(number32(WINDOW_UPDATE, 0, 50_000_000));
  for (let stream = 1; stream <= last; stream += 2) {
    served.read(number32(WINDOW_UPDATE, stream, 10_000));
  }
  served.turn();
  served.turn();
  await settled();
}

describe("calls in batches", () => {
  test("end as they would one by one, however the bytes are cut", async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(stepArbitrary, { minLength: 1, maxLength: 60, size: "max" }),
        fc.array(fc.oneof(fc.integer({ min: 1, max: 400 }), fc.constant(100_000)), {
          minLength: 1,
          maxLength: 8,
        }),
        async (steps, cuts) => {
          const { turns, last } = script(steps);
          const batched = new Served(true);
          const single = new Served(false);
          await play(batched, turns, last, cuts);
          await play(single, turns, last, cuts);
          expect(single.batches.taken).toBe(0);
          taken += batched.batches.taken;
          const got = outcomes(batched.sent);
          const wanted = outcomes(single.sent);
          expect(got.goaways).toEqual(wanted.goaways);
          // A connection that is given up answers what it has got to by then.
          if (wanted.goaways.length === 0) {
            expect(got.streams).toEqual(wanted.streams);
            expect(batched.counts).toEqual(single.counts);
          }
          batched.wire.destroy();
          single.wire.destroy();
        },
      ),
      { numRuns: 200 },
    );
    expect(taken).toBeGreaterThan(400);
  });

  async function primed(options: Partial<TransportOptions> = {}): Promise<Served> {
    const served = new Served(true, options);
    await served.hello();
    // The block is known after the first call, and answers are all indexes after the second.
    for (const stream of [1, 3, 5]) served.read(call(stream, body("first")));
    served.turn();
    expect(served.batches.taken).toBe(2);
    expect(outcomes(served.sent).streams.size).toBe(3);
    return served;
  }

  test("count as open streams while they wait", async () => {
    const served = await primed({ concurrentStreamsMax: 2 });
    served.read(Buffer.concat([7, 9, 11].map((stream) => call(stream, body("later")))));
    served.turn();
    const { streams } = outcomes(served.sent);
    expect(streams.get(11)).toMatchObject({ reset: REFUSED_STREAM });
    expect(streams.get(9)).toMatchObject({ hasEnded: true, reset: undefined });
    served.read(call(13, body("later")));
    served.turn();
    expect(outcomes(served.sent).streams.get(13)).toMatchObject({ hasEnded: true });
  });

  test("that are reset are not answered, and count as cancelled", async () => {
    const served = await primed();
    served.read(Buffer.concat([call(7, body("later")), call(9, body("later"))]));
    served.read(number32(RST_STREAM, 7, CANCEL));
    // Its batch still waits: another read must not get it.
    served.read(call(11, body("later again")));
    served.turn();
    const { streams } = outcomes(served.sent);
    expect(streams.has(7)).toBe(false);
    expect(streams.get(9)?.data).toContain("later");
    expect(streams.get(11)?.data).toContain("later again");
    expect([...served.counts.codes]).toEqual([
      [0, 5],
      [1, 1],
    ]);
  });

  test("are cancelled when the connection goes", async () => {
    const served = await primed();
    served.read(Buffer.concat([call(7, body("later")), call(9, body("later"))]));
    served.wire.destroy();
    await settled();
    served.turn();
    expect(served.counts.codes.get(1)).toBe(2);
    expect(served.counts.started).toBe(5);
  });

  test("keep a draining connection open until they are answered", async () => {
    const served = await primed();
    served.read(call(7, body("later")));
    const closed = served.transport.close(1000);
    served.turn();
    await settled();
    served.turn();
    expect(outcomes(served.sent).streams.get(7)).toMatchObject({ hasEnded: true });
    served.wire.destroy();
    await closed;
  });

  test("wait for windows like any other, and use what the client added before", async () => {
    const served = await primed();
    served.read(settings([INITIAL_WINDOW_SIZE, 0]));
    served.read(Buffer.concat([call(7, body("later")), call(9, body("later"))]));
    served.read(number32(WINDOW_UPDATE, 9, 4));
    served.turn();
    served.turn();
    const before = outcomes(served.sent).streams;
    expect(before.get(7)).toMatchObject({ data: "", hasEnded: false });
    expect(before.get(9)).toMatchObject({ hasEnded: false });
    expect(before.get(9)?.data).toHaveLength(4);
    served.read(number32(WINDOW_UPDATE, 7, 1000));
    served.read(number32(WINDOW_UPDATE, 9, 1000));
    served.turn();
    const after = outcomes(served.sent).streams;
    for (const stream of [7, 9]) {
      expect(after.get(stream)).toMatchObject({ hasEnded: true });
      expect(after.get(stream)?.data).toBe(Buffer.from(body("later")).toString("latin1"));
    }
  });

  test.each([
    ["DATA", DATA],
    ["HEADERS", HEADERS],
  ])("that wait end the connection if %s follows", async (_, type) => {
    const served = await primed();
    served.read(call(7, body("later")));
    const payload = type === DATA ? body("more") : BLOCK;
    served.read(frame(type, END_STREAM | END_HEADERS, 7, payload));
    expect(outcomes(served.sent).goaways).toEqual([STREAM_CLOSED]);
  });

  test("become ordinary calls as soon as an interceptor wants to see each", async () => {
    const served = await primed();
    served.mayBatch = false;
    served.read(call(7, body("seen")));
    served.turn();
    expect(served.batches.taken).toBe(2);
    expect(outcomes(served.sent).streams.get(7)?.data).toContain("seen");
  });

  test("of a block that stands for something else now are read anew", async () => {
    const served = await primed();
    // Index 62 is the newest entry of the table: first one path, then another.
    const named = (path: string): Buffer => {
      const more = headerBlock(callHeaders(path));
      const first = headerBlock({ ":method": "POST", ":scheme": "http" });
      const rest = headerBlock({
        ":authority": "test",
        "content-type": "application/grpc",
        te: "trailers",
      });
      expect(more.length).toBeGreaterThan(first.length);
      return Buffer.concat([first, indexed(":path", path), rest]);
    };
    const byIndex = Buffer.concat([
      headerBlock({ ":method": "POST", ":scheme": "http" }),
      Buffer.from([0x80 | 62]),
      headerBlock({ ":authority": "test", "content-type": "application/grpc", te: "trailers" }),
    ]);
    served.read(call(7, body("a"), named(Unary.path)));
    for (const stream of [9, 11]) served.read(call(stream, body("b"), byIndex));
    served.turn();
    expect(outcomes(served.sent).streams.get(11)).toMatchObject({ hasEnded: true });
    const before = served.batches.taken;
    served.read(call(13, body("c"), named(Hang.path)));
    for (const stream of [15, 17]) served.read(call(stream, body("d"), byIndex));
    served.turn();
    expect(served.batches.taken).toBe(before);
    expect(outcomes(served.sent).streams.has(17)).toBe(false);
  });
});
