/**
 * How connections to peers are made. TLS is another `Dial` (tls/peer-dial.ts), which hands over the
 * stream once the handshake is done (offering `http/1.1`, never `h2`).
 */

import { connect } from "node:net";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { NetworkError } from "@etcd-ts/base";
import { tlsErrorText } from "@etcd-ts/rpc";
import type { PeerURL } from "./url-picker.ts";

/** Resolves to a stream whose next bytes are HTTP/1.1. @throws {NetworkError} */
export type Dial = (url: PeerURL, options: DialOptions) => Promise<Duplex>;

export interface DialOptions {
  readonly timeoutMs: number;
  /** Of this machine; left out: the system chooses. */
  readonly localAddress?: string;
}

/** TCP and unix sockets without TLS. */
export const dialPlain: Dial = (url, { timeoutMs, localAddress }) =>
  new Promise((resolve, reject) => {
    const text = `dial ${describe(url)}`;
    if (url.scheme === "https" || url.scheme === "unixs") {
      reject(new NetworkError("IO", `${text}: no TLS configuration for ${url.scheme}`));
      return;
    }
    const socket = open(url, localAddress);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new NetworkError("TIMED_OUT", `${text}: i/o timeout`));
    }, timeoutMs);
    const fail = (error: NodeJS.ErrnoException): void => {
      clearTimeout(timer);
      reject(networkError(text, error));
    };
    socket.once("error", fail);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve(socket);
    });
  });

function open(url: PeerURL, localAddress: string | undefined): Socket {
  const { address } = url;
  return address.kind === "unix"
    ? connect({ path: address.path })
    : connect({
        host: address.host,
        port: address.port,
        ...(localAddress === undefined ? {} : { localAddress }),
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 30_000,
      });
}

function describe({ address }: PeerURL): string {
  return address.kind === "unix" ? `unix ${address.path}` : `tcp ${address.host}:${address.port}`;
}

const REASONS: { readonly [code: string]: readonly [NetworkError["code"], string] } = {
  ECONNREFUSED: ["REFUSED", "connect: connection refused"],
  ENOENT: ["REFUSED", "connect: no such file or directory"],
  ECONNRESET: ["RESET", "connection reset by peer"],
  ETIMEDOUT: ["TIMED_OUT", "i/o timeout"],
  EHOSTUNREACH: ["UNREACHABLE", "connect: no route to host"],
  ENETUNREACH: ["UNREACHABLE", "connect: network is unreachable"],
  ENOTFOUND: ["UNREACHABLE", "no such host"],
};

/** An error of Node's sockets in Go's words. */
export function networkError(prefix: string, error: NodeJS.ErrnoException): NetworkError {
  const [code, text] = REASONS[error.code ?? ""] ?? ["IO", tlsErrorText(error)];
  return new NetworkError(code, `${prefix}: ${text}`, { cause: error });
}
