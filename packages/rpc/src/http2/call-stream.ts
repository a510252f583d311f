/**
 * A stream that carries a gRPC call: messages decoded from the bytes of the socket, answers encoded
 * into the connection's output.
 *
 * Invariants:
 * - A message's length is checked as soon as its prefix is there, before any of it is held.
 * - Nothing is decoded after the call has finished, nor while it is paused.
 * - Exactly one status leaves: in the only header block if nothing was sent before, else in
 *   trailers.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { EncodedChunks, GrpcCode } from "@etcd-ts/api";
import { concatBytes, InvariantError, WireReader } from "@etcd-ts/base";

import type { DeadlineQueue } from "../deadline-queue.ts";
import { deflateMessage, inflateFrame } from "../grpc/compression.ts";
import type { MessageEncoding } from "../grpc/compression.ts";
import {
  FRAME_HEADER_BYTES as PREFIX_BYTES,
  encodeFrame,
  frameOf,
  framePrefix,
} from "../grpc/framing.ts";
import { encodeMetadata, encodeStatusMessage } from "../grpc/headers.ts";
import type { Metadata } from "../metadata.ts";
import type { CallSink, CallStart, ServerCall } from "../server-call.ts";
import { CALL_CANCELED, DEADLINE_EXCEEDED } from "../server/call-errors.ts";
import type { MessageByteCounters } from "../server/transport.ts";
import type { Route, ServiceTable } from "../service-table.ts";
import { FrameStream, finishFrames } from "./frame-stream.ts";
import {
  ErrorCode,
  FRAME_HEADER_BYTES,
  Flag,
  FrameType,
  readUint32,
  writeUint32,
} from "./frames.ts";
import { HeldMessages } from "./held-messages.ts";
import type { FieldToSend } from "./hpack-encoder.ts";
import { HEADERS_PLAIN, STATUS_200, TRAILERS_OK } from "./response-blocks.ts";

/** What all calls of a transport share. */
export interface CallEnvironment {
  readonly table: ServiceTable;
  readonly deadlines: DeadlineQueue;
  readonly receiveMessageBytesMax: number;
  readonly sendHighWaterBytes: number;
  readonly byteCounters: MessageByteCounters | undefined;
}

/** Of an encoded message, bytes that wait in the stream's queue. */
const FED_BYTES = 128 * 1024;

const FLAG_PLAIN = 0;
const FLAG_COMPRESSED = 1;

export class CallStream extends FrameStream implements CallSink<unknown> {
  #environment: CallEnvironment | undefined;
  #call: ServerCall | undefined;
  #contentType = "";
  #encoding: MessageEncoding = "identity";
  #held: HeldMessages | undefined;
  /** Inside `#readMessages`: a handler that resumes just lets it go on. */
  #isReading = false;
  #headersSent = false;
  #failure: { readonly code: GrpcCode; readonly message: string } | undefined;
  /** What is left of an encoded message; the queue is fed from it as it empties. */
  #rest: { readonly message: EncodedChunks; next: number; recycled: number } | undefined;
  #endsAfterRest = false;
  #forgetDeadline: (() => void) | undefined;

  /** Answers with a status and runs no call. */
  refuse(error: RpcError, contentType: string, httpStatus = 200): void {
    this.#contentType = contentType;
    this.#sendStatusOnly(error.grpcCode, error.message, httpStatus);
  }

  /** Answers with `message`, which has its prefix, a call that ran without a stream. */
  answer(message: Uint8Array): void {
    this.#contentType = "application/grpc";
    this.#sendHeaders();
    this.enqueue(message);
    this.endWhenSent();
  }

  /** Starts the call. */
  begin(
    environment: CallEnvironment,
    route: Route,
    start: CallStart,
    contentType: string,
    encoding: MessageEncoding,
  ): void {
    this.#environment = environment;
    this.#contentType = contentType;
    this.#encoding = encoding;
    const call = environment.table.start(route, start, this);
    const { deadlineMs } = start;
    this.#call = call;
    if (deadlineMs !== undefined) {
      this.#forgetDeadline = environment.deadlines.add(deadlineMs, () => this.#expire());
    }
    call.begin();
  }

