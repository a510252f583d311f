/**
 * Rewrites the backend file without free pages.
 *
 * Steps, each of which may be the last before a crash: copy to `db.tmp.<n>`, every record synced;
 * rename it over `db`; sync the directory. Until the directory is synced nothing new is committed
 * to either file, so both hold the same records and either may be found at the next start.
 */

import type { Clock, Disk, Logger } from "@etcd-ts/base";
import type { Database, ReadTransaction, WriteTransaction } from "@etcd-ts/bbolt";
import { KEY_BUCKET_FILL_PERCENT } from "./bucket.ts";
import { Slice } from "./slice.ts";

const TEMPORARY_INFIX = ".tmp.";

/** Records a transaction of the copy, as etcd has it; bounds what waits in memory. */
const COPY_RECORDS_MAX = 10_000;
const COPY_BYTES_MAX = 16 * 1024 * 1024;

export function temporaryPath(path: string, attempt: number): string {
  return `${path}${TEMPORARY_INFIX}${attempt}`;
}

/** Removes `db.tmp.*` beside `path`: copies that never took the place of the file. */
export async function removeStaleFiles(disk: Disk, path: string, logger: Logger): Promise<void> {
  const { directory, name } = splitPath(path);
  const stat = await disk.stat(directory);
  if (stat === undefined || stat.kind !== "directory") return;
  for (const entry of await disk.list(directory)) {
    if (!entry.startsWith(`${name}${TEMPORARY_INFIX}`)) continue;
    const stale = directory === "." ? entry : `${directory}/${entry}`;
    logger.info("removing stale temporary database file", { path: stale });
    await disk.remove(stale);
  }
}

export interface DefragmentRequest {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Everything committed; nothing is committed to its file until this ends. */
  readonly source: ReadTransaction;
  readonly path: string;
  readonly temporary: string;
  readonly open: (path: string) => Promise<Database>;
  /** The directory may name either file: no further commit is safe. Returns what to throw. */
  readonly onSwapFailed: (cause: unknown) => Error;
}

/**
 * @returns the new file, opened and already in the place of the old one
 * @throws if the copy fails; the old file is then still in place and the copy is removed
 */
export async function defragmentInto(request: DefragmentRequest): Promise<Database> {
  const { disk, clock, temporary, path } = request;
  let target: Database | undefined;
  try {
    target = await request.open(temporary);
    await copyRecords(request.source, target, clock);
  } catch (error) {
    await target?.close().catch(() => undefined);
    await disk.remove(temporary).catch(() => undefined);
    throw error;
  }
  try {
    await disk.rename(temporary, path);
    await disk.syncDirectory(splitPath(path).directory);
  } catch (error) {
    await target.close().catch(() => undefined);
    throw request.onSwapFailed(error);
  }
  return target;
}

/** Copies all buckets record by record, in key order, in transactions of bounded size. */
async function copyRecords(source: ReadTransaction, target: Database, clock: Clock): Promise<void> {
  const slice = new Slice(clock);
  let transaction: WriteTransaction = target.beginWrite();
  let records = 0;
  let bytes = 0;
  for (const name of source.bucketNames()) {
    const openBucket = () => {
      const bucket = transaction.createBucketIfNotExists(name);
      bucket.fillPercent = KEY_BUCKET_FILL_PERCENT;
      return bucket;
    };
    let bucket = openBucket();
    const cursor = source.bucket(name)!.cursor();
    for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
      if (entry.value === undefined) continue;
      if (records >= COPY_RECORDS_MAX || bytes >= COPY_BYTES_MAX) {
        await transaction.commit();
        transaction = target.beginWrite();
        bucket = openBucket();
        records = 0;
        bytes = 0;
      }
      bucket.put(entry.key, entry.value);
      records++;
      bytes += entry.key.length + entry.value.length;
      if (slice.isOver(1 + (entry.value.length >>> 10))) await slice.pause();
    }
  }
  await transaction.commit();
}

/** The directory a file is in, and its name there. */
export function splitPath(path: string): { directory: string; name: string } {
  const at = path.lastIndexOf("/");
  if (at < 0) return { directory: ".", name: path };
  return { directory: at === 0 ? "/" : path.slice(0, at), name: path.slice(at + 1) };
}
