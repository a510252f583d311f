/**
 * One HTTP/2 connection: looks at each frame and keeps the state RFC 9113 asks for. Frames that
 * are cut are put together by `FrameCutter`, what goes out is with `ConnectionOutput`, and calls
 * without a stream are with `BatchedCalls`.
 *
 * All frames of a read are handled in one pass, and what a turn produces leaves in one write.
 *
 * Invariants:
 * - A breach of the protocol ends the connection: GOAWAY, then the socket is destroyed. Only
 *   malformed or refused requests end as single streams, on a budget.
 * - A header block is decoded however its stream fares, else the HPACK tables would part.
 * - `#streams` holds exactly the streams that are not closed.
 *
 * Longer than most files here: frame handlers share the state, and are read together.
 */

import type { Duplex } from "node:stream";

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import { invariant } from "@etcd-ts/base";
import type { Logger, Timer, WireWriter } from "@etcd-ts/base";

import type { Peer } from "../call.ts";
import { messageEncoding, unknownEncoding } from "../grpc/compression.ts";
import { decodeTimeout } from "../grpc/headers.ts";
import type { MemoryBudget } from "../memory-budget.ts";
import { DEADLINE_EXCEEDED } from "../server/call-errors.ts";
import { PingGuard } from "../server/ping-guard.ts";
import type { HttpHandler, KeepaliveOptions } from "../server/transport.ts";
import { BatchedCalls } from "./batched-calls.ts";
import type { BatchConnection } from "./batched-calls.ts";
import { CallStream } from "./call-stream.ts";
import type { CallEnvironment } from "./call-stream.ts";
import { ClosedStreams } from "./closed-streams.ts";
import { ConnectionOutput } from "./connection-output.ts";
import type { OutputEnvironment } from "./connection-output.ts";
import { FrameCutter } from "./frame-cutter.ts";
import type { FrameSink } from "./frame-cutter.ts";
import type { FrameStream } from "./frame-stream.ts";
import {
  ErrorCode,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  Flag,
  FrameType,
  INITIAL_WINDOW_BYTES,
  Setting,
  WINDOW_BYTES_MAX,
  appendFrame,
  appendGoaway,
  appendNumberFrame,
  appendSettings,
  readUint24,
  readUint32,
} from "./frames.ts";
import type { HeaderField } from "./header-field.ts";
import { HpackDecoder, HpackError } from "./hpack-decoder.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import { HttpStream } from "./http-stream.ts";
import {
  HTTP2_CONNECTION_WINDOW_BYTES,
  HTTP2_CONTINUATIONS_MAX,
  HTTP2_GOAWAY_LINGER_MS,
  HTTP2_HEADER_BLOCK_SLACK_BYTES,
  HTTP2_IDLE_FRAMES_BURST_MAX,
  HTTP2_IDLE_FRAMES_PER_SECOND_MAX,
  HTTP2_REFUSED_HEADERS_MAX,
  HTTP2_RESETS_BURST_MAX,
  HTTP2_RESETS_PER_SECOND_MAX,
  HTTP2_SMALL_DATA_BURST_MAX,
  HTTP2_SMALL_DATA_PER_SECOND_MAX,
  HTTP2_STREAM_BYTES,
  HTTP2_STREAM_WINDOW_BYTES,
} from "./limits.ts";
import { RateBudget } from "./rate-budget.ts";
import { HeadCache, areTrailersValid } from "./request-head.ts";
import type { CallHead, RequestHead } from "./request-head.ts";
import { StreamTable } from "./stream-table.ts";

const PING_BYTES = 8;
/** Before each gRPC message: whether it is compressed, and its length. */
const MESSAGE_PREFIX_BYTES = 5;
const STREAM_ID_MASK = 0x7fff_ffff;

/** What all connections of a transport share. */
export interface ConnectionEnvironment extends CallEnvironment, OutputEnvironment {
  readonly logger: Logger;
  readonly httpHandler: HttpHandler | undefined;
  readonly concurrentStreamsMax: number;
  readonly keepalive: KeepaliveOptions;
  readonly handshakeTimeoutMs: number;
  readonly headerListBytesMax: number;
  readonly connectionMemoryBytesMax: number;
  readonly memory: MemoryBudget;
  setTimer(delayMs: number, run: () => void): Timer;
  /** Calls `connection.endTurn` soon. */
  schedule(connection: FrameConnection): void;
  closed(connection: FrameConnection): void;
}

export class FrameConnection implements BatchConnection, FrameSink {
  readonly #environment: ConnectionEnvironment;
  readonly #socket: Duplex;
  readonly #peer: Peer;
  readonly #guard: PingGuard;
  readonly #decoder = new HpackDecoder();
  readonly #heads: HeadCache;
  readonly encoder = new HpackEncoder();
  readonly #output: ConnectionOutput;
  readonly #cutter: FrameCutter;

