/**
 * One listener for everything a client port serves: gRPC and HTTP, told apart by the first bytes.
 *
 * A connection that begins with the HTTP/2 preface goes to the transport, any other to HTTP/1.1.
 * TLS ends before this file: give an unwrapped stream to `handleConnection`.
 *
 * Invariants:
 * - The bytes looked at are put back, so that nobody downstream knows about the looking.
 * - A connection that says nothing in time is destroyed.
 */

import * as http from "node:http";
import type { IncomingMessage } from "node:http";
import * as net from "node:net";
import type { Duplex } from "node:stream";

import type { NetworkAddress, Timer } from "@etcd-ts/base";
import { invariant } from "@etcd-ts/base";

import type { Peer } from "../call.ts";
import { FrameTransport } from "../http2/frame-transport.ts";
import { HANDSHAKE_TIMEOUT_MS, HEADER_LIST_BYTES_MAX } from "./transport.ts";
import type { RpcServerTransport, TransportOptions } from "./transport.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

const HTTP_HEADERS_TIMEOUT_MS = 30_000;
const HTTP_CHECK_INTERVAL_MS = 5_000;
/** Idle HTTP/1.1 connections are kept longer than clients keep theirs, so that clients close. */
const HTTP_KEEP_ALIVE_MS = 300_000;

/** @returns false, having done nothing, if the request is served as if it had not asked */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean;

export interface RpcServerOptions extends TransportOptions {
  /** What is served; anything else is closed at once. Default both; `http` needs `httpHandler`. */
  readonly serve?: "grpc" | "http" | "both";
  /** Is offered requests for a websocket; without it, and for others, the asking is ignored. */
  readonly upgradeHandler?: UpgradeHandler;
  /** How long the header of an HTTP/1.1 request may take. Default 30 s; etcd gives it 5 min. */
  readonly httpHeadersTimeoutMs?: number;
  /** Of one listener. Default no bound but the system's. */
  readonly connectionsMax?: number;
  /** Replaces the HTTP/2 implementation. */
  readonly transport?: RpcServerTransport;
}

