/** The commands, their flags and what their help says. Their work is loaded when it is asked for. */

import { SERVER_VERSION } from "@etcd-ts/api/version";
import { completionFor, out, SHELLS } from "@etcd-ts/cli";
import type { Command, CommandFlag, CommandLine } from "@etcd-ts/cli";
import { CommandError, EXIT_BAD_ARGUMENTS } from "./exit.ts";

export type Invocation = CommandLine<Run>;
export type Run = (invocation: Invocation) => Promise<void> | void;

export const VERSIONS = {
  version: SERVER_VERSION,
  apiVersion: SERVER_VERSION.replace(/\.\d+$/, ""),
};

const WRITE_OUT: CommandFlag = {
  name: "write-out",
  short: "w",
  kind: "string",
  defaultText: "simple",
  usage: "output format: fields, json, protobuf, simple, table",
  choices: ["fields", "json", "protobuf", "simple", "table"],
};

const DATA_DIR: CommandFlag = {
  name: "data-dir",
  kind: "string",
  defaultText: "",
  usage: "data directory of an etcd that does not run (required)",
  isRequired: true,
};

const STATUS: Command<Run> = {
  name: "status",
  arguments: "<filename>",
  short: "Show what a snapshot or database file holds",
  long: `Checks every page of the file first, then prints hash, revision, total keys, total size and
storage version. The file is only read. A trailing checksum is not looked at: \`verify\` does.`,
  example: `etcdutl snapshot status backup.db
etcdutl snapshot status backup.db -w table`,
  async run(invocation) {
    const { snapshotStatusCommand } = await import("./run-inspect.ts");
    await snapshotStatusCommand(invocation);
  },
};

const RESTORE: Command<Run> = {
  name: "restore",
  arguments: "<filename> --data-dir <directory> [flags]",
  short: "Make the data directory of a new cluster's member from a snapshot",
  long: `Each member of the new cluster is restored from the same file, with its own --name and
--initial-advertise-peer-urls and the same --initial-cluster and --initial-cluster-token.
The data directory must be missing or empty; it appears complete or not at all.

A file saved by \`etcdctl snapshot save\` carries a checksum, which is verified. A copy of
member/snap/db carries none and needs --skip-hash-check; its pages are checked instead.

Clients that remember revisions, such as Kubernetes controllers, must not see them go back:
--bump-revision together with --mark-compacted raises the revision past what they can know.`,
  example: `# one member
etcdutl snapshot restore backup.db --data-dir /var/lib/etcd

# the first of three members (the others with their own name and URL)
etcdutl snapshot restore backup.db --data-dir /var/lib/etcd --name m1 \\
  --initial-cluster m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380,m3=https://10.0.0.3:2380 \\
  --initial-cluster-token restored-1 --initial-advertise-peer-urls https://10.0.0.1:2380

# for Kubernetes: no client keeps what it cached
etcdutl snapshot restore backup.db --data-dir /var/lib/etcd \\
  --bump-revision 1000000000 --mark-compacted`,
  flags: [
    {
      name: "data-dir",
      kind: "string",
      defaultText: "",
      usage: "directory to make (default <name>.etcd)",
    },
    {
      name: "wal-dir",
      kind: "string",
      defaultText: "",
      usage: "directory of the write-ahead log, if it is not to be in the data directory",
    },
    { name: "name", kind: "string", defaultText: "default", usage: "name of this member" },
    {
      name: "initial-cluster",
      kind: "string",
      defaultText: "default=http://localhost:2380",
      usage: "all members: name=peerURL,...",
    },
    {
      name: "initial-cluster-token",
      kind: "string",
      defaultText: "etcd-cluster",
      usage: "tells clusters with the same URLs apart",
    },
    {
      name: "initial-advertise-peer-urls",
      kind: "string",
      defaultText: "http://localhost:2380",
      usage: "peer URLs of this member, as in --initial-cluster",
    },
    {
      name: "skip-hash-check",
      kind: "bool",
      defaultText: "false",
      usage: "take a file without a checksum (a copy of member/snap/db), or with a wrong one",
    },
    {
      name: "bump-revision",
      kind: "uint",
      defaultText: "0",
      usage: "raise the latest revision by this; needs --mark-compacted",
    },
    {
      name: "mark-compacted",
      kind: "bool",
      defaultText: "false",
      usage: "count all below the raised revision as compacted; needs --bump-revision",
    },
    {
      name: "initial-memory-map-size",
      kind: "uint",
      defaultText: "10737418240",
      usage: "taken and not used",
    },
  ],
  async run(invocation) {
    const { snapshotRestoreCommand } = await import("./run-change.ts");
    await snapshotRestoreCommand(invocation);
  },
};

