/**
 * The KV service: checks what a request alone can tell, hands it to the member, and answers with
 * what comes back. This is the way of most requests, so it makes nothing but its completion.
 */

import { encodeTxnInChunks, isLongTxnResponse, KV, rpcErrorFrom } from "@etcd-ts/api";
import type { RangeResponse, TxnResponse } from "@etcd-ts/api";
import { yieldTurn } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import {
  checkDeleteRangeRequest,
  checkPutRequest,
  checkRangeRequest,
  checkTxnRequest,
} from "@etcd-ts/etcdserver";
import type { Completion, EncodedRangeResponse } from "@etcd-ts/etcdserver";
import type { UnaryCall } from "@etcd-ts/rpc";

import { contextOf } from "./headers.ts";
import type { ServiceParts } from "./parts.ts";
import type { RequestLog } from "./request-log.ts";

export function registerKV(parts: ServiceParts): void {
  const { table, server, config, requestLog } = parts;
  table.unary(KV.Range, (request, call) => {
    if (refuse(call, checkRangeRequest(request))) return;
    const context = contextOf(call);
    const isList = request.rangeEnd.length > 0 && !request.countOnly;
    if (isList) server.rangeEncoded(request, context, answerEncoded(call, requestLog));
    else server.range(request, context, answerLogged(call, requestLog));
  });
  table.unary(KV.Put, (request, call) => {
    if (refuse(call, checkPutRequest(request))) return;
    server.put(request, contextOf(call), answerLogged(call, requestLog));
  });
  table.unary(KV.DeleteRange, (request, call) => {
    if (refuse(call, checkDeleteRangeRequest(request))) return;
    server.deleteRange(request, contextOf(call), answerLogged(call, requestLog));
  });
  table.unary(KV.Txn, (request, call) => {
    if (refuse(call, checkTxnRequest(request, config.txnOpsMax))) return;
    server.txn(request, contextOf(call), answerTxn(call, parts));
  });
  table.unary(KV.Compact, (request, call) => {
    server.compact(request, contextOf(call), answerLogged(call, requestLog));
  });
}

/** Fails the call if there is a reason to; whether it did. */
function refuse(call: UnaryCall<never>, refusal: EtcdError | undefined): boolean {
  if (refusal === undefined) return false;
  call.fail(rpcErrorFrom(refusal));
  return true;
}

function answerEncoded(
  call: UnaryCall<RangeResponse>,
  requestLog: RequestLog,
): Completion<EncodedRangeResponse> {
  return (error, response) => {
    if (response === undefined) {
      call.fail(rpcErrorFrom(error));
      return;
    }
    requestLog.noteResponse(call, response);
    call.respondEncoded(response.message);
  };
}

/** Long answers are encoded in slices. */
function answerTxn(call: UnaryCall<TxnResponse>, parts: ServiceParts): Completion<TxnResponse> {
  const { requestLog, clock } = parts;
  const answer = answerLogged(call, requestLog);
  return (error, response) => {
    if (response === undefined || !isLongTxnResponse(response)) {
      answer(error, response);
      return;
    }
    requestLog.noteResponse(call, response);
    encodeTxnInChunks(response, () => yieldTurn(clock)).then(
      (encoded) => call.respondEncoded(encoded),
      (cause: unknown) => call.fail(rpcErrorFrom(cause)),
    );
  };
}

function answerLogged<O>(call: UnaryCall<O>, requestLog: RequestLog): Completion<O> {
  return (error, response) => {
    if (error !== undefined) {
      call.fail(rpcErrorFrom(error));
      return;
    }
    requestLog.noteResponse(call, response);
    call.respond(response as O);
  };
}
