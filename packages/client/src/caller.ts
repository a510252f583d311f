/**
 * Makes calls: waits for a connection, adds the token, tries again where that is safe.
 *
 * Rules of trying again:
 * - A request that was certainly not sent is sent again, whatever it is: there was no connection,
 *   or the server refused the stream unread.
 * - A read that failed because the member was unavailable is sent again, to the next endpoint.
 * - A write that was sent is never sent again: it may have happened.
 */

import { Auth, GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { MethodDescriptor } from "@etcd-ts/api";
import { WireWriter } from "@etcd-ts/base";
import { Metadata } from "@etcd-ts/rpc";
import type { CallOptions, ClientStream } from "@etcd-ts/rpc";
import { create } from "@bufbuild/protobuf";
import { AuthenticateRequestSchema } from "@etcd-ts/api";

import { Connections, isOpen, pause } from "./connections.ts";
import type { Connection } from "./connections.ts";
import { deadlineExceeded, typedError } from "./errors.ts";
import type { ClientOptions, RequestOptions } from "./options.ts";

/** Whether a call changes anything: it decides what may be sent twice. */
export type Effect = "read" | "write";

const SEND_BYTES_MAX = 2 * 1024 * 1024;
const RETRY_PAUSE_MS = 50;
/** How the channel says that the server has not looked at the request. */
const REFUSED_TEXT = "the stream was refused";
const CLOSING_TEXT = "the connection is closing";

export class Caller {
  readonly options: ClientOptions;
  readonly connections: Connections;
  #token: string | undefined;
  #authenticating: Promise<void> | undefined;

  constructor(options: ClientOptions) {
    this.options = options;
    this.connections = new Connections(options);
  }

  /** @throws {RpcError} */
  async unary<I, O>(
    method: MethodDescriptor<I, O>,
    request: I,
    effect: Effect,
    options: RequestOptions = {},
  ): Promise<O> {
    this.#checkSize(method, request);
    const deadlineMs = this.#deadline(options);
    let isTokenFresh = false;
    for (;;) {
      const connection = await this.connections.acquire(deadlineMs, options.signal);
      if (!isOpen(connection.channel)) continue;
      await this.#authenticate(connection, deadlineMs, options);
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw deadlineExceeded(undefined);
      let failure: RpcError;
      try {
        return await connection.channel.unary(
          method,
          request,
          this.#callOptions(options, Number.isFinite(leftMs) ? leftMs : undefined),
        );
      } catch (error) {
        failure = typedError(error);
      }
      if (failure.code === "INVALID_AUTH_TOKEN" && this.#hasUser && !isTokenFresh) {
        this.#token = undefined;
        isTokenFresh = true;
        continue;
      }
      if (!mayRepeat(failure, effect)) throw failure;
      this.options.onRetry?.({
        endpoint: connection.endpoint.text,
        method: method.path,
        error: failure,
      });
      this.connections.drop(connection);
      await pause(RETRY_PAUSE_MS, deadlineMs, options.signal, failure);
    }
  }

  /** Opens a stream on the current connection. @throws {RpcError} if there is none in time */
  async stream<I, O>(
    method: MethodDescriptor<I, O>,
    options: RequestOptions = {},
  ): Promise<{ readonly stream: ClientStream<I, O>; readonly connection: Connection }> {
    const deadlineMs = this.#deadline(options);
    for (;;) {
      const connection = await this.connections.acquire(deadlineMs, options.signal);
      if (!isOpen(connection.channel)) continue;
      await this.#authenticate(connection, deadlineMs, options);
      const leftMs = deadlineMs - performance.now();
      const callOptions = this.#callOptions(options, Number.isFinite(leftMs) ? leftMs : undefined);
      return { stream: connection.channel.stream(method, callOptions), connection };
    }
  }

  /** Logs in now; does nothing without a user, or with a token in hand. @throws {RpcError} */
  async login(options: RequestOptions = {}): Promise<void> {
    if (!this.#hasUser) return;
    const deadlineMs = this.#deadline(options);
    const connection = await this.connections.acquire(deadlineMs, options.signal);
    await this.#authenticate(connection, deadlineMs, options);
  }

  /** The next call asks for a new token. */
  forgetToken(): void {
    this.#token = undefined;
  }

  get #hasUser(): boolean {
    return this.options.username !== undefined && this.options.username !== "";
  }

  #deadline(options: RequestOptions): number {
    const timeoutMs = options.timeoutMs ?? this.options.timeoutMs ?? Number.POSITIVE_INFINITY;
    return performance.now() + timeoutMs;
  }

  #callOptions(options: RequestOptions, timeoutMs: number | undefined): CallOptions {
    const metadata = new Metadata();
    if (this.#token !== undefined) metadata.set("token", this.#token);
    if (options.requireLeader === true) metadata.set("hasleader", "true");
    return {
      metadata,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
  }

  /** A server without authentication says so, and the client goes on without a token. */
  async #authenticate(
    connection: Connection,
    deadlineMs: number,
    options: RequestOptions,
  ): Promise<void> {
    if (!this.#hasUser || this.#token !== undefined) return;
    this.#authenticating ??= this.#requestToken(connection, deadlineMs, options).finally(
      () => (this.#authenticating = undefined),
    );
    await this.#authenticating;
  }

  async #requestToken(
    connection: Connection,
    deadlineMs: number,
    options: RequestOptions,
  ): Promise<void> {
    const request = create(AuthenticateRequestSchema, {
      name: this.options.username ?? "",
      password: this.options.password ?? "",
    });
    const leftMs = deadlineMs - performance.now();
    try {
      const response = await connection.channel.unary(Auth.Authenticate, request, {
        ...(Number.isFinite(leftMs) ? { timeoutMs: Math.max(1, leftMs) } : {}),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      this.#token = response.token;
    } catch (error) {
      const failure = typedError(error);
      if (failure.code !== "AUTH_NOT_ENABLED") throw failure;
    }
  }

  #checkSize<I, O>(method: MethodDescriptor<I, O>, request: I): void {
    const bytesMax = this.options.sendMessageBytesMax ?? SEND_BYTES_MAX;
    const writer = new WireWriter();
    method.request.encode(request, writer);
    if (writer.length <= bytesMax) return;
    throw new RpcError(
      "RESOURCE_EXHAUSTED",
      GRPC_CODES.RESOURCE_EXHAUSTED,
      `trying to send message larger than max (${writer.length} vs. ${bytesMax})`,
    );
  }
}

function mayRepeat(failure: RpcError, effect: Effect): boolean {
  if (failure.grpcCode !== GRPC_CODES.UNAVAILABLE) return false;
  if (effect === "read") return true;
  return failure.message === REFUSED_TEXT || failure.message === CLOSING_TEXT;
}
