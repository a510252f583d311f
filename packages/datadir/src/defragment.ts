/**
 * Rewrites the database of a member that does not run, so that it takes no more room than it needs.
 *
 * The copy is made beside it and takes its place once it is whole and durable: whatever happens, a
 * complete database is found under its name.
 */

import { DiskError, sleep } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";
import { Database, compact } from "@etcd-ts/bbolt";
import { dataPaths } from "@etcd-ts/etcdserver";
import { mustBeFile } from "./context.ts";
import type { DataDirectoryContext } from "./context.ts";
import { cleanPath, parentOf } from "./paths.ts";

/** A name the server removes when it finds it at its start. */
const TEMPORARY_SUFFIX = ".tmp.offline";
/** Bounds what waits in memory. */
const COPY_BYTES_PER_TX = 16 * 1024 * 1024;

const LOCK_POLL_MS = 100;
/** How long the lock is waited for before anybody is told. */
const LOCK_QUIET_MS = 1000;

export interface DefragmentOptions {
  readonly dataDirectory: string;
  /** Told once that another process has the database open; waiting goes on. */
  readonly onWaiting?: (databasePath: string) => void;
}

export interface DefragmentResult {
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/**
 * Waits until nobody else has the database open.
 *
 * @throws {DataDirectoryError} `NOT_FOUND`
 * @throws {CorruptionError | DiskError} the database is as it was then
 */
export async function defragment(
  context: DataDirectoryContext,
  options: DefragmentOptions,
): Promise<DefragmentResult> {
  const { disk, logger } = context;
  const path = dataPaths({
    dataDirectory: cleanPath(options.dataDirectory),
    walDirectory: undefined,
  }).database;
  await mustBeFile(disk, path);
  const source = await openWhenFree(context, path, options.onWaiting);
  const temporary = path + TEMPORARY_SUFFIX;
  try {
    const bytesBefore = source.sizeBytes();
    logger.info("defragmenting", { path, "current-db-size-bytes": bytesBefore });
    if ((await disk.stat(temporary)) !== undefined) await disk.remove(temporary);
    let bytesAfter: number;
    try {
      bytesAfter = await copyInto(context, source, temporary);
      await disk.rename(temporary, path);
    } catch (error) {
      await disk.remove(temporary).catch(() => undefined);
      throw error;
    }
    await disk.syncDirectory(parentOf(path));
    logger.info("finished defragmenting", { path, "current-db-size-bytes": bytesAfter });
    return { bytesBefore, bytesAfter };
  } finally {
    await source.close();
  }
}

async function openWhenFree(
  context: DataDirectoryContext,
  path: string,
  onWaiting: ((path: string) => void) | undefined,
): Promise<Database> {
  const { disk, clock } = context;
  const startMs = clock.monotonicMs();
  let isTold = false;
  for (;;) {
    try {
      return await Database.open(disk, path, { clock });
    } catch (error) {
      if (!(error instanceof DiskError) || error.code !== "LOCKED") throw error;
    }
    if (!isTold && clock.monotonicMs() - startMs >= LOCK_QUIET_MS) {
      isTold = true;
      onWaiting?.(path);
    }
    context.onProgress?.({ step: "wait", done: 0, total: 0 });
    await sleep(clock, LOCK_POLL_MS);
  }
}

/** @returns the size of the copy, which is durable */
async function copyInto(
  context: DataDirectoryContext,
  source: Database,
  temporary: string,
): Promise<number> {
  const { disk, clock, onProgress } = context;
  const target = await Database.open(disk, temporary, { pageBytes: source.pageBytes, clock });
  try {
    const total = source.sizeBytes();
    const reporting: Clock = {
      wallMs: () => clock.wallMs(),
      monotonicMs: () => clock.monotonicMs(),
      setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
      nextTurn: (run) => {
        onProgress?.({ step: "copy", done: target.sizeBytes(), total });
        return clock.nextTurn(run);
      },
    };
    await compact(source, target, { bytesPerTx: COPY_BYTES_PER_TX, clock: reporting });
    return target.sizeBytes();
  } finally {
    await target.close();
  }
}
