/**
 * One HTTP/2 stream that carries a gRPC call: header fields in, messages both ways, trailers out.
 *
 * Invariants:
 * - Nothing is decoded after the call has finished; the rest of the stream is reset.
 * - Exactly one status leaves: in the only header block if nothing was sent before, else in trailers.
 */

import * as http2 from "node:http2";
import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { EncodedChunks, GrpcCode } from "@etcd-ts/api";
import { concatBytes, InvariantError, WireReader } from "@etcd-ts/base";

import { deflateMessage, inflateFrame } from "../grpc/compression.ts";
import type { MessageEncoding } from "../grpc/compression.ts";
import {
  FRAME_HEADER_BYTES,
  FrameReader,
  encodeFrame,
  frameOf,
  framePrefix,
} from "../grpc/framing.ts";
import { encodeMetadata, encodeStatusMessage } from "../grpc/headers.ts";
import type { Metadata } from "../metadata.ts";
import type { CallSink, ServerCall } from "../server-call.ts";
import { DEADLINE_EXCEEDED } from "./call-errors.ts";
import type { MessageByteCounters } from "./transport.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = http2.constants;

export interface Http2CallOptions {
  readonly receiveMessageBytesMax: number;
  readonly sendHighWaterBytes: number;
  readonly byteCounters: MessageByteCounters | undefined;
  /** Headers or data went out. */
  readonly onWrite: () => void;
}

/** The response's header fields and, after a unary answer, trailers of status OK. */
const TRAILERS_OK = { "grpc-status": "0", "grpc-message": "" };
const RESPOND_OPTIONS = { waitForTrailers: true, sendDate: false };
const RESPOND_END_OPTIONS = { endStream: true, sendDate: false };

/** Answers a stream with a status and no message, and gives the rest of the request back. */
export function refuseStream(
  stream: ServerHttp2Stream,
  error: RpcError,
  contentType = "application/grpc",
  httpStatus = 200,
): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return;
  stream.respond(
    statusHeaders(error.grpcCode, error.message, contentType, httpStatus),
    RESPOND_END_OPTIONS,
  );
  closeWhenSent(stream);
}

function statusHeaders(
  code: GrpcCode,
  message: string,
  contentType: string,
  httpStatus: number,
): OutgoingHttpHeaders {
  return {
    ":status": httpStatus,
    "content-type": contentType,
    "grpc-status": String(code),
    "grpc-message": encodeStatusMessage(message),
  };
}

/** Resets a stream the client has not finished, once what was queued is on its way. */
function closeWhenSent(stream: ServerHttp2Stream): void {
  stream.resume();
  setImmediate(() => {
    if (!stream.destroyed && !stream.closed && !stream.readableEnded)
      stream.close(NGHTTP2_NO_ERROR);
  });
}

export class Http2Call implements CallSink<unknown> {
  readonly #stream: ServerHttp2Stream;
  readonly #options: Http2CallOptions;
  readonly #contentType: string;
  readonly #encoding: MessageEncoding;
  readonly #frames: FrameReader;
  #call: ServerCall | undefined;
  #trailers: OutgoingHttpHeaders | undefined;
  /** What is left of an encoded message, while the stream is behind. */
  #rest: { readonly chunks: readonly Uint8Array[]; next: number } | undefined;
  #endsAfterRest = false;
  #paused = false;
  #remoteEnded = false;

  constructor(
    stream: ServerHttp2Stream,
    contentType: string,
    encoding: MessageEncoding,
    options: Http2CallOptions,
  ) {
    this.#stream = stream;
    this.#contentType = contentType;
    this.#encoding = encoding;
    this.#options = options;
    this.#frames = new FrameReader(options.receiveMessageBytesMax);
  }

