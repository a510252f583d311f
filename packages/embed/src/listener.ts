/**
 * A bound address whose connections wait until somebody serves them.
 *
 * A member binds before it starts (a port that is taken must stop it at once, and a chosen port
 * must be known to be advertised), and serves after it has published itself. TLS ends here: who
 * serves gets the stream inside it.
 *
 * Invariants: with `https` alone nothing but TLS is let in; with both schemes on one address the
 * first byte tells them apart, and a connection that does not send one in time is dropped.
 */

import { rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { EtcdError } from "@etcd-ts/base";
import type { Peer } from "@etcd-ts/rpc";
import type { ListenURL } from "./listen-url.ts";
import { parseListenURL } from "./listen-url.ts";
import { remoteAddressOf } from "./tls/remote-address.ts";
import { TLS_HANDSHAKE_TIMEOUT_MS } from "./tls/tls-server.ts";
import type { TLSServer } from "./tls/tls-server.ts";
import { isSecure } from "./tls/transport-security.ts";

/** An address that cannot be bound. */
export class ListenError extends EtcdError {
  readonly code = "LISTEN";
}

/** Connections held before the member serves; more are refused. */
export const WAITING_CONNECTIONS_MAX = 1024;
const KEEP_ALIVE_DELAY_MS = 30_000;
/** The type of a TLS record that begins a handshake; no HTTP begins with it. */
const TLS_HANDSHAKE_RECORD = 22;

export interface ListenerOptions {
  /** For `https` and `unixs`. */
  readonly tls?: TLSServer | undefined;
  /** Connections at once, waiting ones included; more are closed as they come. */
  readonly connectionsMax?: number | undefined;
}

export type Accept = (socket: Socket, peer: Peer) => void;

export class Listener {
  readonly #server: Server;
  /** Until somebody serves, or until they have said their first byte. */
  readonly #waiting = new Set<Socket>();
  readonly #tls: TLSServer | undefined;
  #accept: Accept | undefined;
  /** Of one address, each scheme once; with the port that was chosen, if it was 0. */
  readonly urls: readonly ListenURL[];

  private constructor(server: Server, urls: readonly ListenURL[], tls: TLSServer | undefined) {
    this.#server = server;
    this.urls = urls;
    this.#tls = tls;
    server.on("connection", (socket: Socket) => this.#connected(socket));
  }

  /** @throws {ListenError} in Go's words */
  static async bind(
    urls: readonly [ListenURL, ...ListenURL[]],
    options: ListenerOptions = {},
  ): Promise<Listener> {
    const [url] = urls;
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
    // For want of descriptors as a rule; those who wait do, and the listener goes on.
    server.on("error", () => {});
    if (options.connectionsMax !== undefined) server.maxConnections = options.connectionsMax;
    const bound = urls.map((asked) => boundURL(server, asked));
    return new Listener(server, bound, options.tls);
  }

  #connected(socket: Socket): void {
    if (this.#accept !== undefined) {
      this.#hand(socket, this.#accept);
      return;
    }
    if (this.#waiting.size >= WAITING_CONNECTIONS_MAX) socket.destroy();
    else this.#wait(socket);
  }

  #wait(socket: Socket): void {
    this.#waiting.add(socket);
    socket.once("error", () => socket.destroy());
    socket.once("close", () => this.#waiting.delete(socket));
  }

  #hand(socket: Socket, accept: Accept): void {
    const tls = this.#tls;
    if (tls === undefined) handPlain(socket, accept);
    else if (this.urls.every(isSecure)) handSecure(socket, tls, accept);
    else {
      this.#wait(socket);
      firstByte(socket, (byte) => {
        this.#waiting.delete(socket);
        if (byte === TLS_HANDSHAKE_RECORD) handSecure(socket, tls, accept);
        else handPlain(socket, accept);
      });
    }
  }

  /** Hands over the connections that wait, and each one from now on. */
  serve(accept: Accept): void {
    this.#accept = accept;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const socket of waiting) this.#hand(socket, accept);
  }

  /** Accepts no more; connections handed over belong to whoever took them. */
  close(): Promise<void> {
    for (const socket of this.#waiting) socket.destroy();
    this.#tls?.close();
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

function handPlain(socket: Socket, accept: Accept): void {
  socket.resume();
  accept(socket, { address: remoteAddressOf(socket), commonName: undefined });
}

function handSecure(socket: Socket, tls: TLSServer, accept: Accept): void {
  const address = remoteAddressOf(socket);
  tls.handshake(socket, (secure, commonName) => accept(secure, { address, commonName }));
}

/** Looks at the first byte and puts it back. */
function firstByte(socket: Socket, use: (byte: number) => void): void {
  const timer = setTimeout(() => socket.destroy(), TLS_HANDSHAKE_TIMEOUT_MS);
  const onEnd = (): void => void socket.destroy();
  const onReadable = (): void => {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) return;
    clearTimeout(timer);
    socket.off("readable", onReadable);
    // What a client that has said all gets for an answer is not ours to decide.
    socket.off("end", onEnd);
    socket.unshift(bytes);
    use(bytes[0]!);
  };
  socket.on("readable", onReadable);
  socket.once("end", onEnd);
  socket.once("close", () => clearTimeout(timer));
}