  // Streams
  readonly #streams = new StreamTable();
  /** Calls without a stream. */
  readonly #batches: BatchedCalls;
  readonly #closedStreams = new ClosedStreams();
  readonly #blocked = new Set<FrameStream>();
  /** Answered before the client had finished; to be reset at the end of the turn. */
  #lingering: FrameStream[] = [];
  #doomed: FrameStream[] = [];
  #lastStreamID = 0;
  /** Streams above this came after the GOAWAY that drains the connection. */
  #acceptedStreamIDMax = STREAM_ID_MASK;
  #heldBytes = 0;

  // Frames
  #isReady = false;
  isDone = false;
  #isDraining = false;

  // The header block that is being received, if `#blockStreamID` is not 0
  #blockStreamID = 0;
  #blockFlags = 0;
  #blockParts: Uint8Array[] = [];
  #blockBytes = 0;
  #continuations = 0;
  /** Since when header bytes are incomplete. */
  #headersSinceMs = Infinity;
  readonly #fields: HeaderField[] = [];
  #refusedHeaders = 0;

  // Windows and the socket
  sendWindow = INITIAL_WINDOW_BYTES;
  initialSendWindow = INITIAL_WINDOW_BYTES;
  #receiveWindow = HTTP2_CONNECTION_WINDOW_BYTES;
  #uncredited = 0;
  #isDirty = false;

