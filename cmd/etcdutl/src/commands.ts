/** The commands, their flags and what their help says. Their work is loaded when it is asked for. */

import { CommandError, EXIT_BAD_ARGUMENTS, UsageError, subcommand } from "./command.ts";
import type { Command, Flag, Invocation } from "./command.ts";
import { helpText } from "./help.ts";

const WRITE_OUT: Flag = {
  name: "write-out",
  short: "w",
  kind: "string",
  defaultText: "simple",
  help: "output format: fields, json, protobuf, simple, table",
  choices: ["fields", "json", "protobuf", "simple", "table"],
};

const DATA_DIR: Flag = {
  name: "data-dir",
  kind: "string",
  defaultText: "",
  help: "data directory of an etcd that does not run (required)",
  isRequired: true,
};

const STATUS: Command = {
  name: "status",
  words: "<filename>",
  summary: "Show what a snapshot or database file holds",
  description: [
    "Checks every page of the file first, then prints hash, revision, total keys, total size and",
    "storage version. The file is only read. A trailing checksum is not looked at: `verify` does.",
  ],
  examples: ["etcdutl snapshot status backup.db", "etcdutl snapshot status backup.db -w table"],
  flags: [],
  commands: [],
  async run(invocation) {
    const { snapshotStatusCommand } = await import("./run-inspect.ts");
    await snapshotStatusCommand(invocation);
  },
};

const RESTORE: Command = {
  name: "restore",
  words: "<filename> --data-dir <directory> [flags]",
  summary: "Make the data directory of a new cluster's member from a snapshot",
  description: [
    "Each member of the new cluster is restored from the same file, with its own --name and",
    "--initial-advertise-peer-urls and the same --initial-cluster and --initial-cluster-token.",
    "The data directory must be missing or empty; it appears complete or not at all.",
    "",
    "A file saved by `etcdctl snapshot save` carries a checksum, which is verified. A copy of",
    "member/snap/db carries none and needs --skip-hash-check; its pages are checked instead.",
    "",
    "Clients that remember revisions, such as Kubernetes controllers, must not see them go back:",
    "--bump-revision together with --mark-compacted raises the revision past what they can know.",
  ],
  examples: [
    "# one member",
    "etcdutl snapshot restore backup.db --data-dir /var/lib/etcd",
    "",
    "# the first of three members (the others with their own name and URL)",
    "etcdutl snapshot restore backup.db --data-dir /var/lib/etcd --name m1 \\",
    "  --initial-cluster m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380,m3=https://10.0.0.3:2380 \\",
    "  --initial-cluster-token restored-1 --initial-advertise-peer-urls https://10.0.0.1:2380",
    "",
    "# for Kubernetes: no client keeps what it cached",
    "etcdutl snapshot restore backup.db --data-dir /var/lib/etcd \\",
    "  --bump-revision 1000000000 --mark-compacted",
  ],
  flags: [
    {
      name: "data-dir",
      kind: "string",
      defaultText: "",
      help: "directory to make (default <name>.etcd)",
    },
    {
      name: "wal-dir",
      kind: "string",
      defaultText: "",
      help: "directory of the write-ahead log, if it is not to be in the data directory",
    },
    { name: "name", kind: "string", defaultText: "default", help: "name of this member" },
    {
      name: "initial-cluster",
      kind: "string",
      defaultText: "default=http://localhost:2380",
      help: "all members: name=peerURL,...",
    },
    {
      name: "initial-cluster-token",
      kind: "string",
      defaultText: "etcd-cluster",
      help: "tells clusters with the same URLs apart",
    },
    {
      name: "initial-advertise-peer-urls",
      kind: "string",
      defaultText: "http://localhost:2380",
      help: "peer URLs of this member, as in --initial-cluster",
    },
    {
      name: "skip-hash-check",
      kind: "bool",
      defaultText: "false",
      help: "take a file without a checksum (a copy of member/snap/db), or with a wrong one",
    },
    {
      name: "bump-revision",
      kind: "uint64",
      defaultText: "0",
      help: "raise the latest revision by this; needs --mark-compacted",
    },
    {
      name: "mark-compacted",
      kind: "bool",
      defaultText: "false",
      help: "count all below the raised revision as compacted; needs --bump-revision",
    },
    {
      name: "initial-memory-map-size",
      kind: "uint64",
      defaultText: "10737418240",
      help: "taken and not used",
    },
  ],
  commands: [],
  async run(invocation) {
    const { snapshotRestoreCommand } = await import("./run-change.ts");
    await snapshotRestoreCommand(invocation);
  },
};

const SNAPSHOT: Command = {
  name: "snapshot",
  words: "<command>",
  summary: "Look at snapshot files and restore them",
  flags: [],
  commands: [RESTORE, STATUS],
};

const DEFRAG: Command = {
  name: "defrag",
  words: "--data-dir <directory>",
  summary: "Give the unused room in a database file back",
  description: [
    "Writes a compact copy beside the database and puts it in its place once it is durable. Waits",
    "while another process has the database open; for a member that runs use `etcdctl defrag`.",
  ],
  examples: ["etcdutl defrag --data-dir /var/lib/etcd"],
  flags: [DATA_DIR],
  commands: [],
  async run(invocation) {
    const { defragCommand } = await import("./run-change.ts");
    await defragCommand(invocation);
  },
};

