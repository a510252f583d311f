/**
 * The short way of a connection's small unary calls, between the frames and the methods that take
 * calls in batches.
 *
 * A client that calls a method again and again sends the same header block each time. A block seen
 * before is known to be a call that needs no stream if its request lies whole in the same read: its
 * id and where its message is go into a batch. Between the two frames there may be those of other
 * such calls, as clients send them that have many to send. Anything unusual never gets here, or is
 * handed over to a stream (`CallBatch.handOver`) as if that had taken it in the first place.
 *
 * Invariants:
 * - A block is known only as long as the table it was decoded with stays the same, and only if
 *   decoding it changed nothing.
 * - `open` calls are neither in the connection's streams nor among its closed ones.
 * - A batch is used again only if all its calls were ended by its handler: nobody else knows when
 *   the handler has let go of it.
 */

import { rpcErrorFrom } from "@etcd-ts/api";
import { EMPTY_BYTES, invariant } from "@etcd-ts/base";
import type { WireWriter } from "@etcd-ts/base";

import type { Peer } from "../call.ts";
import { FRAME_HEADER_BYTES as PREFIX_BYTES } from "../grpc/framing.ts";
import { CallBatch } from "./call-batch.ts";
import type { BatchFallback, BatchHead, BatchHost } from "./call-batch.ts";
import { CallStream } from "./call-stream.ts";
import type { CallEnvironment } from "./call-stream.ts";
import { finishFrames } from "./frame-stream.ts";
import type { FrameStream, StreamHost } from "./frame-stream.ts";
import {
  FRAME_HEADER_BYTES,
  Flag,
  FrameType,
  WINDOW_BYTES_MAX,
  patchFrameHeader,
  writeUint32,
} from "./frames.ts";
import {
  HTTP2_BATCHED_BLOCK_BYTES_MAX,
  HTTP2_BATCHED_BLOCKS_MAX,
  HTTP2_STREAM_BYTES,
} from "./limits.ts";
import type { RequestHead } from "./request-head.ts";
import { HEADERS_PLAIN, TRAILERS_OK } from "./response-blocks.ts";

const PLAIN = "application/grpc";
/** Batches kept for use again. */
const SPARE_BATCHES_MAX = 4;
/** A batch that had more calls than this is let go. */
const KEPT_CALLS_MAX = 256;

/** What this needs of the connection. */
export interface BatchConnection extends StreamHost {
  /** What SETTINGS say a stream may be sent. */
  readonly initialSendWindow: number;
  /** Opens a stream for a call of which there is but the head. */
  openExpected(streamID: number, head: RequestHead): void;
  /** Takes in a stream whose request has come to its end. */
  adopt(stream: FrameStream): void;
  /** The stream has closed; the client had ended its side. */
  closedStream(streamID: number): void;
  /** The client has got all its answers there are for now. */
  batchEnded(): void;
}

interface KnownBlock {
  readonly bytes: Uint8Array;
  /** Of the decoder's table. */
  readonly version: number;
  readonly head: BatchHead;
}

export class BatchedCalls implements BatchHost {
  readonly peer: Peer;
  /** Calls taken that have not ended. */
  open = 0;
  readonly #connection: BatchConnection;
  readonly #environment: CallEnvironment;
  readonly #known: KnownBlock[] = [];
  #nextKnown = 0;
  /** Calls of this read whose message has not come yet: 0 where it has. */
  readonly #expectedIDs: number[] = [];
  readonly #expectedHeads: BatchHead[] = [];
  #nextExpected = 0;
  #arrived = 0;
  /** Takes calls until the read ends. */
  #filling: CallBatch | undefined;
  readonly #inProgress = new Set<CallBatch>();
  readonly #spare: CallBatch[] = [];
  /** What the client added to the windows of open calls. */
  #added: Map<number, number> | undefined;
  // The answer that is being written
  #mark = 0;
  #dataStart = 0;
  #headers: Uint8Array | undefined;
  #trailers: Uint8Array | undefined;

  constructor(connection: BatchConnection, environment: CallEnvironment, peer: Peer) {
    this.#connection = connection;
    this.#environment = environment;
    this.peer = peer;
  }

  /** Whether a block is known at all, so that it is worth looking for one. */
  get hasKnown(): boolean {
    return this.#known.length > 0;
  }

  /** Remembers a block that was decoded and changed nothing. */
  learn(bytes: Uint8Array, start: number, end: number, version: number, head: BatchHead): void {
    if (end - start > HTTP2_BATCHED_BLOCK_BYTES_MAX) return;
    if (head.route.batch?.accepts(head.metadata, this.peer) !== true) return;
    this.#known[this.#nextKnown] = { bytes: bytes.slice(start, end), version, head };
    this.#nextKnown = (this.#nextKnown + 1) % HTTP2_BATCHED_BLOCKS_MAX;
  }

