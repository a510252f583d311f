/**
 * A gRPC client on one HTTP/2 connection, for tests and tools. It does not reconnect.
 */

import * as http2 from "node:http2";
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
} from "node:http2";
import * as net from "node:net";
import type { Duplex } from "node:stream";

import { GRPC_CODES, RpcError, grpcCodeFrom } from "@etcd-ts/api";
import type { GrpcCode, MethodDescriptor } from "@etcd-ts/api";
import { WireReader } from "@etcd-ts/base";
import type { NetworkAddress } from "@etcd-ts/base";

import type { AnyMethod } from "../call.ts";
import {
  deflateMessage,
  inflateFrame,
  messageEncoding,
  unknownEncoding,
} from "../grpc/compression.ts";
import { FRAME_HEADER_BYTES, FrameReader, encodeFrame, frameOf } from "../grpc/framing.ts";
import {
  decodeMetadata,
  decodeStatusMessage,
  encodeMetadata,
  encodeTimeout,
} from "../grpc/headers.ts";
import { Metadata } from "../metadata.ts";
import { ClientStream, bindCallOptions, unaryOutcome } from "./channel.ts";
import type { CallOptions, ClientExchange, RpcChannel } from "./channel.ts";
import { dialTLS } from "./tls-dial.ts";
import type { ClientTLSOptions } from "./tls-dial.ts";

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } =
  http2.constants;

export interface RpcClientOptions {
  /** Added to every call. */
  readonly metadata?: Metadata;
  /** Default 2^31-1. */
  readonly receiveMessageBytesMax?: number;
  /** Compresses what is sent; the server then answers in kind. */
  readonly encoding?: "gzip";
  readonly connectTimeoutMs?: number;
  /** An established stream to use instead of dialling. */
  readonly socket?: Duplex;
  /** Dials with TLS. A function is asked at each dial, for files that may have changed. */
  readonly tls?: ClientTLSOptions | (() => ClientTLSOptions);
}

const CONNECT_TIMEOUT_MS = 5_000;
const STREAM_WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
const SEND_HIGH_WATER_BYTES = 64 * 1024;

/** The server has certainly not looked at the request: it may be sent again, whatever it is. */
export class NotSentError extends RpcError {
  constructor(message: string) {
    super("UNAVAILABLE", GRPC_CODES.UNAVAILABLE, message);
  }
}

export class RpcClient implements RpcChannel {
  readonly #session: ClientHttp2Session;
  readonly #options: RpcClientOptions;
  /** The socket is gone: what ends from then on ended with it. */
  #isCut = false;
  #calls = 0;

