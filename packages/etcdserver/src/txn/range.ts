/**
 * RangeRequest on top of the store's ranges: revision filters, orders other than by key, limit.
 *
 * Invariants:
 * - `count` is the number of keys in the range, whatever filters and limit take away.
 * - The limit is pushed down to the store only when nothing after it could change the choice: with
 *   an order given, or a filter, everything is read first. A sort target without an order is not
 *   "an order given", so it sorts only the first `limit + 1` keys: etcd's rule.
 */

import { compareBytes, EMPTY_BYTES, yieldTurn } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";
import { SortOrder, SortTarget } from "@etcd-ts/api";
import type { KeyValue, RangeRequest, RangeResponse, ResponseHeader } from "@etcd-ts/api";
import type { RangeOptions, RangeResult, ReadTxn } from "@etcd-ts/storage";

/** How long a sort may run before others get their turn: 16 Ki comparisons of short keys. */
const SORT_RUN_LENGTH = 8192;

/** A header as operations inside a transaction carry it. */
export function revisionHeader(revision: number): ResponseHeader {
  return { clusterID: 0n, memberID: 0n, revision, raftTerm: 0 };
}

/** What to ask the store for. */
export function rangeOptions(request: RangeRequest): RangeOptions {
  return {
    revision: request.revision,
    // One more than asked for tells whether there is more.
    limit: request.limit > 0 && !readsAll(request) ? request.limit + 1 : 0,
    countOnly: request.countOnly,
    keysOnly: request.keysOnly && !sortsByValue(request),
  };
}

function readsAll(request: RangeRequest): boolean {
  return request.sortOrder !== SortOrder.NONE || hasFilters(request);
}

function hasFilters(request: RangeRequest): boolean {
  return (
    request.minModRevision !== 0 ||
    request.maxModRevision !== 0 ||
    request.minCreateRevision !== 0 ||
    request.maxCreateRevision !== 0
  );
}

function sortsByValue(request: RangeRequest): boolean {
  return request.sortTarget === SortTarget.VALUE;
}

/** Whether pairs are wanted just as the store has them, in its own order. */
export function isPlainRange(request: RangeRequest): boolean {
  return !request.countOnly && !readsAll(request) && comparator(request) === undefined;
}

/** Makes a response's header of the revision that was read at. */
export type HeaderOf = (revision: number) => ResponseHeader;

/** Runs `request` on a transaction, in this turn. @throws {ServerError} compacted, future */
export function executeRange(
  txn: Pick<ReadTxn, "range">,
  request: RangeRequest,
  headerOf: HeaderOf = revisionHeader,
): RangeResponse {
  const result = txn.range(request.key, request.rangeEnd, rangeOptions(request));
  const kvs = filtered(result.kvs, request);
  const order = comparator(request);
  if (order !== undefined) kvs.sort(order);
  return assemble(request, result, kvs, headerOf);
}

/** The same on a result already read, giving up the turn between slices of a long sort. */
export async function finishRange(
  request: RangeRequest,
  result: RangeResult,
  clock: Clock,
  headerOf: HeaderOf = revisionHeader,
): Promise<RangeResponse> {
  const kvs = filtered(result.kvs, request);
  const order = comparator(request);
  const sorted = order === undefined ? kvs : await sortInSlices(kvs, order, clock);
  return assemble(request, result, sorted, headerOf);
}

function filtered(kvs: KeyValue[], request: RangeRequest): KeyValue[] {
  if (!hasFilters(request)) return kvs;
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  return kvs.filter(
    (kv) =>
      (maxModRevision === 0 || kv.modRevision <= maxModRevision) &&
      (minModRevision === 0 || kv.modRevision >= minModRevision) &&
      (maxCreateRevision === 0 || kv.createRevision <= maxCreateRevision) &&
      (minCreateRevision === 0 || kv.createRevision >= minCreateRevision),
  );
}

type Order = (a: KeyValue, b: KeyValue) => number;

/** Undefined: the store's own order, by key, is the one asked for. */
function comparator(request: RangeRequest): Order | undefined {
  const { sortTarget } = request;
  const descends = request.sortOrder === SortOrder.DESCEND;
  if (sortTarget === SortTarget.KEY && !descends) return undefined;
  const ascending = ascendingBy(sortTarget);
  return descends ? (a, b) => ascending(b, a) : ascending;
}

function ascendingBy(sortTarget: number): Order {
  switch (sortTarget) {
    case SortTarget.VERSION:
      return (a, b) => a.version - b.version;
    case SortTarget.CREATE:
      return (a, b) => a.createRevision - b.createRevision;
    case SortTarget.MOD:
      return (a, b) => a.modRevision - b.modRevision;
    case SortTarget.VALUE:
      return (a, b) => compareBytes(a.value, b.value);
    default:
      return (a, b) => compareBytes(a.key, b.key);
  }
}

function assemble(
  request: RangeRequest,
  result: RangeResult,
  all: KeyValue[],
  headerOf: HeaderOf,
): RangeResponse {
  const more = request.limit > 0 && all.length > request.limit;
  let kvs = more ? all.slice(0, request.limit) : all;
  if (request.keysOnly && sortsByValue(request)) kvs = kvs.map(withoutValue);
  return { header: headerOf(result.revision), kvs, more, count: result.count };
}

function withoutValue(kv: KeyValue): KeyValue {
  return {
    key: kv.key,
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    version: kv.version,
    value: EMPTY_BYTES,
    lease: kv.lease,
  };
}

/** Bottom-up merge sort: runs are sorted natively, merges give up the turn as they go. */
async function sortInSlices(kvs: KeyValue[], order: Order, clock: Clock): Promise<KeyValue[]> {
  let runs: KeyValue[][] = [];
  for (let i = 0; i < kvs.length; i += SORT_RUN_LENGTH) {
    if (i > 0) await yieldTurn(clock);
    runs.push(kvs.slice(i, i + SORT_RUN_LENGTH).sort(order));
  }
  while (runs.length > 1) {
    const merged: KeyValue[][] = [];
    for (let i = 0; i < runs.length; i += 2) {
      const right = runs[i + 1];
      merged.push(right === undefined ? runs[i]! : await merge(runs[i]!, right, order, clock));
    }
    runs = merged;
  }
  return runs[0] ?? [];
}

async function merge(
  left: readonly KeyValue[],
  right: readonly KeyValue[],
  order: Order,
  clock: Clock,
): Promise<KeyValue[]> {
  const merged: KeyValue[] = [];
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    const a = left[i];
    const b = right[j];
    if (b === undefined || (a !== undefined && order(a, b) <= 0)) {
      merged.push(a!);
      i++;
    } else {
      merged.push(b);
      j++;
    }
    if (merged.length % (2 * SORT_RUN_LENGTH) === 0) await yieldTurn(clock);
  }
  return merged;
}