  // Time
  #nowMs: number;
  readonly #openedMs: number;
  #lastReadMs: number;
  #pingSentMs = Infinity;
  readonly #resets = new RateBudget(HTTP2_RESETS_BURST_MAX, HTTP2_RESETS_PER_SECOND_MAX);
  readonly #idleFrames = new RateBudget(
    HTTP2_IDLE_FRAMES_BURST_MAX,
    HTTP2_IDLE_FRAMES_PER_SECOND_MAX,
  );
  readonly #smallData = new RateBudget(HTTP2_SMALL_DATA_BURST_MAX, HTTP2_SMALL_DATA_PER_SECOND_MAX);

  constructor(environment: ConnectionEnvironment, socket: Duplex, peer: Peer) {
    this.#environment = environment;
    this.#socket = socket;
    this.#peer = peer;
    this.#guard = new PingGuard(environment.keepalive);
    this.#heads = new HeadCache(environment.table);
    this.#batches = new BatchedCalls(this, environment, peer);
    this.#nowMs = environment.nowMs();
    this.#openedMs = this.#nowMs;
    this.#lastReadMs = this.#nowMs;
    this.#output = new ConnectionOutput(environment, socket, this.#nowMs);
    this.#cutter = new FrameCutter(this);
  }

  /** Says hello and begins to read. */
  open(): void {
    const socket = this.#socket;
    appendSettings(this.output, [
      ...[Setting.MAX_CONCURRENT_STREAMS, this.#environment.concurrentStreamsMax],
      ...[Setting.INITIAL_WINDOW_SIZE, HTTP2_STREAM_WINDOW_BYTES],
      ...[Setting.MAX_HEADER_LIST_SIZE, this.#environment.headerListBytesMax],
    ]);
    const more = HTTP2_CONNECTION_WINDOW_BYTES - INITIAL_WINDOW_BYTES;
    appendNumberFrame(this.output, FrameType.WINDOW_UPDATE, 0, more);
    this.wrote();
    socket.on("error", (error: Error) => {
      this.#environment.logger.debug("HTTP/2 connection failed", {
        remote: this.#peer.address,
        error: error.message,
      });
    });
    socket.on("drain", () => this.#drained());
    socket.on("end", () => this.#closeSocket());
    socket.on("close", () => this.#closed());
    socket.on("data", (chunk: Uint8Array) => this.#read(chunk));
    socket.resume();
  }

  get #now(): number {
    return this.#nowMs;
  }

  // Cutting frames

  #read(chunk: Uint8Array): void {
    if (this.isDone) return;
    this.#nowMs = this.#environment.nowMs();
    this.#lastReadMs = this.#nowMs;
    let at = this.#cutter.begin(chunk);
    while (chunk.length - at >= FRAME_HEADER_BYTES && !this.isDone) {
      const batched = this.#batches.hasKnown ? this.#takeBatched(chunk, at) : 0;
      if (batched > 0) {
        at = batched;
        continue;
      }
      const length = this.#cutter.payloadBytes(chunk, at);
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > chunk.length || this.isDone) break;
      this.#batches.openExpected();
      this.frame(chunk, at, length);
      at = end;
    }
    if (this.isDone) return;
    this.#batches.endRead();
    this.#cutter.keep(chunk, at);
    this.#timeHeaders();
    this.#creditConnection();
  }

  /**
   * Takes the frame at `at` if it is one of the two of a call for a batch, and lies whole in `chunk`.
   *
   * @returns the offset behind it; 0 if it is to be looked at like any other
   */
  #takeBatched(chunk: Uint8Array, at: number): number {
    const payload = at + FRAME_HEADER_BYTES;
    const end = payload + readUint24(chunk, at);
    if (end > chunk.length || end - payload > FRAME_PAYLOAD_BYTES_MAX) return 0;
    const type = chunk[at + 3];
    const flags = chunk[at + 4];
    const streamID = readUint32(chunk, at + 5) & STREAM_ID_MASK;
    const isTaken =
      type === FrameType.DATA
        ? flags === Flag.END_STREAM && this.#takeMessage(chunk, payload, end, streamID)
        : type === FrameType.HEADERS &&
          flags === Flag.END_HEADERS &&
          this.#takeBlock(chunk, payload, end, streamID);
    return isTaken ? end : 0;
  }

  #takeBlock(chunk: Uint8Array, start: number, end: number, streamID: number): boolean {
    const environment = this.#environment;
    const mayOpen =
      this.#isReady &&
      this.#blockStreamID === 0 &&
      streamID % 2 === 1 &&
      streamID > this.#lastStreamID &&
      streamID <= this.#acceptedStreamIDMax &&
      this.#openCalls < environment.concurrentStreamsMax &&
      this.#heldBytes <= environment.connectionMemoryBytesMax;
    if (!mayOpen) return false;
    const head = this.#batches.find(chunk, start, end, this.#decoder.version);
    if (head === undefined) return false;
    this.#lastStreamID = streamID;
    this.#batches.expect(head, streamID);
    return true;
  }

  #takeMessage(chunk: Uint8Array, start: number, end: number, streamID: number): boolean {
    const message = start + MESSAGE_PREFIX_BYTES;
    const bytes = end - start;
    const isWhole =
      bytes >= MESSAGE_PREFIX_BYTES &&
      bytes <= this.#receiveWindow &&
      chunk[start] === 0 &&
      readUint32(chunk, start + 1) === end - message &&
      end - message <= this.#environment.receiveMessageBytesMax;
    if (!isWhole || !this.#batches.take(streamID, chunk, message, end, this.#now)) return false;
    this.#receiveWindow -= bytes;
    this.#uncredited += bytes;
    return true;
  }

  openExpected(streamID: number, head: RequestHead): void {
    const { call } = head;
    invariant(call !== undefined, () => "FrameConnection: a batched head without a call");
    const stream = new CallStream(this, streamID, this.initialSendWindow);
    this.#add(stream, head, false);
    this.#beginCall(stream, head, call, undefined);
  }

  get #openCalls(): number {
    return this.#streams.size + this.#batches.open;
  }

  /** Header bytes that do not come to an end are given a time. */
  #timeHeaders(): void {
    const isHeaders = this.#blockStreamID !== 0 || this.#cutter.hasPartialHeaders;
    if (!isHeaders) this.#headersSinceMs = Infinity;
    else this.#headersSinceMs = Math.min(this.#headersSinceMs, this.#now);
  }

  frame(bytes: Uint8Array, header: number, length: number): void {
    const type = bytes[header + 3]!;
    const flags = bytes[header + 4]!;
    const streamID = readUint32(bytes, header + 5) & STREAM_ID_MASK;
    const at = header + FRAME_HEADER_BYTES;
    if (!this.#isReady && type !== FrameType.SETTINGS) {
      this.fail(ErrorCode.PROTOCOL_ERROR, "SETTINGS expected");
      return;
    }
    if (this.#blockStreamID !== 0 && type !== FrameType.CONTINUATION) {
      this.fail(ErrorCode.PROTOCOL_ERROR, "CONTINUATION expected");
      return;
    }
    switch (type) {
      case FrameType.DATA:
        return this.#onData(bytes, at, length, flags, streamID);
      case FrameType.HEADERS:
        return this.#onHeaders(bytes, at, length, flags, streamID);
      case FrameType.PRIORITY:
        return this.#onPriority(bytes, at, length, streamID);
      case FrameType.RST_STREAM:
        return this.#onReset(length, streamID);
      case FrameType.SETTINGS:
        return this.#onSettings(bytes, at, length, flags, streamID);
      case FrameType.PUSH_PROMISE:
        return this.fail(ErrorCode.PROTOCOL_ERROR, "a client cannot push");
      case FrameType.PING:
        return this.#onPing(bytes, at, length, flags, streamID);
      case FrameType.GOAWAY:
        return this.#onGoaway(length, streamID);
      case FrameType.WINDOW_UPDATE:
        return this.#onWindowUpdate(bytes, at, length, streamID);
      case FrameType.CONTINUATION:
        return this.#onContinuation(bytes, at, length, flags, streamID);
      default:
        return this.#countIdleFrame();
    }
  }

  // Frames of a stream

  #onData(bytes: Uint8Array, at: number, length: number, flags: number, streamID: number): void {
    if (streamID === 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0");
    const padding = (flags & Flag.PADDED) === 0 ? 0 : length === 0 ? Infinity : 1 + bytes[at]!;
    if (padding > length) return this.fail(ErrorCode.PROTOCOL_ERROR, "padding too long");
    this.#receiveWindow -= length;
    this.#uncredited += length;
    if (this.#receiveWindow < 0) {
      return this.fail(ErrorCode.FLOW_CONTROL_ERROR, "connection window exceeded");
    }
    const dataBytes = length - padding;
    const isLast = (flags & Flag.END_STREAM) !== 0;
    if (dataBytes === 0 && !isLast) this.#countIdleFrame();
    const stream = this.#streams.get(streamID);
    if (stream === undefined) return this.#onStrayFrame(streamID, "DATA");
    if (stream.remoteEnded) return this.fail(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM");
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) {
      return this.fail(ErrorCode.FLOW_CONTROL_ERROR, "stream window exceeded");
    }
    if (!this.#countBody(stream, dataBytes, isLast)) return;
    const start = padding === 0 ? at : at + 1;
    stream.remoteEnded = isLast;
    if (dataBytes > 0) stream.onData(bytes, start, start + dataBytes);
    if (stream.isClosed) return;
    if (isLast) this.#remoteEnded(stream);
    else stream.credit(length);
  }

  /** @returns whether the body is as long as the client said */
  #countBody(stream: FrameStream, bytes: number, isLast: boolean): boolean {
    if (stream.bodyBytesLeft < 0) return true;
    stream.bodyBytesLeft -= bytes;
    if (stream.bodyBytesLeft >= 0 && !(isLast && stream.bodyBytesLeft > 0)) return true;
    this.#refuse(stream, ErrorCode.PROTOCOL_ERROR);
    return false;
  }

  #remoteEnded(stream: FrameStream): void {
    if (stream.localEnded) this.#closeStream(stream);
    else stream.onRemoteEnd();
  }

  /** A frame for a stream that is not open: late, or out of order. */
  #onStrayFrame(streamID: number, what: string): void {
    if (this.#isIdle(streamID)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, `${what} on an idle stream`);
    } else if (this.#batches.has(streamID)) {
      this.fail(ErrorCode.STREAM_CLOSED, `${what} after END_STREAM`);
    } else if (this.#closedStreams.hasPeerEnded(streamID)) {
      this.fail(ErrorCode.STREAM_CLOSED, `${what} on a closed stream`);
    } else if (!this.#closedStreams.wasReset(streamID)) this.#countIdleFrame();
  }

  #isIdle(streamID: number): boolean {
    return streamID > this.#lastStreamID || streamID % 2 === 0;
  }

  #onPriority(bytes: Uint8Array, at: number, length: number, streamID: number): void {
    if (streamID === 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0");
    if (length !== 5) return this.fail(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong length");
    if ((readUint32(bytes, at) & STREAM_ID_MASK) === streamID) {
      return this.fail(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself");
    }
    this.#countIdleFrame();
  }

  #onReset(length: number, streamID: number): void {
    if (streamID === 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on stream 0");
    if (length !== 4) return this.fail(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong length");
    if (this.#batches.open > 0) this.#batches.giveUp(streamID);
    const stream = this.#streams.get(streamID);
    if (stream === undefined) {
      if (this.#isIdle(streamID))
        this.fail(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream");
      else this.#countIdleFrame();
      return;
    }
    stream.remoteEnded = true;
    this.#closeStream(stream);
    this.#countReset();
  }

  #onWindowUpdate(bytes: Uint8Array, at: number, length: number, streamID: number): void {
    if (length !== 4)
      return this.fail(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length");
    const increment = readUint32(bytes, at) & WINDOW_BYTES_MAX;
    if (increment === 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0");
    if (streamID === 0) {
      this.sendWindow += increment;
      if (this.sendWindow > WINDOW_BYTES_MAX) {
        return this.fail(ErrorCode.FLOW_CONTROL_ERROR, "connection window too large");
      }
      return this.#pumpBlocked();
    }
    const stream = this.#streams.get(streamID);
    if (stream === undefined) {
      if (this.#isIdle(streamID)) {
        this.fail(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream");
      } else if (this.#batches.has(streamID)) this.#widenBatched(streamID, increment);
      return;
    }
    stream.sendWindow += increment;
    if (stream.sendWindow > WINDOW_BYTES_MAX) {
      return this.#refuse(stream, ErrorCode.FLOW_CONTROL_ERROR);
    }
    if (stream.queuedBytes > 0) stream.pump();
  }

  #widenBatched(streamID: number, increment: number): void {
    if (this.#batches.widen(streamID, increment)) return;
    this.#batches.giveUp(streamID);
    const stream = this.#streams.get(streamID);
    if (stream !== undefined) this.#refuse(stream, ErrorCode.FLOW_CONTROL_ERROR);
  }

  // Header blocks

  #onHeaders(bytes: Uint8Array, at: number, length: number, flags: number, streamID: number): void {
    if (streamID % 2 === 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "HEADERS on a bad stream");
    let start = at;
    let end = at + length;
    if ((flags & Flag.PADDED) !== 0) {
      end -= length === 0 ? Infinity : bytes[at]!;
      start++;
    }
    if ((flags & Flag.PRIORITY) !== 0) {
      if (end - start >= 5 && (readUint32(bytes, start) & STREAM_ID_MASK) === streamID) {
        return this.fail(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself");
      }
      start += 5;
    }
    if (start > end) return this.fail(ErrorCode.PROTOCOL_ERROR, "HEADERS too short");
    this.#blockStreamID = streamID;
    this.#blockFlags = flags;
    this.#blockBytes = end - start;
    this.#continuations = 0;
    if (this.#isBlockTooLong()) return;
    if ((flags & Flag.END_HEADERS) !== 0) this.#endBlock(bytes, start, end);
    else this.#blockParts = [bytes.slice(start, end)];
  }

  #onContinuation(
    bytes: Uint8Array,
    at: number,
    length: number,
    flags: number,
    streamID: number,
  ): void {
    if (this.#blockStreamID === 0 || streamID !== this.#blockStreamID) {
      return this.fail(ErrorCode.PROTOCOL_ERROR, "CONTINUATION out of place");
    }
    this.#continuations++;
    this.#blockBytes += length;
    if (this.#isBlockTooLong()) return;
    this.#blockParts.push(bytes.slice(at, at + length));
    if ((flags & Flag.END_HEADERS) === 0) return;
    const block = Buffer.concat(this.#blockParts);
    this.#blockParts = [];
    this.#endBlock(block, 0, block.length);
  }

  #isBlockTooLong(): boolean {
    const bytesMax = this.#environment.headerListBytesMax + HTTP2_HEADER_BLOCK_SLACK_BYTES;
    if (this.#blockBytes <= bytesMax && this.#continuations <= HTTP2_CONTINUATIONS_MAX)
      return false;
    this.#dismiss("too_large_headers");
    return true;
  }

  #endBlock(bytes: Uint8Array, start: number, end: number): void {
    const streamID = this.#blockStreamID;
    const isLast = (this.#blockFlags & Flag.END_STREAM) !== 0;
    const { headerListBytesMax } = this.#environment;
    this.#blockStreamID = 0;
    const fields = this.#fields;
    fields.length = 0;
    const { version } = this.#decoder;
    let listBytes: number;
    try {
      listBytes = this.#decoder.decode(bytes, start, end, headerListBytesMax, fields);
    } catch (error) {
      if (!(error instanceof HpackError)) throw error;
      return this.fail(ErrorCode.COMPRESSION_ERROR, error.message);
    }
    const stream = this.#streams.get(streamID);
    if (stream !== undefined) return this.#onTrailers(stream, listBytes, isLast);
    if (streamID <= this.#lastStreamID) return this.#onLateHeaders(streamID);
    this.#lastStreamID = streamID;
    if (streamID > this.#acceptedStreamIDMax) {
      this.#closedStreams.add(streamID, false);
      return;
    }
    const head = this.#open(streamID, listBytes, isLast);
    if (this.#blockFlags !== Flag.END_HEADERS || this.#decoder.version !== version) return;
    if (head !== undefined) this.#learn(bytes, start, end, head);
  }

  /** Remembers the block of a call that the next ones may come in batches behind. */
  #learn(bytes: Uint8Array, start: number, end: number, head: RequestHead): void {
    const { call, method } = head;
    if (call === undefined || method !== "POST") return;
    const { route, metadata, encoding, contentType } = call;
    if (route instanceof RpcError || route.batch === undefined) return;
    if (typeof metadata === "string" || contentType !== "application/grpc") return;
    if (this.#heads.timeout !== undefined || messageEncoding(encoding) !== "identity") return;
    const known = { route, metadata, request: head };
    this.#batches.learn(bytes, start, end, this.#decoder.version, known);
  }

  #onTrailers(stream: FrameStream, listBytes: number, isLast: boolean): void {
    if (stream.remoteEnded) return this.fail(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM");
    const isTooLong = listBytes > this.#environment.headerListBytesMax;
    if (isTooLong || !isLast || !areTrailersValid(this.#fields)) {
      return this.#refuse(stream, ErrorCode.PROTOCOL_ERROR);
    }
    if (!this.#countBody(stream, 0, true)) return;
    stream.remoteEnded = true;
    this.#remoteEnded(stream);
  }

  /** A block for a stream that is over, or was passed over. */
  #onLateHeaders(streamID: number): void {
    if (this.#batches.has(streamID)) {
      return this.fail(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM");
    }
    if (this.#closedStreams.wasReset(streamID)) return this.#countIdleFrame();
    if (this.#closedStreams.hasPeerEnded(streamID)) {
      return this.fail(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream");
    }
    this.fail(ErrorCode.PROTOCOL_ERROR, "stream ids must grow");
  }

  // New streams

  /** @returns what was asked for, unless it was refused */
  #open(streamID: number, listBytes: number, isLast: boolean): RequestHead | undefined {
    const environment = this.#environment;
    if (listBytes > environment.headerListBytesMax) {
      this.#refuseID(streamID, ErrorCode.ENHANCE_YOUR_CALM);
      if (++this.#refusedHeaders > HTTP2_REFUSED_HEADERS_MAX) this.#dismiss("too_large_headers");
      return undefined;
    }
    if (
      this.#openCalls >= environment.concurrentStreamsMax ||
      this.#heldBytes > environment.connectionMemoryBytesMax
    ) {
      this.#refuseID(streamID, ErrorCode.REFUSED_STREAM);
      return undefined;
    }
    const head = this.#heads.read(this.#fields);
    if (head === undefined || (isLast && head.contentLength > 0)) {
      this.#refuseID(streamID, ErrorCode.PROTOCOL_ERROR);
      return undefined;
    }
    if (head.call !== undefined) this.#openCall(streamID, head, head.call, isLast);
    else this.#openHttp(streamID, head, isLast);
    return head;
  }

  adopt(stream: FrameStream): void {
    this.#streams.add(stream);
    stream.remoteEnded = true;
    stream.heldBytes = HTTP2_STREAM_BYTES;
    this.hold(HTTP2_STREAM_BYTES);
  }

  closedStream(streamID: number): void {
    this.#closedStreams.add(streamID, true);
  }

  batchEnded(): void {
    if (this.#isDraining && this.#openCalls === 0) this.#schedule();
  }

  #add(stream: FrameStream, head: RequestHead, isLast: boolean): void {
    this.#streams.add(stream);
    stream.bodyBytesLeft = head.contentLength;
    stream.remoteEnded = isLast;
    stream.heldBytes = HTTP2_STREAM_BYTES;
    this.hold(HTTP2_STREAM_BYTES);
  }

  #openCall(streamID: number, head: RequestHead, call: CallHead, isLast: boolean): void {
    const stream = new CallStream(this, streamID, this.initialSendWindow);
    this.#add(stream, head, isLast);
    this.#beginCall(stream, head, call, this.#heads.timeout);
    if (isLast && !stream.isClosed) this.#remoteEnded(stream);
  }

  #beginCall(
    stream: CallStream,
    head: RequestHead,
    call: CallHead,
    timeout: string | undefined,
  ): void {
    const { contentType, metadata, route } = call;
    if (typeof metadata === "string") return stream.refuse(internal(metadata), contentType, 400);
    let deadlineMs: number | undefined;
    if (timeout !== undefined) {
      const timeoutMs = decodeTimeout(timeout);
      if (typeof timeoutMs === "string") {
        const error = internal(`malformed grpc-timeout: ${timeoutMs}`);
        return stream.refuse(error, contentType, 400);
      }
      deadlineMs = this.#now + timeoutMs;
    }
    if (head.method !== "POST") {
      const text = `Received a HEADERS frame with :method ${JSON.stringify(head.method)} which should be POST`;
      return stream.refuse(internal(text), contentType, 405);
    }
    if (deadlineMs !== undefined && deadlineMs <= this.#now) {
      return stream.refuse(DEADLINE_EXCEEDED, contentType);
    }
    if (route instanceof RpcError) return stream.refuse(route, contentType);
    const encoding = messageEncoding(call.encoding);
    if (encoding === undefined) {
      return stream.refuse(unknownEncoding(call.encoding ?? ""), contentType);
    }
    const start = { metadata, peer: this.#peer, startMs: this.#now, deadlineMs };
    stream.begin(this.#environment, route, start, contentType, encoding);
  }

  #openHttp(streamID: number, head: RequestHead, isLast: boolean): void {
    const { httpHandler, sendHighWaterBytes } = this.#environment;
    const window = this.initialSendWindow;
    if (httpHandler === undefined) {
      const stream = new CallStream(this, streamID, window);
      this.#add(stream, head, isLast);
      const got = JSON.stringify(head.contentType ?? "");
      const text = `invalid gRPC request content-type ${got}`;
      const error = new RpcError("INVALID_ARGUMENT", GRPC_CODES.INVALID_ARGUMENT, text);
      return stream.refuse(error, "application/grpc", 415);
    }
    const stream = new HttpStream(this, streamID, window, head, this.#socket, sendHighWaterBytes);
    this.#add(stream, head, isLast);
    httpHandler(stream.request, stream.response);
    if (isLast && !stream.isClosed) this.#remoteEnded(stream);
  }

  // The end of streams

  endedLocally(stream: FrameStream): void {
    if (stream.remoteEnded) this.#closeStream(stream);
    else this.#lingering.push(stream);
  }

  reset(stream: FrameStream, code: ErrorCode): void {
    if (stream.isClosed) return;
    appendNumberFrame(this.output, FrameType.RST_STREAM, stream.id, code);
    this.#closeStream(stream);
    this.wrote();
  }

  doom(stream: FrameStream): void {
    this.#doomed.push(stream);
    this.#schedule();
  }

  #closeStream(stream: FrameStream): void {
    this.#streams.delete(stream.id);
    if (this.#blocked.size > 0) this.#blocked.delete(stream);
    this.#closedStreams.add(stream.id, stream.remoteEnded);
    stream.close();
    if (this.#isDraining && this.#openCalls === 0) this.#schedule();
  }

  /** Ends a stream for what the client did. */
  #refuse(stream: FrameStream, code: ErrorCode): void {
    this.reset(stream, code);
    this.#countReset();
  }

  #refuseID(streamID: number, code: ErrorCode): void {
    appendNumberFrame(this.output, FrameType.RST_STREAM, streamID, code);
    this.#closedStreams.add(streamID, false);
    this.wrote();
    this.#countReset();
  }

  // Frames of the connection

  #onSettings(
    bytes: Uint8Array,
    at: number,
    length: number,
    flags: number,
    streamID: number,
  ): void {
    if (streamID !== 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream");
    const isAck = (flags & Flag.ACK) !== 0;
    if (length % 6 !== 0 || (isAck && length > 0)) {
      return this.fail(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong length");
    }
    if (isAck) {
      if (!this.#isReady) return this.fail(ErrorCode.PROTOCOL_ERROR, "SETTINGS expected");
      return this.#countIdleFrame();
    }
    let initialWindow = this.initialSendWindow;
    for (let i = at; i < at + length; i += 6) {
      const value = readUint32(bytes, i + 2);
      const id = (bytes[i]! << 8) | bytes[i + 1]!;
      const code = settingError(id, value);
      if (code !== ErrorCode.NO_ERROR) return this.fail(code, `setting ${id} out of range`);
      if (id === Setting.INITIAL_WINDOW_SIZE) initialWindow = value;
      if (id === Setting.HEADER_TABLE_SIZE) this.encoder.setTableBytesMax(value);
    }
    this.#isReady = true;
    if (this.#guard.countSettings(this.#now)) return this.#dismiss("too_many_settings");
    appendFrame(this.output, 0, FrameType.SETTINGS, Flag.ACK, 0);
    this.wrote();
    if (initialWindow !== this.initialSendWindow) this.#resizeWindows(initialWindow);
  }

  #resizeWindows(initialWindow: number): void {
    const difference = initialWindow - this.initialSendWindow;
    this.initialSendWindow = initialWindow;
    if (!this.#batches.mayResize(initialWindow)) {
      return this.fail(ErrorCode.FLOW_CONTROL_ERROR, "stream window too large");
    }
    for (const stream of this.#streams.all()) {
      stream.sendWindow += difference;
      if (stream.sendWindow > WINDOW_BYTES_MAX) {
        return this.fail(ErrorCode.FLOW_CONTROL_ERROR, "stream window too large");
      }
    }
    for (const stream of this.#streams.all()) if (stream.queuedBytes > 0) stream.pump();
  }

  #onPing(bytes: Uint8Array, at: number, length: number, flags: number, streamID: number): void {
    if (streamID !== 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "PING on a stream");
    if (length !== PING_BYTES)
      return this.fail(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong length");
    if ((flags & Flag.ACK) !== 0) return this.#countIdleFrame();
    if (this.#guard.countPing(this.#now, this.#openCalls)) {
      return this.#dismiss("too_many_pings");
    }
    const { output } = this;
    const to = appendFrame(output, PING_BYTES, FrameType.PING, Flag.ACK, 0);
    output.buffer.set(bytes.subarray(at, at + PING_BYTES), to);
    this.wrote();
  }

  #onGoaway(length: number, streamID: number): void {
    if (streamID !== 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream");
    if (length < 8) return this.fail(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong length");
    // It may still open streams; but once there are none, it will not miss us.
    this.#isDraining = true;
    this.#schedule();
  }

  // Budgets

  #countReset(): void {
    if (!this.#resets.take(this.#now)) this.#dismiss("too_many_resets");
  }

  #countIdleFrame(): void {
    if (!this.#idleFrames.take(this.#now)) this.#dismiss("too_many_frames");
  }

  countSmallData(): void {
    if (!this.#smallData.take(this.#now)) this.#dismiss("too_small_windows");
  }

  hold(bytes: number): boolean {
    this.#heldBytes += bytes;
    const { memory, connectionMemoryBytesMax } = this.#environment;
    // Asked always, because it counts.
    const isSpared = memory.hold(bytes, this.#heldBytes);
    return isSpared && this.#heldBytes <= connectionMemoryBytesMax;
  }

  forgivePings(): void {
    this.#guard.forgive();
  }

  // Output

  get output(): WireWriter {
    return this.#output.writer;
  }

  get canSend(): boolean {
    return this.#output.canSend;
  }

  wrote(): void {
    if (this.#output.isFull) this.#output.flush(this.#now);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isDirty || this.isDone) return;
    this.#isDirty = true;
    this.#environment.schedule(this);
  }

  /** Sends what the turn produced. */
  endTurn(): void {
    this.#isDirty = false;
    if (this.#lingering.length > 0) {
      const lingering = this.#lingering;
      this.#lingering = [];
      for (const stream of lingering) this.reset(stream, ErrorCode.NO_ERROR);
    }
    if (this.#doomed.length > 0) {
      const doomed = this.#doomed;
      this.#doomed = [];
      for (const stream of doomed) this.reset(stream, ErrorCode.ENHANCE_YOUR_CALM);
    }
    this.#isDirty = false;
    if (this.#isDraining && this.#openCalls === 0) {
      this.drain();
      this.#closeSocket();
    } else this.#output.flush(this.#now);
  }

  #drained(): void {
    this.#output.drained();
    this.#pumpBlocked();
  }

  block(stream: FrameStream): void {
    this.#blocked.add(stream);
  }

  /** Gives each blocked stream its turn, a frame at a time. */
  #pumpBlocked(): void {
    while (this.canSend && this.sendWindow > 0) {
      const next = this.#blocked.values().next();
      if (next.done === true) return;
      this.#blocked.delete(next.value);
      next.value.pump(FRAME_PAYLOAD_BYTES_MAX);
    }
  }

  #creditConnection(): void {
    if (this.#uncredited < HTTP2_CONNECTION_WINDOW_BYTES / 2) return;
    appendNumberFrame(this.output, FrameType.WINDOW_UPDATE, 0, this.#uncredited);
    this.#receiveWindow += this.#uncredited;
    this.#uncredited = 0;
    this.wrote();
  }

  // Time

  /** Looks for silence: of the handshake, of headers, of the reader, of an idle client. */
  sweep(): void {
    if (this.isDone) return;
    const { handshakeTimeoutMs, keepalive } = this.#environment;
    const nowMs = this.#environment.nowMs();
    this.#nowMs = nowMs;
    if (!this.#isReady) {
      if (nowMs - this.#openedMs >= handshakeTimeoutMs) this.destroy();
      return;
    }
    if (nowMs - this.#headersSinceMs >= handshakeTimeoutMs) return this.#dismiss("slow_headers");
    if (this.#output.isStalled(nowMs)) return this.destroy();
    if (this.#lastReadMs > this.#pingSentMs) this.#pingSentMs = Infinity;
    if (nowMs - this.#pingSentMs >= keepalive.timeoutMs) {
      this.#environment.logger.debug("no answer to a keepalive ping", {
        remote: this.#peer.address,
      });
      return this.destroy();
    }
    if (this.#pingSentMs === Infinity && nowMs - this.#lastReadMs >= keepalive.timeMs) {
      this.#pingSentMs = nowMs;
      const at = appendFrame(this.output, PING_BYTES, FrameType.PING, 0, 0);
      this.output.buffer.fill(0, at, at + PING_BYTES);
      this.wrote();
    }
    this.#output.shrink();
    this.#batches.shrink();
  }

  // The end

  /** Takes no new streams, and closes when the last one has ended. */
  drain(): void {
    if (this.isDone || this.#acceptedStreamIDMax < STREAM_ID_MASK) return;
    this.#isDraining = true;
    this.#acceptedStreamIDMax = this.#lastStreamID;
    appendGoaway(this.output, this.#lastStreamID, ErrorCode.NO_ERROR, "");
    this.wrote();
  }

  /** Ends a connection that misbehaves: says why, then drops it. */
  #dismiss(reason: string): void {
    if (this.isDone) return;
    this.#environment.logger.warn("closing connection of a misbehaving client", {
      remote: this.#peer.address,
      reason,
    });
    this.fail(ErrorCode.ENHANCE_YOUR_CALM, reason);
  }

  fail(code: ErrorCode, reason: string): void {
    if (this.isDone) return;
    this.#environment.logger.debug("HTTP/2 connection error", {
      remote: this.#peer.address,
      code,
      reason,
    });
    const { output } = this;
    appendGoaway(output, Math.min(this.#lastStreamID, this.#acceptedStreamIDMax), code, reason);
    this.#closeSocket();
  }

  /** Lets what was written leave, then drops the socket. */
  #closeSocket(): void {
    if (this.isDone) return;
    this.isDone = true;
    this.#output.end(this.#now);
    this.#closeStreams();
    const socket = this.#socket;
    const timer = this.#environment.setTimer(HTTP2_GOAWAY_LINGER_MS, () => socket.destroy());
    socket.on("close", () => timer.cancel());
  }

  #closeStreams(): void {
    this.isDone = true;
    this.#batches.giveUpAll();
    const streams = this.#streams.all();
    this.#streams.clear();
    this.#blocked.clear();
    for (const stream of streams) stream.close();
    this.#output.discard();
  }

  destroy(): void {
    this.#closeStreams();
    this.#socket.destroy();
  }

  #closed(): void {
    this.#closeStreams();
    this.#environment.closed(this);
  }
}

function settingError(id: number, value: number): ErrorCode {
  switch (id) {
    case Setting.ENABLE_PUSH:
      return value > 1 ? ErrorCode.PROTOCOL_ERROR : ErrorCode.NO_ERROR;
    case Setting.INITIAL_WINDOW_SIZE:
      return value > WINDOW_BYTES_MAX ? ErrorCode.FLOW_CONTROL_ERROR : ErrorCode.NO_ERROR;
    case Setting.MAX_FRAME_SIZE:
      return value < FRAME_PAYLOAD_BYTES_MAX || value > 0xff_ffff
        ? ErrorCode.PROTOCOL_ERROR
        : ErrorCode.NO_ERROR;
    default:
      return ErrorCode.NO_ERROR;
  }
}

function internal(message: string): RpcError {
  return new RpcError("INTERNAL", GRPC_CODES.INTERNAL, message);
}
