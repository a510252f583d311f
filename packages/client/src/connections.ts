/**
 * One connection to one of the endpoints, made when it is needed and made anew, at the next
 * endpoint, when it fails.
 *
 * Invariants:
 * - At most one connection is open and at most one attempt to make one is under way.
 * - Callers who wait for a connection do not hold each other up: each leaves at its own deadline.
 */

import * as net from "node:net";
import * as tls from "node:tls";
import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import { RpcClient } from "@etcd-ts/rpc";
import type { RpcClientOptions } from "@etcd-ts/rpc";

import { parseEndpoint } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import { canceled, deadlineExceeded, typedError } from "./errors.ts";
import { tlsConnectOptions } from "./options.ts";
import type { ClientOptions } from "./options.ts";

const DIAL_TIMEOUT_MS = 2000;
const KEEPALIVE_TIME_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 6000;
/** Between rounds over all endpoints; doubles up to the maximum. */
const BACKOFF_MIN_MS = 25;
const BACKOFF_MAX_MS = 1000;

export interface Connection {
  readonly endpoint: Endpoint;
  readonly channel: RpcClient;
}

export class Connections {
  readonly #options: ClientOptions;
  #endpoints: readonly Endpoint[];
  #current: Connection | undefined;
  #dialling: Promise<Connection> | undefined;
  /** Where the next attempt begins. */
  #next = 0;
  #isClosed = false;
  #keepalive: NodeJS.Timeout | undefined;
  #failures = 0;

