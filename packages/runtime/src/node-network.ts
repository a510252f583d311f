/**
 * Byte streams over TCP and unix sockets of Node.
 *
 * Invariants: both directions of a connection end on their own (half-open is allowed); `onClose`
 * is called once and last; a unix socket file nobody listens on does not keep a listener from
 * binding, one that is in use does.
 */

import { lstatSync, unlinkSync } from "node:fs";
import * as net from "node:net";

import type {
  Connection,
  ConnectionHandlers,
  Listener,
  Network,
  NetworkAddress,
  NetworkErrorCode,
} from "@etcd-ts/base";
import { invariant, NetworkError } from "@etcd-ts/base";

const CODES: { readonly [errno: string]: NetworkErrorCode } = {
  ECONNREFUSED: "REFUSED",
  ENOENT: "REFUSED",
  ETIMEDOUT: "TIMED_OUT",
  ECONNRESET: "RESET",
  EPIPE: "RESET",
  ECONNABORTED: "RESET",
  EADDRINUSE: "ADDRESS_IN_USE",
  EHOSTUNREACH: "UNREACHABLE",
  ENETUNREACH: "UNREACHABLE",
  ENOTFOUND: "UNREACHABLE",
  EAI_AGAIN: "UNREACHABLE",
  EADDRNOTAVAIL: "UNREACHABLE",
};

export class NodeNetwork implements Network {
  async listen(
    address: NetworkAddress,
    accept: (connection: Connection) => void,
  ): Promise<Listener> {
    try {
      return await bind(address, accept);
    } catch (error) {
      const isStale =
        address.kind === "unix" &&
        error instanceof NetworkError &&
        error.code === "ADDRESS_IN_USE" &&
        isSocket(address.path) &&
        (await isRefused(address));
      if (!isStale) throw error;
      unlinkSync(address.path);
      return bind(address, accept);
    }
  }

  dial(address: NetworkAddress, options: { readonly timeoutMs: number }): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const text = `dial ${describeAddress(address)}`;
      const socket = net.connect({ ...nodeAddress(address), allowHalfOpen: true, noDelay: true });
      const timeout = setTimeout(() => {
        socket.destroy();
        reject(new NetworkError("TIMED_OUT", `${text}: i/o timeout`));
      }, options.timeoutMs);
      const fail = (error: Error): void => {
        clearTimeout(timeout);
        reject(networkError(error, text));
      };
      socket.once("error", fail);
      socket.once("connect", () => {
        clearTimeout(timeout);
        socket.off("error", fail);
        resolve(new NodeConnection(socket, address));
      });
    });
  }
}

class NodeConnection implements Connection {
  readonly remote: NetworkAddress;
  readonly #socket: net.Socket;
  #error: NetworkError | undefined = undefined;
  #hasHandlers = false;

  constructor(socket: net.Socket, remote: NetworkAddress) {
    this.#socket = socket;
    this.remote = remote;
    socket.on("error", (error) => {
      this.#error = networkError(error, describeAddress(remote));
    });
  }

  setHandlers(handlers: ConnectionHandlers): void {
    invariant(!this.#hasHandlers, () => "setHandlers: called twice");
    this.#hasHandlers = true;
    this.#socket.on("data", (bytes) => handlers.onData(bytes as Uint8Array));
    this.#socket.on("end", () => handlers.onEnd());
    this.#socket.on("drain", () => handlers.onDrain());
    this.#socket.on("close", () => handlers.onClose(this.#error));
  }

  write(bytes: Uint8Array): boolean {
    if (this.#socket.destroyed) return false;
    invariant(!this.#socket.writableEnded, () => "Connection.write: after end");
    return this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

function bind(
  address: NetworkAddress,
  accept: (connection: Connection) => void,
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      accept(new NodeConnection(socket, remoteAddress(socket, address)));
    });
    const fail = (error: Error): void => {
      reject(networkError(error, `listen ${describeAddress(address)}`));
    };
    server.once("error", fail);
    server.listen(nodeAddress(address), () => {
      server.off("error", fail);
      // Taking somebody in failed, for want of descriptors as a rule; they wait in the queue or
      // give up, and the listener goes on.
      server.on("error", () => {});
      resolve({ address: boundAddress(server, address), close: () => stopListening(server) });
    });
  });
}

/** Resolves once no more connections are accepted; `close` itself would wait for the open ones. */
function stopListening(server: net.Server): Promise<void> {
  return new Promise((resolve) => {
    if (server.listening) server.close();
    setImmediate(resolve);
  });
}

/** Only a socket is ours to take away; another file at that path is somebody's data. */
function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}

function isRefused(address: NetworkAddress): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(nodeAddress(address));
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
}

function nodeAddress(address: NetworkAddress): { host: string; port: number } | { path: string } {
  return address.kind === "unix"
    ? { path: address.path }
    : { host: address.host, port: address.port };
}

function boundAddress(server: net.Server, asked: NetworkAddress): NetworkAddress {
  const bound = server.address();
  if (asked.kind === "unix" || bound === null || typeof bound === "string") return asked;
  return { kind: "tcp", host: bound.address, port: bound.port };
}

function remoteAddress(socket: net.Socket, listening: NetworkAddress): NetworkAddress {
  if (listening.kind === "unix") return listening;
  return { kind: "tcp", host: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 };
}

function describeAddress(address: NetworkAddress): string {
  return address.kind === "unix" ? `unix ${address.path}` : `tcp ${address.host}:${address.port}`;
}

function networkError(error: NodeJS.ErrnoException, text: string): NetworkError {
  const code = CODES[error.code ?? ""] ?? "IO";
  return new NetworkError(code, `${text}: ${error.message}`, { cause: error });
}