  find(bytes: Uint8Array, start: number, end: number, version: number): BatchHead | undefined {
    for (const known of this.#known) {
      if (known.version === version && isSame(known.bytes, bytes, start, end)) return known.head;
    }
    return undefined;
  }

  /** Takes a call whose message is to come in the same read. */
  expect(head: BatchHead, streamID: number): void {
    this.#expectedIDs.push(streamID);
    this.#expectedHeads.push(head);
    this.open++;
    this.#connection.hold(HTTP2_STREAM_BYTES);
  }

  /** Takes the message `bytes[start, end)` of a call that is expected. @returns false if none is */
  take(streamID: number, bytes: Uint8Array, start: number, end: number, nowMs: number): boolean {
    const ids = this.#expectedIDs;
    if (ids.length === 0) return false;
    const at = ids[this.#nextExpected] === streamID ? this.#nextExpected : ids.indexOf(streamID);
    if (at < 0) return false;
    const { contentLength } = this.#expectedHeads[at]!.request;
    if (contentLength >= 0 && contentLength !== PREFIX_BYTES + end - start) return false;
    ids[at] = 0;
    this.#nextExpected = at + 1;
    this.#add(this.#expectedHeads[at]!, streamID, bytes, start, end, nowMs);
    if (++this.#arrived === ids.length) this.#forgetExpected();
    return true;
  }

  /** Makes streams of the calls whose message has not come. */
  openExpected(): void {
    if (this.#expectedIDs.length === 0) return;
    const ids = this.#expectedIDs.slice();
    const heads = this.#expectedHeads.slice();
    this.#forgetExpected();
    for (let i = 0; i < ids.length; i++) {
      if (ids[i] === 0) continue;
      this.#endOne();
      this.#connection.openExpected(ids[i]!, heads[i]!.request);
    }
  }

  #forgetExpected(): void {
    this.#expectedIDs.length = 0;
    this.#expectedHeads.length = 0;
    this.#nextExpected = 0;
    this.#arrived = 0;
  }

  #add(
    head: BatchHead,
    streamID: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    nowMs: number,
  ): void {
    let batch = this.#filling;
    if (batch !== undefined && batch.head !== head) {
      this.#run(batch);
      batch = undefined;
    }
    if (batch === undefined) {
      batch = this.#spare.pop() ?? new CallBatch(this);
      batch.fill(head, bytes, nowMs);
      this.#inProgress.add(batch);
      this.#filling = batch;
    }
    batch.add(streamID, start, end);
  }

  /** The bytes of a read have all been looked at. */
  endRead(): void {
    this.openExpected();
    if (this.#filling !== undefined) this.#run(this.#filling);
  }

  #run(batch: CallBatch): void {
    const { table } = this.#environment;
    this.#filling = undefined;
    const { batch: handler } = batch.head.route;
    invariant(handler !== undefined, () => `BatchedCalls: ${batch.method.path} takes no batches`);
    if (batch.count > 0 && !table.mayBatch(batch)) batch.handOverAll();
    else {
      try {
        handler.run(batch);
      } catch (error) {
        const failure = rpcErrorFrom(error);
        batch.handOverAll((_, call) => call.fail(failure));
      }
    }
    batch.filled();
  }

  // What the client says about open calls

  has(streamID: number): boolean {
    if (this.open === 0) return false;
    for (const batch of this.#inProgress) if (batch.indexOf(streamID) >= 0) return true;
    return false;
  }

  /** Makes a stream of a call that is about to be reset. */
  giveUp(streamID: number): void {
    for (const batch of this.#inProgress) {
      const i = batch.indexOf(streamID);
      if (i < 0) continue;
      batch.giveUp(i, ignore);
      return;
    }
  }

  /** Lets go of memory that is not in use. */
  shrink(): void {
    this.#spare.length = 0;
  }

  /** Makes streams of all calls, because the connection ends. */
  giveUpAll(): void {
    if (this.open === 0) return;
    // Nobody has begun those of which there is but the head.
    for (const streamID of this.#expectedIDs) if (streamID !== 0) this.#endOne();
    this.#forgetExpected();
    this.#filling?.filled();
    this.#filling = undefined;
    for (const batch of Array.from(this.#inProgress)) {
      for (let i = 0; i < batch.count; i++) batch.giveUp(i, ignore);
    }
  }

  /** @returns false if the window is larger than windows may be */
  widen(streamID: number, increment: number): boolean {
    this.#added ??= new Map();
    const added = (this.#added.get(streamID) ?? 0) + increment;
    this.#added.set(streamID, added);
    return added + this.#connection.initialSendWindow <= WINDOW_BYTES_MAX;
  }

  /** Whether all windows are as small as they must be, with this initial size. */
  mayResize(initialWindow: number): boolean {
    if (this.#added === undefined) return true;
    for (const added of this.#added.values()) {
      if (added + initialWindow > WINDOW_BYTES_MAX) return false;
    }
    return true;
  }

  // For batches

  beginAnswer(): WireWriter {
    const { output, encoder } = this.#connection;
    this.#headers = encoder.kept(HEADERS_PLAIN);
    this.#trailers = encoder.kept(TRAILERS_OK);
    this.#mark = output.length;
    const headersBytes =
      this.#headers === undefined ? 0 : FRAME_HEADER_BYTES + this.#headers.length;
    output.extend(headersBytes + FRAME_HEADER_BYTES + PREFIX_BYTES);
    this.#dataStart = this.#mark + headersBytes;
    return output;
  }

  dropAnswer(): void {
    this.#connection.output.truncate(this.#mark);
  }

  finishAnswer(streamID: number): number {
    const connection = this.#connection;
    const { output } = connection;
    const headers = this.#headers;
    const trailers = this.#trailers;
    const payload = this.#dataStart + FRAME_HEADER_BYTES;
    const bytes = output.length - payload;
    output.buffer[payload] = 0;
    writeUint32(output.buffer, payload + 1, bytes - PREFIX_BYTES);
    const mayWrite =
      bytes <= this.#windowOf(streamID) && bytes <= connection.sendWindow && connection.canSend;
    if (headers === undefined || trailers === undefined || !mayWrite) {
      const message = output.buffer.slice(payload, output.length);
      output.truncate(this.#mark);
      this.#openStream(streamID).answer(message);
      this.#endOne();
      return bytes - PREFIX_BYTES;
    }
    connection.sendWindow -= bytes;
    writeBlock(output.buffer, this.#mark, headers, 0, streamID);
    finishFrames(output, this.#dataStart, FrameType.DATA, 0, streamID);
    const end = output.extend(FRAME_HEADER_BYTES + trailers.length);
    writeBlock(output.buffer, end, trailers, Flag.END_STREAM, streamID);
    this.#endOne();
    if (this.#added !== undefined) this.#forgetWindow(streamID);
    connection.closedStream(streamID);
    connection.wrote();
    return bytes - PREFIX_BYTES;
  }

  beginOrdinary(batch: CallBatch, i: number, streamID: number, run: BatchFallback): void {
    const stream = this.#openStream(streamID);
    this.#endOne();
    const { route, metadata } = batch.head;
    const start = { metadata, peer: this.peer, startMs: batch.startMs, deadlineMs: undefined };
    const answered = { ...route, handler: { kind: "unary" as const, run } };
    stream.begin(this.#environment, answered, start, PLAIN, "identity");
    stream.onData(batch.bytes, batch.starts[i]! - PREFIX_BYTES, batch.ends[i]!);
    if (stream.isClosed) return;
    if (!stream.localEnded) stream.onRemoteEnd();
  }

  ended(batch: CallBatch, wasReset: boolean): void {
    const { table, byteCounters } = this.#environment;
    this.#inProgress.delete(batch);
    if (batch.answered > 0) {
      byteCounters?.received(batch.receivedBytes);
      byteCounters?.sent(batch.sentBytes);
      table.batchAnswered(batch);
      this.#connection.forgivePings();
    }
    // What was read must not stay in memory for it.
    batch.bytes = EMPTY_BYTES;
    const isKept = this.#spare.length < SPARE_BATCHES_MAX && batch.count <= KEPT_CALLS_MAX;
    if (isKept && !wasReset) this.#spare.push(batch);
    this.#connection.batchEnded();
  }

  #endOne(): void {
    this.open--;
    this.#connection.hold(-HTTP2_STREAM_BYTES);
  }

  #openStream(streamID: number): CallStream {
    const stream = new CallStream(this.#connection, streamID, this.#windowOf(streamID));
    this.#forgetWindow(streamID);
    this.#connection.adopt(stream);
    return stream;
  }

  #windowOf(streamID: number): number {
    const { initialSendWindow } = this.#connection;
    if (this.#added === undefined) return initialSendWindow;
    return initialSendWindow + (this.#added.get(streamID) ?? 0);
  }

  #forgetWindow(streamID: number): void {
    this.#added?.delete(streamID);
    if (this.#added?.size === 0) this.#added = undefined;
  }
}

/** The handler of a call that is over before it begins. */
function ignore(): void {
  // Cancelled right behind.
}

function writeBlock(
  bytes: Uint8Array,
  at: number,
  block: Uint8Array,
  flags: number,
  streamID: number,
): void {
  const isLast = flags | Flag.END_HEADERS;
  patchFrameHeader(bytes, at, block.length, FrameType.HEADERS, isLast, streamID);
  for (let i = 0; i < block.length; i++) bytes[at + FRAME_HEADER_BYTES + i] = block[i]!;
}

function isSame(known: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[start + i]) return false;
  return true;
}
