/**
 * The hash of the key history in a file, as members compare it: HashKV.
 *
 * CRC-32C over the name of the `key` bucket and then every record up to a revision, raw key and raw
 * value. What a compaction has deleted, or may delete yet, stays out: of records at or below the
 * compact revision those count that are still their key's last at the revision asked for.
 *
 * The file is only read: a compaction that was begun counts as done, and is not gone on with.
 */

import { crc32c } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import type { ReadTransaction } from "@etcd-ts/bbolt";
import { decodeRevision } from "@etcd-ts/storage";
import type { RevisionKey } from "@etcd-ts/storage";
import { openDatabase, stepsOf } from "./context.ts";
import type { DataDirectoryContext } from "./context.ts";
import { DataDirectoryError } from "./errors.ts";
import {
  FINISHED_COMPACT,
  KEY,
  SCHEDULED_COMPACT,
  keyNameOf,
  metaRevision,
  newestRevision,
} from "./records.ts";

export interface HistoryHash {
  readonly hash: number;
  readonly hashRevision: number;
  /** -1 if nothing was ever compacted. */
  readonly compactRevision: number;
}

const NEVER_COMPACTED = -1;
const FIRST_REVISION = 1;

/**
 * @param requested - revision to hash up to; 0 for the newest, below 0 for nothing at all
 * @throws {ServerError} if it is compacted or does not exist yet
 * @throws {CorruptionError}
 */
export async function hashKV(
  context: DataDirectoryContext,
  path: string,
  requested: number,
): Promise<HistoryHash> {
  const database = await openDatabase(context, path, { readOnly: true });
  try {
    return await new HistoryHasher(context, path, database.beginRead()).run(requested);
  } finally {
    await database.close();
  }
}

class HistoryHasher {
  readonly #context: DataDirectoryContext;
  readonly #path: string;
  readonly #reader: ReadTransaction;

  constructor(context: DataDirectoryContext, path: string, reader: ReadTransaction) {
    this.#context = context;
    this.#path = path;
    this.#reader = reader;
  }

  async run(requested: number): Promise<HistoryHash> {
    const scheduled = metaRevision(this.#reader, SCHEDULED_COMPACT, this.#path) ?? NEVER_COMPACTED;
    const finished = metaRevision(this.#reader, FINISHED_COMPACT, this.#path) ?? NEVER_COMPACTED;
    const compactRevision = Math.max(scheduled, finished);
    const newest = newestRevision(this.#reader, this.#path);
    const current = Math.max(newest, compactRevision, FIRST_REVISION);
    if (requested > current) throw SERVER_ERRORS.futureRevision;
    if (requested > 0 && requested < compactRevision) throw SERVER_ERRORS.compacted;
    const revision = requested === 0 ? current : requested;
    const last = await this.#lastRecords(revision);
    const hash = await this.#hash(revision, compactRevision, last);
    return { hash, hashRevision: revision, compactRevision };
  }

  /** For each key that exists at `revision`: which record, counted from 0, is its last. */
  async #lastRecords(revision: number): Promise<ReadonlyMap<string, number>> {
    const last = new Map<string, number>();
    await this.#scan("index", revision, (at, position, _key, stored) => {
      const name = keyNameOf(stored, this.#path);
      if (at.isTombstone) last.delete(name);
      else last.set(name, position);
    });
    return last;
  }

  async #hash(
    revision: number,
    compactRevision: number,
    last: ReadonlyMap<string, number>,
  ): Promise<number> {
    let crc = crc32c(0, KEY);
    await this.#scan("hash", revision, (at, position, key, stored) => {
      // The reference keeps all if not one key exists.
      if (at.main <= compactRevision && last.size > 0) {
        if (last.get(keyNameOf(stored, this.#path)) !== position) return;
      }
      if (at.isTombstone && at.main === compactRevision) return;
      crc = crc32c(crc, key);
      crc = crc32c(crc, stored);
    });
    return crc;
  }

  async #scan(
    step: string,
    revision: number,
    visit: (at: RevisionKey, position: number, key: Uint8Array, stored: Uint8Array) => void,
  ): Promise<void> {
    const cursor = this.#reader.bucket(KEY)?.cursor();
    if (cursor === undefined) return;
    const steps = stepsOf(this.#context, step);
    for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
      const at = decodeRevision(entry.key);
      if (at === undefined || entry.value === undefined) {
        throw new DataDirectoryError(
          "INTEGRITY",
          `${this.#path}: a key of the key bucket is no revision`,
        );
      }
      if (at.main > revision) return;
      visit(at, steps.done, entry.key, entry.value);
      if (steps.isDue()) await steps.pause();
    }
  }
}
