/**
 * Reads that never go back in time.
 *
 * Members answer serializable reads from what they have, and calls take turns among members: an
 * answer may be older than the one before. Here it is asked again, of the next member, until one
 * is as far as the newest answer seen when the read began.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  ResponseHeader,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";

import type { Caller } from "./caller.ts";
import { effectOf } from "./kv.ts";
import type { KVTransport } from "./kv.ts";
import type { RequestOptions } from "./options.ts";
import { pause, remaining } from "./waiting.ts";

/** So often each endpoint is asked. */
const ROUNDS_MAX = 5;
const PAUSE_MS = 20;

export class OrderedKV implements KVTransport {
  readonly #inner: KVTransport;
  readonly #caller: Caller;
  /** The newest seen. */
  #revision = 0;

  constructor(inner: KVTransport, caller: Caller) {
    this.#inner = inner;
    this.#caller = caller;
  }

  range(request: RangeRequest, options: RequestOptions): Promise<RangeResponse> {
    return this.#inOrder(options, (rest) => this.#inner.range(request, rest));
  }

  put(request: PutRequest, options: RequestOptions): Promise<PutResponse> {
    return this.#noting(this.#inner.put(request, options));
  }

  deleteRange(request: DeleteRangeRequest, options: RequestOptions): Promise<DeleteRangeResponse> {
    return this.#noting(this.#inner.deleteRange(request, options));
  }

  compact(request: CompactionRequest, options: RequestOptions): Promise<CompactionResponse> {
    return this.#inner.compact(request, options);
  }

  txn(request: TxnRequest, options: RequestOptions): Promise<TxnResponse> {
    if (effectOf(request) === "write") return this.#noting(this.#inner.txn(request, options));
    return this.#inOrder(options, (rest) => this.#inner.txn(request, rest));
  }

  async #noting<R extends { readonly header: ResponseHeader | undefined }>(
    asked: Promise<R>,
  ): Promise<R> {
    const answer = await asked;
    this.#revision = Math.max(this.#revision, answer.header?.revision ?? 0);
    return answer;
  }

  /** @throws {RpcError} NO_GREATER_REVISION if all members are behind */
  async #inOrder<R extends { readonly header: ResponseHeader | undefined }>(
    options: RequestOptions,
    ask: (rest: RequestOptions) => Promise<R>,
  ): Promise<R> {
    const deadlineMs = this.#caller.deadline(options);
    const floor = this.#revision;
    const attemptsMax = ROUNDS_MAX * this.#caller.connections.endpoints.length;
    for (let attempts = 0; attempts < attemptsMax; attempts++) {
      const answer = await this.#noting(ask({ ...options, ...remaining(deadlineMs) }));
      if ((answer.header?.revision ?? 0) >= floor) return answer;
      await pause(PAUSE_MS, deadlineMs, options.signal, undefined);
    }
    throw new RpcError(
      "NO_GREATER_REVISION",
      GRPC_CODES.UNAVAILABLE,
      "no member has a revision as high as the one received before",
    );
  }
}
