/** Commands that write: `snapshot restore`, `defrag`, `migrate`. */

import { createHash } from "node:crypto";
import { EtcdError } from "@etcd-ts/base";
import { compareVersions, majorMinor, parseVersion } from "@etcd-ts/api";
import type { Version } from "@etcd-ts/api";
import { err } from "@etcd-ts/cli";
import { MIGRATION_VERSION_MIN, defragment, migrate, restoreSnapshot } from "@etcd-ts/datadir";
import { CommandError, EXIT_BAD_ARGUMENTS, EXIT_ERROR } from "./exit.ts";
import { onlyWord } from "./commands.ts";
import type { Invocation } from "./commands.ts";
import { withSession } from "./session.ts";

const VERBOSE = { isVerbose: true };

export async function snapshotRestoreCommand(invocation: Invocation): Promise<void> {
  const snapshotPath = onlyWord(invocation, "snapshot restore");
  const bump = invocation.flags.integer("bump-revision");
  if (bump > 0n !== invocation.flags.bool("mark-compacted")) {
    throw new CommandError(EXIT_BAD_ARGUMENTS, "--mark-compacted required if --revision-bump > 0");
  }
  const name = invocation.flags.string("name");
  const walDir = invocation.flags.string("wal-dir");
  await withSession(VERBOSE, (context) =>
    restoreSnapshot(context, {
      snapshotPath,
      name,
      dataDirectory: invocation.flags.string("data-dir") || `${name}.etcd`,
      ...(walDir === "" ? {} : { walDirectory: walDir }),
      initialCluster: invocation.flags.string("initial-cluster"),
      initialClusterToken: invocation.flags.string("initial-cluster-token"),
      advertisePeerURLs: invocation.flags.string("initial-advertise-peer-urls").split(","),
      skipHashCheck: invocation.flags.bool("skip-hash-check"),
      bumpRevision: Number(bump),
      newDigest: () => createHash("sha256"),
    }),
  );
}

export async function defragCommand(invocation: Invocation): Promise<void> {
  const dataDirectory = invocation.flags.string("data-dir");
  const onWaiting = (path: string): void => {
    err(
      `waiting for etcd to close and release its lock on ${JSON.stringify(path)}. To defrag a running etcd instance, use \`etcdctl defrag\` instead.\n`,
    );
  };
  try {
    await withSession(VERBOSE, (context) => defragment(context, { dataDirectory, onWaiting }));
  } catch (error) {
    if (!(error instanceof EtcdError) || error.code === "INTERRUPTED") throw error;
    throw new CommandError(
      EXIT_ERROR,
      `Failed to defragment etcd data[${dataDirectory}] (${error.message})`,
      { cause: error },
    );
  }
}

export async function migrateCommand(invocation: Invocation): Promise<void> {
  const targetVersion = targetVersionFrom(invocation.flags.string("target-version"));
  const dataDirectory = invocation.flags.string("data-dir");
  const force = invocation.flags.bool("force");
  await withSession(VERBOSE, (context) =>
    migrate(context, { dataDirectory, targetVersion, force }),
  );
}

/** @throws {CommandError} */
function targetVersionFrom(text: string): Version {
  const refuse = (message: string) => new CommandError(EXIT_BAD_ARGUMENTS, message);
  const parts = text.split(".");
  if (parts.length !== 2) {
    throw refuse(`wrong target version format, expected "X.Y", got ${JSON.stringify(text)}`);
  }
  const version = parseVersion(`${text}.0`);
  if (version === undefined) {
    const wrong = parts.find((part) => !/^\d+$/.test(part)) ?? text;
    throw refuse(
      `failed to parse target version: strconv.ParseInt: parsing ${JSON.stringify(wrong)}: invalid syntax`,
    );
  }
  if (compareVersions(version, MIGRATION_VERSION_MIN) < 0) {
    throw refuse(
      `target version ${JSON.stringify(majorMinor(version))} not supported. Minimal ${JSON.stringify(majorMinor(MIGRATION_VERSION_MIN))}`,
    );
  }
  return version;
}
