/**
 * The options of a range request that do not need the store: what to ask it for, and how to
 * filter, order and cut what it gave.
 */

import { compareBytes, unreachable } from "@etcd-ts/base";
import { SortOrder, SortTarget } from "@etcd-ts/api";
import type { KeyValue, RangeRequest } from "@etcd-ts/api";
import { withoutValue } from "./stored-key-value.ts";
import type { RangeOptions, RangeResult } from "./types.ts";

/** The part of a request this module looks at. */
export type RangeRequestOptions = Pick<
  RangeRequest,
  | "limit"
  | "revision"
  | "sortOrder"
  | "sortTarget"
  | "keysOnly"
  | "countOnly"
  | "minModRevision"
  | "maxModRevision"
  | "minCreateRevision"
  | "maxCreateRevision"
>;

/** What a response needs besides its header. */
export interface RangeAnswer {
  readonly kvs: KeyValue[];
  /** The limit left pairs out. */
  readonly more: boolean;
  /** Keys in the range, whatever filters and limit. */
  readonly count: number;
}

/**
 * What to ask the store for. The limit is handed down, with one to spare to know if there is more,
 * only if neither an order nor a filter has to see all pairs first.
 */
export function storeRangeOptions(request: RangeRequestOptions): RangeOptions {
  const needsAll = request.sortOrder !== SortOrder.NONE || hasFilters(request);
  return {
    revision: request.revision,
    limit: needsAll || request.limit <= 0 ? 0 : request.limit + 1,
    countOnly: request.countOnly,
    // Values are needed to sort by them.
    keysOnly: request.keysOnly && request.sortTarget !== SortTarget.VALUE,
  };
}

/** Filters, sorts and cuts what `storeRangeOptions` brought. `result.kvs` is not changed. */
export function applyRangeOptions(request: RangeRequestOptions, result: RangeResult): RangeAnswer {
  if (request.countOnly) return { kvs: [], more: false, count: result.count };
  let { kvs } = result;
  if (hasFilters(request)) kvs = kvs.filter((kv) => passesFilters(request, kv));
  kvs = sorted(request, kvs);
  const more = request.limit > 0 && kvs.length > request.limit;
  if (more) kvs = kvs.slice(0, request.limit);
  if (request.keysOnly) kvs = kvs.map(withoutValue);
  return { kvs, more, count: result.count };
}

function hasFilters(request: RangeRequestOptions): boolean {
  return (
    request.minModRevision !== 0 ||
    request.maxModRevision !== 0 ||
    request.minCreateRevision !== 0 ||
    request.maxCreateRevision !== 0
  );
}

function passesFilters(request: RangeRequestOptions, kv: KeyValue): boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  if (maxModRevision !== 0 && kv.modRevision > maxModRevision) return false;
  if (minModRevision !== 0 && kv.modRevision < minModRevision) return false;
  if (maxCreateRevision !== 0 && kv.createRevision > maxCreateRevision) return false;
  return minCreateRevision === 0 || kv.createRevision >= minCreateRevision;
}

/** Pairs come in key order; any other target sorts upwards if no order is asked for. */
function sorted(request: RangeRequestOptions, kvs: KeyValue[]): KeyValue[] {
  const { sortOrder, sortTarget } = request;
  if (sortTarget === SortTarget.KEY) {
    return sortOrder === SortOrder.DESCEND ? kvs.toReversed() : kvs;
  }
  const compare = comparison(sortTarget);
  if (sortOrder === SortOrder.DESCEND) return kvs.toSorted((a, b) => compare(b, a));
  return kvs.toSorted(compare);
}

function comparison(sortTarget: number): (a: KeyValue, b: KeyValue) => number {
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
      return unreachable(sortTarget as never, "applyRangeOptions: sortTarget");
  }
}
