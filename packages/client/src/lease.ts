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
import type {
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveResponse,
} from "@etcd-ts/api";

import type { Caller } from "./caller.ts";
import { pause } from "./connections.ts";
import { typedError } from "./errors.ts";
import type { RequestOptions } from "./options.ts";

/** How long the first answer to a keep-alive may take. */
const FIRST_ANSWER_MS = 3000;
const RECONNECT_PAUSE_MS = 100;
const MS_PER_SECOND = 1000;
/** A lease is renewed when this part of its time is over. */
const RENEWALS_PER_TTL = 3;

export class LeaseClient {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
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
  timeToLive(
    id: bigint,
    options: RequestOptions & { readonly keys?: boolean } = {},
  ): Promise<LeaseTimeToLiveResponse> {
    const request = create(LeaseTimeToLiveRequestSchema, { ID: id, keys: options.keys ?? false });
    return this.#caller.unary(Lease.LeaseTimeToLive, request, "read", options);
  }

  list(options: RequestOptions = {}): Promise<LeaseLeasesResponse> {
    return this.#caller.unary(Lease.LeaseLeases, create(LeaseLeasesRequestSchema), "read", options);
  }

  /** Renews once. @throws {RpcError} LEASE_NOT_FOUND */
  async keepAliveOnce(id: bigint, options: RequestOptions = {}): Promise<LeaseKeepAliveResponse> {
    for (;;) {
      const { stream } = await this.#caller.stream(Lease.LeaseKeepAlive, options);
      stream.send(LeaseKeepAliveRequestCodec.create({ id }));
      try {
        for await (const response of stream) {
          if (response.ttl <= 0) throw RPC_ERRORS.leaseNotFound;
          return response;
        }
      } catch (error) {
        const failure = typedError(error);
        if (failure.code !== "UNAVAILABLE") throw failure;
      }
      await pause(RECONNECT_PAUSE_MS, Number.POSITIVE_INFINITY, options.signal, undefined);
    }
  }

  /**
   * Renews the lease again and again, at a third of its time; yields the answers. Ends when the
   * lease is gone or can no longer be renewed in time; goes on over failures of a connection.
   */
  async *keepAlive(
    id: bigint,
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<LeaseKeepAliveResponse, void, void> {
    const { signal } = options;
    let expiresMs = performance.now() + FIRST_ANSWER_MS;
    const isAborted = (): boolean => signal?.aborted === true;
    while (!isAborted()) {
      let answer: LeaseKeepAliveResponse;
      try {
        answer = await this.keepAliveOnce(id, {
          timeoutMs: Math.max(1, expiresMs - performance.now()),
          ...(signal === undefined ? {} : { signal }),
        });
      } catch (error) {
        const { code } = typedError(error);
        if (code === "LEASE_NOT_FOUND" || isAborted()) return;
        if (performance.now() >= expiresMs) return;
        if (code !== "UNAVAILABLE" && code !== "CANCELED" && code !== "INTERNAL") throw error;
        await sleep(RECONNECT_PAUSE_MS, signal);
        continue;
      }
      expiresMs = performance.now() + answer.ttl * MS_PER_SECOND;
      yield answer;
      await sleep((answer.ttl * MS_PER_SECOND) / RENEWALS_PER_TTL, signal);
    }
  }
}

/** Ends early, without an error, when the signal comes. */
function sleep(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal?.addEventListener("abort", done);
  });
}
