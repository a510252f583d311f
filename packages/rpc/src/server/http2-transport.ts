/**
 * The server's HTTP/2 on `node:http2`: sessions, admission of streams, floods, pings, draining.
 *
 * Invariants:
 * - A connection that was told to go away for its behaviour is destroyed shortly after.
 * - No handler runs before its stream's headers were accepted and, for unary, its message is whole.
 * - A connection that has sent bytes is asked for a pong at the next sweep, since neither half a
 *   header block nor a session that nghttp2 gave up shows in events; silence ends it.
 */

import * as http2 from "node:http2";
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import { NULL_LOGGER } from "@etcd-ts/base";
import type { Logger, Timer } from "@etcd-ts/base";

import type { Peer } from "../call.ts";
import { DeadlineQueue } from "../deadline-queue.ts";
import { messageEncoding, unknownEncoding } from "../grpc/compression.ts";
import { grpcContentType } from "../grpc/content-type.ts";
import { decodeMetadata, decodeTimeout } from "../grpc/headers.ts";
import { CALL_CANCELED, DEADLINE_EXCEEDED } from "./call-errors.ts";
import { Http2Call, refuseStream } from "./http2-call.ts";
import type { Http2CallOptions } from "./http2-call.ts";
import { PingGuard } from "./ping-guard.ts";
import {
  CONCURRENT_STREAMS_MAX,
  CONNECTION_MEMORY_BYTES_MAX,
  DEFAULT_KEEPALIVE,
  HANDSHAKE_TIMEOUT_MS,
  HEADER_LIST_BYTES_MAX,
  RECEIVE_MESSAGE_BYTES_MAX,
  SEND_HIGH_WATER_BYTES,
} from "./transport.ts";
import type { KeepaliveOptions, RpcServerTransport, TransportOptions } from "./transport.ts";

const { NGHTTP2_ENHANCE_YOUR_CALM } = http2.constants;

/** Flow-control windows: what a client may send before it has to wait for the reader. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 1024 * 1024;
/** Time a client has to read the GOAWAY that tells it why. */
const GOAWAY_LINGER_MS = 200;
/** How often connections are looked at. */
const SWEEP_INTERVAL_MS = 10_000;
const HEADER_PAIRS_MAX = 256;
/** Header lists above the maximum before a connection is given up. */
const REFUSED_HEADERS_MAX = 20;
/** Time-outs shorter than the clock can tell have passed when they are read. */
const EXPIRED_MS = 0.001;
/** A PING frame: 9 bytes of header, 8 of data. */
const PONG_BYTES = 17;

interface Connection {
  readonly session: ServerHttp2Session;
  readonly socket: Duplex;
  readonly peer: Peer;
  readonly guard: PingGuard;
  readonly callOptions: Http2CallOptions;
  openCalls: number;
  refusedHeaders: number;
  isReady: boolean;
  isDoomed: boolean;
  /** Bytes read from the socket when the last ping was answered, and that answer. */
  bytesProven: number;
  bytesRead: number;
  bytesChangedMs: number;
  pingSent: boolean;
}

