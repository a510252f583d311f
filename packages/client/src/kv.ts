/** Keys: get, put, delete, compact, and transactions of them. */

import {
  CompactionRequestCodec,
  DeleteRangeRequestCodec,
  KV,
  PutRequestCodec,
  RangeRequestCodec,
  SortOrder,
  SortTarget,
  TxnRequestCodec,
} from "@etcd-ts/api";
import type {
  CompactionRequest,
  CompactionResponse,
  Compare,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RequestOp,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";

import { bytesOf, keyRange } from "./bytes.ts";
import type { Bytes, RangeOptions } from "./bytes.ts";
import type { Caller, Effect } from "./caller.ts";
import type { RequestOptions } from "./options.ts";

export interface GetOptions extends RangeOptions {
  /** Default: the newest. */
  readonly revision?: number;
  /** 0 for all. */
  readonly limit?: number;
  readonly sortBy?: keyof typeof SortTarget;
  readonly order?: keyof typeof SortOrder;
  /** Answered by one member from what it has, without asking the others. */
  readonly serializable?: boolean;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly minModRevision?: number;
  readonly maxModRevision?: number;
  readonly minCreateRevision?: number;
  readonly maxCreateRevision?: number;
}

export interface PutOptions {
  readonly lease?: bigint;
  /** Answers with what was there before. */
  readonly prevKV?: boolean;
  readonly ignoreValue?: boolean;
  readonly ignoreLease?: boolean;
}

export interface DeleteOptions extends RangeOptions {
  readonly prevKV?: boolean;
}

/** @returns the request of a get */
export function rangeRequest(key: Bytes, options: GetOptions = {}): RangeRequest {
  return RangeRequestCodec.create({
    ...keyRange(key, options),
    limit: options.limit ?? 0,
    revision: options.revision ?? 0,
    sortOrder: SortOrder[options.order ?? "NONE"],
    sortTarget: SortTarget[options.sortBy ?? "KEY"],
    serializable: options.serializable ?? false,
    keysOnly: options.keysOnly ?? false,
    countOnly: options.countOnly ?? false,
    minModRevision: options.minModRevision ?? 0,
    maxModRevision: options.maxModRevision ?? 0,
    minCreateRevision: options.minCreateRevision ?? 0,
    maxCreateRevision: options.maxCreateRevision ?? 0,
  });
}

export function putRequest(key: Bytes, value: Bytes, options: PutOptions = {}): PutRequest {
  return PutRequestCodec.create({
    key: bytesOf(key),
    value: bytesOf(value),
    lease: options.lease ?? 0n,
    prevKV: options.prevKV ?? false,
    ignoreValue: options.ignoreValue ?? false,
    ignoreLease: options.ignoreLease ?? false,
  });
}

export function deleteRequest(key: Bytes, options: DeleteOptions = {}): DeleteRangeRequest {
  return DeleteRangeRequestCodec.create({
    ...keyRange(key, options),
    prevKV: options.prevKV ?? false,
  });
}

/** Operations of a transaction. */
export const op = {
  get: (key: Bytes, options?: GetOptions): RequestOp => ({
    kind: "range",
    range: rangeRequest(key, options),
  }),
  put: (key: Bytes, value: Bytes, options?: PutOptions): RequestOp => ({
    kind: "put",
    put: putRequest(key, value, options),
  }),
  delete: (key: Bytes, options?: DeleteOptions): RequestOp => ({
    kind: "deleteRange",
    deleteRange: deleteRequest(key, options),
  }),
  txn: (txn: TxnBuilder): RequestOp => ({ kind: "txn", txn: txn.request() }),
} as const;

/** Where requests about keys go: to the cluster, or through something that changes them on the way. */
export interface KVTransport {
  range(request: RangeRequest, options: RequestOptions): Promise<RangeResponse>;
  put(request: PutRequest, options: RequestOptions): Promise<PutResponse>;
  deleteRange(request: DeleteRangeRequest, options: RequestOptions): Promise<DeleteRangeResponse>;
  compact(request: CompactionRequest, options: RequestOptions): Promise<CompactionResponse>;
  txn(request: TxnRequest, options: RequestOptions): Promise<TxnResponse>;
}

/** To the cluster. */
export class DirectKV implements KVTransport {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  range(request: RangeRequest, options: RequestOptions): Promise<RangeResponse> {
    return this.#caller.unary(KV.Range, request, "read", options);
  }

  put(request: PutRequest, options: RequestOptions): Promise<PutResponse> {
    return this.#caller.unary(KV.Put, request, "write", options);
  }

  deleteRange(request: DeleteRangeRequest, options: RequestOptions): Promise<DeleteRangeResponse> {
    return this.#caller.unary(KV.DeleteRange, request, "write", options);
  }

  compact(request: CompactionRequest, options: RequestOptions): Promise<CompactionResponse> {
    return this.#caller.unary(KV.Compact, request, "write", options);
  }

  txn(request: TxnRequest, options: RequestOptions): Promise<TxnResponse> {
    return this.#caller.unary(KV.Txn, request, effectOf(request), options);
  }
}

export class KVClient {
  readonly #transport: KVTransport;

  constructor(transport: KVTransport) {
    this.#transport = transport;
  }

  get(key: Bytes, options: GetOptions & RequestOptions = {}): Promise<RangeResponse> {
    return this.#transport.range(rangeRequest(key, options), options);
  }

  /** Never sent twice: after `UNAVAILABLE` or `DEADLINE_EXCEEDED` it may have happened or not. */
  put(key: Bytes, value: Bytes, options: PutOptions & RequestOptions = {}): Promise<PutResponse> {
    return this.#transport.put(putRequest(key, value, options), options);
  }

  delete(key: Bytes, options: DeleteOptions & RequestOptions = {}): Promise<DeleteRangeResponse> {
    return this.#transport.deleteRange(deleteRequest(key, options), options);
  }

  /** Forgets all revisions before `revision`. */
  compact(
    revision: number,
    options: RequestOptions & { readonly physical?: boolean } = {},
  ): Promise<CompactionResponse> {
    const request = CompactionRequestCodec.create({
      revision,
      physical: options.physical ?? false,
    });
    return this.#transport.compact(request, options);
  }

  /** Begins a transaction. */
  txn(): TxnBuilder {
    return new TxnBuilder((request, options) => this.#transport.txn(request, options));
  }
}

/** A transaction that only reads may be sent twice. */
export function effectOf(request: TxnRequest): Effect {
  const isRead = (operation: RequestOp): boolean =>
    operation.kind === "range" || (operation.kind === "txn" && effectOf(operation.txn) === "read");
  return [...request.success, ...request.failure].every(isRead) ? "read" : "write";
}

type Commit = (request: TxnRequest, options: RequestOptions) => Promise<TxnResponse>;

/** Collects a transaction: `if` all comparisons hold, `do` these operations, `else` those. */
export class TxnBuilder {
  readonly #commit: Commit;
  readonly #compare: Compare[] = [];
  readonly #success: RequestOp[] = [];
  readonly #failure: RequestOp[] = [];

  constructor(commit: Commit) {
    this.#commit = commit;
  }

  if(...comparisons: readonly Compare[]): this {
    this.#compare.push(...comparisons);
    return this;
  }

  do(...operations: readonly RequestOp[]): this {
    this.#success.push(...operations);
    return this;
  }

  else(...operations: readonly RequestOp[]): this {
    this.#failure.push(...operations);
    return this;
  }

  commit(options: RequestOptions = {}): Promise<TxnResponse> {
    return this.#commit(this.request(), options);
  }

  request(): TxnRequest {
    return TxnRequestCodec.create({
      compare: this.#compare,
      success: this.#success,
      failure: this.#failure,
    });
  }
}
