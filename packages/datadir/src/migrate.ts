/**
 * Sets the storage version of a member that does not run, so that another minor version starts on it.
 *
 * 3.6 added the `storageVersion` key; going down to 3.5 takes it out. Going down is refused if the log
 * behind the last snapshot holds something the older version does not read.
 */

import { hexFromBytes, latin1FromBytes, utf8FromString } from "@etcd-ts/base";
import {
  compareVersions,
  formatVersion,
  higherVersion,
  majorMinor,
  minimalVersionOf,
  parseVersion,
  versionOf,
} from "@etcd-ts/api";
import type { Version } from "@etcd-ts/api";
import type { Transaction, WriteTransaction } from "@etcd-ts/bbolt";
import { dataPaths } from "@etcd-ts/etcdserver";
import { openDatabase } from "./context.ts";
import type { DataDirectoryContext } from "./context.ts";
import { DataDirectoryError } from "./errors.ts";
import { cleanPath } from "./paths.ts";
import { readRaftFiles } from "./raft-files.ts";
import { META, STORAGE_VERSION, TERM, metaCounter } from "./records.ts";

/** The lowest version there is a way to. */
export const MIGRATION_VERSION_MIN: Version = versionOf(3, 5);
/** The first that keeps its version in the database. */
const STORAGE_VERSION_FIRST = versionOf(3, 6);
/** The highest whose fields are known here. */
const STORAGE_VERSION_LAST = versionOf(3, 6);

export interface MigrateOptions {
  readonly dataDirectory: string;
  /** Major and minor count. */
  readonly targetVersion: Version;
  /** Set the version even where the way there is refused. */
  readonly force?: boolean;
}

export interface MigrateResult {
  readonly from: string;
  readonly to: string;
  /** `forced` past a refusal; `current` if there was nothing to do. */
  readonly outcome: "migrated" | "forced" | "current";
}

/** @throws {DataDirectoryError | CorruptionError | WalError | DiskError} nothing was changed then */
export async function migrate(
  context: DataDirectoryContext,
  options: MigrateOptions,
): Promise<MigrateResult> {
  const { logger } = context;
  const target = versionOf(options.targetVersion.major, options.targetVersion.minor);
  const paths = dataPaths({
    dataDirectory: cleanPath(options.dataDirectory),
    walDirectory: undefined,
  });
  const database = await openDatabase(context, paths.database);
  try {
    const tx = database.beginWrite();
    const current = storageVersionOf(tx, paths.database);
    const ends = { from: formatVersion(current), to: formatVersion(target) };
    if (compareVersions(current, target) === 0) {
      logger.info("storage version up-to-date", { "storage-version": majorMinor(current) });
      return { ...ends, outcome: "current" };
    }
    const needed = await neededVersion(context, paths);
    const refusal = refusalOf(current, target, needed);
    if (refusal !== undefined && options.force !== true) {
      throw new DataDirectoryError("MIGRATION", refusal);
    }
    if (refusal !== undefined) {
      logger.info("normal migrate failed, trying with force", { error: refusal });
    }
    setStorageVersion(tx, target);
    await tx.commit();
    if (refusal === undefined) {
      logger.info("updated storage version", { "new-storage-version": formatVersion(target) });
    } else if (compareVersions(target, STORAGE_VERSION_FIRST) < 0) {
      logger.warn("forcefully cleared storage version");
    } else {
      logger.warn("forcefully set storage version", { "storage-version": majorMinor(target) });
    }
    return { ...ends, outcome: refusal === undefined ? "migrated" : "forced" };
  } finally {
    await database.close();
  }
}

/**
 * The version a database is laid out for; 3.5 kept none, but always a term.
 *
 * @throws {DataDirectoryError} `MIGRATION` if it is older
 */
export function storageVersionOf(tx: Transaction, path: string): Version {
  const stored = tx.bucket(META)?.get(STORAGE_VERSION);
  if (stored !== undefined) {
    const version = parseVersion(latin1FromBytes(stored));
    if (version !== undefined) return version;
    throw new DataDirectoryError("MIGRATION", `storage version ${hexFromBytes(stored)} is none`);
  }
  if (metaCounter(tx, TERM, path) === 0) {
    throw new DataDirectoryError("MIGRATION", "missing term information");
  }
  return MIGRATION_VERSION_MIN;
}

/** The lowest version that reads every entry behind the last snapshot. */
async function neededVersion(
  context: DataDirectoryContext,
  paths: { readonly wal: string; readonly snap: string },
): Promise<Version | undefined> {
  let needed: Version | undefined;
  try {
    const { log } = await readRaftFiles(context, paths);
    for (const entry of log.entries) needed = higherVersion(needed, minimalVersionOf(entry));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataDirectoryError("MIGRATION", `failed to read wal: ${reason}`, { cause });
  }
  return needed;
}

function refusalOf(
  current: Version,
  target: Version,
  needed: Version | undefined,
): string | undefined {
  if (current.major !== target.major) {
    return "cannot create migration plan: changing major storage version is not supported";
  }
  const isUp = compareVersions(current, target) < 0;
  const highest = isUp ? target : current;
  if (compareVersions(highest, STORAGE_VERSION_LAST) > 0) {
    // Upwards the first step that is not known is named, downwards the first to be undone.
    const unknown = isUp
      ? versionOf(current.major, Math.max(current.minor, STORAGE_VERSION_LAST.minor) + 1)
      : versionOf(current.major, current.minor);
    return `cannot create migration plan: version ${JSON.stringify(formatVersion(unknown))} is not supported`;
  }
  if (isUp || needed === undefined || compareVersions(target, needed) >= 0) return undefined;
  return (
    `cannot downgrade storage, WAL contains newer entries, as the target version (${formatVersion(target)}) ` +
    `is lower than the version (${formatVersion(needed)}) detected from WAL logs`
  );
}

function setStorageVersion(tx: WriteTransaction, target: Version): void {
  const meta = tx.createBucketIfNotExists(META);
  if (compareVersions(target, STORAGE_VERSION_FIRST) < 0) meta.delete(STORAGE_VERSION);
  else meta.put(STORAGE_VERSION, utf8FromString(formatVersion(target)));
}