  private constructor(session: ClientHttp2Session, socket: Duplex, options: RpcClientOptions) {
    this.#session = session;
    this.#options = options;
    socket.once("close", () => (this.#isCut = true));
    // A GOAWAY with an error destroys the session before the socket closes.
    session.once("goaway", (code) => (this.#isCut ||= code !== NGHTTP2_NO_ERROR));
  }

  /** @throws {RpcError} Unavailable, if nobody answers */
  static async connect(
    address: NetworkAddress,
    options: RpcClientOptions = {},
  ): Promise<RpcClient> {
    const socket = options.socket ?? (await dial(address, options));
    const session = http2.connect("http://localhost", {
      createConnection: () => socket,
      settings: { initialWindowSize: STREAM_WINDOW_BYTES, enablePush: false },
    });
    return new Promise((resolve, reject) => {
      let client: RpcClient | undefined;
      const timer = setTimeout(
        () => session.destroy(new Error("timed out")),
        options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      );
      session.on("error", (error: Error) => {
        clearTimeout(timer);
        if (client === undefined) reject(unavailable(`connection error: ${error.message}`));
      });
      session.once("remoteSettings", () => {
        clearTimeout(timer);
        session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
        client = new RpcClient(session, socket, options);
        resolve(client);
      });
      session.once("close", () => {
        clearTimeout(timer);
        if (client === undefined) reject(unavailable("connection closed"));
      });
    });
  }

  /** For tests that look below the calls. */
  get session(): ClientHttp2Session {
    return this.#session;
  }

  /** How many calls are under way. */
  get calls(): number {
    return this.#calls;
  }

  unary<I, O>(method: MethodDescriptor<I, O>, request: I, options: CallOptions = {}): Promise<O> {
    return unaryOutcome(this.stream(method, options), request);
  }

  stream<I, O>(method: MethodDescriptor<I, O>, options: CallOptions = {}): ClientStream<I, O> {
    const stream = new ClientStream<unknown, unknown>();
    if (this.#session.closed || this.#session.destroyed) {
      stream.abort(new NotSentError("the connection is closing"));
    } else {
      const request = this.#session.request(this.#headers(method.path, options));
      this.#calls++;
      request.once("close", () => this.#calls--);
      const unbind = bindCallOptions(stream, options);
      const isCut = (): boolean => this.#isCut || this.#session.destroyed;
      stream.attach(
        new Http2Exchange(request, method as AnyMethod, stream, this.#options, unbind, isCut),
      );
    }
    return stream as ClientStream<I, O>;
  }

  #headers(path: string, options: CallOptions): OutgoingHttpHeaders {
    const headers: OutgoingHttpHeaders = {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-accept-encoding": "gzip",
    };
    if (this.#options.encoding !== undefined) headers["grpc-encoding"] = this.#options.encoding;
    if (options.timeoutMs !== undefined) headers["grpc-timeout"] = encodeTimeout(options.timeoutMs);
    if (this.#options.metadata !== undefined) encodeMetadata(this.#options.metadata, headers);
    if (options.metadata !== undefined) encodeMetadata(options.metadata, headers);
    return headers;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#session.destroyed) {
        resolve();
        return;
      }
      this.#session.once("close", () => resolve());
      this.#session.destroy();
    });
  }
}

function dial(
  address: NetworkAddress,
  options: RpcClientOptions,
): net.Socket | Promise<net.Socket> {
  if (options.tls !== undefined) {
    const secure = typeof options.tls === "function" ? options.tls() : options.tls;
    return dialTLS(address, secure, options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS);
  }
  const socket =
    address.kind === "unix"
      ? net.connect({ path: address.path })
      : net.connect({ host: address.host, port: address.port });
  return socket.setNoDelay(true);
}

/** One call on an HTTP/2 stream. */
class Http2Exchange implements ClientExchange<unknown> {
  readonly #request: ClientHttp2Stream;
  readonly #method: AnyMethod;
  readonly #stream: ClientStream<unknown, unknown>;
  readonly #options: RpcClientOptions;
  readonly #frames: FrameReader;
  readonly #messageBytesMax: number;
  #responseEncoding: string | undefined;
  #status: { readonly code: GrpcCode; readonly message: string } | undefined;
  #trailers = new Metadata();
  /** The answer is no gRPC; its body is not for us. */
  #isForeign = false;

  constructor(
    request: ClientHttp2Stream,
    method: AnyMethod,
    stream: ClientStream<unknown, unknown>,
    options: RpcClientOptions,
    unbind: () => void,
    isCut: () => boolean,
  ) {
    this.#request = request;
    this.#method = method;
    this.#stream = stream;
    this.#options = options;
    this.#messageBytesMax = options.receiveMessageBytesMax ?? 0x7fff_ffff;
    this.#frames = new FrameReader(this.#messageBytesMax);
    request.on("response", (headers) => this.#readHeaders(headers));
    request.on("trailers", (headers) => this.#readTrailers(headers));
    request.on("data", (chunk: Uint8Array) => this.#read(chunk));
    request.on("drain", () => stream.drained());
    request.on("error", () => undefined);
    request.on("close", () => {
      unbind();
      if (this.#status === undefined && request.rstCode === NGHTTP2_REFUSED_STREAM) {
        stream.abort(new NotSentError("the stream was refused"));
        return;
      }
      const status = this.#status ?? (isCut() ? CUT : statusOfReset(request.rstCode));
      stream.finish(status.code, status.message, this.#trailers);
    });
  }

  sendMessage(message: unknown): boolean {
    let frame = encodeFrame(this.#method.request, message);
    if (this.#options.encoding === "gzip") {
      frame = frameOf(deflateMessage(frame.subarray(FRAME_HEADER_BYTES)), true);
    }
    if (this.#request.destroyed || this.#request.writableEnded) return false;
    this.#request.write(frame);
    return this.#request.writableLength < SEND_HIGH_WATER_BYTES;
  }

  endMessages(): void {
    this.#request.end();
  }

  cancel(): void {
    this.#request.close(NGHTTP2_CANCEL);
  }

  setPaused(paused: boolean): void {
    if (paused) this.#request.pause();
    else this.#request.resume();
  }

  #readHeaders(headers: IncomingHttpHeaders & http2.IncomingHttpStatusHeader): void {
    const encoding = headers["grpc-encoding"];
    this.#responseEncoding = encoding === undefined ? undefined : String(encoding);
    const metadata = metadataOf(headers);
    if (headers["grpc-status"] !== undefined) this.#readTrailers(headers);
    else if (headers[":status"] === 200) this.#stream.receiveHeaders(metadata);
    else {
      this.#isForeign = true;
      this.#status = statusOfHttp(headers[":status"] ?? 0);
    }
  }

  #readTrailers(headers: IncomingHttpHeaders): void {
    const code = headers["grpc-status"];
    if (code === undefined) return;
    this.#trailers = metadataOf(headers);
    this.#status = {
      code: grpcCodeFrom(Number(code)),
      message: decodeStatusMessage(String(headers["grpc-message"] ?? "")),
    };
  }

  #read(chunk: Uint8Array): void {
    // Trailers may overtake data that a paused reader has not taken yet.
    if (this.#stream.isEnded || this.#isForeign) return;
    this.#frames.push(chunk);
    try {
      for (let frame = this.#frames.next(); frame !== undefined; frame = this.#frames.next()) {
        const encoding = messageEncoding(this.#responseEncoding);
        if (encoding === undefined) throw unknownEncoding(this.#responseEncoding!);
        const bytes = inflateFrame(frame, encoding, this.#messageBytesMax);
        this.#stream.receive(this.#method.response.decode(new WireReader(bytes)));
      }
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#stream.abort(
        error instanceof RpcError ? error : new RpcError("INTERNAL", GRPC_CODES.INTERNAL, text),
      );
    }
  }
}

function metadataOf(headers: IncomingHttpHeaders): Metadata {
  const raw: string[] = [];
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) raw.push(name, String(item));
  }
  const metadata = decodeMetadata(raw);
  return typeof metadata === "string" ? new Metadata() : metadata;
}

const CUT = { code: GRPC_CODES.UNAVAILABLE, message: "the connection was closed" } as const;

/** What a stream that ended without a status means. */
function statusOfReset(rstCode: number | undefined): { code: GrpcCode; message: string } {
  switch (rstCode) {
    case NGHTTP2_NO_ERROR:
    case undefined:
      return { code: GRPC_CODES.UNAVAILABLE, message: "the stream ended without a status" };
    case NGHTTP2_CANCEL:
      return { code: GRPC_CODES.CANCELED, message: "the stream was cancelled by the server" };
    case NGHTTP2_ENHANCE_YOUR_CALM:
      return { code: GRPC_CODES.RESOURCE_EXHAUSTED, message: "the server asks for calm" };
    default:
      return { code: GRPC_CODES.INTERNAL, message: `the stream was reset with code ${rstCode}` };
  }
}

/** grpc's mapping of an HTTP status without a gRPC status. */
function statusOfHttp(status: number): { code: GrpcCode; message: string } {
  const message = `unexpected HTTP status code received from server: ${status}`;
  switch (status) {
    case 400:
      return { code: GRPC_CODES.INTERNAL, message };
    case 401:
      return { code: GRPC_CODES.UNAUTHENTICATED, message };
    case 403:
      return { code: GRPC_CODES.PERMISSION_DENIED, message };
    case 404:
      return { code: GRPC_CODES.UNIMPLEMENTED, message };
    case 429:
    case 502:
    case 503:
    case 504:
      return { code: GRPC_CODES.UNAVAILABLE, message };
    default:
      return { code: GRPC_CODES.UNKNOWN, message };
  }
}

function unavailable(message: string): RpcError {
  return new RpcError("UNAVAILABLE", GRPC_CODES.UNAVAILABLE, message);
}
