/** The key space as a client may think of it: small, slow and plain. */

import type { Change } from "./revision-ledger.ts";

export interface Pair {
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: bigint;
}

export interface KeySpace {
  readonly revision: number;
  readonly pairs: ReadonlyMap<string, Pair>;
}

export const EMPTY_KEY_SPACE: KeySpace = { revision: 1, pairs: new Map() };

export interface Write {
  readonly key: string;
  /** Undefined: delete. */
  readonly value: string | undefined;
  readonly lease: bigint;
}

export type Request =
  | {
      readonly kind: "write";
      /** Nothing happens unless the key was last changed at this revision; 0: is not there. */
      readonly condition: { readonly key: string; readonly modRevision: number } | undefined;
      readonly writes: readonly Write[];
    }
  /** All keys, or one. */
  | { readonly kind: "read"; readonly key: string | undefined }
  /** The end of a lease, asked for or by time. */
  | { readonly kind: "endLease"; readonly lease: bigint };

/** What the request changes in that state; empty if nothing. */
export function changesOf(state: KeySpace, request: Request): Change[] {
  switch (request.kind) {
    case "read":
      return [];
    case "endLease":
      return [...state.pairs]
        .filter(([, { lease }]) => lease === request.lease)
        .map(([key]) => ({ key, value: undefined }));
    case "write": {
      const { condition } = request;
      if (
        condition !== undefined &&
        modRevisionOf(state, condition.key) !== condition.modRevision
      ) {
        return [];
      }
      return request.writes.filter(({ key, value }) => value !== undefined || state.pairs.has(key));
    }
  }
}

/** The state after the request, which changes something. */
export function afterRequest(state: KeySpace, request: Request): KeySpace {
  const revision = state.revision + 1;
  const pairs = new Map(state.pairs);
  const leases = new Map(
    request.kind === "write" ? request.writes.map(({ key, lease }) => [key, lease]) : [],
  );
  for (const { key, value } of changesOf(state, request)) {
    const old = state.pairs.get(key);
    if (value === undefined) pairs.delete(key);
    else {
      pairs.set(key, {
        value,
        createRevision: old?.createRevision ?? revision,
        modRevision: revision,
        version: (old?.version ?? 0) + 1,
        lease: leases.get(key) ?? 0n,
      });
    }
  }
  return { revision, pairs };
}

export function modRevisionOf(state: KeySpace, key: string): number {
  return state.pairs.get(key)?.modRevision ?? 0;
}

/** What a read of `key`, or of all keys, gives: comparable as text. */
export function readText(state: KeySpace, key: string | undefined): string {
  return [...state.pairs]
    .filter(([name]) => key === undefined || name === key)
    .map(([name, pair]) => pairText(name, pair))
    .sort()
    .join(" ");
}

export function pairText(key: string, pair: Pair): string {
  const { value, createRevision, modRevision, version, lease } = pair;
  return `${key}=${value}@${createRevision}/${modRevision}/${version}/${lease}`;
}
