/**
 * The writer's transaction: one revision for all its changes.
 *
 * Invariants:
 * - Its changes have revision `core.currentRevision + 1` with sub 0, 1, 2, ...; nobody else reads
 *   above `core.currentRevision`, so nobody sees them before `end`.
 * - A key's stored create revision and version equal the index's.
 */

import { encodeMessage, invariant, latin1FromBytes } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import type { Event } from "@etcd-ts/api";
import type { MvccCore } from "./core.ts";
import { keyRangeFrom } from "./key-range.ts";
import { NO_SLOT } from "./key-table.ts";
import { encodeRevision } from "./revision.ts";
import { deletedKeyValue, eventFromStored } from "./stored-key-value.ts";
import type { RangeOptions, RangeResult, WriteTxn } from "./types.ts";

export class MvccWriteTxn implements WriteTxn {
  readonly revision: number;
  readonly #core: MvccCore;
  readonly #onEnd: (txn: WriteTxn) => void;
  /** What was stored, in order; events are made of it only if somebody asks. */
  readonly #stored: Uint8Array[] = [];
  /** Positions in `#stored` of deletions, ascending. */
  readonly #tombstones: number[] = [];
  #events: readonly Event[] | undefined;
  #ranges = 0;
  #puts = 0;
  #deletes = 0;
  #putBytes = 0;
  #isEnded = false;

  /** @param onEnd - called once, when the changes have become visible */
  constructor(core: MvccCore, onEnd: (txn: WriteTxn) => void) {
    this.#core = core;
    this.#onEnd = onEnd;
    this.revision = core.currentRevision;
  }

  get compactRevision(): number {
    return this.#core.compactRevision;
  }

  get changed(): boolean {
    return this.#stored.length > 0;
  }

  changes(): readonly Event[] {
    if (this.#events?.length === this.#stored.length) return this.#events;
    const main = this.revision + 1;
    let tombstone = 0;
    const events = this.#stored.map((stored, sub) => {
      const isTombstone = this.#tombstones[tombstone] === sub;
      if (isTombstone) tombstone++;
      return eventFromStored({ main, sub, isTombstone }, stored, this.#core.backend.path);
    });
    this.#events = events;
    return events;
  }

  range(key: Uint8Array, rangeEnd: Uint8Array, options: RangeOptions): RangeResult {
    invariant(!this.#isEnded, () => "WriteTxn.range: ended");
    this.#ranges++;
    return this.#core.range(key, rangeEnd, options, this.#newest());
  }

  put(key: Uint8Array, value: Uint8Array, leaseID: bigint): number {
    invariant(!this.#isEnded, () => "WriteTxn.put: ended");
    invariant(key.length > 0, () => "WriteTxn.put: empty key");
    const { index, backend, leases } = this.#core;
    const name = latin1FromBytes(key);
    const main = this.revision + 1;
    const sub = this.#stored.length;
    const slot = index.put(key, main, sub);
    const encoded = encodeMessage(KeyValueCodec, {
      key,
      createRevision: index.createRevision(slot),
      modRevision: main,
      version: index.version(slot),
      value,
      lease: leaseID,
      encoded: undefined,
    });
    backend.put("key", encodeRevision(main, sub), encoded);
    this.#stored.push(encoded);
    this.#core.isWriting = true;
    this.#puts++;
    this.#putBytes += encoded.length;

    const oldLease = leases.leaseOf(name);
    if (oldLease !== leaseID) {
      if (oldLease !== 0n) leases.detach(oldLease, name);
      if (leaseID !== 0n) leases.attach(leaseID, name);
    }
    return main;
  }

  deleteRange(key: Uint8Array, rangeEnd: Uint8Array): { deleted: number; revision: number } {
    invariant(!this.#isEnded, () => "WriteTxn.deleteRange: ended");
    const { index } = this.#core;
    const range = keyRangeFrom(key, rangeEnd);
    const keys: Uint8Array[] = [];
    if (range.isSingle) {
      const slot = index.find(range.begin);
      if (slot !== NO_SLOT && index.isLive(slot)) keys.push(range.begin);
    } else {
      index.visit(range.begin, range.end, (slot) => {
        if (index.isLive(slot)) keys.push(index.keyOf(slot));
        return true;
      });
    }
    for (const each of keys) this.#delete(each);
    this.#deletes++;
    return { deleted: keys.length, revision: this.#newest() };
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const { metrics } = this.#core;
    if (this.changed) this.#core.currentRevision = this.revision + 1;
    this.#core.isWriting = false;
    if (this.#ranges + this.#puts + this.#deletes > 1) metrics.txnTotal.inc();
    if (this.#puts > 0) metrics.putTotal.inc(this.#puts);
    if (this.#deletes > 0) metrics.deleteTotal.inc(this.#deletes);
    if (this.#putBytes > 0) metrics.totalPutBytes.add(this.#putBytes);
    this.#onEnd(this);
  }

  #newest(): number {
    return this.changed ? this.revision + 1 : this.revision;
  }

  #delete(key: Uint8Array): void {
    const { index, backend, leases } = this.#core;
    const main = this.revision + 1;
    const sub = this.#stored.length;
    const isDeleted = index.tombstone(key, main, sub);
    invariant(isDeleted, () => `WriteTxn.deleteRange: a key vanished at ${main}.${sub}`);
    const stored = encodeMessage(KeyValueCodec, deletedKeyValue(key, 0));
    backend.put("key", encodeRevision(main, sub, true), stored);
    this.#tombstones.push(sub);
    this.#stored.push(stored);
    this.#core.isWriting = true;
    const name = latin1FromBytes(key);
    const lease = leases.leaseOf(name);
    if (lease !== 0n) leases.detach(lease, name);
  }
}
