/** Leases: granted, kept alive, looked up, revoked. */

import { create } from "@bufbuild/protobuf";
import {
  Lease,
  LeaseGrantRequestCodec,
  LeaseKeepAliveRequestCodec,
  LeaseLeasesRequestSchema,
  LeaseRevokeRequestCodec,
  LeaseTimeToLiveRequestSchema,
  RPC_ERRORS,
} from "@etcd-ts/api";
import { EMPTY_BYTES, equalBytes } from "@etcd-ts/base";
import type {
  RpcError,
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveResponse,
} from "@etcd-ts/api";

import type { Caller } from "./caller.ts";
import { aborted, mayWorkElsewhere, typedError } from "./errors.ts";
import type { RequestOptions } from "./options.ts";
import { pause, remaining, sleep } from "./waiting.ts";

/** How long the first answer to a keep-alive may take. */
const FIRST_ANSWER_MS = 5000;
/** How long one member may take to answer: this part of the lease's time, but at least so long. */
const ATTEMPTS_PER_TTL = 5;
const ATTEMPT_MS_MIN = 1000;
const RECONNECT_PAUSE_MS = 100;
const MS_PER_SECOND = 1000;
/** A lease is renewed when this part of its time is over. */
const RENEWALS_PER_TTL = 3;

export class LeaseClient {
  readonly #caller: Caller;
  readonly #keyPrefix: Uint8Array;

  /** @param keyPrefix - attached keys are told without it; those that do not have it, not at all */
  constructor(caller: Caller, keyPrefix: Uint8Array = EMPTY_BYTES) {
    this.#caller = caller;
    this.#keyPrefix = keyPrefix;
  }

  /** @param id - 0n lets the server choose */
  grant(
    ttlSeconds: number,
    options: RequestOptions & { readonly id?: bigint } = {},
  ): Promise<LeaseGrantResponse> {
    const request = LeaseGrantRequestCodec.create({ ttl: ttlSeconds, id: options.id ?? 0n });
    return this.#caller.unary(Lease.LeaseGrant, request, "write", options);
  }

  /** Deletes the lease and every key attached to it. */
  revoke(id: bigint, options: RequestOptions = {}): Promise<LeaseRevokeResponse> {
    return this.#caller.unary(
      Lease.LeaseRevoke,
      LeaseRevokeRequestCodec.create({ id }),
      "write",
      options,
    );
  }

  /** A lease that does not exist has a TTL of -1. */
  async timeToLive(
    id: bigint,
    options: RequestOptions & { readonly keys?: boolean } = {},
  ): Promise<LeaseTimeToLiveResponse> {
    const request = create(LeaseTimeToLiveRequestSchema, { ID: id, keys: options.keys ?? false });
    const answer = await this.#caller.unary(Lease.LeaseTimeToLive, request, "read", options);
    const prefix = this.#keyPrefix;
    const keys = answer.keys
      .filter((key) => equalBytes(key.subarray(0, prefix.length), prefix))
      .map((key) => key.subarray(prefix.length));
    return { ...answer, keys };
  }

  list(options: RequestOptions = {}): Promise<LeaseLeasesResponse> {
    return this.#caller.unary(Lease.LeaseLeases, create(LeaseLeasesRequestSchema), "read", options);
  }

  /** Renews once. @throws {RpcError} LEASE_NOT_FOUND */
  async keepAliveOnce(id: bigint, options: RequestOptions = {}): Promise<LeaseKeepAliveResponse> {
    const deadlineMs = this.#caller.deadline(options);
    let last: RpcError | undefined;
    for (;;) {
      const { stream, connection } = await this.#caller.stream(Lease.LeaseKeepAlive, {
        ...options,
        ...remaining(deadlineMs, last),
      });
      stream.send(LeaseKeepAliveRequestCodec.create({ id }));
      try {
        for await (const response of stream) {
          if (response.ttl <= 0) throw RPC_ERRORS.leaseNotFound;
          return response;
        }
      } catch (error) {
        last = options.signal?.aborted === true ? aborted(options.signal) : typedError(error);
        if (this.#caller.isTokenRefused(last)) this.#caller.forgetToken();
        else this.#caller.noteFailure(connection, last);
        if (!isPassing(last) && !this.#caller.isTokenRefused(last)) throw last;
      }
      await pause(RECONNECT_PAUSE_MS, deadlineMs, options.signal, last);
    }
  }

  /**
   * Renews the lease again and again, at a third of its time; yields the answers. Ends when the
   * lease is gone or was not renewed in time; goes on over failures, at other members.
   */
  async *keepAlive(
    id: bigint,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<LeaseKeepAliveResponse, void, void> {
    const { signal } = options;
    let expiresMs = performance.now() + FIRST_ANSWER_MS;
    let attemptMs = ATTEMPT_MS_MIN;
    const isAborted = (): boolean => signal?.aborted === true;
    while (!isAborted()) {
      let answer: LeaseKeepAliveResponse;
      try {
        answer = await this.keepAliveOnce(id, {
          // A member that does not answer must not cost the lease: the next one is asked in time.
          timeoutMs: Math.max(1, Math.min(attemptMs, expiresMs - performance.now())),
          ...(signal === undefined ? {} : { signal }),
        });
      } catch (error) {
        const failure = typedError(error);
        if (failure.code === "LEASE_NOT_FOUND" || isAborted()) return;
        if (performance.now() >= expiresMs) return;
        if (!isPassing(failure) && failure.code !== "DEADLINE_EXCEEDED") throw error;
        await sleep(RECONNECT_PAUSE_MS, signal);
        continue;
      }
      expiresMs = performance.now() + answer.ttl * MS_PER_SECOND;
      attemptMs = Math.max(ATTEMPT_MS_MIN, (answer.ttl * MS_PER_SECOND) / ATTEMPTS_PER_TTL);
      yield answer;
      await sleep((answer.ttl * MS_PER_SECOND) / RENEWALS_PER_TTL, signal);
    }
  }
}

/** Failures after which another member may do it. */
function isPassing(failure: RpcError): boolean {
  if (failure.code === "CANCELED" && failure.message === "context canceled") return false;
  return mayWorkElsewhere(failure);
}