const HASHKV: Command = {
  name: "hashkv",
  words: "<filename>",
  summary: "Hash the key history in a snapshot or database file",
  description: [
    "Prints hash, hash revision and compact revision. Members with the same data have the same hash",
    "at the same revision, as `etcdctl endpoint hashkv` shows it. The file is only read.",
  ],
  examples: ["etcdutl hashkv backup.db", "etcdutl hashkv backup.db --rev 1200 -w json"],
  flags: [
    {
      name: "rev",
      kind: "int64",
      defaultText: "0",
      help: "highest revision to hash; 0 for the latest",
    },
  ],
  commands: [],
  async run(invocation) {
    const { hashKVCommand } = await import("./run-inspect.ts");
    await hashKVCommand(invocation);
  },
};

const MIGRATE: Command = {
  name: "migrate",
  words: "--data-dir <directory> --target-version <X.Y>",
  summary: "Make a data directory ready for another minor version of etcd",
  description: [
    "Refused if the log holds something the target version does not read: start the member once",
    "more and let it take a snapshot, or use --force and lose the guarantee.",
  ],
  examples: ["etcdutl migrate --data-dir /var/lib/etcd --target-version 3.5"],
  flags: [
    DATA_DIR,
    {
      name: "target-version",
      kind: "string",
      defaultText: "",
      help: "version that is to start on it, such as 3.5 or 3.6 (required)",
      isRequired: true,
    },
    {
      name: "force",
      kind: "bool",
      defaultText: "false",
      help: "set the version even if that is refused",
    },
  ],
  commands: [],
  async run(invocation) {
    const { migrateCommand } = await import("./run-change.ts");
    await migrateCommand(invocation);
  },
};

const VERIFY: Command = {
  name: "verify",
  words: "<file or data directory>",
  summary: "Check all that can be checked of a snapshot or a data directory",
  description: [
    "Looks at the checksum, every page, every bucket, the order of revisions and the history of each",
    "key, leases, members, auth and alarms; in a data directory also at the log, the raft snapshots",
    "and raft's state. Nothing is changed. Exit status 1 if anything is wrong.",
  ],
  examples: ["etcdutl verify backup.db", "etcdutl verify /var/lib/etcd --json"],
  flags: [
    { name: "json", kind: "bool", defaultText: "false", help: "the same as --write-out json" },
    {
      name: "wal-dir",
      kind: "string",
      defaultText: "",
      help: "directory of the write-ahead log, if it is not in the data directory",
    },
  ],
  commands: [],
  async run(invocation) {
    const { verifyCommand } = await import("./run-inspect.ts");
    await verifyCommand(invocation);
  },
};

const VERSION: Command = {
  name: "version",
  words: "",
  summary: "Print the version of etcdutl",
  flags: [],
  commands: [],
  async run() {
    const { SERVER_VERSION } = await import("@etcd-ts/api");
    process.stdout.write(
      `etcdutl version: ${SERVER_VERSION}\nAPI version: ${SERVER_VERSION.replace(/\.\d+$/, "")}\n`,
    );
  },
};

const COMPLETION: Command = {
  name: "completion",
  words: "bash|zsh|fish|powershell",
  summary: "Print a script that completes command lines",
  examples: [
    "source <(etcdutl completion bash)",
    "etcdutl completion fish > ~/.config/fish/completions/etcdutl.fish",
  ],
  flags: [],
  commands: [],
  async run(invocation) {
    const word = onlyArgument(invocation);
    const { SHELLS, completionScript } = await import("./completion.ts");
    const shell = SHELLS.find((one) => one === word);
    if (shell === undefined) {
      const quoted = JSON.stringify(word);
      throw new UsageError(`invalid argument ${quoted} for "etcdutl completion"`, invocation.path);
    }
    process.stdout.write(completionScript(ROOT, shell));
  },
};

const HELP: Command = {
  name: "help",
  words: "[command]",
  summary: "Show help about a command",
  flags: [],
  commands: [],
  run(invocation) {
    process.stdout.write(helpFor(invocation));
  },
};

export const ROOT: Command = {
  name: "etcdutl",
  words: "<command> [flags]",
  summary: "Work on the files of an etcd member that does not run",
  flags: [WRITE_OUT],
  commands: [COMPLETION, DEFRAG, HASHKV, HELP, MIGRATE, SNAPSHOT, VERIFY, VERSION],
};

/** Help about the command the words name, or about the one they were given to. */
export function helpFor({ path, words }: Invocation): string {
  const named: Command[] = path.at(-1) === HELP ? [ROOT] : [...path];
  for (const word of words) named.push(subcommand(named, word));
  return helpText(named);
}

/** @throws {CommandError} unless there is exactly one word */
export function onlyWord(invocation: Invocation, what: string): string {
  const [word, ...more] = invocation.words;
  if (word !== undefined && more.length === 0) return word;
  throw new CommandError(EXIT_BAD_ARGUMENTS, `${what} requires exactly one argument`);
}

/** As `onlyWord`, refused as a command line that cannot be understood. */
export function onlyArgument(invocation: Invocation): string {
  const { words, path } = invocation;
  if (words.length === 1) return words[0]!;
  throw new UsageError(`accepts 1 arg(s), received ${words.length}`, path);
}
