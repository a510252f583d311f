/**
 * HTTP/1.1 on the connections of peer listeners. It takes streams that are established (and whose
 * TLS is unwrapped), wherever they come from.
 *
 * Invariants: at most `PEER_CONNECTIONS_MAX` connections; one that sends no request, or no whole
 * head of one, within `CONNECTION_TIMEOUT_MS` is closed. Bodies and answers are timed by who reads
 * and writes them, because a stream or a database may take as long as it moves.
 */

import { createServer } from "node:http";
import type { Server } from "node:http";
import type { Duplex } from "node:stream";
import { sleep } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";
import { CONNECTION_TIMEOUT_MS, PEER_CONNECTIONS_MAX } from "./limits.ts";
import type { PeerHandler } from "./peer-handler.ts";

const HEAD_CHECK_INTERVAL_MS = 1000;

export interface PeerServerOptions {
  readonly handler: PeerHandler;
  readonly clock: Clock;
  readonly connectionTimeoutMs?: number;
}

export class PeerServer {
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #connections = new Set<Duplex>();

  constructor({ handler, clock, connectionTimeoutMs = CONNECTION_TIMEOUT_MS }: PeerServerOptions) {
    this.#clock = clock;
    this.#server = createServer(
      {
        headersTimeout: connectionTimeoutMs,
        requestTimeout: 0,
        keepAliveTimeout: connectionTimeoutMs,
        connectionsCheckingInterval: Math.min(HEAD_CHECK_INTERVAL_MS, connectionTimeoutMs),
      },
      (request, response) => {
        // A socket that breaks is noticed where the body is read or the answer is written.
        response.on("error", () => request.destroy());
        handler(request, response);
      },
    );
    this.#server.timeout = 0;
    // It never listens itself, and would otherwise not look after the time heads take.
    this.#server.emit("listening");
    this.#server.on("clientError", (_error: Error, socket: Duplex) => {
      if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
      else socket.destroy();
    });
  }

  /** Takes over `socket`, whose next bytes are HTTP/1.1. */
  handleConnection(socket: Duplex): void {
    if (this.#connections.size >= PEER_CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    socket.once("close", () => this.#connections.delete(socket));
    this.#server.emit("connection", socket);
  }

  /** Lets answers that have begun end for up to `graceMs`, then drops all connections. */
  async close(graceMs: number): Promise<void> {
    this.#server.closeIdleConnections();
    const endMs = this.#clock.monotonicMs() + graceMs;
    while (this.#connections.size > 0 && this.#clock.monotonicMs() < endMs) {
      await sleep(this.#clock, Math.min(20, graceMs));
    }
    for (const socket of this.#connections) socket.destroy();
    this.#server.close();
  }
}
