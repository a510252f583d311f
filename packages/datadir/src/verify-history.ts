/**
 * The `key` bucket against the rules of the store, by replaying what each record says of its key.
 *
 * Above the compact revision nothing may be missing: revisions follow one another, the changes of
 * a transaction too, and each key's version counts from its creation. Below it a compaction may
 * have taken any record out, so only the order of what is left is checked.
 */

import { decodeRevision } from "@etcd-ts/storage";
import type { RevisionKey } from "@etcd-ts/storage";
import type { ReadTransaction } from "@etcd-ts/bbolt";
import { stepsOf } from "./context.ts";
import type { DataDirectoryContext } from "./context.ts";
import { FINISHED_COMPACT, KEY, SCHEDULED_COMPACT, metaRevision, readRecord } from "./records.ts";
import type { RecordFields } from "./records.ts";
import type { Check } from "./verify-report.ts";

/** What the last record of a key that exists said. */
interface LiveKey {
  readonly createRevision: number;
  readonly version: number;
  readonly lease: bigint;
}

const NEVER_COMPACTED = -1;
/** Revision of a store nothing was written to; the first change has the next. */
const FIRST_REVISION = 1;

export class HistoryCheck {
  readonly #context: DataDirectoryContext;
  readonly #path: string;
  readonly #reader: ReadTransaction;
  readonly #check: Check;
  readonly #live = new Map<string, LiveKey>();
  #compact = NEVER_COMPACTED;
  #main = 0;
  #sub = 0;
  #records = 0;

  constructor(context: DataDirectoryContext, path: string, reader: ReadTransaction, check: Check) {
    this.#context = context;
    this.#path = path;
    this.#reader = reader;
    this.#check = check;
  }

  /** How many existing keys have each lease. */
  leases(): Map<bigint, number> {
    const counts = new Map<bigint, number>();
    for (const { lease } of this.#live.values()) {
      if (lease !== 0n) counts.set(lease, (counts.get(lease) ?? 0) + 1);
    }
    return counts;
  }

  /** @throws {CorruptionError} */
  async run(): Promise<string> {
    const scheduled = metaRevision(this.#reader, SCHEDULED_COMPACT, this.#path) ?? NEVER_COMPACTED;
    const finished = metaRevision(this.#reader, FINISHED_COMPACT, this.#path) ?? NEVER_COMPACTED;
    if (finished > scheduled) {
      this.#check.error(`compaction at ${finished} is finished, but only ${scheduled} was begun`);
    }
    this.#compact = Math.max(scheduled, finished);
    this.#main = Math.max(this.#compact, FIRST_REVISION);
    const cursor = this.#reader.bucket(KEY)?.cursor();
    const steps = stepsOf(this.#context, "revisions");
    for (let entry = cursor?.first(); entry !== undefined; entry = cursor?.next()) {
      this.#take(entry.key, entry.value);
      if (steps.isDue()) await steps.pause();
    }
    const pending = finished < scheduled ? `, compaction at ${scheduled} to be gone on with` : "";
    const compacted = this.#compact >= 0 ? `, compacted at ${this.#compact}` : "";
    return `${this.#records} records of ${this.#live.size} keys, revision ${this.#main}${compacted}${pending}`;
  }

  #take(key: Uint8Array, stored: Uint8Array | undefined): void {
    this.#records++;
    const at = decodeRevision(key);
    if (at === undefined || stored === undefined) {
      this.#check.error(`record ${this.#records}: its key is no revision`);
      return;
    }
    const isAfterCompaction = at.main > this.#compact;
    if (isAfterCompaction) this.#checkOrder(at);
    this.#main = Math.max(this.#main, at.main);
    // What a restore with a raised revision leaves.
    if (stored.length === 0) return;
    const record = readRecord(stored, this.#path);
    if (at.isTombstone) this.#bury(at, record, isAfterCompaction);
    else this.#put(at, record, isAfterCompaction);
  }

  #checkOrder({ main, sub }: RevisionKey): void {
    const isSame = main === this.#main && main > Math.max(this.#compact, FIRST_REVISION);
    const expected = isSame ? [main, this.#sub + 1] : [this.#main + 1, 0];
    if (main !== expected[0] || sub !== expected[1]) {
      this.#check.error(`revision ${main}.${sub} found where ${expected.join(".")} is expected`);
    }
    this.#sub = sub;
  }

  #put(at: RevisionKey, record: RecordFields, isAfterCompaction: boolean): void {
    const { name, createRevision, modRevision, version, lease } = record;
    const where = `revision ${at.main}.${at.sub}`;
    if (modRevision !== at.main) {
      this.#check.error(`${where}: its KeyValue says it is of revision ${modRevision}`);
    }
    if (createRevision > modRevision || createRevision < 1 || version < 1) {
      this.#check.error(`${where}: created at ${createRevision}, version ${version}`);
    }
    const before = this.#live.get(name);
    if (isAfterCompaction) this.#checkVersion(where, at, record, before);
    else if (before !== undefined && before.createRevision === createRevision) {
      if (version <= before.version) {
        this.#check.error(`${where}: version ${version} after ${before.version}`);
      }
    }
    this.#live.set(name, { createRevision, version, lease });
  }

  #checkVersion(
    where: string,
    at: RevisionKey,
    { createRevision, version }: RecordFields,
    before: LiveKey | undefined,
  ): void {
    const created = before?.createRevision ?? at.main;
    const expected = (before?.version ?? 0) + 1;
    if (createRevision !== created) {
      this.#check.error(`${where}: says it was created at ${createRevision}, it was at ${created}`);
    }
    if (version !== expected) {
      this.#check.error(`${where}: version ${version}, it is the key's ${expected}.`);
    }
  }

  #bury(at: RevisionKey, { name }: RecordFields, isAfterCompaction: boolean): void {
    if (!this.#live.delete(name) && isAfterCompaction) {
      this.#check.error(`revision ${at.main}.${at.sub}: deletes a key that does not exist`);
    }
  }
}
