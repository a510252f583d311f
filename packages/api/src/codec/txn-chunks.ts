/**
 * Responses whose lists are too long to be encoded in one turn, in chunks.
 *
 * Invariant: the chunks joined are what `TxnResponseCodec` writes for the same response.
 */

import { encodeMessage, WireWriter } from "@etcd-ts/base";

import { writeBool, writeMessage } from "./fields.ts";
import type { KeyValue } from "./key-value.ts";
import type { RangeResponse } from "./kv.ts";
import { RangeChunks } from "./range-chunks.ts";
import type { EncodedChunks } from "./range-chunks.ts";
import { ResponseHeaderCodec } from "./response-header.ts";
import { ResponseOpCodec } from "./txn.ts";
import type { ResponseOp, TxnResponse } from "./txn.ts";

/** A response above this is better encoded in chunks: a millisecond's work. */
const LONG_BYTES = 512 * 1024;
/** Copied between two pauses: a few milliseconds, whether it is small pairs or large ones. */
const RUN_BYTES = 2 * 1024 * 1024;
/** What a pair is taken to cost besides its value. */
const PAIR_BYTES = 256;

/** TxnResponse.responses, ResponseOp.response_range, ResponseOp.response_txn. */
const RESPONSES_FIELD = 3;
const RANGE_FIELD = 1;
const TXN_FIELD = 4;

/** Lets other work run. */
export type Pause = () => Promise<void>;

/** Whether ranges in `response` hold so much that `encodeTxnInChunks` should encode it. */
export function isLongTxnResponse(response: TxnResponse): boolean {
  return rangeBytes(response, 0) > LONG_BYTES;
}

function rangeBytes({ responses }: TxnResponse, before: number): number {
  let bytes = before;
  for (const op of responses) {
    if (op.kind === "txn") bytes = rangeBytes(op.txn, bytes);
    if (op.kind !== "range") continue;
    for (const kv of op.range.kvs) {
      bytes += PAIR_BYTES + kv.value.length;
      if (bytes > LONG_BYTES) return bytes;
    }
  }
  return bytes;
}

export async function encodeTxnInChunks(
  response: TxnResponse,
  pause: Pause,
): Promise<EncodedChunks> {
  const head = new WireWriter(64);
  writeMessage(head, 1, ResponseHeaderCodec, response.header);
  writeBool(head, 2, response.succeeded);
  const chunks = [head.finish()];
  for (const op of response.responses) {
    const encoded = field(RESPONSES_FIELD, await encodeOp(op, pause));
    // Not spread into one call: a list may have more chunks than a call takes arguments.
    for (const chunk of encoded.chunks) chunks.push(chunk);
  }
  return joined(chunks);
}

async function encodeOp(op: ResponseOp, pause: Pause): Promise<EncodedChunks> {
  if (op.kind === "range") return field(RANGE_FIELD, await encodeRange(op.range, pause));
  if (op.kind === "txn") return field(TXN_FIELD, await encodeTxnInChunks(op.txn, pause));
  return joined([encodeMessage(ResponseOpCodec, op)]);
}

async function encodeRange(response: RangeResponse, pause: Pause): Promise<EncodedChunks> {
  const pairs = await encodePairs(response.kvs, pause);
  return pairs.finish(response.header, response.more, response.count);
}

/** The pairs of a response in wire form, with a pause now and then. */
export async function encodePairs(kvs: readonly KeyValue[], pause: Pause): Promise<RangeChunks> {
  const pairs = new RangeChunks();
  let bytes = 0;
  for (const kv of kvs) {
    pairs.add(kv);
    bytes += PAIR_BYTES + kv.value.length;
    if (bytes < RUN_BYTES) continue;
    bytes = 0;
    await pause();
  }
  return pairs;
}

/** A nested message as a field. */
function field(number: number, message: EncodedChunks): EncodedChunks {
  const prefix = new WireWriter(16);
  prefix.tag(number, 2);
  prefix.varint(message.bytes);
  return joined([prefix.finish(), ...message.chunks]);
}

function joined(chunks: Uint8Array[]): EncodedChunks {
  let bytes = 0;
  for (const chunk of chunks) bytes += chunk.length;
  return { bytes, chunks };
}