  /** Connects the stream's events to `call` and starts it. */
  run(call: ServerCall): void {
    this.#call = call;
    const stream = this.#stream;
    stream.on("data", (chunk: Uint8Array) => this.#read(chunk));
    stream.on("end", () => {
      this.#remoteEnded = true;
      if (!this.#paused) this.#readEnd();
    });
    stream.on("drain", () => {
      if (this.#rest === undefined) call.drained();
      else this.#writeRest();
    });
    stream.on("wantTrailers", () => {
      stream.sendTrailers(this.#trailers ?? TRAILERS_OK);
      closeWhenSent(stream);
    });
    call.begin();
  }

  /** The deadline has passed: says so if nothing is in the way, else drops the stream. */
  expire(): void {
    const call = this.#call;
    if (call === undefined || call.isFinished) return;
    const blocked = this.bufferedBytes > 0;
    call.cancel(DEADLINE_EXCEEDED);
    if (blocked || this.#stream.destroyed) this.#stream.close(NGHTTP2_CANCEL);
    else this.finish(DEADLINE_EXCEEDED.grpcCode, DEADLINE_EXCEEDED.message);
  }

  get bufferedBytes(): number {
    return this.#stream.writableLength;
  }

  sendHeaders(metadata: Metadata): void {
    const stream = this.#stream;
    if (!stream.headersSent && !stream.destroyed && !stream.closed) this.#respond(metadata);
  }

  sendMessage(message: unknown): boolean {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return false;
    const codec = this.#call!.method.response;
    let frame = encodeFrame(codec, message);
    this.#options.byteCounters?.sent(frame.length - FRAME_HEADER_BYTES);
    if (this.#encoding === "gzip") {
      frame = frameOf(deflateMessage(frame.subarray(FRAME_HEADER_BYTES)), true);
    }
    this.#respond();
    stream.write(frame);
    return stream.writableLength < this.#options.sendHighWaterBytes;
  }

  sendEncoded(message: EncodedChunks): boolean {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return false;
    this.#options.byteCounters?.sent(message.bytes);
    this.#respond();
    if (this.#encoding === "gzip") {
      stream.write(frameOf(deflateMessage(concatBytes(message.chunks)), true));
    } else {
      stream.write(framePrefix(message));
      this.#rest = { chunks: message.chunks, next: 0 };
      this.#writeRest();
    }
    return stream.writableLength < this.#options.sendHighWaterBytes;
  }

  #writeRest(): void {
    const rest = this.#rest;
    if (rest === undefined) return;
    this.#options.onWrite();
    while (rest.next < rest.chunks.length) {
      if (!this.#stream.write(rest.chunks[rest.next++]!)) return;
    }
    this.#rest = undefined;
    if (this.#endsAfterRest) this.#stream.end();
  }

  finish(code: GrpcCode, message: string): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    this.#options.onWrite();
    if (!stream.headersSent) {
      stream.respond(statusHeaders(code, message, this.#contentType, 200), RESPOND_END_OPTIONS);
      closeWhenSent(stream);
      return;
    }
    if (code !== GRPC_CODES.OK) {
      this.#trailers = {
        "grpc-status": String(code),
        "grpc-message": encodeStatusMessage(message),
      };
    }
    if (this.#rest === undefined) stream.end();
    else this.#endsAfterRest = true;
  }

  setPaused(paused: boolean): void {
    this.#paused = paused;
    if (paused) {
      this.#stream.pause();
      return;
    }
    this.#stream.resume();
    this.#readFrames();
    if (this.#remoteEnded) this.#readEnd();
  }

  #respond(metadata?: Metadata): void {
    this.#options.onWrite();
    if (this.#stream.headersSent) return;
    const headers: OutgoingHttpHeaders = { ":status": 200, "content-type": this.#contentType };
    if (this.#encoding !== "identity") headers["grpc-encoding"] = this.#encoding;
    if (metadata !== undefined) encodeMetadata(metadata, headers);
    this.#stream.respond(headers, RESPOND_OPTIONS);
  }

  #read(chunk: Uint8Array): void {
    const call = this.#call!;
    if (call.isFinished) return;
    this.#frames.push(chunk);
    this.#readFrames();
  }

  #readFrames(): void {
    const call = this.#call!;
    try {
      while (!this.#paused && !call.isFinished) {
        const frame = this.#frames.next();
        if (frame === undefined) return;
        const max = this.#options.receiveMessageBytesMax;
        const bytes = inflateFrame(frame, this.#encoding, max);
        this.#options.byteCounters?.received(bytes.length);
        call.receive(this.#decode(bytes));
      }
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      call.fail(error);
    }
  }

  #decode(bytes: Uint8Array): unknown {
    const { method } = this.#call!;
    try {
      return method.request.decode(new WireReader(bytes));
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

  #readEnd(): void {
    const call = this.#call!;
    if (call.isFinished) return;
    if (this.#frames.isPartial) {
      // As grpc-go: a unary request that ends early is no error of the protocol.
      const { INTERNAL, UNKNOWN } = GRPC_CODES;
      const code = call.method.kind === "unary" ? UNKNOWN : INTERNAL;
      call.fail(new RpcError("UNEXPECTED_EOF", code, "unexpected EOF"));
      return;
    }
    call.receiveEnd();
  }
}
