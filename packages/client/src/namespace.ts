/**
 * Keys under a prefix, as if they were all there are: the prefix is put before the keys of requests
 * and taken from the keys of answers. Revisions, leases and compaction are those of the cluster.
 */

import { RPC_ERRORS } from "@etcd-ts/api";
import type {
  CompactionRequest,
  CompactionResponse,
  Compare,
  DeleteRangeRequest,
  DeleteRangeResponse,
  KeyValue,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RequestOp,
  ResponseOp,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";
import { concatBytes, unreachable } from "@etcd-ts/base";

import { bytesOf, prefixEnd } from "./bytes.ts";
import type { Bytes, KeyRange } from "./bytes.ts";
import type { Keyspace } from "./keyspace.ts";
import { KVClient } from "./kv.ts";
import type { KVTransport } from "./kv.ts";
import type { LeaseClient } from "./lease.ts";
import type { RequestOptions } from "./options.ts";
import type { Watcher, WatchOptions } from "./watch.ts";

/** What a namespace is made of. */
export interface NamespaceParts {
  readonly kv: KVTransport;
  readonly lease: (keyPrefix: Uint8Array) => LeaseClient;
  readonly watch: (key: Bytes, options: WatchOptions, keyPrefix: Uint8Array) => Watcher;
}

export class Namespace implements Keyspace {
  readonly kv: KVClient;
  readonly lease: LeaseClient;
  readonly prefix: Uint8Array;
  readonly #parts: NamespaceParts;

  constructor(prefix: Bytes, parts: NamespaceParts) {
    this.prefix = bytesOf(prefix);
    this.#parts = parts;
    this.kv = new KVClient(new NamespacedKV(this.prefix, parts.kv));
    this.lease = parts.lease(this.prefix);
  }

  watch(key: Bytes, options: WatchOptions = {}): Watcher {
    return this.#parts.watch(key, options, this.prefix);
  }

  namespace(prefix: Bytes): Namespace {
    return new Namespace(concatBytes([this.prefix, bytesOf(prefix)]), this.#parts);
  }
}

/** The range of the cluster that a range of the namespace means. */
export function prefixedRange<R extends KeyRange>(prefix: Uint8Array, range: R): R {
  const { rangeEnd } = range;
  const key = concatBytes([prefix, range.key]);
  if (rangeEnd.length === 0) return { ...range, key };
  const isToTheEnd = rangeEnd.length === 1 && rangeEnd[0] === 0;
  return {
    ...range,
    key,
    rangeEnd: isToTheEnd ? prefixEnd(prefix) : concatBytes([prefix, rangeEnd]),
  };
}

/** A key of an answer, as the namespace names it. */
export function strippedKey(prefix: Uint8Array, key: Uint8Array): Uint8Array {
  return key.subarray(prefix.length);
}

export function strippedKV(prefix: Uint8Array, kv: KeyValue): KeyValue {
  return { ...kv, key: strippedKey(prefix, kv.key) };
}

class NamespacedKV implements KVTransport {
  readonly #prefix: Uint8Array;
  readonly #inner: KVTransport;

  constructor(prefix: Uint8Array, inner: KVTransport) {
    this.#prefix = prefix;
    this.#inner = inner;
  }

  async range(request: RangeRequest, options: RequestOptions): Promise<RangeResponse> {
    return this.#rangeAnswer(await this.#inner.range(this.#in(request), options));
  }

  async put(request: PutRequest, options: RequestOptions): Promise<PutResponse> {
    return this.#putAnswer(await this.#inner.put(this.#inPut(request), options));
  }

  async deleteRange(
    request: DeleteRangeRequest,
    options: RequestOptions,
  ): Promise<DeleteRangeResponse> {
    return this.#deleteAnswer(await this.#inner.deleteRange(this.#in(request), options));
  }

  compact(request: CompactionRequest, options: RequestOptions): Promise<CompactionResponse> {
    return this.#inner.compact(request, options);
  }

  async txn(request: TxnRequest, options: RequestOptions): Promise<TxnResponse> {
    return this.#txnAnswer(await this.#inner.txn(this.#inTxn(request), options));
  }

  #in<R extends KeyRange>(request: R): R {
    mustHaveKey(request.key);
    return prefixedRange(this.#prefix, request);
  }

  #inPut(request: PutRequest): PutRequest {
    mustHaveKey(request.key);
    return { ...request, key: concatBytes([this.#prefix, request.key]) };
  }

  #inTxn(request: TxnRequest): TxnRequest {
    return {
      compare: request.compare.map((comparison): Compare => this.#in(comparison)),
      success: request.success.map((operation) => this.#inOp(operation)),
      failure: request.failure.map((operation) => this.#inOp(operation)),
    };
  }

  #inOp(operation: RequestOp): RequestOp {
    switch (operation.kind) {
      case "range":
        return { kind: "range", range: this.#in(operation.range) };
      case "put":
        return { kind: "put", put: this.#inPut(operation.put) };
      case "deleteRange":
        return { kind: "deleteRange", deleteRange: this.#in(operation.deleteRange) };
      case "txn":
        return { kind: "txn", txn: this.#inTxn(operation.txn) };
      case "none":
        return operation;
      default:
        return unreachable(operation, "NamespacedKV");
    }
  }

  #rangeAnswer(answer: RangeResponse): RangeResponse {
    return { ...answer, kvs: answer.kvs.map((kv) => strippedKV(this.#prefix, kv)) };
  }

  #putAnswer(answer: PutResponse): PutResponse {
    const { prevKV } = answer;
    return prevKV === undefined ? answer : { ...answer, prevKV: strippedKV(this.#prefix, prevKV) };
  }

  #deleteAnswer(answer: DeleteRangeResponse): DeleteRangeResponse {
    return { ...answer, prevKVs: answer.prevKVs.map((kv) => strippedKV(this.#prefix, kv)) };
  }

  #txnAnswer(answer: TxnResponse): TxnResponse {
    return { ...answer, responses: answer.responses.map((response) => this.#opAnswer(response)) };
  }

  #opAnswer(answer: ResponseOp): ResponseOp {
    switch (answer.kind) {
      case "range":
        return { kind: "range", range: this.#rangeAnswer(answer.range) };
      case "put":
        return { kind: "put", put: this.#putAnswer(answer.put) };
      case "deleteRange":
        return { kind: "deleteRange", deleteRange: this.#deleteAnswer(answer.deleteRange) };
      case "txn":
        return { kind: "txn", txn: this.#txnAnswer(answer.txn) };
      case "none":
        return answer;
      default:
        return unreachable(answer, "NamespacedKV");
    }
  }
}

/** The cluster would refuse an empty key; the prefix alone would name one. */
function mustHaveKey(key: Uint8Array): void {
  if (key.length === 0) throw RPC_ERRORS.emptyKey;
}
