/**
 * The KV service: checks what a request alone can tell, hands it to the member, and answers with
 * what comes back. This is the way of most requests, so it makes nothing but its completion.
 */

import { encodeTxnInChunks, isLongTxnResponse, KV, rpcErrorFrom } from "@etcd-ts/api";
import type {
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  ResponseOp,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";
import { yieldTurn } from "@etcd-ts/base";
import type { Clock, EtcdError } from "@etcd-ts/base";
import {
  checkDeleteRangeRequest,
  checkPutRequest,
  checkRangeRequest,
  checkTxnRequest,
  INTERNAL_CONTEXT,
  isReadOnlyTxn,
} from "@etcd-ts/etcdserver";
import type { Completion, EncodedRangeResponse } from "@etcd-ts/etcdserver";
import type { UnaryCall, UnaryHandler } from "@etcd-ts/rpc";

import { GetBatch } from "./get-batch.ts";
import { contextOf } from "./headers.ts";
import type { ServiceParts } from "./parts.ts";
import { WriteBatch } from "./write-batch.ts";

export function registerKV(parts: ServiceParts): void {
  const { table, server, config, clock } = parts;
  const range: UnaryHandler<RangeRequest, RangeResponse> = (request, call) => {
    if (refuse(call, checkRangeRequest(request))) return;
    const context = contextOf(call);
    const isList = request.rangeEnd.length > 0 && !request.countOnly;
    if (isList) server.rangeEncoded(request, context, answerEncoded(call));
    else server.range(request, context, answer(call));
  };
  const gets = new GetBatch(server, config.warningUnaryRequestDurationMs);
  table.unary(KV.Range, range, gets);
  const slowMs = config.warningUnaryRequestDurationMs;
  const puts = new WriteBatch<PutRequest, PutResponse>({
    method: KV.Put,
    clock,
    slowMs,
    isUnusual: (request) => checkPutRequest(request) !== undefined,
    write: (request, done) => server.put(request, INTERNAL_CONTEXT, done),
    isLong: ({ prevKV }) => prevKV !== undefined,
    answer,
  });
  const put: UnaryHandler<PutRequest, PutResponse> = (request, call) => {
    if (refuse(call, checkPutRequest(request))) return;
    server.put(request, contextOf(call), answer(call));
  };
  table.unary(KV.Put, put, puts);
  table.unary(KV.DeleteRange, (request, call) => {
    if (refuse(call, checkDeleteRangeRequest(request))) return;
    server.deleteRange(request, contextOf(call), answer(call));
  });
  const txns = new WriteBatch<TxnRequest, TxnResponse>({
    method: KV.Txn,
    clock,
    slowMs,
    isUnusual: (request) =>
      isReadOnlyTxn(request) || checkTxnRequest(request, config.txnOpsMax) !== undefined,
    write: (request, done) => server.txn(request, INTERNAL_CONTEXT, done),
    isLong: ({ responses }) => responses.some(hasPairs),
    answer: (call) => answerTxn(call, clock),
  });
  const txn: UnaryHandler<TxnRequest, TxnResponse> = (request, call) => {
    if (refuse(call, checkTxnRequest(request, config.txnOpsMax))) return;
    server.txn(request, contextOf(call), answerTxn(call, clock));
  };
  table.unary(KV.Txn, txn, txns);
  table.unary(KV.Compact, (request, call) => {
    server.compact(request, contextOf(call), answer(call));
  });
}

/** Whether it may hold more than a few numbers. */
function hasPairs(op: ResponseOp): boolean {
  switch (op.kind) {
    case "put":
      return op.put.prevKV !== undefined;
    case "deleteRange":
      return op.deleteRange.prevKVs.length > 0;
    default:
      return op.kind !== "none";
  }
}

/** Fails the call if there is a reason to; whether it did. */
function refuse(call: UnaryCall<never>, refusal: EtcdError | undefined): boolean {
  if (refusal === undefined) return false;
  call.fail(rpcErrorFrom(refusal));
  return true;
}

function answerEncoded(call: UnaryCall<RangeResponse>): Completion<EncodedRangeResponse> {
  return (error, response) => {
    if (response === undefined) {
      call.fail(rpcErrorFrom(error));
      return;
    }
    call.response = response;
    call.respondEncoded(response.message);
  };
}

/** Long answers are encoded in slices. */
function answerTxn(call: UnaryCall<TxnResponse>, clock: Clock): Completion<TxnResponse> {
  return (error, response) => {
    if (response === undefined) {
      call.fail(rpcErrorFrom(error));
      return;
    }
    if (!isLongTxnResponse(response)) {
      call.respond(response);
      return;
    }
    call.response = response;
    encodeTxnInChunks(response, () => yieldTurn(clock)).then(
      (encoded) => call.respondEncoded(encoded),
      (cause: unknown) => call.fail(rpcErrorFrom(cause)),
    );
  };
}

function answer<O>(call: UnaryCall<O>): Completion<O> {
  return (error, response) => {
    if (error === undefined) call.respond(response as O);
    else call.fail(rpcErrorFrom(error));
  };
}
