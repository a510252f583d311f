/**
 * What stands between sockets and services, so that it can be replaced whole.
 *
 * A transport takes established byte streams (plain, or TLS already unwrapped) that speak HTTP/2,
 * runs gRPC calls of a `ServiceTable` on them, and hands requests that are no gRPC to an HTTP
 * handler.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { Duplex } from "node:stream";

import type { Clock, Logger } from "@etcd-ts/base";

import type { Peer } from "../call.ts";
import type { FrameHttpRequest, FrameHttpResponse } from "../http2/http-stream.ts";
import type { ServiceTable } from "../service-table.ts";

/** An HTTP request of either version; the classes of HTTP/2 mirror the ones of HTTP/1.1. */
export type HttpRequest = IncomingMessage | Http2ServerRequest | FrameHttpRequest;
export type HttpResponse = ServerResponse | Http2ServerResponse | FrameHttpResponse;
export type HttpHandler = (request: HttpRequest, response: HttpResponse) => void;

export interface RpcServerTransport {
  /** Takes over `socket`, whose next bytes are an HTTP/2 preface. */
  handleConnection(socket: Duplex, peer: Peer): void;
  /** Refuses new calls, lets running ones end for up to `graceMs`, then destroys all sockets. */
  close(graceMs: number): Promise<void>;
}

/** Pings in both directions. */
export interface KeepaliveOptions {
  /** Idle time after which the server pings the client. */
  readonly timeMs: number;
  /** How long it waits for the answer before it drops the connection. */
  readonly timeoutMs: number;
  /** Clients that ping more often than this collect strikes. */
  readonly minTimeMs: number;
  /** Whether clients may ping at `minTimeMs` while no call is open. */
  readonly permitWithoutStream: boolean;
}

export const DEFAULT_KEEPALIVE: KeepaliveOptions = {
  timeMs: 7_200_000,
  timeoutMs: 20_000,
  minTimeMs: 5_000,
  permitWithoutStream: false,
};

/** Sizes of messages as they are decoded and encoded, without framing or compression. */
export interface MessageByteCounters {
  received(bytes: number): void;
  sent(bytes: number): void;
}

export interface TransportOptions {
  readonly table: ServiceTable;
  readonly clock: Clock;
  readonly logger?: Logger;
  readonly byteCounters?: MessageByteCounters;
  /** Serves requests that are no gRPC; without it they are answered 415, as grpc-go does. */
  readonly httpHandler?: HttpHandler;
  /** Of one message, inflated. Default 2 MiB: etcd's 1.5 MiB of request and 512 KiB of overhead. */
  readonly receiveMessageBytesMax?: number;
  /** Calls open at once on a connection. Default 2^32-1, as etcd. */
  readonly concurrentStreamsMax?: number;
  readonly keepalive?: Partial<KeepaliveOptions>;
  /** From the first byte expected to the client's SETTINGS. Default 10 s. */
  readonly handshakeTimeoutMs?: number;
  /** Decoded size of one header list, counted as HPACK does. Default 64 KiB. */
  readonly headerListBytesMax?: number;
  /** Queued bytes of a call above which `send` returns false. Default 64 KiB. */
  readonly sendHighWaterBytes?: number;
  /** What one connection may hold before it is refused new calls. Default 64 MiB. */
  readonly connectionMemoryBytesMax?: number;
  /** What all connections may hold together before the largest give way. Default 512 MiB. */
  readonly memoryBytesMax?: number;
}

export const RECEIVE_MESSAGE_BYTES_MAX = 2 * 1024 * 1024;
export const CONCURRENT_STREAMS_MAX = 0xffff_ffff;
export const HANDSHAKE_TIMEOUT_MS = 10_000;
export const HEADER_LIST_BYTES_MAX = 64 * 1024;
export const SEND_HIGH_WATER_BYTES = 64 * 1024;
export const CONNECTION_MEMORY_BYTES_MAX = 64 * 1024 * 1024;
export const MEMORY_BYTES_MAX = 512 * 1024 * 1024;
