/**
 * Puts, deletions and transactions against the store, as apply runs them.
 *
 * Invariants:
 * - Which branch of every transaction in the tree runs is settled on the state before the first
 *   change, and so are the preconditions of the chosen operations: what can fail fails with no
 *   effect. A failure after the first change would leave half a transaction, so it is an
 *   `InvariantError` and stops the member.
 * - All changes of one request share one revision.
 */

import { compareBytes, EtcdError, invariant, InvariantError, unreachable } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import type {
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RequestOp,
  ResponseOp,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";
import type { MvccStore, RangeResult, ReadTxn, WriteTxn } from "@etcd-ts/storage";

import { holds, READ_ALL } from "./compare.ts";
import { executeRange, finishRange, rangeOptions, revisionHeader } from "./range.ts";

const ONE_KEY: Uint8Array = new Uint8Array(0);

/** Whether a lease exists; the part of the lessor that transactions ask. */
export interface LeaseLookup {
  has(leaseID: bigint): boolean;
}

/** For transactions without puts. */
const NO_LEASES: LeaseLookup = { has: () => false };

/** @throws {ServerError} lease not found, key not found: nothing has changed then */
export function executePut(
  store: MvccStore,
  leases: LeaseLookup,
  request: PutRequest,
): PutResponse {
  if (request.lease !== 0n && !leases.has(request.lease)) throw SERVER_ERRORS.leaseNotFound;
  const txn = store.write();
  try {
    return put(txn, request);
  } finally {
    txn.end();
  }
}

export function executeDeleteRange(
  store: MvccStore,
  request: DeleteRangeRequest,
): DeleteRangeResponse {
  const txn = store.write();
  try {
    return deleteRange(txn, request);
  } finally {
    txn.end();
  }
}

/**
 * Runs a transaction that may write.
 *
 * @throws {ServerError} a precondition does not hold: nothing has changed then
 */
export function executeTxn(
  store: MvccStore,
  leases: LeaseLookup,
  request: TxnRequest,
): TxnResponse {
  const txn = store.write();
  try {
    const plan = choose(txn, request);
    check(txn, leases, plan);
    return runWrites(txn, plan);
  } finally {
    txn.end();
  }
}

/** Runs a transaction of ranges only. @throws {ServerError} compacted, future revision */
export function executeReadOnlyTxn(store: MvccStore, request: TxnRequest): TxnResponse {
  const txn = store.readTxn();
  try {
    const { succeeded, ranges } = chooseRanges(txn, request);
    const responses = ranges.map((range): ResponseOp => ({
      kind: "range",
      range: executeRange(txn, range),
    }));
    return { header: revisionHeader(txn.revision), succeeded, responses };
  } finally {
    txn.end();
  }
}

/** The same at one revision, giving up the turn where ranges are long. */
export async function executeReadOnlyTxnSliced(
  store: MvccStore,
  request: TxnRequest,
  clock: Clock,
): Promise<TxnResponse> {
  const txn = store.readTxn();
  try {
    const { succeeded, ranges } = chooseRanges(txn, request);
    const header = revisionHeader(txn.revision);
    const responses: ResponseOp[] = [];
    for (const range of ranges) {
      const result = await readSliced(store, txn, range);
      const response = await finishRange(range, result, clock);
      responses.push({ kind: "range", range: { ...response, header } });
    }
    return { header, succeeded, responses };
  } finally {
    txn.end();
  }
}

async function readSliced(
  store: MvccStore,
  txn: ReadTxn,
  request: RangeRequest,
): Promise<RangeResult> {
  const { key, rangeEnd } = request;
  const options = rangeOptions(request);
  if (rangeEnd.length === 0) return txn.range(key, rangeEnd, options);
  const revision = options.revision <= 0 ? txn.revision : options.revision;
  try {
    return await store.rangeSliced(key, rangeEnd, { ...options, revision });
  } catch (error) {
    // A compaction went past between two ranges. What the transaction began with it still sees.
    if (error !== SERVER_ERRORS.compacted) throw error;
    return txn.range(key, rangeEnd, options);
  }
}

/** Settles the branch, and that all of its ranges can be read. */
function chooseRanges(
  txn: ReadTxn,
  request: TxnRequest,
): { readonly succeeded: boolean; readonly ranges: RangeRequest[] } {
  const plan = choose(txn, request);
  check(txn, NO_LEASES, plan);
  const ranges = plan.ops.map((op) => {
    invariant(op.kind === "range", () => `executeReadOnlyTxn: ${op.kind}`);
    return op.range;
  });
  return { succeeded: plan.succeeded, ranges };
}

function put(txn: WriteTxn, request: PutRequest): PutResponse {
  let { value, lease } = request;
  let previous;
  if (request.ignoreValue || request.ignoreLease || request.prevKV) {
    previous = txn.range(request.key, ONE_KEY, READ_ALL).kvs[0];
  }
  if (request.ignoreValue || request.ignoreLease) {
    if (previous === undefined) throw SERVER_ERRORS.keyNotFound;
    if (request.ignoreValue) value = previous.value;
    if (request.ignoreLease) lease = previous.lease;
  }
  const revision = txn.put(request.key, value, lease);
  return { header: revisionHeader(revision), prevKV: request.prevKV ? previous : undefined };
}

function deleteRange(txn: WriteTxn, request: DeleteRangeRequest): DeleteRangeResponse {
  const prevKVs = request.prevKV ? txn.range(request.key, request.rangeEnd, READ_ALL).kvs : [];
  const { deleted, revision } = txn.deleteRange(request.key, request.rangeEnd);
  return { header: revisionHeader(revision), deleted, prevKVs };
}

/** A transaction with the branch to run chosen, all the way down. */
interface Plan {
  readonly succeeded: boolean;
  readonly ops: readonly RequestOp[];
  /** The plan of each nested transaction, at the position of its operation; undefined for none. */
  readonly nested: ReadonlyMap<number, Plan> | undefined;
}

function choose(txn: ReadTxn, request: TxnRequest): Plan {
  let succeeded = true;
  for (const compare of request.compare) {
    succeeded = holds(txn, compare);
    if (!succeeded) break;
  }
  const ops = succeeded ? request.success : request.failure;
  let nested: Map<number, Plan> | undefined;
  for (let i = 0; i < ops.length; i++) {
    const op = ops[i]!;
    if (op.kind === "txn") (nested ??= new Map<number, Plan>()).set(i, choose(txn, op.txn));
  }
  return { succeeded, ops, nested };
}

/**
 * @param deletions - those that run before `plan`; the ones in `plan` are added
 * @throws {ServerError} the first precondition that does not hold, in order of execution
 */
function check(
  txn: ReadTxn,
  leases: LeaseLookup,
  plan: Plan,
  deletions: DeleteRangeRequest[] = [],
): void {
  for (let i = 0; i < plan.ops.length; i++) {
    const op = plan.ops[i]!;
    if (op.kind === "range") checkRevision(txn, op.range);
    else if (op.kind === "put") checkPut(txn, leases, op.put, deletions);
    else if (op.kind === "deleteRange") deletions.push(op.deleteRange);
    else if (op.kind === "txn") check(txn, leases, plan.nested!.get(i)!, deletions);
  }
}

function checkRevision(txn: ReadTxn, request: RangeRequest): void {
  if (request.revision === 0) return;
  if (request.revision > txn.revision) throw SERVER_ERRORS.futureRevision;
  if (request.revision < txn.compactRevision) throw SERVER_ERRORS.compacted;
}

function checkPut(
  txn: ReadTxn,
  leases: LeaseLookup,
  request: PutRequest,
  deletions: readonly DeleteRangeRequest[],
): void {
  if (request.ignoreValue || request.ignoreLease) {
    const { kvs } = txn.range(request.key, ONE_KEY, READ_ALL);
    // A deletion of "all keys from here" may take the key away first: the duplicate check lets it
    // pass, and found out later it would leave half a transaction.
    const isDeleted = deletions.some((deletion) => covers(deletion, request.key));
    if (kvs.length === 0 || isDeleted) throw SERVER_ERRORS.keyNotFound;
  }
  if (request.lease !== 0n && !leases.has(request.lease)) throw SERVER_ERRORS.leaseNotFound;
}

function covers({ key: begin, rangeEnd }: DeleteRangeRequest, key: Uint8Array): boolean {
  const order = compareBytes(key, begin);
  if (rangeEnd.length === 0) return order === 0;
  const isUnbounded = rangeEnd.length === 1 && rangeEnd[0] === 0;
  return order >= 0 && (isUnbounded || compareBytes(key, rangeEnd) < 0);
}

function runWrites(txn: WriteTxn, plan: Plan): TxnResponse {
  let responses: ResponseOp[];
  try {
    responses = run(txn, plan);
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    throw new InvariantError(`unexpected error during txn with writes: ${error.message}`);
  }
  const revision = txn.revision + (txn.changed ? 1 : 0);
  return { header: revisionHeader(revision), succeeded: plan.succeeded, responses };
}

function run(txn: WriteTxn, plan: Plan): ResponseOp[] {
  const responses: ResponseOp[] = [];
  for (let i = 0; i < plan.ops.length; i++) {
    responses.push(runOne(txn, plan.ops[i]!, plan.nested?.get(i)));
  }
  return responses;
}

/** @param nested - the plan of `op` if it is a transaction */
function runOne(txn: WriteTxn, op: RequestOp, nested: Plan | undefined): ResponseOp {
  switch (op.kind) {
    case "range":
      return { kind: "range", range: executeRange(txn, op.range) };
    case "put":
      return { kind: "put", put: put(txn, op.put) };
    case "deleteRange":
      return { kind: "deleteRange", deleteRange: deleteRange(txn, op.deleteRange) };
    case "txn": {
      const { succeeded } = nested!;
      // etcd fills in the revision of the outermost header alone.
      const header = revisionHeader(0);
      return { kind: "txn", txn: { header, succeeded, responses: run(txn, nested!) } };
    }
    case "none":
      return { kind: "none" };
    default:
      return unreachable(op, "run");
  }
}

/** Whether every operation is a range; such a transaction needs no log entry. */
export function isReadOnlyTxn(request: TxnRequest): boolean {
  return request.success.every(isRange) && request.failure.every(isRange);
}

function isRange(op: RequestOp): boolean {
  return op.kind === "range";
}

/** Whether a transaction of ranges reads single keys only. */
export function readsKeysOnly(request: TxnRequest): boolean {
  const isOneKey = (op: RequestOp): boolean =>
    op.kind === "range" && op.range.rangeEnd.length === 0;
  return request.success.every(isOneKey) && request.failure.every(isOneKey);
}

/** Whether it may be answered from local state without asking the leader. */
export function isSerializableTxn(request: TxnRequest): boolean {
  const isSerializable = (op: RequestOp): boolean => op.kind === "range" && op.range.serializable;
  return request.success.every(isSerializable) && request.failure.every(isSerializable);
}
