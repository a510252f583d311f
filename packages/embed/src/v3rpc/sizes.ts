/** How many bytes messages take on the wire, without encoding what is large in them. */

import { EventType, KeyValueCodec, ResponseHeaderCodec } from "@etcd-ts/api";
import type {
  DeleteRangeResponse,
  Event,
  KeyValue,
  PutResponse,
  RangeResponse,
  ResponseHeader,
  ResponseOp,
  TxnResponse,
} from "@etcd-ts/api";
import { encodeMessage, unreachable, varintLength } from "@etcd-ts/base";

/** A message or bytes field with a number below 16. */
export function fieldBytes(contentBytes: number): number {
  return 1 + varintLength(contentBytes) + contentBytes;
}

export function keyValueBytes(kv: KeyValue): number {
  return kv.encoded?.length ?? encodeMessage(KeyValueCodec, kv).length;
}

/** As an element of `WatchResponse.events`. */
export function eventFieldBytes(event: Event): number {
  let bytes = event.type === EventType.PUT ? 0 : 1 + varintLength(event.type);
  if (event.kv !== undefined) bytes += fieldBytes(keyValueBytes(event.kv));
  if (event.prevKV !== undefined) bytes += fieldBytes(keyValueBytes(event.prevKV));
  return fieldBytes(bytes);
}

export function rangeResponseBytes(response: RangeResponse): number {
  let bytes = headerFieldBytes(response.header) + keyValueFields(response.kvs);
  if (response.more) bytes += 2;
  if (response.count > 0) bytes += 1 + varintLength(response.count);
  return bytes;
}

export function putResponseBytes({ header, prevKV }: PutResponse): number {
  return headerFieldBytes(header) + (prevKV === undefined ? 0 : fieldBytes(keyValueBytes(prevKV)));
}

export function deleteRangeResponseBytes(response: DeleteRangeResponse): number {
  const { header, deleted, prevKVs } = response;
  const counter = deleted > 0 ? 1 + varintLength(deleted) : 0;
  return headerFieldBytes(header) + counter + keyValueFields(prevKVs);
}

export function txnResponseBytes(response: TxnResponse): number {
  let bytes = headerFieldBytes(response.header) + (response.succeeded ? 2 : 0);
  for (const op of response.responses) bytes += fieldBytes(fieldBytes(responseOpBytes(op)));
  return bytes;
}

function responseOpBytes(op: ResponseOp): number {
  switch (op.kind) {
    case "range":
      return rangeResponseBytes(op.range);
    case "put":
      return putResponseBytes(op.put);
    case "deleteRange":
      return deleteRangeResponseBytes(op.deleteRange);
    case "txn":
      return txnResponseBytes(op.txn);
    case "none":
      return 0;
    default:
      return unreachable(op, "responseOpBytes");
  }
}

function headerFieldBytes(header: ResponseHeader | undefined): number {
  return header === undefined ? 0 : fieldBytes(encodeMessage(ResponseHeaderCodec, header).length);
}

function keyValueFields(kvs: readonly KeyValue[]): number {
  let bytes = 0;
  for (const kv of kvs) bytes += fieldBytes(keyValueBytes(kv));
  return bytes;
}
