/** Copies a database into an empty one, in key order, so that pages are full and none is free. */

import type { Clock } from "@etcd-ts/base";
import { CorruptionError } from "@etcd-ts/base";
import type { Database } from "./database.ts";
import { Slices } from "./slices.ts";
import type { Bucket, WriteTransaction } from "./types.ts";

export interface CompactOptions {
  /** Keys and values put before each commit; bounds the memory. 0: all in one. */
  readonly bytesPerTx: number;
  /** How full pages are left. Default 0.9. */
  readonly fillPercent?: number;
  /** Lets other work run between slices. */
  readonly clock?: Clock;
}

/**
 * Copies the last committed state of `source` into `target`, which must be empty. On failure the
 * target holds a part of it.
 */
export async function compact(
  source: Database,
  target: Database,
  options: CompactOptions,
): Promise<void> {
  const reader = source.beginRead();
  const copier = new Copier(source, target, options);
  try {
    for (const name of reader.bucketNames()) {
      const bucket = reader.bucket(name);
      if (bucket === undefined) throw unordered(source);
      await copier.copy(bucket, [name]);
    }
    await copier.commit();
  } finally {
    copier.stop();
    reader.close();
  }
}

/** For a bucket that a walk finds and a look-up does not. */
function unordered(source: Database): CorruptionError {
  return new CorruptionError("keys are not in order", source.path, 0);
}

class Copier {
  readonly #source: Database;
  readonly #target: Database;
  readonly #options: CompactOptions;
  readonly #slices: Slices;
  #tx: WriteTransaction;
  #putBytes = 0;

  constructor(source: Database, target: Database, options: CompactOptions) {
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#slices = new Slices(options.clock);
    this.#tx = target.beginWrite();
  }

  /** @param path - names from the top level down to the bucket's own */
  async copy(source: Bucket, path: readonly Uint8Array[]): Promise<void> {
    let target = this.#bucketAt(path);
    target.setSequence(source.sequence());
    const cursor = source.cursor();
    for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
      const { key, value } = entry;
      if (value === undefined) {
        const nested = source.bucket(key);
        if (nested === undefined) throw unordered(this.#source);
        await this.copy(nested, [...path, key]);
        target = this.#bucketAt(path);
        continue;
      }
      if (this.#isFull(key.length + value.length)) {
        await this.#renew();
        target = this.#bucketAt(path);
      }
      target.put(key, value);
      if (this.#slices.isDue()) await this.#slices.pause();
    }
  }

  commit(): Promise<void> {
    return this.#tx.commit();
  }

  stop(): void {
    this.#tx.rollback();
  }

  /** Counts `bytes`; whether they are too much for this transaction. */
  #isFull(bytes: number): boolean {
    const { bytesPerTx } = this.#options;
    const isFull = bytesPerTx > 0 && this.#putBytes > 0 && this.#putBytes + bytes > bytesPerTx;
    this.#putBytes = isFull ? bytes : this.#putBytes + bytes;
    return isFull;
  }

  async #renew(): Promise<void> {
    await this.#tx.commit();
    this.#tx = this.#target.beginWrite();
  }

  #bucketAt(path: readonly Uint8Array[]): Bucket {
    let bucket = this.#tx.createBucketIfNotExists(path[0]!);
    for (const name of path.slice(1)) bucket = bucket.createBucketIfNotExists(name);
    bucket.fillPercent = this.#options.fillPercent ?? 0.9;
    return bucket;
  }
}
