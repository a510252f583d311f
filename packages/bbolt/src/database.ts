/** A bbolt file, as callers have it. */

import type { Disk } from "@etcd-ts/base";
import { Engine } from "./engine.ts";
import type { DatabaseOptions, DatabaseStats, ReadTransaction, WriteTransaction } from "./types.ts";

export class Database {
  /**
   * Opens a file and takes its lock; makes an empty database if there is none.
   *
   * @throws {DiskError} LOCKED if another holds it; NOT_FOUND with `readOnly`
   * @throws {CorruptionError} if the file is damaged or no database
   */
  static async open(disk: Disk, path: string, options: DatabaseOptions = {}): Promise<Database> {
    return new Database(await Engine.open(disk, path, options));
  }

  readonly #engine: Engine;

  private constructor(engine: Engine) {
    this.#engine = engine;
  }

  get path(): string {
    return this.#engine.path;
  }

  get pageBytes(): number {
    return this.#engine.pageBytes;
  }

  /** Begins to read the last committed state. */
  beginRead(): ReadTransaction {
    return this.#engine.beginRead();
  }

  /**
   * Begins to write; only one writer may be open, and none while a commit is under way.
   *
   * @throws {DatabaseError} DATABASE_READ_ONLY; WRITES_STOPPED after a failed sync
   */
  beginWrite(): WriteTransaction {
    return this.#engine.beginWrite();
  }

  /** Pages below the high-water mark of the last committed state, times the page size. */
  sizeBytes(): number {
    return this.#engine.sizeBytes();
  }

  stats(): DatabaseStats {
    return this.#engine.stats();
  }

  /** What is wrong with the two meta pages as they are on disk; the file opens with one of them. */
  metaProblems(): readonly string[] {
    return this.#engine.metaProblems();
  }

  /** Waits for a commit under way, rolls an open writer back, ends readers, gives up the file. */
  close(): Promise<void> {
    return this.#engine.close();
  }
}
