/**
 * A transaction as a client sends it: counted before it is read, because millions of empty
 * operations fit a message and would take the member's time before anything could refuse them.
 *
 * Log entries are not counted: what a cluster has agreed on is read by all its members.
 */

import { WireFormatError, WireReader } from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";

import { TXN_DEPTH_MAX, TxnRequestCodec } from "./txn.ts";
import type { TxnRequest } from "./txn.ts";

/** Comparisons and operations at all depths together, whatever `--max-txn-ops` says. */
export const TXN_PIECES_MAX = 65_536;

/** A tag and a length. */
const PIECE_BYTES_MIN = 2;

const COMPARE = 1;
const SUCCESS = 2;
const FAILURE = 3;
/** Of an operation. */
const REQUEST_TXN = 4;

export const ClientTxnRequestCodec: Codec<TxnRequest> = {
  encode: (message, writer) => TxnRequestCodec.encode(message, writer),
  /** @throws {WireFormatError} also if there are more than `TXN_PIECES_MAX` */
  decode(reader) {
    const { bytes, offset, end } = reader;
    const mayBeTooMany = end - offset > PIECE_BYTES_MIN * TXN_PIECES_MAX;
    if (mayBeTooMany) count(new WireReader(bytes, offset, end), TXN_PIECES_MAX, 0);
    return TxnRequestCodec.decode(reader);
  },
};

/** @returns how many more there may be */
function count(txn: WireReader, left: number, depth: number): number {
  let rest = left;
  while (txn.next()) {
    if (txn.field !== COMPARE && txn.field !== SUCCESS && txn.field !== FAILURE) {
      txn.skip();
      continue;
    }
    if (--rest < 0) {
      throw new WireFormatError(`proto: a transaction of more than ${TXN_PIECES_MAX} operations`);
    }
    if (txn.field === COMPARE) txn.skip();
    else rest = countInside(txn.message(), rest, depth);
  }
  return rest;
}

function countInside(operation: WireReader, left: number, depth: number): number {
  let rest = left;
  while (operation.next()) {
    // Deeper ones are refused by who reads them.
    if (operation.field !== REQUEST_TXN || depth >= TXN_DEPTH_MAX) operation.skip();
    else rest = count(operation.message(), rest, depth + 1);
  }
  return rest;
}
