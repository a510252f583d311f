/** Commands that only read: `snapshot status`, `hashkv`. */

import { hashKV, snapshotStatus } from "@etcd-ts/datadir";
import type { HistoryHash, SnapshotStatus } from "@etcd-ts/datadir";
import type { Invocation } from "./command.ts";
import { onlyArgument, onlyWord } from "./commands.ts";
import { formatted, humanSize, mustBeFormat } from "./print.ts";
import type { Printable } from "./print.ts";
import { withSession } from "./session.ts";

const QUIET = { isVerbose: false };

export async function snapshotStatusCommand(invocation: Invocation): Promise<void> {
  const path = onlyWord(invocation, "snapshot status");
  const format = invocation.string("write-out");
  mustBeFormat(format);
  const status = await withSession(QUIET, (context) => snapshotStatus(context, path));
  process.stdout.write(formatted(printableStatus(status), format));
}

export async function hashKVCommand(invocation: Invocation): Promise<void> {
  const path = onlyArgument(invocation);
  const format = invocation.string("write-out");
  mustBeFormat(format);
  const revision = Number(invocation.integer("rev"));
  const hash = await withSession(QUIET, (context) => hashKV(context, path, revision));
  process.stdout.write(formatted(printableHash(hash), format));
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
    row: [hash.toString(16), String(revision), String(totalKey), humanSize(totalSize), version],
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
