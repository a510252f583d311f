/**
 * What a request must satisfy before anything is done with it: the rules that need no store.
 *
 * Each check returns the error a client gets, or undefined. Order matters where two rules are
 * broken at once: clients see the same one as from etcd.
 */

import { IntervalTree, latin1FromBytes } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import { RPC_ERRORS } from "@etcd-ts/api";
import type {
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from "@etcd-ts/api";

type Refusal = EtcdError | undefined;

const SORT_ORDER_MAX = 2;
const SORT_TARGET_MAX = 4;

export function checkRangeRequest(request: RangeRequest): Refusal {
  if (request.key.length === 0) return RPC_ERRORS.emptyKey;
  if (request.sortOrder < 0 || request.sortOrder > SORT_ORDER_MAX) {
    return RPC_ERRORS.invalidSortOption;
  }
  if (request.sortTarget < 0 || request.sortTarget > SORT_TARGET_MAX) {
    return RPC_ERRORS.invalidSortOption;
  }
  return undefined;
}

export function checkPutRequest(request: PutRequest): Refusal {
  if (request.key.length === 0) return RPC_ERRORS.emptyKey;
  if (request.ignoreValue && request.value.length > 0) return RPC_ERRORS.valueProvided;
  if (request.ignoreLease && request.lease !== 0n) return RPC_ERRORS.leaseProvided;
  return undefined;
}

export function checkDeleteRangeRequest(request: DeleteRangeRequest): Refusal {
  return request.key.length === 0 ? RPC_ERRORS.emptyKey : undefined;
}

/**
 * Sizes and shapes of the whole tree first, then keys written twice.
 *
 * @param maxTxnOps - bounds the longest list of a transaction; what it leaves is the bound of the
 *   transactions inside it
 */
export function checkTxnRequest(request: TxnRequest, maxTxnOps: number): Refusal {
  const refusal = checkTxnShape(request, maxTxnOps);
  if (refusal !== undefined) return refusal;
  // The two branches never run together, so each stands alone.
  const clashes =
    (mayClash(request.success) && collectWrites(request.success) === undefined) ||
    (mayClash(request.failure) && collectWrites(request.failure) === undefined);
  return clashes ? RPC_ERRORS.duplicateKey : undefined;
}

/** Most transactions have one operation, which writes no key twice. */
function mayClash(ops: readonly RequestOp[]): boolean {
  return ops.length > 1 || ops[0]?.kind === "txn";
}

function checkTxnShape(request: TxnRequest, maxTxnOps: number): Refusal {
  const longest = Math.max(request.compare.length, request.success.length, request.failure.length);
  if (longest > maxTxnOps) return RPC_ERRORS.tooManyOps;
  for (const { key } of request.compare) if (key.length === 0) return RPC_ERRORS.emptyKey;
  return (
    checkRequestOps(request.success, maxTxnOps - longest) ??
    checkRequestOps(request.failure, maxTxnOps - longest)
  );
}

function checkRequestOps(ops: readonly RequestOp[], maxTxnOps: number): Refusal {
  for (const op of ops) {
    const refusal = checkRequestOp(op, maxTxnOps);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function checkRequestOp(op: RequestOp, maxTxnOps: number): Refusal {
  switch (op.kind) {
    case "range":
      return checkRangeRequest(op.range);
    case "put":
      return checkPutRequest(op.put);
    case "deleteRange":
      return checkDeleteRangeRequest(op.deleteRange);
    case "txn":
      return checkTxnShape(op.txn, maxTxnOps);
    default:
      return RPC_ERRORS.keyNotFound;
  }
}

interface Writes {
  readonly puts: Set<string>;
  readonly deletes: DeletedRanges;
}

/**
 * The keys one list of operations may write, or undefined if one of them could be written twice.
 *
 * The deletions of this level count against everything, those of a nested transaction against
 * what comes after it and against the puts of this level. Deletions never clash among themselves,
 * nor do the two branches of one nested transaction.
 */
function collectWrites(ops: readonly RequestOp[]): Writes | undefined {
  const puts = new Set<string>();
  const deletes = new DeletedRanges();
  for (const op of ops) {
    if (op.kind === "deleteRange") deletes.add(op.deleteRange.key, op.deleteRange.rangeEnd);
  }
  for (const op of ops) {
    if (op.kind === "txn" && !collectNested(op.txn, puts, deletes)) return undefined;
  }
  for (const op of ops) {
    if (op.kind !== "put") continue;
    const key = latin1FromBytes(op.put.key);
    if (puts.has(key) || deletes.has(key)) return undefined;
    puts.add(key);
  }
  return { puts, deletes };
}

/** Adds what `txn` may write to `puts` and `deletes`; false if something is written twice. */
function collectNested(txn: TxnRequest, puts: Set<string>, deletes: DeletedRanges): boolean {
  const success = collectWrites(txn.success);
  const failure = collectWrites(txn.failure);
  if (success === undefined || failure === undefined) return false;
  for (const key of success.puts) {
    if (puts.has(key) || deletes.has(key)) return false;
    puts.add(key);
  }
  for (const key of failure.puts) {
    if ((puts.has(key) && !success.puts.has(key)) || deletes.has(key)) return false;
    puts.add(key);
  }
  deletes.addAll(success.deletes);
  deletes.addAll(failure.deletes);
  return true;
}

/**
 * Ranges taken literally, as [key, rangeEnd): the "all keys from here" form, whose end is one zero
 * byte, covers nothing here. That is etcd's rule, and what it lets through a client may rely on.
 */
class DeletedRanges {
  readonly #ranges: { readonly begin: string; readonly end: string }[] = [];
  #tree: IntervalTree<true> | undefined = undefined;

  add(key: Uint8Array, rangeEnd: Uint8Array): void {
    const begin = latin1FromBytes(key);
    const end = rangeEnd.length === 0 ? `${begin}\0` : latin1FromBytes(rangeEnd);
    if (begin >= end) return;
    this.#ranges.push({ begin, end });
    this.#tree = undefined;
  }

  addAll(other: DeletedRanges): void {
    if (other.#ranges.length === 0) return;
    for (const range of other.#ranges) this.#ranges.push(range);
    this.#tree = undefined;
  }

  has(key: string): boolean {
    if (this.#ranges.length === 0) return false;
    if (this.#tree === undefined) {
      this.#tree = new IntervalTree();
      for (const range of this.#ranges) this.#tree.insert(range.begin, range.end, true);
    }
    return this.#tree.stab(key).length > 0;
  }
}