export class Http2Transport implements RpcServerTransport {
  readonly #options: TransportOptions;
  readonly #logger: Logger;
  readonly #keepalive: KeepaliveOptions;
  readonly #headerListBytesMax: number;
  readonly #deadlines: DeadlineQueue;
  readonly #connections = new Set<Connection>();
  readonly #sessionOptions: http2.ServerOptions;
  #sweepTimer: Timer | undefined;
  #closing = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#logger = options.logger ?? NULL_LOGGER;
    this.#keepalive = { ...DEFAULT_KEEPALIVE, ...options.keepalive };
    this.#deadlines = new DeadlineQueue(options.clock);
    this.#headerListBytesMax = options.headerListBytesMax ?? HEADER_LIST_BYTES_MAX;
    const memoryBytes = options.connectionMemoryBytesMax ?? CONNECTION_MEMORY_BYTES_MAX;
    this.#sessionOptions = {
      maxSessionMemory: Math.ceil(memoryBytes / 1_000_000),
      maxHeaderListPairs: HEADER_PAIRS_MAX,
      settings: {
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxConcurrentStreams: options.concurrentStreamsMax ?? CONCURRENT_STREAMS_MAX,
        maxHeaderListSize: this.#headerListBytesMax,
        enablePush: false,
      },
    };
  }

  /** Open connections; for tests and metrics. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  handleConnection(socket: Duplex, peer: Peer): void {
    if (this.#closing || socket.destroyed) {
      socket.destroy();
      return;
    }
    const session = http2.performServerHandshake(socket, this.#sessionOptions);
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    const guard = new PingGuard(this.#keepalive);
    const connection: Connection = {
      session,
      socket,
      peer,
      guard,
      callOptions: {
        receiveMessageBytesMax: this.#options.receiveMessageBytesMax ?? RECEIVE_MESSAGE_BYTES_MAX,
        sendHighWaterBytes: this.#options.sendHighWaterBytes ?? SEND_HIGH_WATER_BYTES,
        byteCounters: this.#options.byteCounters,
        onWrite: () => guard.forgive(),
      },
      openCalls: 0,
      refusedHeaders: 0,
      isReady: false,
      isDoomed: false,
      bytesProven: 0,
      bytesRead: 0,
      bytesChangedMs: this.#nowMs(),
      pingSent: false,
    };
    this.#connections.add(connection);
    this.#listen(connection);
    this.#armSweep();
  }

  #listen(connection: Connection): void {
    const { session, guard, peer } = connection;
    const timer = this.#options.clock.setTimer(
      this.#options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      () => session.destroy(),
    );
    session.on("remoteSettings", () => {
      timer.cancel();
      connection.isReady = true;
      if (guard.countSettings(this.#nowMs())) this.#dismiss(connection, "too_many_settings");
    });
    session.on("ping", () => {
      if (guard.countPing(this.#nowMs(), connection.openCalls)) {
        this.#dismiss(connection, "too_many_pings");
      }
    });
    session.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest) => {
      // The raw header list follows the flags; Node's types do not name it.
      this.#accept(connection, stream, headers, (rest as unknown[])[1] as string[]);
    });
    session.on("error", (error: Error) => {
      this.#logger.debug("HTTP/2 connection failed", {
        remote: peer.address,
        error: error.message,
      });
    });
    session.on("close", () => {
      timer.cancel();
      connection.socket.destroy();
      this.#connections.delete(connection);
      if (this.#connections.size > 0) return;
      this.#sweepTimer?.cancel();
      this.#sweepTimer = undefined;
      this.#onEmpty?.();
    });
  }

  /** Ends a connection that misbehaves: says why, then drops it. */
  #dismiss(connection: Connection, reason: string): void {
    if (connection.isDoomed) return;
    connection.isDoomed = true;
    const { session, socket, peer } = connection;
    this.#logger.warn("closing connection of a misbehaving client", {
      remote: peer.address,
      reason,
    });
    session.goaway(
      NGHTTP2_ENHANCE_YOUR_CALM,
      session.state.lastProcStreamID ?? 0,
      Buffer.from(reason),
    );
    this.#options.clock.setTimer(GOAWAY_LINGER_MS, () => {
      session.destroy();
      socket.destroy();
    });
  }

  // Admission of streams

  #accept(
    connection: Connection,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ): void {
    stream.on("error", (error: Error) => {
      this.#logger.debug("HTTP/2 stream failed", {
        remote: connection.peer.address,
        error: error.message,
      });
    });
    if (headerListBytes(rawHeaders) > this.#headerListBytesMax) {
      stream.close(NGHTTP2_ENHANCE_YOUR_CALM);
      if (++connection.refusedHeaders > REFUSED_HEADERS_MAX) {
        this.#dismiss(connection, "too_large_headers");
      }
      return;
    }
    const contentType = grpcContentType(headers["content-type"]);
    if (contentType === undefined) this.#acceptHttp(stream, headers, rawHeaders);
    else this.#acceptCall(connection, stream, headers, rawHeaders, contentType);
  }

  #acceptHttp(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ): void {
    const handler = this.#options.httpHandler;
    if (handler !== undefined) {
      const request = new http2.Http2ServerRequest(stream, headers, {}, rawHeaders);
      handler(request, new http2.Http2ServerResponse(stream));
      return;
    }
    const got = headers["content-type"] ?? "";
    const text = `invalid gRPC request content-type ${JSON.stringify(got)}`;
    const error = new RpcError("INVALID_ARGUMENT", GRPC_CODES.INVALID_ARGUMENT, text);
    refuseStream(stream, error, "application/grpc", 415);
  }

  #acceptCall(
    connection: Connection,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
    contentType: string,
  ): void {
    const metadata = decodeMetadata(rawHeaders);
    if (typeof metadata === "string") {
      refuseStream(stream, internal(metadata), contentType, 400);
      return;
    }
    let deadlineMs: number | undefined;
    const timeout = headers["grpc-timeout"];
    if (timeout !== undefined) {
      const timeoutMs = decodeTimeout(String(timeout));
      if (typeof timeoutMs === "string") {
        refuseStream(stream, internal(`malformed grpc-timeout: ${timeoutMs}`), contentType, 400);
        return;
      }
      deadlineMs = this.#nowMs() + timeoutMs;
    }
    if (headers[":method"] !== "POST") {
      const text = `Received a HEADERS frame with :method ${JSON.stringify(headers[":method"])} which should be POST`;
      refuseStream(stream, internal(text), contentType, 405);
      return;
    }
    if (deadlineMs !== undefined && deadlineMs - this.#nowMs() < EXPIRED_MS) {
      refuseStream(stream, DEADLINE_EXCEEDED, contentType);
      return;
    }
    const route = this.#options.table.find(headers[":path"] ?? "");
    if (route instanceof RpcError) {
      refuseStream(stream, route, contentType);
      return;
    }
    const encodingName = headers["grpc-encoding"];
    const encoding = messageEncoding(encodingName === undefined ? undefined : String(encodingName));
    if (encoding === undefined) {
      refuseStream(stream, unknownEncoding(String(encodingName)), contentType);
      return;
    }
    const sink = new Http2Call(stream, contentType, encoding, connection.callOptions);
    const call = this.#options.table.start(
      route,
      { metadata, peer: connection.peer, startMs: this.#nowMs(), deadlineMs },
      sink,
    );
    const forget =
      deadlineMs === undefined ? undefined : this.#deadlines.add(deadlineMs, () => sink.expire());
    connection.openCalls++;
    stream.on("close", () => {
      connection.openCalls--;
      forget?.();
      call.cancel(CALL_CANCELED);
    });
    sink.run(call);
  }

  // Idle connections

  #armSweep(): void {
    if (this.#sweepTimer !== undefined || this.#connections.size === 0) return;
    const { timeMs, timeoutMs } = this.#keepalive;
    const intervalMs = Math.max(1, Math.min(SWEEP_INTERVAL_MS, timeMs, timeoutMs));
    this.#sweepTimer = this.#options.clock.setTimer(intervalMs, () => {
      this.#sweepTimer = undefined;
      for (const connection of this.#connections) this.#sweep(connection);
      this.#armSweep();
    });
  }

  #sweep(connection: Connection): void {
    if (!connection.isReady || connection.isDoomed || connection.pingSent) return;
    if (connection.session.destroyed) return;
    const nowMs = this.#nowMs();
    const bytesRead = bytesReadOf(connection.socket);
    if (bytesRead !== connection.bytesRead) {
      connection.bytesRead = bytesRead;
      connection.bytesChangedMs = nowMs;
    }
    const isIdle = nowMs - connection.bytesChangedMs >= this.#keepalive.timeMs;
    if (isIdle || bytesRead !== connection.bytesProven) this.#ping(connection);
  }

  #ping(connection: Connection): void {
    const { session } = connection;
    const timeoutMs = this.#keepalive.timeoutMs;
    const timer = this.#options.clock.setTimer(timeoutMs, () => {
      this.#logger.debug("no answer to a keepalive ping", { remote: connection.peer.address });
      session.destroy();
      connection.socket.destroy();
    });
    session.on("close", () => timer.cancel());
    connection.pingSent = true;
    const bytesBefore = bytesReadOf(connection.socket);
    const accepted = session.ping(() => {
      timer.cancel();
      connection.pingSent = false;
      // Whatever else came meanwhile may be half a frame again.
      connection.bytesProven = bytesBefore + PONG_BYTES;
      connection.bytesChangedMs = this.#nowMs();
    });
    if (!accepted) session.destroy();
  }

  // Draining

  close(graceMs: number): Promise<void> {
    this.#closing = true;
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.cancel();
        this.#deadlines.close();
        resolve();
      };
      const timer = this.#options.clock.setTimer(graceMs, () => {
        for (const { session, socket } of this.#connections) {
          session.destroy();
          socket.destroy();
        }
      });
      this.#onEmpty = finish;
      for (const { session } of this.#connections) session.close();
      if (this.#connections.size === 0) finish();
    });
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}

/**
 * As HPACK counts. nghttp2 holds a client to the maximum only once it has acknowledged it, which a
 * hostile one need not do.
 */
function headerListBytes(rawHeaders: readonly string[]): number {
  let bytes = 16 * rawHeaders.length;
  for (const text of rawHeaders) bytes += text.length;
  return bytes;
}

function internal(message: string): RpcError {
  return new RpcError("INTERNAL", GRPC_CODES.INTERNAL, message);
}

/** Of a net or TLS socket; other streams do not count. */
function bytesReadOf(socket: Duplex): number {
  return "bytesRead" in socket && typeof socket.bytesRead === "number" ? socket.bytesRead : 0;
}
