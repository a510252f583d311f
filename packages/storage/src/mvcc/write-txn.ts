/**
 * The writer's transaction: one revision for all its changes.
 *
 * Invariants:
 * - Its changes have revision `core.currentRevision + 1` with sub 0, 1, 2, ...; nobody else reads
 *   above `core.currentRevision`, so nobody sees them before `end`.
 * - A key's stored create revision and version equal the index's.
 */

import { invariant, latin1FromBytes } from "@etcd-ts/base";
import type { Event } from "@etcd-ts/api";
import type { RevisionLog } from "../backend/revision-log.ts";
import type { MvccCore } from "./core.ts";
import { keyRangeFrom } from "./key-range.ts";
import { NO_SLOT } from "./key-table.ts";
import { putBytes, tombstoneBytes, writePut, writeTombstoneHead } from "./record-writer.ts";
import { eventFromStored } from "./stored-key-value.ts";
import type { KeyState, RangeOptions, RangeResult, WriteTxn } from "./types.ts";

export class MvccWriteTxn implements WriteTxn {
  readonly revision: number;
  readonly #core: MvccCore;
  readonly #onEnd: (txn: WriteTxn) => void;
  /** Holds the changes as its last records; events are made of them only if somebody asks. */
  #log: RevisionLog | undefined;
  /** How many changes there are. */
  #changes = 0;
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
    return this.#changes > 0;
  }

  changes(): readonly Event[] {
    if (this.#events?.length === this.#changes) return this.#events;
    const main = this.revision + 1;
    const events: Event[] = [];
    const log = this.#log;
    if (log !== undefined) {
      const first = log.count - this.#changes;
      for (let sub = 0; sub < this.#changes; sub++) {
        const isTombstone = log.isTombstoneAt(first + sub);
        const stored = log.value(first + sub);
        events.push(eventFromStored({ main, sub, isTombstone }, stored, this.#core.backend.path));
      }
    }
    this.#events = events;
    return events;
  }

  range(key: Uint8Array, rangeEnd: Uint8Array, options: RangeOptions): RangeResult {
    invariant(!this.#isEnded, () => "WriteTxn.range: ended");
    this.#ranges++;
    return this.#core.range(key, rangeEnd, options, this.#newest());
  }

  stateOf(key: Uint8Array): KeyState | undefined {
    invariant(!this.#isEnded, () => "WriteTxn.stateOf: ended");
    this.#ranges++;
    return this.#core.stateOf(key, this.#newest());
  }

  put(key: Uint8Array, value: Uint8Array, leaseID: bigint): number {
    invariant(!this.#isEnded, () => "WriteTxn.put: ended");
    invariant(key.length > 0, () => "WriteTxn.put: empty key");
    const { index, backend, leases } = this.#core;
    const main = this.revision + 1;
    const sub = this.#changes;
    const slot = index.put(key, main, sub);
    const record = {
      key,
      createRevision: index.createRevision(slot),
      modRevision: main,
      version: index.version(slot),
      value,
      lease: leaseID,
    };
    const bytes = putBytes(record);
    const log = backend.appendRecord(main, sub, false, bytes);
    writePut(record, log.block, log.offset, bytes);
    this.#log = log;
    this.#changes++;
    this.#core.isWriting = true;
    this.#puts++;
    this.#putBytes += bytes;
    if (leaseID !== 0n || !leases.isEmpty) this.#tie(latin1FromBytes(key), leaseID);
    return main;
  }

  deleteRange(key: Uint8Array, rangeEnd: Uint8Array): { deleted: number; revision: number } {
    invariant(!this.#isEnded, () => "WriteTxn.deleteRange: ended");
    const { index } = this.#core;
    const main = this.revision + 1;
    const before = this.#changes;
    if (rangeEnd.length === 0) {
      const slot = index.tombstone(key, main, before);
      if (slot !== NO_SLOT) this.#store(slot);
    } else {
      const range = keyRangeFrom(key, rangeEnd);
      index.tombstoneRange(range.begin, range.end, main, before, (slot) => this.#store(slot));
    }
    this.#deletes++;
    return { deleted: this.#changes - before, revision: this.#newest() };
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

  /** Stores the deletion of a key that the index has noted as the next change. */
  #store(slot: number): void {
    const { index, backend, leases } = this.#core;
    const main = this.revision + 1;
    const keyBytes = index.keyBytes(slot);
    const log = backend.appendRecord(main, this.#changes, true, tombstoneBytes(keyBytes));
    index.copyKey(slot, log.block, writeTombstoneHead(keyBytes, log.block, log.offset));
    this.#log = log;
    this.#changes++;
    this.#core.isWriting = true;
    if (!leases.isEmpty) this.#tie(latin1FromBytes(index.keyOf(slot)), 0n);
  }

  /** Ties a key to a lease and no other; 0n for none. */
  #tie(name: string, leaseID: bigint): void {
    const { leases } = this.#core;
    const before = leases.leaseOf(name);
    if (before === leaseID) return;
    if (before !== 0n) leases.detach(before, name);
    if (leaseID !== 0n) leases.attach(leaseID, name);
  }
}
