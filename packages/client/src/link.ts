/**
 * One endpoint and the connection to it.
 *
 * Invariants:
 * - At most one connection is open and at most one attempt to make one is under way.
 * - After a failed attempt the next one is not due before a pause, which grows with each failure.
 */

import * as path from "node:path";
import { create } from "@bufbuild/protobuf";
import { Health, HealthCheckRequestSchema, HealthCheckResponse_ServingStatus } from "@etcd-ts/api";
import type { RpcError } from "@etcd-ts/api";
import { RpcClient } from "@etcd-ts/rpc";
import type { ClientTLSOptions, RpcClientOptions } from "@etcd-ts/rpc";

import type { Endpoint } from "./endpoint.ts";
import { typedError } from "./errors.ts";
import { startKeepalive } from "./keepalive.ts";
import type { ClientOptions } from "./options.ts";
import { tlsSource } from "./tls-source.ts";

const DIAL_TIMEOUT_MS = 2000;
/** Servers take more frequent questions for abuse. */
const KEEPALIVE_TIME_MS_MIN = 10_000;
const KEEPALIVE_TIMEOUT_MS = 6000;
const BACKOFF_MIN_MS = 25;
const BACKOFF_MAX_MS = 1000;
/** How long other endpoints are preferred to one that answered that it cannot. */
const SUSPECT_MS = 3000;

export interface Connection {
  readonly endpoint: Endpoint;
  readonly channel: RpcClient;
}

export class Link {
  readonly endpoint: Endpoint;
  readonly #options: ClientOptions;
  readonly #onChange: () => void;
  #connection: Connection | undefined;
  #isDialling = false;
  #isClosed = false;
  #failures = 0;
  #dueMs = 0;
  #suspectUntilMs = 0;
  #isServing = true;
  #failure: RpcError | undefined;
  #tlsSource: (() => ClientTLSOptions) | undefined;

  /** @param onChange - called when a connection has come, an attempt has failed */
  constructor(endpoint: Endpoint, options: ClientOptions, onChange: () => void) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#onChange = onChange;
  }

  /** The connection, if it can take calls. */
  get open(): Connection | undefined {
    const connection = this.#connection;
    return connection !== undefined && isOpen(connection.channel) ? connection : undefined;
  }

  get isHealthy(): boolean {
    return this.#isServing && performance.now() >= this.#suspectUntilMs;
  }

  /** What the last attempt failed with. */
  get failure(): RpcError | undefined {
    return this.#failure;
  }

  /** When the next attempt may be made, on `performance.now`; undefined while none is wanted. */
  get dueMs(): number | undefined {
    return this.#isDialling || this.#isClosed || this.open !== undefined ? undefined : this.#dueMs;
  }

  /** For a while other endpoints are preferred. */
  suspect(): void {
    this.#suspectUntilMs = performance.now() + SUSPECT_MS;
  }

  /** Begins an attempt if one is due. */
  dialIfDue(): void {
    const { dueMs } = this;
    if (dueMs === undefined || performance.now() < dueMs) return;
    this.#isDialling = true;
    void this.#dial().finally(() => {
      this.#isDialling = false;
      this.#onChange();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.channel.close();
  }

  async #dial(): Promise<void> {
    try {
      const channel = await this.#connect();
      if (this.#isClosed) {
        await channel.close();
        return;
      }
      const connection = { endpoint: this.endpoint, channel };
      this.#connection = connection;
      this.#failures = 0;
      this.#failure = undefined;
      this.#suspectUntilMs = 0;
      this.#isServing = true;
      this.#tend(connection);
    } catch (error) {
      if (this.#isClosed) return;
      const failure = typedError(error);
      this.#failure = failure;
      const fullMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.#failures++, 10));
      this.#dueMs = performance.now() + fullMs * (0.5 + Math.random() / 2);
      this.#options.onRetry?.({
        endpoint: this.endpoint.text,
        method: undefined,
        error: failure,
      });
    }
  }

  async #connect(): Promise<RpcClient> {
    const timeoutMs = this.#options.dialTimeoutMs ?? DIAL_TIMEOUT_MS;
    const isSecure = this.endpoint.isSecure ?? this.#options.tls !== undefined;
    const rpcOptions: { -readonly [K in keyof RpcClientOptions]: RpcClientOptions[K] } = {
      connectTimeoutMs: timeoutMs,
    };
    if (this.#options.receiveMessageBytesMax !== undefined) {
      rpcOptions.receiveMessageBytesMax = this.#options.receiveMessageBytesMax;
    }
    if (isSecure) rpcOptions.tls = await this.#tls();
    return RpcClient.connect(this.endpoint.address, rpcOptions);
  }

  /** A unix socket's server is named by its file, as etcd's own client has it. */
  async #tls(): Promise<() => ClientTLSOptions> {
    const { address } = this.endpoint;
    this.#tlsSource ??= await tlsSource(this.#options.tls ?? {});
    const source = this.#tlsSource;
    if (address.kind !== "unix") return source;
    return () => ({ serverName: path.basename(address.path), ...source() });
  }

  #tend(connection: Connection): void {
    const { session } = connection.channel;
    const options = this.#options;
    let stopKeepalive = (): void => undefined;
    if (options.keepaliveTimeMs !== 0) {
      stopKeepalive = startKeepalive(session, {
        timeMs: Math.max(options.keepaliveTimeMs ?? 0, KEEPALIVE_TIME_MS_MIN),
        timeoutMs: options.keepaliveTimeoutMs ?? KEEPALIVE_TIMEOUT_MS,
        isWanted: () => options.permitWithoutStream === true || connection.channel.calls > 0,
      });
    }
    session.once("close", () => {
      stopKeepalive();
      if (this.#connection === connection) this.#connection = undefined;
      this.#onChange();
    });
    if (options.healthCheck === true) this.#watchHealth(connection);
  }

  /** A server without the service, or one that refuses it, counts as healthy. */
  #watchHealth(connection: Connection): void {
    const stream = connection.channel.stream(Health.Watch);
    stream.onMessage(({ status }) => {
      if (this.#connection !== connection) return;
      this.#isServing = status === HealthCheckResponse_ServingStatus.SERVING;
      this.#onChange();
    });
    stream.onEnd(() => {
      if (this.#connection === connection) this.#isServing = true;
    });
    stream.send(create(HealthCheckRequestSchema));
    stream.end();
  }
}

export function isOpen(channel: RpcClient): boolean {
  return !channel.session.closed && !channel.session.destroyed;
}