const SNAPSHOT: Command<Run> = {
  name: "snapshot",
  arguments: "<command>",
  short: "Look at snapshot files and restore them",
  commands: [RESTORE, STATUS],
};

const DEFRAG: Command<Run> = {
  name: "defrag",
  arguments: "--data-dir <directory>",
  short: "Give the unused room in a database file back",
  long: `Writes a compact copy beside the database and puts it in its place once it is durable. Waits
while another process has the database open; for a member that runs use \`etcdctl defrag\`.`,
  example: `etcdutl defrag --data-dir /var/lib/etcd`,
  flags: [DATA_DIR],
  async run(invocation) {
    const { defragCommand } = await import("./run-change.ts");
    await defragCommand(invocation);
  },
};

const HASHKV: Command<Run> = {
  name: "hashkv",
  arguments: "<filename>",
  short: "Hash the key history in a snapshot or database file",
  long: `Prints hash, hash revision and compact revision. Members with the same data have the same hash
at the same revision, as \`etcdctl endpoint hashkv\` shows it. The file is only read.`,
  example: `etcdutl hashkv backup.db
etcdutl hashkv backup.db --rev 1200 -w json`,
  flags: [
    {
      name: "rev",
      kind: "int",
      defaultText: "0",
      usage: "highest revision to hash; 0 for the latest",
    },
  ],
  async run(invocation) {
    const { hashKVCommand } = await import("./run-inspect.ts");
    await hashKVCommand(invocation);
  },
};

const MIGRATE: Command<Run> = {
  name: "migrate",
  arguments: "--data-dir <directory> --target-version <X.Y>",
  short: "Make a data directory ready for another minor version of etcd",
  long: `Refused if the log holds something the target version does not read: start the member once
more and let it take a snapshot, or use --force and lose the guarantee.`,
  example: `etcdutl migrate --data-dir /var/lib/etcd --target-version 3.5`,
  flags: [
    DATA_DIR,
    {
      name: "target-version",
      kind: "string",
      defaultText: "",
      usage: "version that is to start on it, such as 3.5 or 3.6 (required)",
      isRequired: true,
    },
    {
      name: "force",
      kind: "bool",
      defaultText: "false",
      usage: "set the version even if that is refused",
    },
  ],
  async run(invocation) {
    const { migrateCommand } = await import("./run-change.ts");
    await migrateCommand(invocation);
  },
};

const VERIFY: Command<Run> = {
  name: "verify",
  arguments: "<file or data directory>",
  short: "Check all that can be checked of a snapshot or a data directory",
  long: `Looks at the checksum, every page, every bucket, the order of revisions and the history of each
key, leases, members, auth and alarms; in a data directory also at the log, the raft snapshots
and raft's state. Nothing is changed. Exit status 1 if anything is wrong.`,
  example: `etcdutl verify backup.db
etcdutl verify /var/lib/etcd --json`,
  flags: [
    { name: "json", kind: "bool", defaultText: "false", usage: "the same as --write-out json" },
    {
      name: "wal-dir",
      kind: "string",
      defaultText: "",
      usage: "directory of the write-ahead log, if it is not in the data directory",
    },
  ],
  async run(invocation) {
    const { verifyCommand } = await import("./run-inspect.ts");
    await verifyCommand(invocation);
  },
};

const VERSION: Command<Run> = {
  name: "version",
  short: "Print the version of etcdutl",
  run() {
    out(`etcdutl version: ${VERSIONS.version}\nAPI version: ${VERSIONS.apiVersion}\n`);
  },
};

const COMPLETION: Command<Run> = {
  name: "completion",
  arguments: SHELLS.join("|"),
  choices: SHELLS,
  short: "Print a script that completes command lines",
  example: `source <(etcdutl completion bash)
etcdutl completion fish > ~/.config/fish/completions/etcdutl.fish`,
  run(invocation) {
    out(completionFor(ROOT, invocation));
  },
};

export const ROOT: Command<Run> = {
  name: "etcdutl",
  short: "Work on the files of an etcd member that does not run",
  persistentFlags: [WRITE_OUT],
  commands: [COMPLETION, DEFRAG, HASHKV, MIGRATE, SNAPSHOT, VERIFY, VERSION],
};

/** @throws {CommandError} unless there is exactly one word */
export function onlyWord({ args }: Invocation, what: string): string {
  const [word, ...more] = args;
  if (word !== undefined && more.length === 0) return word;
  throw new CommandError(EXIT_BAD_ARGUMENTS, `${what} requires exactly one argument`);
}
