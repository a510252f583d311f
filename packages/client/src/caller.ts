/**
 * Makes calls: waits for a connection, adds the token, tries again where that is safe.
 *
 * Rules of trying again:
 * - A request that was certainly not looked at is sent again, whatever it is: there was no
 *   connection, the server refused the stream unread, or it refused the token.
 * - A read that failed because the member was unavailable is sent again, to the next endpoint.
 * - A write that was sent is never sent again, for it may have happened; unless the program says
 *   that doing it twice is as good as once (`repeatable`).
 */

import { create } from "@bufbuild/protobuf";
import { Auth, AuthenticateRequestSchema, GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { MethodDescriptor } from "@etcd-ts/api";
import { WireWriter } from "@etcd-ts/base";
import { Metadata, NotSentError } from "@etcd-ts/rpc";
import type { CallOptions, ClientStream } from "@etcd-ts/rpc";

import { Connections } from "./connections.ts";
import { aborted, typedError } from "./errors.ts";
import type { Connection } from "./link.ts";
import type { ClientOptions, RequestOptions } from "./options.ts";
import { pause, remaining, within } from "./waiting.ts";

/** Whether a call changes anything: it decides what may be sent twice. */
export type Effect = "read" | "write";

const SEND_BYTES_MAX = 2 * 1024 * 1024;
/** Between attempts; doubled up to the maximum. */
const RETRY_PAUSE_MIN_MS = 10;
const RETRY_PAUSE_MAX_MS = 500;
/** New tokens one call asks for, before it fails with what the server says to them. */
const TOKENS_PER_CALL_MAX = 3;
/**
 * New tokens one call asks for because users or roles changed since the last one: each change may
 * come between a login and the call. As etcd's own client.
 */
const TOKENS_OUTDATED_MAX = 100;
const LOGIN_TIMEOUT_MS = 10_000;

export class Caller {
  readonly options: ClientOptions;
  readonly connections: Connections;
  #token: string | undefined;
  /** The server said that it has no authentication: no login before each call. */
  #isAuthOff = false;
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
    const deadlineMs = this.deadline(options);
    const isRepeatable = effect === "read" || options.repeatable === true;
    let tokens = 0;
    let last: RpcError | undefined;
    for (let attempts = 0; ; attempts++) {
      await this.#authenticate(deadlineMs, options.signal);
      const connection = await this.connections.acquire(deadlineMs, options.signal);
      const token = this.#token;
      const callOptions = this.#callOptions(options, deadlineMs, last);
      let failure: RpcError;
      try {
        return await connection.channel.unary(method, request, callOptions);
      } catch (error) {
        failure = options.signal?.aborted === true ? aborted(options.signal) : typedError(error);
      }
      if (this.isTokenRefused(failure) && tokens < tokensMax(failure)) {
        this.forgetToken(token);
        if (tokens++ > 0) {
          await pause(retryPauseMs(tokens - 2), deadlineMs, options.signal, failure);
        }
        continue;
      }
      this.noteFailure(connection, failure);
      const isSafe = failure instanceof NotSentError || isRepeatable;
      if (failure.grpcCode !== GRPC_CODES.UNAVAILABLE || !isSafe) throw failure;
      this.options.onRetry?.({
        endpoint: connection.endpoint.text,
        method: method.path,
        error: failure,
      });
      last = failure;
      await pause(retryPauseMs(attempts), deadlineMs, options.signal, failure);
    }
  }

  /** Opens a stream. @throws {RpcError} if there is no connection in time */
  async stream<I, O>(
    method: MethodDescriptor<I, O>,
    options: RequestOptions = {},
  ): Promise<{ readonly stream: ClientStream<I, O>; readonly connection: Connection }> {
    const deadlineMs = this.deadline(options);
    await this.#authenticate(deadlineMs, options.signal);
    const connection = await this.connections.acquire(deadlineMs, options.signal);
    const callOptions = this.#callOptions(options, deadlineMs, undefined);
    return { stream: connection.channel.stream(method, callOptions), connection };
  }

  /** Logs in now; does nothing without a user, or with a token in hand. @throws {RpcError} */
  async login(options: RequestOptions = {}): Promise<void> {
    this.#isAuthOff = false;
    await this.#authenticate(this.deadline(options), options.signal);
  }

  /** When a call with these options ends, on `performance.now`. */
  deadline(options: RequestOptions): number {
    const timeoutMs = options.timeoutMs ?? this.options.timeoutMs ?? Number.POSITIVE_INFINITY;
    return performance.now() + timeoutMs;
  }

  /** After a failure of a stream or a call: whether the endpoint is to be avoided for a while. */
  noteFailure(connection: Connection, failure: RpcError): void {
    const { UNAVAILABLE, DEADLINE_EXCEEDED } = GRPC_CODES;
    if (failure.grpcCode === UNAVAILABLE || failure.grpcCode === DEADLINE_EXCEEDED) {
      this.connections.suspect(connection);
    }
  }

  /** Whether a new token may help. The server has not done what the call asked for. */
  isTokenRefused(failure: RpcError): boolean {
    return (
      this.#hasUser &&
      (failure.code === "INVALID_AUTH_TOKEN" ||
        failure.code === "AUTH_OLD_REVISION" ||
        failure.code === "USER_EMPTY")
    );
  }

  /** The next call asks for a new token, unless another one is there already. */
  forgetToken(token = this.#token): void {
    if (this.#token !== token) return;
    this.#token = undefined;
    this.#isAuthOff = false;
  }

  get #hasUser(): boolean {
    return this.options.username !== undefined && this.options.username !== "";
  }

  #callOptions(
    options: RequestOptions,
    deadlineMs: number,
    last: RpcError | undefined,
  ): CallOptions {
    const metadata = new Metadata();
    if (this.#token !== undefined) metadata.set("token", this.#token);
    if (options.requireLeader === true) metadata.set("hasleader", "true");
    return {
      metadata,
      ...(Number.isFinite(deadlineMs) ? remaining(deadlineMs, last) : {}),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
  }

  /** A server without authentication says so, and the client goes on without a token. */
  async #authenticate(deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (!this.#hasUser || this.#token !== undefined || this.#isAuthOff) return;
    // One login for all calls that wait for it; it ends with none of them.
    this.#authenticating ??= this.#requestToken().finally(() => (this.#authenticating = undefined));
    await within(this.#authenticating, deadlineMs, signal, () => undefined);
  }

  async #requestToken(): Promise<void> {
    const request = create(AuthenticateRequestSchema, {
      name: this.options.username ?? "",
      password: this.options.password ?? "",
    });
    const deadlineMs = performance.now() + LOGIN_TIMEOUT_MS;
    let last: RpcError | undefined;
    for (let attempts = 0; ; attempts++) {
      const connection = await this.connections.acquire(deadlineMs, undefined);
      try {
        const options = remaining(deadlineMs, last);
        const { token } = await connection.channel.unary(Auth.Authenticate, request, options);
        this.#token = token;
        return;
      } catch (error) {
        last = typedError(error);
      }
      if (last.code === "AUTH_NOT_ENABLED") {
        this.#isAuthOff = true;
        return;
      }
      this.noteFailure(connection, last);
      if (last.grpcCode !== GRPC_CODES.UNAVAILABLE) throw last;
      await pause(retryPauseMs(attempts), deadlineMs, undefined, last);
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

function tokensMax({ code }: RpcError): number {
  return code === "AUTH_OLD_REVISION" ? TOKENS_OUTDATED_MAX : TOKENS_PER_CALL_MAX;
}

function retryPauseMs(attempts: number): number {
  const fullMs = Math.min(RETRY_PAUSE_MAX_MS, RETRY_PAUSE_MIN_MS * 2 ** Math.min(attempts, 10));
  return fullMs * (0.5 + Math.random() / 2);
}
