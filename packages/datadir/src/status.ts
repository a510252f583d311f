/** What a database or snapshot file holds, after its pages were checked. */

import { crc32c, latin1FromBytes, yieldTurn } from "@etcd-ts/base";
import { CHECK_STEP_PAGES, checkInSteps } from "@etcd-ts/bbolt";
import type { Database, ReadTransaction } from "@etcd-ts/bbolt";
import { decodeRevision } from "@etcd-ts/storage";
import { openDatabase, stepsOf } from "./context.ts";
import type { DataDirectoryContext } from "./context.ts";
import { DataDirectoryError } from "./errors.ts";
import { KEY, META, STORAGE_VERSION, keyNameOf } from "./records.ts";

export interface SnapshotStatus {
  /** CRC-32C over all buckets' names, keys and values. */
  readonly hash: number;
  readonly revision: number;
  /** Keys that exist at `revision`. */
  readonly totalKey: number;
  /** Bytes of the pages in the file. */
  readonly totalSize: number;
  /** Empty before 3.6. */
  readonly version: string;
}

/** Problems named in an error; a file of something else would give millions. */
const PROBLEMS_MAX = 1000;

/**
 * Reads the whole file, read-only. A trailing checksum is passed over, as the reference does.
 *
 * @throws {DataDirectoryError} `INTEGRITY` with every fault of the pages
 * @throws {CorruptionError}
 */
export async function snapshotStatus(
  context: DataDirectoryContext,
  path: string,
): Promise<SnapshotStatus> {
  const database = await openDatabase(context, path, { readOnly: true });
  try {
    const reader = database.beginRead();
    const problems = await pageProblems(context, database, reader, PROBLEMS_MAX);
    if (problems.count > 0) {
      throw new DataDirectoryError(
        "INTEGRITY",
        `snapshot file integrity check failed. ${problems.count} errors found.\n${problems.texts.join("\n")}`,
      );
    }
    return await new StatusReader(context, path, reader).run();
  } finally {
    await database.close();
  }
}

export interface PageProblems {
  readonly count: number;
  /** The first of them. */
  readonly texts: readonly string[];
}

/** Checks every page, letting others run in between. */
export async function pageProblems(
  context: DataDirectoryContext,
  database: Database,
  reader: ReadTransaction,
  textsMax: number,
): Promise<PageProblems> {
  const total = database.sizeBytes();
  const texts: string[] = [];
  let count = 0;
  let done = 0;
  context.onProgress?.({ step: "pages", done, total });
  for (const problem of checkInSteps(reader)) {
    if (problem === undefined) {
      done += CHECK_STEP_PAGES * database.pageBytes;
      context.onProgress?.({ step: "pages", done: Math.min(done, total), total });
      await yieldTurn(context.clock);
      continue;
    }
    count++;
    if (texts.length < textsMax) texts.push(problem);
  }
  return { count, texts };
}

class StatusReader {
  readonly #context: DataDirectoryContext;
  readonly #path: string;
  readonly #reader: ReadTransaction;
  readonly #keys = new Set<string>();
  #crc = 0;
  #revision = 0;

  constructor(context: DataDirectoryContext, path: string, reader: ReadTransaction) {
    this.#context = context;
    this.#path = path;
    this.#reader = reader;
  }

  async run(): Promise<SnapshotStatus> {
    const steps = stepsOf(this.#context, "records");
    for (const name of this.#reader.bucketNames()) {
      this.#crc = crc32c(this.#crc, name);
      const isKeys = latin1FromBytes(name) === "key";
      const cursor = this.#reader.bucket(name)!.cursor();
      for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
        const { key, value } = entry;
        this.#crc = crc32c(this.#crc, key);
        if (value !== undefined) this.#crc = crc32c(this.#crc, value);
        if (isKeys) this.#takeRecord(key, value ?? new Uint8Array(0));
        if (steps.isDue()) await steps.pause();
      }
    }
    const version = this.#reader.bucket(META)?.get(STORAGE_VERSION);
    return {
      hash: this.#crc,
      revision: this.#revision,
      totalKey: this.#keys.size,
      totalSize: this.#reader.sizeBytes,
      version: version === undefined ? "" : latin1FromBytes(version),
    };
  }

  #takeRecord(key: Uint8Array, value: Uint8Array): void {
    const revision = decodeRevision(key);
    if (revision === undefined) {
      throw new DataDirectoryError(
        "INTEGRITY",
        `${this.#path}: a key of the ${latin1FromBytes(KEY)} bucket is no revision`,
      );
    }
    this.#revision = revision.main;
    const name = keyNameOf(value, this.#path);
    if (revision.isTombstone) this.#keys.delete(name);
    else this.#keys.add(name);
  }
}
