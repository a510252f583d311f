/**
 * What the request log says of one request: counts, sizes, and its content.
 *
 * Only the four methods on keys have one; the others count as -1, as in etcd. Values are never
 * shown, and keys only if asked for; in their place stands how long they are.
 */

import {
  CompareResult,
  CompareTarget,
  DeleteRangeRequestCodec,
  KV,
  PutRequestCodec,
  RangeRequestCodec,
  RequestOpCodec,
  SortOrder,
  SortTarget,
} from "@etcd-ts/api";
import type {
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
import { encodeMessage, latin1FromBytes } from "@etcd-ts/base";
import type { EncodedRangeResponse } from "@etcd-ts/etcdserver";
import type { AnyMethod } from "@etcd-ts/rpc";

import {
  deleteRangeResponseBytes,
  putResponseBytes,
  rangeResponseBytes,
  txnResponseBytes,
} from "./sizes.ts";

export interface RequestStats {
  readonly requestCount: number;
  readonly requestBytes: number;
  readonly responseCount: number;
  readonly responseBytes: number;
  readonly content: string;
}

const NO_STATS: RequestStats = {
  requestCount: -1,
  requestBytes: -1,
  responseCount: -1,
  responseBytes: -1,
  content: "",
};

/** @param response - what the call was answered with, encoded or not; undefined if it failed */
export function describeRequest(
  method: AnyMethod,
  request: unknown,
  response: unknown,
  showKeys: boolean,
): RequestStats {
  if (response === undefined) return NO_STATS;
  const content = new Content(showKeys);
  switch (method) {
    case KV.Range:
      return rangeStats(
        request as RangeRequest,
        response as RangeResponse | EncodedRangeResponse,
        content,
      );
    case KV.Put:
      return putStats(request as PutRequest, response as PutResponse, content);
    case KV.DeleteRange:
      return deleteStats(request as DeleteRangeRequest, response as DeleteRangeResponse, content);
    case KV.Txn:
      return txnStats(request as TxnRequest, response as TxnResponse, content);
    default:
      return NO_STATS;
  }
}

function rangeStats(
  request: RangeRequest,
  response: RangeResponse | EncodedRangeResponse,
  content: Content,
): RequestStats {
  const isEncoded = "message" in response;
  return {
    requestCount: 0,
    requestBytes: encodeMessage(RangeRequestCodec, request).length,
    responseCount: response.count,
    responseBytes: isEncoded ? response.message.bytes : rangeResponseBytes(response),
    content: content.range(request),
  };
}

function putStats(request: PutRequest, response: PutResponse, content: Content): RequestStats {
  return {
    requestCount: 1,
    requestBytes: encodeMessage(PutRequestCodec, request).length,
    responseCount: 0,
    responseBytes: putResponseBytes(response),
    content: content.put(request),
  };
}

function deleteStats(
  request: DeleteRangeRequest,
  response: DeleteRangeResponse,
  content: Content,
): RequestStats {
  return {
    requestCount: 0,
    requestBytes: encodeMessage(DeleteRangeRequestCodec, request).length,
    responseCount: response.deleted,
    responseBytes: deleteRangeResponseBytes(response),
    content: content.deleteRange(request),
  };
}

function txnStats(request: TxnRequest, response: TxnResponse, content: Content): RequestStats {
  const ran = response.succeeded ? request.success : request.failure;
  let requestBytes = 0;
  for (const op of ran) requestBytes += encodeMessage(RequestOpCodec, op).length;
  return {
    requestCount: ran.length,
    requestBytes,
    responseCount: 0,
    responseBytes: txnResponseBytes(response),
    content: content.txn(request),
  };
}

/** Requests in protobuf's text form on one line, each field followed by a space. */
class Content {
  readonly #showKeys: boolean;

  constructor(showKeys: boolean) {
    this.#showKeys = showKeys;
  }

  range(request: RangeRequest): string {
    return (
      this.#key("key", request.key) +
      this.#key("range_end", request.rangeEnd) +
      counter("limit", request.limit) +
      counter("revision", request.revision) +
      choice("sort_order", SortOrder, request.sortOrder) +
      choice("sort_target", SortTarget, request.sortTarget) +
      flag("serializable", request.serializable) +
      flag("keys_only", request.keysOnly) +
      flag("count_only", request.countOnly) +
      counter("min_mod_revision", request.minModRevision) +
      counter("max_mod_revision", request.maxModRevision) +
      counter("min_create_revision", request.minCreateRevision) +
      counter("max_create_revision", request.maxCreateRevision)
    );
  }

  put(request: PutRequest): string {
    return (
      this.#key("key", request.key) +
      counter("value_size", request.value.length) +
      counter("lease", request.lease) +
      flag("prev_kv", request.prevKV) +
      flag("ignore_value", request.ignoreValue) +
      flag("ignore_lease", request.ignoreLease)
    );
  }

  deleteRange(request: DeleteRangeRequest): string {
    return (
      this.#key("key", request.key) +
      this.#key("range_end", request.rangeEnd) +
      flag("prev_kv", request.prevKV)
    );
  }

  txn(request: TxnRequest): string {
    const compare = request.compare.map((each) => this.#compare(each)).join(" ");
    const success = request.success.map((op) => this.#op(op)).join(" ");
    const failure = request.failure.map((op) => this.#op(op)).join(" ");
    return `compare:<${compare}> success:<${success}> failure:<${failure}>`;
  }

  #op(op: RequestOp): string {
    switch (op.kind) {
      case "range":
        return `request_range:<${this.range(op.range)}> `;
      case "put":
        return `request_put:<${this.put(op.put)}>`;
      case "deleteRange":
        return `request_delete_range:<${this.deleteRange(op.deleteRange)}> `;
      case "txn":
        return `request_txn:<${this.txn(op.txn)}>`;
      default:
        return "";
    }
  }

  #compare(compare: Compare): string {
    return (
      choice("result", CompareResult, compare.result) +
      choice("target", CompareTarget, compare.target) +
      this.#key("key", compare.key) +
      comparedValue(compare) +
      this.#key("range_end", compare.rangeEnd)
    );
  }

  #key(name: string, key: Uint8Array): string {
    if (key.length === 0) return "";
    return this.#showKeys ? `${name}:${quoted(key)} ` : `${name}_size:${key.length} `;
  }
}

function comparedValue({ value }: Compare): string {
  switch (value.kind) {
    case "version":
      return `version:${value.version} `;
    case "createRevision":
      return `create_revision:${value.createRevision} `;
    case "modRevision":
      return `mod_revision:${value.modRevision} `;
    case "value":
      return `value_size:${value.value.length} `;
    case "lease":
      return `lease:${value.lease} `;
    default:
      return "";
  }
}

function counter(name: string, value: number | bigint): string {
  return value === 0 || value === 0n ? "" : `${name}:${value} `;
}

function flag(name: string, isSet: boolean): string {
  return isSet ? `${name}:true ` : "";
}

function choice(name: string, names: { readonly [name: string]: number }, value: number): string {
  if (value === 0) return "";
  const known = Object.entries(names).find(([, number]) => number === value);
  return `${name}:${known?.[0] ?? value} `;
}

/** A bytes field as protobuf's text form has it: printable ASCII as it is, the rest in octal. */
function quoted(bytes: Uint8Array): string {
  const text = latin1FromBytes(bytes).replace(/[^ !#-[\]-~]/g, (character) => {
    const special = ESCAPES.get(character);
    return special ?? `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`;
  });
  return `"${text}"`;
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ['"', '\\"'],
  ["\\", "\\\\"],
]);
