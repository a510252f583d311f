/**
 * A bound address whose connections wait until somebody serves them.
 *
 * A member binds before it starts (a port that is taken must stop it at once, and a chosen port
 * must be known to be advertised), and serves after it has published itself.
 */

import { rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { EtcdError } from "@etcd-ts/base";
import type { Peer } from "@etcd-ts/rpc";
import type { ListenURL } from "./listen-url.ts";
import { parseListenURL } from "./listen-url.ts";

/** An address that cannot be bound. */
export class ListenError extends EtcdError {
  readonly code = "LISTEN";
}

/** Connections held before the member serves; more are refused. */
export const WAITING_CONNECTIONS_MAX = 1024;
const KEEP_ALIVE_DELAY_MS = 30_000;

export type Accept = (socket: Socket, peer: Peer) => void;

export class Listener {
  readonly #server: Server;
  readonly #waiting = new Set<Socket>();
  #accept: Accept | undefined;
  /** With the port that was chosen, if it was 0. */
  readonly url: ListenURL;

  private constructor(server: Server, url: ListenURL) {
    this.#server = server;
    this.url = url;
    server.on("connection", (socket: Socket) => this.#connected(socket));
  }

  /** @throws {ListenError} in Go's words */
  static async bind(url: ListenURL): Promise<Listener> {
    const server = createServer({
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
    });
    if (url.address.kind === "unix") removeStaleSocket(url.address.path);
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(url, error)));
      if (url.address.kind === "unix") server.listen({ path: url.address.path }, resolve);
      else server.listen({ host: url.address.host, port: url.address.port }, resolve);
    });
    server.removeAllListeners("error");
    return new Listener(server, boundURL(server, url));
  }

  #connected(socket: Socket): void {
    if (this.#accept !== undefined) {
      this.#hand(socket, this.#accept);
      return;
    }
    if (this.#waiting.size >= WAITING_CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    this.#waiting.add(socket);
    socket.once("error", () => socket.destroy());
    socket.once("close", () => this.#waiting.delete(socket));
  }

  #hand(socket: Socket, accept: Accept): void {
    socket.resume();
    accept(socket, { address: remoteAddress(socket), commonName: undefined });
  }

  /** Hands over the connections that wait, and each one from now on. */
  serve(accept: Accept): void {
    this.#accept = accept;
    for (const socket of this.#waiting) this.#hand(socket, accept);
    this.#waiting.clear();
  }

  /** Accepts no more; connections handed over belong to whoever took them. */
  close(): Promise<void> {
    for (const socket of this.#waiting) socket.destroy();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  /** Lets the process end although this listens. */
  unref(): void {
    this.#server.unref();
  }
}

/** A socket file left by a process that is gone would refuse the bind. */
function removeStaleSocket(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() === true) rmSync(path);
}

function boundURL(server: Server, url: ListenURL): ListenURL {
  const address = server.address();
  if (url.address.kind === "unix" || address === null || typeof address === "string") return url;
  const host = url.host.includes(":") ? `[${url.host}]` : url.host;
  return parseListenURL(`${url.scheme}://${host}:${address.port}`);
}

const REASONS: { readonly [code: string]: string } = {
  EADDRINUSE: "address already in use",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "cannot assign requested address",
  ENOENT: "no such file or directory",
};

function listenError(url: ListenURL, error: NodeJS.ErrnoException): ListenError {
  const reason = REASONS[error.code ?? ""] ?? error.message;
  const where =
    url.address.kind === "unix"
      ? `unix ${url.address.path}`
      : `tcp ${url.host.includes(":") ? `[${url.host}]` : url.host}:${url.port}`;
  return new ListenError(`listen ${where}: bind: ${reason}`, { cause: error });
}

function remoteAddress(socket: Socket): string {
  const { remoteAddress: host, remotePort: port } = socket;
  if (host === undefined) return "@";
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
