/**
 * Checks everything that can be checked of a snapshot, a database file, or the data directory of a
 * member that does not run. Nothing is changed, repaired or renamed.
 */

import { CorruptionError, equalBytes } from "@etcd-ts/base";
import type { Database } from "@etcd-ts/bbolt";
import { dataPaths } from "@etcd-ts/etcdserver";
import {
  hasChecksum,
  imageBytesOf,
  newPortableDigest,
  readChecksum,
  readImage,
} from "./checksum.ts";
import type { NewDigest } from "./checksum.ts";
import { openDatabase } from "./context.ts";
import type { DataDirectoryContext } from "./context.ts";
import { DataDirectoryError } from "./errors.ts";
import { cleanPath } from "./paths.ts";
import { DatabaseChecks } from "./verify-database.ts";
import type { DatabaseFacts } from "./verify-database.ts";
import { checkRaft } from "./verify-raft.ts";
import { runCheck, skipped } from "./verify-report.ts";
import type { CheckResult, VerifyReport } from "./verify-report.ts";

export interface VerifyOptions {
  /** A file, or a data directory. */
  readonly path: string;
  /** Where the log of a data directory is, if not in it. */
  readonly walDirectory?: string;
  /** Default: one that needs nothing of the platform. */
  readonly newDigest?: NewDigest;
}

/** @throws {DataDirectoryError} `NOT_FOUND`, `IN_USE`: nothing was checked */
export async function verify(
  context: DataDirectoryContext,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const path = cleanPath(options.path);
  const stat = await context.disk.stat(path);
  if (stat === undefined) {
    throw new DataDirectoryError("NOT_FOUND", `stat ${path}: no such file or directory`);
  }
  return stat.kind === "file"
    ? verifyFile(context, path, stat.sizeBytes, options.newDigest ?? newPortableDigest)
    : verifyDirectory(context, path, options.walDirectory);
}

async function verifyFile(
  context: DataDirectoryContext,
  path: string,
  fileBytes: number,
  newDigest: NewDigest,
): Promise<VerifyReport> {
  const checksum = hasChecksum(fileBytes)
    ? await runCheck("checksum", (check) =>
        matchChecksum(context, path, newDigest, check.error.bind(check)),
      )
    : skipped("checksum", "none: the file was not made by `snapshot save`, or was cut off");
  const { results } = await checkDatabase(context, path);
  return reportOf(path, hasChecksum(fileBytes) ? "snapshot" : "database", [checksum, ...results]);
}

async function matchChecksum(
  context: DataDirectoryContext,
  path: string,
  newDigest: NewDigest,
  fail: (text: string) => void,
): Promise<string> {
  const file = await context.disk.open(path, { mode: "read" });
  try {
    const digest = newDigest();
    const bytes = imageBytesOf(file.sizeBytes());
    await readImage(file, bytes, "checksum", context.onProgress, (chunk) => {
      digest.update(chunk);
      return Promise.resolve();
    });
    if (!equalBytes(readChecksum(file), digest.digest())) {
      fail("the file is not what was saved: its SHA-256 differs from the one at its end");
    }
    return `SHA-256 over ${bytes} bytes`;
  } finally {
    await file.close();
  }
}

async function verifyDirectory(
  context: DataDirectoryContext,
  path: string,
  walDirectory: string | undefined,
): Promise<VerifyReport> {
  const paths = dataPaths({ dataDirectory: path, walDirectory });
  if ((await context.disk.stat(paths.database)) === undefined) {
    throw new DataDirectoryError(
      "NOT_FOUND",
      `${path} holds no member/snap/db: is it the data directory of a member?`,
    );
  }
  const { results, facts } = await checkDatabase(context, paths.database);
  const raft = await checkRaft(context, paths, facts);
  return reportOf(path, "data directory", [...results, ...raft]);
}

async function checkDatabase(
  context: DataDirectoryContext,
  path: string,
): Promise<{ results: readonly CheckResult[]; facts: DatabaseFacts | undefined }> {
  let database: Database;
  try {
    database = await openDatabase(context, path, { readOnly: true });
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    const failed = await runCheck("pages", () => {
      throw error;
    });
    return {
      results: [failed, skipped("contents", "the database cannot be opened")],
      facts: undefined,
    };
  }
  try {
    const checks = new DatabaseChecks(context, database);
    const results = await checks.run();
    const isReadable = results.every(({ name, status }) => name !== "meta" || status !== "failed");
    return { results, facts: isReadable ? checks.facts : undefined };
  } finally {
    await database.close();
  }
}

function reportOf(
  path: string,
  kind: VerifyReport["kind"],
  checks: readonly CheckResult[],
): VerifyReport {
  return { path, kind, isIntact: checks.every(({ status }) => status !== "failed"), checks };
}
