/** What the functions here work with, and how they open a database nobody else may change. */

import { DiskError, yieldTurn } from "@etcd-ts/base";
import type { Clock, Disk, Logger, Metrics } from "@etcd-ts/base";
import { Database } from "@etcd-ts/bbolt";
import type { DatabaseOptions } from "@etcd-ts/bbolt";
import { DataDirectoryError } from "./errors.ts";
import { Steps } from "./progress.ts";
import type { OnProgress } from "./progress.ts";

export interface DataDirectoryContext {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly onProgress?: OnProgress;
}

/** Pages kept in memory: long scans gain nothing from more. */
const CACHE_BYTES_MAX = 32 * 1024 * 1024;

export function stepsOf(context: DataDirectoryContext, step: string, total = 0): Steps {
  return new Steps(step, total, context.onProgress, () => yieldTurn(context.clock));
}

/** @throws {DataDirectoryError} `NOT_FOUND` unless a file is there */
export async function mustBeFile(disk: Disk, path: string): Promise<void> {
  const stat = await disk.stat(path);
  if (stat === undefined) {
    throw new DataDirectoryError("NOT_FOUND", `stat ${path}: no such file or directory`);
  }
  if (stat.kind !== "file") {
    throw new DataDirectoryError("NOT_FOUND", `${path} is a directory, not a database file`);
  }
}

/**
 * Opens a database that exists.
 *
 * @throws {DataDirectoryError} `NOT_FOUND`, `IN_USE`
 * @throws {CorruptionError} if it is none
 */
export async function openDatabase(
  context: DataDirectoryContext,
  path: string,
  options: Pick<DatabaseOptions, "readOnly"> = {},
): Promise<Database> {
  await mustBeFile(context.disk, path);
  try {
    return await Database.open(context.disk, path, {
      ...options,
      cacheBytesMax: CACHE_BYTES_MAX,
      clock: context.clock,
    });
  } catch (error) {
    if (!(error instanceof DiskError) || error.code !== "LOCKED") throw error;
    throw new DataDirectoryError(
      "IN_USE",
      `${path} is in use by another process: stop the etcd that runs on it, or work on a snapshot`,
      { cause: error },
    );
  }
}
