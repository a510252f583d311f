/**
 * The writer's transaction: one revision for all its changes.
 *
 * Invariants:
 * - Its changes have revision `core.currentRevision + 1` with sub 0, 1, 2, ...; nobody else reads
 *   above `core.currentRevision`, so nobody sees them before `end`.
 * - A key's stored create revision and version equal the index's.
 */

import { bytesFromLatin1, encodeMessage, invariant, latin1FromBytes } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import type { Event } from "@etcd-ts/api";
import type { MvccCore } from "./core.ts";
import { keyRangeFrom } from "./key-range.ts";
import { encodeRevision } from "./revision.ts";
import { deleteEvent, deletedKeyValue, putEvent } from "./stored-key-value.ts";
import type { RangeOptions, RangeResult, WriteTxn } from "./types.ts";

export class MvccWriteTxn implements WriteTxn {
  readonly revision: number;
  readonly #core: MvccCore;
  readonly #onEnd: (changes: readonly Event[]) => void;
  readonly #changes: Event[] = [];
  #ranges = 0;
  #puts = 0;
  #deletes = 0;
  #putBytes = 0;
  #isEnded = false;

  /** @param onEnd - called once, when the changes have become visible */
  constructor(core: MvccCore, onEnd: (changes: readonly Event[]) => void) {
    this.#core = core;
    this.#onEnd = onEnd;
    this.revision = core.currentRevision;
  }

  get compactRevision(): number {
    return this.#core.compactRevision;
  }

  get changed(): boolean {
    return this.#changes.length > 0;
  }

  changes(): readonly Event[] {
    return this.#changes;
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
    const sub = this.#changes.length;
    const record = index.put(name, main, sub);
    const kv = {
      key: key.slice(),
      createRevision: record.createRevision,
      modRevision: main,
      version: record.version,
      value,
      lease: leaseID,
      encoded: undefined,
    };
    const encoded = encodeMessage(KeyValueCodec, kv);
    backend.put("key", encodeRevision(main, sub), encoded);
    this.#changes.push(putEvent({ ...kv, encoded }));
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
    const names: string[] = [];
    if (range.isSingle) {
      const record = index.find(range.begin);
      if (record !== undefined && record.version > 0) names.push(range.begin);
    } else {
      index.visit(range.begin, range.end, (name, record) => {
        if (record.version > 0) names.push(name);
        return true;
      });
    }
    for (const name of names) this.#delete(name);
    this.#deletes++;
    return { deleted: names.length, revision: this.#newest() };
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
    this.#onEnd(this.#changes);
  }

  #newest(): number {
    return this.changed ? this.revision + 1 : this.revision;
  }

  #delete(name: string): void {
    const { index, backend, leases } = this.#core;
    const main = this.revision + 1;
    const sub = this.#changes.length;
    const isDeleted = index.tombstone(name, main, sub);
    invariant(isDeleted, () => `WriteTxn.deleteRange: a key vanished at ${main}.${sub}`);
    const key = bytesFromLatin1(name);
    const stored = encodeMessage(KeyValueCodec, deletedKeyValue(key, 0));
    backend.put("key", encodeRevision(main, sub, true), stored);
    this.#changes.push(deleteEvent(key, main));
    this.#core.isWriting = true;
    const lease = leases.leaseOf(name);
    if (lease !== 0n) leases.detach(lease, name);
  }
}