  /** @throws {EndpointError} */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.#endpoints = parseEndpoints(options.endpoints);
  }

  get endpoints(): readonly string[] {
    return this.#endpoints.map(({ text }) => text);
  }

  /** The next connection goes to one of these. @throws {EndpointError} */
  setEndpoints(endpoints: readonly string[]): void {
    this.#endpoints = parseEndpoints(endpoints);
    this.#next = 0;
    const current = this.#current;
    if (current !== undefined && !endpoints.includes(current.endpoint.text)) this.drop(current);
  }

  /**
   * An open connection; tries all endpoints in turn until `deadlineMs` (of `performance.now`).
   *
   * @throws {RpcError} DEADLINE_EXCEEDED with the last failure as its cause, or CANCELED
   */
  async acquire(deadlineMs: number, signal: AbortSignal | undefined): Promise<Connection> {
    let last: RpcError | undefined;
    for (;;) {
      if (this.#isClosed || signal?.aborted === true) throw canceled();
      const current = this.#current;
      if (current !== undefined) {
        if (isOpen(current.channel)) return current;
        this.drop(current);
      }
      try {
        this.#dialling ??= this.#dial().finally(() => (this.#dialling = undefined));
        return await within(this.#dialling, deadlineMs, signal, () => last);
      } catch (error) {
        if (!(error instanceof RpcError) || error.code !== "UNAVAILABLE") throw error;
        last = error;
        await pause(this.#backoffMs(), deadlineMs, signal, last);
      }
    }
  }

  /** Gives a connection up; the next one goes to another endpoint if there is one. */
  drop(connection: Connection): void {
    if (this.#current !== connection) return;
    this.#current = undefined;
    clearInterval(this.#keepalive);
    const i = this.#endpoints.indexOf(connection.endpoint);
    if (i >= 0) this.#next = (i + 1) % this.#endpoints.length;
    void connection.channel.close();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#keepalive);
    const current = this.#current;
    this.#current = undefined;
    await current?.channel.close();
  }

  #backoffMs(): number {
    const full = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.#failures++, 10));
    return full * (0.5 + Math.random() / 2);
  }

  /** One round over the endpoints. @throws {RpcError} UNAVAILABLE: what the last one said */
  async #dial(): Promise<Connection> {
    const endpoints = this.#endpoints;
    let failure: RpcError | undefined;
    for (let i = 0; i < endpoints.length; i++) {
      const endpoint = endpoints[(this.#next + i) % endpoints.length]!;
      try {
        const channel = await this.#connect(endpoint);
        const connection = { endpoint, channel };
        if (this.#isClosed) {
          await channel.close();
          throw canceled();
        }
        this.#current = connection;
        this.#failures = 0;
        this.#watch(connection);
        return connection;
      } catch (error) {
        if (this.#isClosed) throw canceled();
        failure = typedError(error);
        this.#options.onRetry?.({ endpoint: endpoint.text, method: undefined, error: failure });
      }
    }
    throw unavailable(failure?.message ?? "no endpoints", failure);
  }

  async #connect(endpoint: Endpoint): Promise<RpcClient> {
    const timeoutMs = this.#options.dialTimeoutMs ?? DIAL_TIMEOUT_MS;
    const isSecure = endpoint.isSecure ?? this.#options.tls !== undefined;
    const rpcOptions: { -readonly [K in keyof RpcClientOptions]: RpcClientOptions[K] } = {
      connectTimeoutMs: timeoutMs,
    };
    if (this.#options.receiveMessageBytesMax !== undefined) {
      rpcOptions.receiveMessageBytesMax = this.#options.receiveMessageBytesMax;
    }
    if (isSecure) rpcOptions.socket = await this.#secureSocket(endpoint, timeoutMs);
    return RpcClient.connect(endpoint.address, rpcOptions);
  }

  #secureSocket(endpoint: Endpoint, timeoutMs: number): Promise<tls.TLSSocket> {
    const { address } = endpoint;
    const where =
      address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port };
    const options = tlsConnectOptions(this.#options.tls ?? {});
    if (address.kind === "tcp" && options.servername === undefined && !net.isIP(address.host)) {
      options.servername = address.host;
    }
    return new Promise((resolve, reject) => {
      const socket = tls.connect({ ...where, ...options });
      const fail = (text: string): void => {
        socket.destroy();
        reject(unavailable(`connection error: ${text}`));
      };
      const timer = setTimeout(() => fail("timed out"), timeoutMs);
      socket.once("error", (error) => {
        clearTimeout(timer);
        fail(error.message);
      });
      socket.once("secureConnect", () => {
        clearTimeout(timer);
        socket.setNoDelay(true);
        if (socket.alpnProtocol === "h2") resolve(socket);
        else fail("the server does not speak HTTP/2");
      });
    });
  }

  /** Asks a silent connection for a sign of life, so that a dead peer is noticed. */
  #watch(connection: Connection): void {
    const { session } = connection.channel;
    const timeMs = this.#options.keepaliveTimeMs ?? KEEPALIVE_TIME_MS;
    const timeoutMs = this.#options.keepaliveTimeoutMs ?? KEEPALIVE_TIMEOUT_MS;
    session.once("goaway", () => this.drop(connection));
    this.#keepalive = setInterval(
      () => {
        if (session.destroyed) return;
        const timer = setTimeout(() => session.destroy(), timeoutMs);
        timer.unref();
        session.ping(() => clearTimeout(timer));
      },
      Math.max(timeMs, KEEPALIVE_TIME_MS),
    );
    this.#keepalive.unref();
  }
}

export function isOpen(channel: RpcClient): boolean {
  return !channel.session.closed && !channel.session.destroyed;
}

function parseEndpoints(endpoints: readonly string[]): readonly Endpoint[] {
  const parsed = endpoints.map((text) => parseEndpoint(text.trim()));
  if (parsed.length === 0) parseEndpoint("");
  return parsed;
}

function unavailable(text: string, cause?: Error): RpcError {
  return new RpcError(
    "UNAVAILABLE",
    GRPC_CODES.UNAVAILABLE,
    text,
    cause === undefined ? undefined : { cause },
  );
}

/** Waits, but not beyond the deadline nor the signal. */
export async function pause(
  durationMs: number,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  last: RpcError | undefined,
): Promise<void> {
  const sleep = new Promise<void>((resolve) => {
    setTimeout(resolve, Math.min(durationMs, Math.max(0, deadlineMs - performance.now())));
  });
  await within(sleep, deadlineMs, signal, () => last);
  if (performance.now() >= deadlineMs) throw deadlineExceeded(last);
}

/** The promise, unless the deadline or the signal comes first. */
async function within<T>(
  promise: Promise<T>,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  last: () => RpcError | undefined,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  const limit = new Promise<never>((_, reject) => {
    if (Number.isFinite(deadlineMs)) {
      const leftMs = Math.min(deadlineMs - performance.now(), 2 ** 31 - 1);
      timer = setTimeout(() => reject(deadlineExceeded(last())), Math.max(0, leftMs));
    }
    onAbort = () => reject(canceled());
    signal?.addEventListener("abort", onAbort);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal?.removeEventListener("abort", onAbort);
  }
}