  /** The deadline has passed: says so if nothing is in the way, else drops the stream. */
  #expire(): void {
    const call = this.#call!;
    const isBlocked = this.queuedBytes > 0;
    if (call.isFinished && !isBlocked) return;
    call.cancel(DEADLINE_EXCEEDED);
    if (isBlocked) this.host.reset(this, ErrorCode.CANCEL);
    else this.finish(DEADLINE_EXCEEDED.grpcCode, DEADLINE_EXCEEDED.message);
  }

  // What the client sends

  onData(bytes: Uint8Array, start: number, end: number): void {
    if (this.#call === undefined || this.#call.isFinished) return;
    const held = this.#held;
    if (held === undefined) {
      const next = this.isReadPaused ? start : this.#readMessages(bytes, start, end);
      if (next < end && !this.#call.isFinished) this.#hold(bytes, next, end);
      return;
    }
    this.#hold(bytes, start, end);
    this.#readHeld();
  }

  onRemoteEnd(): void {
    const call = this.#call;
    if (call === undefined || call.isFinished || this.isReadPaused) return;
    if (this.#held !== undefined) {
      // As grpc-go: a unary request that ends early is no error of the protocol.
      const { INTERNAL, UNKNOWN } = GRPC_CODES;
      const code = call.method.kind === "unary" ? UNKNOWN : INTERNAL;
      call.fail(new RpcError("UNEXPECTED_EOF", code, "unexpected EOF"));
      return;
    }
    call.receiveEnd();
  }

  #hold(bytes: Uint8Array, start: number, end: number): void {
    this.#held ??= new HeldMessages();
    this.#held.append(bytes, start, end);
    this.heldBytes += end - start;
    if (!this.host.hold(end - start)) this.host.doom(this);
  }

  #readHeld(): void {
    const held = this.#held;
    if (held === undefined || this.isReadPaused) return;
    const taken = this.#readMessages(held.bytes, held.start, held.end) - held.start;
    if (this.isClosed) return;
    held.take(taken);
    this.heldBytes -= taken;
    this.host.hold(-taken);
    if (held.length === 0) this.#held = undefined;
  }

  /** Hands over the whole messages in `bytes[start, end)`. @returns the offset after the last */
  #readMessages(bytes: Uint8Array, start: number, end: number): number {
    const call = this.#call!;
    let at = start;
    this.#isReading = true;
    try {
      while (end - at >= PREFIX_BYTES && !this.isReadPaused && !call.isFinished) {
        const payload = at + PREFIX_BYTES;
        const payloadEnd = payload + this.#checkPrefix(bytes[at]!, readUint32(bytes, at + 1));
        if (payloadEnd > end) break;
        const isCompressed = bytes[at] === FLAG_COMPRESSED;
        at = payloadEnd;
        call.receive(this.#decode(bytes, payload, payloadEnd, isCompressed));
      }
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      call.fail(error);
    } finally {
      this.#isReading = false;
    }
    return at;
  }

  #checkPrefix(flag: number, length: number): number {
    const max = this.#environment!.receiveMessageBytesMax;
    if (length > max) {
      const text = `grpc: received message larger than max (${length} vs. ${max})`;
      throw new RpcError("RESOURCE_EXHAUSTED", GRPC_CODES.RESOURCE_EXHAUSTED, text);
    }
    if (flag !== FLAG_PLAIN && flag !== FLAG_COMPRESSED) {
      const text = `grpc: received unexpected payload format ${flag}`;
      throw new RpcError("INTERNAL", GRPC_CODES.INTERNAL, text);
    }
    return length;
  }

  #decode(bytes: Uint8Array, start: number, end: number, isCompressed: boolean): unknown {
    const { receiveMessageBytesMax, byteCounters } = this.#environment!;
    const { method } = this.#call!;
    let reader: WireReader;
    if (isCompressed) {
      const frame = { compressed: true, payload: bytes.subarray(start, end) };
      reader = new WireReader(inflateFrame(frame, this.#encoding, receiveMessageBytesMax));
    } else reader = new WireReader(bytes, start, end);
    byteCounters?.received(reader.end - reader.offset);
    try {
      return method.request.decode(reader);
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      const text = error instanceof Error ? error.message : String(error);
      const prefix =
        method.kind === "unary"
          ? "grpc: error unmarshalling request"
          : "grpc: failed to unmarshal the received message";
      throw new RpcError("INTERNAL", GRPC_CODES.INTERNAL, `${prefix}: ${text}`, { cause: error });
    }
  }

  // What the handler sends

  get bufferedBytes(): number {
    return this.queuedBytes;
  }

  sendHeaders(metadata: Metadata): void {
    if (!this.#headersSent && !this.isClosed) this.#sendHeaders(metadata);
  }

  sendMessage(message: unknown): boolean {
    if (this.isClosed) return false;
    const { byteCounters, sendHighWaterBytes } = this.#environment!;
    const codec = this.#call!.method.response;
    if (!this.#headersSent) this.#sendHeaders();
    this.host.forgivePings();
    if (this.#encoding === "identity" && this.mayWrite) {
      const bytes = this.#writeMessage(message);
      byteCounters?.sent(bytes);
    } else {
      const frame = encodeFrame(codec, message);
      byteCounters?.sent(frame.length - PREFIX_BYTES);
      if (this.#encoding === "identity") this.enqueue(frame);
      else this.enqueue(frameOf(deflateMessage(frame.subarray(PREFIX_BYTES)), true));
    }
    return !this.isBehind(sendHighWaterBytes);
  }

  sendEncoded(message: EncodedChunks): boolean {
    if (this.isClosed) return false;
    const { byteCounters, sendHighWaterBytes } = this.#environment!;
    if (!this.#headersSent) this.#sendHeaders();
    this.host.forgivePings();
    byteCounters?.sent(message.bytes);
    if (this.#encoding === "identity" && message.bytes <= FED_BYTES && this.mayWrite) {
      this.#writeChunks(message.chunks);
      if (message.recycle !== undefined) message.chunks.forEach(message.recycle);
    } else if (this.#encoding === "identity") {
      this.enqueue(framePrefix(message));
      this.#rest = { message, next: 0, recycled: 0 };
      this.#feed();
    } else this.enqueue(frameOf(deflateMessage(concatBytes(message.chunks)), true));
    return !this.isBehind(sendHighWaterBytes);
  }

  /** Hands on chunks until the stream is behind; `onDrained` goes on. */
  #feed(): void {
    const rest = this.#rest;
    if (rest === undefined) return;
    const { chunks, recycle } = rest.message;
    while (rest.next < chunks.length) {
      if (this.isBehind(FED_BYTES)) return;
      this.enqueue(chunks[rest.next++]!);
      if (recycle === undefined || this.queuedBytes > 0 || this.isClosed) continue;
      // What has left the queue was copied.
      while (rest.recycled < rest.next) recycle(chunks[rest.recycled++]!);
    }
    this.#rest = undefined;
    if (this.#endsAfterRest) this.endWhenSent();
  }

  finish(code: GrpcCode, message: string): void {
    if (this.isClosed || this.localEnded) return;
    if (!this.#headersSent) {
      this.#sendStatusOnly(code, message, 200);
      return;
    }
    if (code !== GRPC_CODES.OK) this.#failure = { code, message };
    if (this.#rest === undefined) this.endWhenSent();
    else this.#endsAfterRest = true;
  }

  setPaused(paused: boolean): void {
    if (this.isClosed) return;
    this.setReadPaused(paused);
    if (paused || this.#isReading) return;
    this.#readHeld();
    if (this.remoteEnded && !this.isClosed) this.onRemoteEnd();
  }

  /** @returns the message's length */
  #writeMessage(message: unknown): number {
    const { output } = this.host;
    const start = output.extend(FRAME_HEADER_BYTES + PREFIX_BYTES);
    try {
      this.#call!.method.response.encode(message, output);
    } catch (error) {
      output.truncate(start);
      throw error;
    }
    return this.#finishMessage(start);
  }

  /** A short message goes out as if it had been encoded into the output. */
  #writeChunks(chunks: readonly Uint8Array[]): void {
    const { output } = this.host;
    const start = output.extend(FRAME_HEADER_BYTES + PREFIX_BYTES);
    for (const chunk of chunks) output.raw(chunk);
    this.#finishMessage(start);
  }

  /** @returns the length of the message written after the spare bytes at `start` */
  #finishMessage(start: number): number {
    const { output } = this.host;
    const payload = start + FRAME_HEADER_BYTES + PREFIX_BYTES;
    const length = output.length - payload;
    const bytes = output.buffer;
    bytes[payload - PREFIX_BYTES] = FLAG_PLAIN;
    writeUint32(bytes, payload - 4, length);
    this.finishData(start);
    return length;
  }

  #sendHeaders(metadata?: Metadata): void {
    const { output, encoder } = this.host;
    const start = output.extend(FRAME_HEADER_BYTES);
    this.#headersSent = true;
    if (this.#encoding === "identity" && this.#contentType === "application/grpc") {
      encoder.block(output, HEADERS_PLAIN);
    } else {
      encoder.fields(output, [STATUS_200, ["content-type", this.#contentType, "add"]]);
      if (this.#encoding !== "identity") {
        encoder.field(output, "grpc-encoding", this.#encoding, "add");
      }
    }
    if (metadata !== undefined) encoder.fields(output, metadataFields(metadata));
    finishFrames(output, start, FrameType.HEADERS, 0, this.id);
    this.host.forgivePings();
    this.host.wrote();
  }

  #sendStatusOnly(code: GrpcCode, message: string, httpStatus: number): void {
    const { output, encoder } = this.host;
    const start = output.extend(FRAME_HEADER_BYTES);
    this.#headersSent = true;
    encoder.field(output, ":status", String(httpStatus));
    encoder.field(output, "content-type", this.#contentType, "add");
    encoder.fields(output, statusFields(code, message));
    finishFrames(output, start, FrameType.HEADERS, Flag.END_STREAM, this.id);
    this.host.forgivePings();
    this.endedLocally();
  }

  protected writeEnd(): void {
    const { output, encoder } = this.host;
    const start = output.extend(FRAME_HEADER_BYTES);
    const failure = this.#failure;
    if (failure === undefined) encoder.block(output, TRAILERS_OK);
    else encoder.fields(output, statusFields(failure.code, failure.message));
    finishFrames(output, start, FrameType.HEADERS, Flag.END_STREAM, this.id);
    this.host.forgivePings();
  }

  protected onDrained(): void {
    if (this.#rest === undefined) this.#call?.drained();
    else this.#feed();
  }

  protected onClosed(): void {
    this.#held = undefined;
    this.#rest = undefined;
    this.#forgetDeadline?.();
    this.#forgetDeadline = undefined;
    this.#call?.cancel(CALL_CANCELED);
  }
}

function statusFields(code: GrpcCode, message: string): FieldToSend[] {
  return [
    ["grpc-status", String(code), "add"],
    ["grpc-message", encodeStatusMessage(message), "without"],
  ];
}

function metadataFields(metadata: Metadata): FieldToSend[] {
  const headers: Record<string, number | string | string[] | undefined> = {};
  encodeMetadata(metadata, headers);
  const fields: FieldToSend[] = [];
  for (const [name, values] of Object.entries(headers)) {
    for (const value of Array.isArray(values) ? values : [values]) {
      fields.push([name, String(value), "without"]);
    }
  }
  return fields;
}