export class RpcServer {
  readonly #options: RpcServerOptions;
  readonly #transport: RpcServerTransport;
  readonly #http: http.Server | undefined;
  readonly #listeners = new Set<net.Server>();
  /** Connections whose protocol is not known yet. */
  readonly #undecided = new Set<Duplex>();
  readonly #httpSockets = new Set<Duplex>();
  #closing: Promise<void> | undefined;

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#transport = options.transport ?? new FrameTransport(options);
    this.#http = options.serve === "grpc" ? undefined : this.#createHttp();
  }

  #createHttp(): http.Server | undefined {
    const { httpHandler, upgradeHandler } = this.#options;
    if (httpHandler === undefined) return undefined;
    const headersTimeout = this.#options.httpHeadersTimeoutMs ?? HTTP_HEADERS_TIMEOUT_MS;
    const server = http.createServer({
      headersTimeout,
      maxHeaderSize: this.#options.headerListBytesMax ?? HEADER_LIST_BYTES_MAX,
      connectionsCheckingInterval: Math.min(headersTimeout, HTTP_CHECK_INTERVAL_MS),
      keepAliveTimeout: HTTP_KEEP_ALIVE_MS,
      requestTimeout: 0,
    });
    // Node would leave out those above a count, and with them what they say.
    server.maxHeadersCount = 0;
    server.on("request", (request, response) => {
      if (isAmbiguous(request)) {
        answerMalformed(undefined, request.socket);
        return;
      }
      // Requests after the first come without a listener that would hear the socket break.
      response.on("error", () => request.destroy());
      httpHandler(request, response);
    });
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const isWebsocket = request.headers.upgrade?.toLowerCase() === "websocket";
      if (isAmbiguous(request)) answerMalformed(undefined, socket);
      else if (!isWebsocket || upgradeHandler?.(request, socket, head) !== true) {
        this.#serveWithoutUpgrade(server, request, socket, head);
      }
    });
    server.on("clientError", (error: Error & { code?: string }, socket: Duplex) => {
      answerMalformed(error.code, socket);
    });
    // Never listens itself; the event starts the checks behind `headersTimeout`.
    server.emit("listening");
    return server;
  }

  /** A server may ignore an upgrade it does not offer, such as h2c: the request is read again. */
  #serveWithoutUpgrade(
    server: http.Server,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
  ): void {
    const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`];
    for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
      const name = request.rawHeaders[i]!;
      if (!/^(upgrade|connection|http2-settings)$/i.test(name)) {
        lines.push(`${name}: ${request.rawHeaders[i + 1]}`);
      }
    }
    socket.unshift(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]));
    server.emit("connection", socket);
    socket.resume();
  }

  /**
   * Listens on `address`.
   *
   * @returns the bound address; a port of 0 is replaced by the one chosen
   * @throws Node's system error (`code` such as `EADDRINUSE`)
   */
  listen(address: NetworkAddress): Promise<NetworkAddress> {
    invariant(this.#closing === undefined, () => "RpcServer.listen: closed");
    const server = net.createServer({ noDelay: true, keepAlive: true }, (socket) => {
      this.handleConnection(socket, { address: peerAddress(socket), commonName: undefined });
    });
    if (this.#options.connectionsMax !== undefined) {
      server.maxConnections = this.#options.connectionsMax;
    }
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(
        address.kind === "unix"
          ? { path: address.path }
          : { host: address.host, port: address.port },
        () => {
          server.off("error", reject);
          server.on("error", (error) => {
            this.#options.logger?.warn("listener failed", { error: error.message });
          });
          this.#listeners.add(server);
          resolve(boundAddress(server, address));
        },
      );
    });
  }

  /** Takes over an established byte stream; the entry for TLS, once unwrapped, and for tests. */
  handleConnection(socket: Duplex, peer: Peer): void {
    socket.on("error", (error: Error) => {
      this.#options.logger?.debug("connection failed", {
        remote: peer.address,
        error: error.message,
      });
    });
    if (this.#closing !== undefined) {
      socket.destroy();
      return;
    }
    this.#sniff(socket, peer);
  }

  #sniff(socket: Duplex, peer: Peer): void {
    this.#undecided.add(socket);
    let held: Buffer = Buffer.alloc(0);
    const done = (): void => {
      timer.cancel();
      this.#undecided.delete(socket);
      socket.off("readable", onReadable);
      socket.off("close", done);
      socket.off("end", onEnd);
    };
    const onEnd = (): void => {
      done();
      socket.destroy();
    };
    const onReadable = (): void => {
      for (let chunk: Buffer | null; (chunk = socket.read() as Buffer | null) !== null;) {
        held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      }
      if (held.length === 0) return;
      const shared = Math.min(held.length, PREFACE.length);
      const matches = held.compare(PREFACE, 0, shared, 0, shared) === 0;
      if (matches && shared < PREFACE.length) return;
      done();
      socket.unshift(held);
      this.#route(socket, peer, matches);
    };
    const timer: Timer = this.#options.clock.setTimer(
      this.#options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      onEnd,
    );
    socket.on("readable", onReadable);
    socket.on("close", done);
    socket.on("end", onEnd);
  }

  #route(socket: Duplex, peer: Peer, isHttp2: boolean): void {
    if (isHttp2 && this.#options.serve !== "http") {
      this.#transport.handleConnection(socket, peer);
      return;
    }
    const server = this.#http;
    if (isHttp2 || server === undefined) {
      socket.destroy();
      return;
    }
    this.#httpSockets.add(socket);
    socket.on("close", () => this.#httpSockets.delete(socket));
    server.emit("connection", socket);
    socket.resume();
  }

  /**
   * Accepts no more, lets running calls and requests end for up to `graceMs`, then destroys what
   * is left. Idempotent.
   */
  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const listeners = Array.from(this.#listeners, (server) => {
      return new Promise<void>((resolve) => server.close(() => resolve()));
    });
    for (const socket of this.#undecided) socket.destroy();
    await Promise.all([this.#transport.close(graceMs), this.#closeHttp(graceMs)]);
    await Promise.all(listeners);
  }

  async #closeHttp(graceMs: number): Promise<void> {
    const server = this.#http;
    if (server === undefined) return;
    // Stops the header checks; it never listened, so the error it reports says nothing.
    server.close(() => undefined);
    server.closeIdleConnections();
    const sockets = [...this.#httpSockets];
    if (sockets.length === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.setTimer(graceMs, () => {
        for (const socket of sockets) socket.destroy();
      });
      let open = sockets.length;
      for (const socket of sockets) {
        socket.once("close", () => {
          if (--open > 0) return;
          timer.cancel();
          resolve();
        });
        if (socket.destroyed && socket.closed && --open === 0) resolve();
      }
    });
  }
}

/** What a host may be written with; as Go's server. */
const HOST = /^[0-9A-Za-z!$%&'()*+,\-.:;=[\]_~]*$/;

/**
 * Of another version, for two hosts, or for one that is none: somebody between may have read it in
 * another way.
 */
function isAmbiguous({ httpVersionMajor, headers, rawHeaders }: IncomingMessage): boolean {
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.length === 4 && rawHeaders[i]!.toLowerCase() === "host") hosts += 1;
  }
  return httpVersionMajor !== 1 || hosts > 1 || !HOST.test(headers.host ?? "");
}

/** Refuses what the HTTP/1.1 parser refused. What does not even begin like HTTP gets no answer. */
function answerMalformed(code: string | undefined, socket: Duplex): void {
  if (code === "HPE_INVALID_METHOD" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? "408 Request Timeout"
      : code === "HPE_HEADER_OVERFLOW"
        ? "431 Request Header Fields Too Large"
        : "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
}

/** As Go prints it. */
function peerAddress(socket: net.Socket): string {
  const host = socket.remoteAddress;
  if (host === undefined) return "@";
  return host.includes(":") ? `[${host}]:${socket.remotePort}` : `${host}:${socket.remotePort}`;
}

function boundAddress(server: net.Server, asked: NetworkAddress): NetworkAddress {
  const bound = server.address();
  if (asked.kind === "unix" || bound === null || typeof bound === "string") return asked;
  return { kind: "tcp", host: asked.host, port: bound.port };
}
