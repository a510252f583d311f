/** Commands that only read: `snapshot status`, `hashkv`, `verify`. */

import { createHash } from "node:crypto";
import { humanBytes, onlyArgument, out } from "@etcd-ts/cli";
import { hashKV, snapshotStatus, verify } from "@etcd-ts/datadir";
import type { CheckStatus, HistoryHash, SnapshotStatus, VerifyReport } from "@etcd-ts/datadir";
import { CommandError, EXIT_BAD_FEATURE, EXIT_ERROR } from "./exit.ts";
import { onlyWord } from "./commands.ts";
import type { Invocation } from "./commands.ts";
import { formatted, mustBeFormat } from "./print.ts";
import type { Printable } from "./print.ts";
import { withSession } from "./session.ts";

const QUIET = { isVerbose: false };

export async function snapshotStatusCommand(invocation: Invocation): Promise<void> {
  const path = onlyWord(invocation, "snapshot status");
  const format = invocation.flags.string("write-out");
  mustBeFormat(format);
  const status = await withSession(QUIET, (context) => snapshotStatus(context, path));
  out(formatted(printableStatus(status), format));
}

export async function hashKVCommand(invocation: Invocation): Promise<void> {
  const path = onlyArgument(invocation);
  const format = invocation.flags.string("write-out");
  mustBeFormat(format);
  const revision = Number(invocation.flags.integer("rev"));
  const hash = await withSession(QUIET, (context) => hashKV(context, path, revision));
  out(formatted(printableHash(hash), format));
}

export function printableStatus(status: SnapshotStatus): Printable {
  const { hash, revision, totalKey, totalSize, version } = status;
  return {
    fields: [
      ["Hash", String(hash)],
      ["Revision", String(revision)],
      ["Keys", String(totalKey)],
      ["Size", String(totalSize)],
      ["Version", version],
    ],
    json: JSON.stringify({ hash, revision, totalKey, totalSize, version }),
    header: ["hash", "revision", "total keys", "total size", "version"],
    row: [hash.toString(16), String(revision), String(totalKey), humanBytes(totalSize), version],
  };
}

export function printableHash(result: HistoryHash): Printable {
  const { hash, hashRevision, compactRevision } = result;
  const texts = [hash, hashRevision, compactRevision].map(String);
  return {
    fields: [
      ["Hash", texts[0]!],
      ["Hash revision", texts[1]!],
      ["Compact revision", texts[2]!],
    ],
    json: JSON.stringify({ hash, hashRevision, compactRevision }),
    header: ["hash", "hash revision", "compact revision"],
    row: texts,
  };
}

export async function verifyCommand(invocation: Invocation): Promise<void> {
  const path = onlyArgument(invocation);
  const format = invocation.flags.bool("json") ? "json" : invocation.flags.string("write-out");
  if (format !== "simple" && format !== "json") {
    throw new CommandError(EXIT_BAD_FEATURE, "verify prints simple or json");
  }
  const walDir = invocation.flags.string("wal-dir");
  const report = await withSession(QUIET, (context) =>
    verify(context, {
      path,
      ...(walDir === "" ? {} : { walDirectory: walDir }),
      newDigest: () => createHash("sha256"),
    }),
  );
  out(format === "json" ? jsonReport(report) : readableReport(report));
  if (!report.isIntact) process.exitCode = EXIT_ERROR;
}

function jsonReport({ path, kind, isIntact, checks }: VerifyReport): string {
  return JSON.stringify({ path, kind, intact: isIntact, checks }) + "\n";
}

const MARKS: { readonly [status in CheckStatus]: string } = {
  ok: "ok     ",
  warning: "warning",
  failed: "FAILED ",
  skipped: "skipped",
};

export function readableReport(report: VerifyReport): string {
  const width = Math.max(...report.checks.map(({ name }) => name.length));
  const lines = [`${report.path}: ${report.kind}`];
  for (const { name, status, summary, problems, problemCount } of report.checks) {
    lines.push(`  ${MARKS[status]}  ${name.padEnd(width)}  ${summary}`);
    for (const problem of problems) lines.push(`             ${problem}`);
    const more = problemCount - problems.length;
    if (more > 0) lines.push(`             and ${more} more`);
  }
  return [...lines, verdict(report), ""].join("\n");
}

function verdict({ kind, isIntact, checks }: VerifyReport): string {
  if (isIntact) {
    const warnings = checks.filter(({ status }) => status === "warning").length;
    return warnings === 0 ? "intact" : `intact, with ${warnings} warnings`;
  }
  return kind === "data directory"
    ? "NOT INTACT: keep a copy; have the member join its cluster anew, or restore from a snapshot"
    : "NOT INTACT: do not restore from this file; take another snapshot";
}
