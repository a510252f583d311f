/**
 * The store as a plain list of changes: slow, and simple enough to be right.
 *
 * It knows each record it would have on disk, so checksums can be worked out from it by the rules
 * they are defined by.
 */

import { crc32c, encodeMessage } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import { encodeRevision } from "../src/index.ts";
import { bytes } from "./harness.ts";

export interface ModelChange {
  readonly main: number;
  readonly sub: number;
  readonly key: string;
  /** Undefined: deleted. */
  readonly kv: KeyValue | undefined;
}

export type ModelOperation =
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly lease: bigint }
  | { readonly kind: "deleteRange"; readonly key: string; readonly end: string };

export type ModelStep =
  | { readonly kind: "txn"; readonly operations: readonly ModelOperation[] }
  | { readonly kind: "compact"; readonly revision: number };

/** Whether `key` is in the range, as the wire has it: end "" for one key, "\0" for no bound. */
export function inRange(key: string, begin: string, end: string): boolean {
  if (end === "") return key === begin;
  return key >= begin && (end === "\0" || key < end);
}

export class MvccModel {
  changes: ModelChange[] = [];
  currentRevision = 1;
  compactRevision = -1;

  apply(step: ModelStep): void {
    if (step.kind === "compact") {
      this.compactRevision = step.revision;
      return;
    }
    const main = this.currentRevision + 1;
    let sub = 0;
    for (const operation of step.operations) {
      if (operation.kind === "put") {
        const { key, value, lease } = operation;
        const before = this.#latest(key, main);
        const kv = {
          key: bytes(key),
          createRevision: before === undefined ? main : before.createRevision,
          modRevision: main,
          version: before === undefined ? 1 : before.version + 1,
          value: bytes(value),
          lease,
          encoded: undefined,
        };
        this.changes.push({ main, sub: sub++, key, kv });
        continue;
      }
      const gone = this.live(main).filter(([key]) => inRange(key, operation.key, operation.end));
      for (const [key] of gone) this.changes.push({ main, sub: sub++, key, kv: undefined });
    }
    if (sub > 0) this.currentRevision = main;
  }

  /** Keys that exist at `revision`, in order. */
  live(revision: number): [string, KeyValue][] {
    const state = new Map<string, KeyValue>();
    for (const { main, key, kv } of this.changes) {
      if (main > revision) break;
      if (kv === undefined) state.delete(key);
      else state.set(key, kv);
    }
    return [...state].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }

  leases(): [string, bigint][] {
    return this.live(this.currentRevision)
      .filter(([, kv]) => kv.lease !== 0n)
      .map(([key, kv]): [string, bigint] => [key, kv.lease]);
  }

  /** HashKV once every compaction has finished. */
  hash(revision: number): number {
    const kept = new Set(this.live(revision).map(([, kv]) => kv));
    return this.#hash(this.#retained(this.compactRevision), revision, this.compactRevision, kept);
  }

  /** What a compaction at `revision` hashes, when the one before has finished. */
  compactionHash(revision: number): number {
    const kept = new Set<KeyValue | undefined>(this.live(revision).map(([, kv]) => kv));
    const hasTombstone = this.changes.some(
      ({ main, key, kv }) =>
        main === revision && kv === undefined && this.#latestChange(key, revision)?.main === main,
    );
    if (hasTombstone) kept.add(undefined);
    return this.#hash(this.#retained(this.compactRevision), revision, this.compactRevision, kept);
  }

  /** The changes a finished compaction at `revision` leaves on disk. */
  #retained(revision: number): ModelChange[] {
    return this.changes.filter((change) => {
      if (change.main > revision) return true;
      if (this.#latestChange(change.key, revision) !== change) return false;
      return change.kv !== undefined || change.main === revision;
    });
  }

  #hash(
    records: readonly ModelChange[],
    revision: number,
    compactRevision: number,
    kept: ReadonlySet<KeyValue | undefined>,
  ): number {
    let crc = crc32c(0, bytes("key"));
    for (const { main, sub, key, kv } of records) {
      if (main > revision) continue;
      if (main <= compactRevision && kept.size > 0 && (kv === undefined || !kept.has(kv))) continue;
      if (kv === undefined && main === compactRevision) continue;
      crc = crc32c(crc, encodeRevision(main, sub, kv === undefined));
      crc = crc32c(crc, encodeMessage(KeyValueCodec, kv ?? tombstone(key)));
    }
    return crc;
  }

  #latest(key: string, revision: number): KeyValue | undefined {
    return this.#latestChange(key, revision)?.kv;
  }

  #latestChange(key: string, revision: number): ModelChange | undefined {
    return this.changes.findLast((change) => change.key === key && change.main <= revision);
  }
}

function tombstone(key: string): KeyValue {
  return {
    key: bytes(key),
    createRevision: 0,
    modRevision: 0,
    version: 0,
    value: new Uint8Array(0),
    lease: 0n,
    encoded: undefined,
  };
}
