/**
 * Every command: its words, flags, help, and where its code is. The code of a command is loaded
 * when it runs, so that the command line itself is read fast.
 */

import { SERVER_VERSION } from "@etcd-ts/api/version";
import { completionFor, SHELLS } from "@etcd-ts/cli";
import type { CommandFlag } from "@etcd-ts/cli";

import { AUTH_COMMANDS } from "./auth-commands.ts";
import type { Command } from "./command.ts";
import { boolFlag, GLOBAL_FLAGS, intFlag, stringFlag } from "./global-flags.ts";
import { DEL, GET, PUT, WATCH } from "./kv-flags.ts";

export const VERSIONS = {
  version: SERVER_VERSION,
  apiVersion: SERVER_VERSION.replace(/\.\d+$/, ""),
};

const CLUSTER_FLAG = boolFlag("cluster", "ask every member of the cluster, not --endpoints");

const KEYS: readonly Command[] = [
  {
    name: "get",
    arguments: "[options] <key> [range_end]",
    short: "Prints a key, or a range of keys",
    example: `# One key
etcdctl get foo

# All keys that begin with foo, without their values
etcdctl get foo --prefix --keys-only

# Keys from a up to but without c, as they were at revision 12
etcdctl get a c --rev=12`,
    flags: GET,
    run: async (context) => (await import("./run/kv.ts")).get(context),
  },
  {
    name: "put",
    arguments: "[options] <key> <value> (<value> can also be given from stdin)",
    short: "Stores a value under a key",
    long: `A value that begins with '-' looks like a flag; put '--' before it. Without a value on the
command line it is read from standard input.`,
    example: `etcdctl put foo bar
etcdctl put foo -- -1
etcdctl put config < config.json
etcdctl put foo bar --lease=694d5765fc71500b`,
    flags: PUT,
    run: async (context) => (await import("./run/kv.ts")).put(context),
  },
  {
    name: "del",
    arguments: "[options] <key> [range_end]",
    short: "Deletes a key, or a range of keys [key, range_end)",
    example: `etcdctl del foo
etcdctl del foo --prefix --prev-kv
etcdctl del a c --range`,
    flags: DEL,
    run: async (context) => (await import("./run/kv.ts")).del(context),
  },
  {
    name: "txn",
    arguments: "[options]",
    short: "Does several operations as one, on a condition",
    long: `Reads three blocks of lines from standard input, each ended by an empty line: comparisons,
operations to do if all comparisons hold, and operations to do otherwise.

A comparison is target("key") relation "value". Targets: version, create, mod, value, lease (also
ver, c, m, val). Relations: = != < >. Operations are get, put and del, with their flags.`,
    example: `etcdctl txn -i
compares:
mod("key1") > "0"

success requests (get, put, del):
put key1 "overwritten"

failure requests (get, put, del):
put key1 "created"
put key2 "another key"`,
    flags: [{ ...boolFlag("interactive", "say what is expected next"), short: "i" }],
    run: async (context) => (await import("./run/txn.ts")).txn(context),
  },
  {
    name: "watch",
    arguments: "[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    short: "Prints changes of keys as they happen",
    long: `With a command after '--', runs it for each event, with ETCD_WATCH_REVISION,
ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its environment. The key can also come
from ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END.`,
    example: `etcdctl watch foo --prefix
etcdctl watch foo --rev=1 --prev-kv
etcdctl watch foo -- sh -c 'echo "$ETCD_WATCH_EVENT_TYPE of $ETCD_WATCH_KEY"'`,
    flags: WATCH,
    run: async (context) => (await import("./run/watch.ts")).watch(context),
  },
  {
    name: "compaction",
    arguments: "[options] <revision>",
    short: "Forgets the history before a revision",
    flags: [boolFlag("physical", "wait until the old revisions are off the disk")],
    run: async (context) => (await import("./run/kv.ts")).compaction(context),
  },
];

const LEASE: Command = {
  name: "lease",
  arguments: "<subcommand>",
  short: "Leases: keys that go when nobody renews them",
  commands: [
    {
      name: "grant",
      arguments: "<ttl>",
      short: "Creates a lease of <ttl> seconds",
      run: async (context) => (await import("./run/lease.ts")).grant(context),
    },
    {
      name: "revoke",
      arguments: "<leaseID>",
      short: "Deletes a lease and its keys",
      run: async (context) => (await import("./run/lease.ts")).revoke(context),
    },
    {
      name: "timetolive",
      arguments: "<leaseID> [options]",
      short: "Tells how long a lease still lasts",
      flags: [boolFlag("keys", "print the keys attached to it")],
      run: async (context) => (await import("./run/lease.ts")).timeToLive(context),
    },
    {
      name: "list",
      short: "Lists all leases",
      run: async (context) => (await import("./run/lease.ts")).list(context),
    },
    {
      name: "keep-alive",
      arguments: "[options] <leaseID>",
      short: "Renews a lease again and again",
      flags: [boolFlag("once", "renew it once and end")],
      run: async (context) => (await import("./run/lease.ts")).keepAlive(context),
    },
  ],
};

const PEER_URLS = stringFlag("peer-urls", "URLs of the member for its peers, between commas");

const MEMBER: Command = {
  name: "member",
  arguments: "<subcommand>",
  short: "Members of the cluster",
  commands: [
    {
      name: "add",
      arguments: "<memberName> [options]",
      short: "Tells the cluster of a member that will join",
      example: `etcdctl member add node4 --peer-urls=http://10.0.0.4:2380 --learner`,
      flags: [boolFlag("learner", "it joins without a vote"), PEER_URLS],
      run: async (context) => (await import("./run/member.ts")).add(context),
    },
    {
      name: "remove",
      arguments: "<memberID>",
      short: "Takes a member out of the cluster",
      run: async (context) => (await import("./run/member.ts")).remove(context),
    },
    {
      name: "update",
      arguments: "<memberID> [options]",
      short: "Changes the peer URLs of a member",
      flags: [PEER_URLS],
      run: async (context) => (await import("./run/member.ts")).update(context),
    },
    {
      name: "promote",
      arguments: "<memberID>",
      short: "Gives a learner its vote",
      run: async (context) => (await import("./run/member.ts")).promote(context),
    },
    {
      name: "list",
      short: "Lists all members",
      long: `A line of the simple format: ID, status, name, peer URLs, client URLs, is learner.`,
      flags: [
        stringFlag("consistency", "l: ask the leader (linearizable); s: one member's view", "l"),
      ],
      run: async (context) => (await import("./run/member.ts")).list(context),
    },
  ],
};

const ENDPOINT: Command = {
  name: "endpoint",
  arguments: "<subcommand>",
  short: "Endpoints, one by one",
  persistentFlags: [CLUSTER_FLAG],
  commands: [
    {
      name: "health",
      short: "Tells which endpoints can serve",
      example: `etcdctl endpoint health --cluster -w table`,
      run: async (context) => (await import("./run/endpoint.ts")).health(context),
    },
    {
      name: "status",
      short: "Prints the state of each endpoint's member",
      long: `A line of the simple format: endpoint, ID, version, storage version, size of the database,
size in use, percentage not in use, quota, is leader, is learner, raft term, raft index, raft
applied index, errors, downgrade target version, downgrade enabled.`,
      run: async (context) => (await import("./run/endpoint.ts")).status(context),
    },
    {
      name: "hashkv",
      short: "Prints the hash of each endpoint's keys and history",
      flags: [intFlag("rev", "hash up to this revision; 0 for the newest")],
      run: async (context) => (await import("./run/endpoint.ts")).hashKV(context),
    },
  ],
};

const SNAPSHOT_EXAMPLE = `# Save the database of the local member
etcdctl snapshot save /backup/etcd-snapshot.db

# Of another one, over TLS, giving up after a minute
etcdctl --endpoints=https://10.0.0.1:2379 --cacert=ca.crt --cert=etcd.crt --key=etcd.key \\
  --command-timeout=60s snapshot save /backup/etcd-snapshot.db`;

const MAINTENANCE: readonly Command[] = [
  {
    name: "alarm",
    arguments: "<subcommand>",
    short: "Alarms of members",
    commands: [
      {
        name: "disarm",
        short: "Lifts all alarms",
        run: async (context) => (await import("./run/maintenance.ts")).alarmDisarm(context),
      },
      {
        name: "list",
        short: "Lists all alarms",
        run: async (context) => (await import("./run/maintenance.ts")).alarmList(context),
      },
    ],
  },
  {
    name: "defrag",
    short: "Gives the free space inside the members' databases back to the disk",
    long: `A member is busy while it does this. With --cluster the leader comes last.`,
    persistentFlags: [CLUSTER_FLAG],
    run: async (context) => (await import("./run/endpoint.ts")).defrag(context),
  },
  {
    name: "move-leader",
    arguments: "<transferee-member-id>",
    short: "Makes another member the leader",
    run: async (context) => (await import("./run/maintenance.ts")).moveLeader(context),
  },
  {
    name: "snapshot",
    arguments: "<subcommand>",
    short: "Copies of a member's database",
    example: SNAPSHOT_EXAMPLE,
    commands: [
      {
        name: "save",
        arguments: "<filename>",
        short: "Saves a member's database to a file",
        example: SNAPSHOT_EXAMPLE,
        run: async (context) => (await import("./run/snapshot.ts")).save(context),
      },
    ],
  },
  {
    name: "make-mirror",
    arguments: "[options] <destination>",
    short: "Copies keys to another cluster and keeps the copy up to date",
    flags: [
      stringFlag("dest-cacert", "file of the authorities that sign the destination's certificates"),
      stringFlag("dest-cert", "file of the certificate shown to the destination"),
      boolFlag("dest-insecure-transport", "allow connections without TLS to the destination", true),
      stringFlag("dest-key", "file of the key to --dest-cert"),
      stringFlag("dest-password", "password of --dest-user, which then holds the name alone"),
      stringFlag("dest-prefix", "prefix the keys get at the destination instead of theirs"),
      stringFlag("dest-user", "name[:password] to log in with at the destination"),
      {
        name: "max-txn-ops",
        kind: "uint",
        defaultText: "128",
        usage: "most changes in one transaction at the destination",
      },
      boolFlag("no-dest-prefix", "the keys lose their prefix at the destination"),
      stringFlag("prefix", "only keys that begin so"),
      intFlag("rev", "only changes from this revision on; 0 for everything there is"),
    ],
    run: async (context) => (await import("./run/mirror.ts")).makeMirror(context),
  },
  {
    name: "downgrade",
    arguments: "<TARGET_VERSION>",
    short: "Going back to the version before",
    commands: [
      {
        name: "validate",
        arguments: "<TARGET_VERSION>",
        short: "Tells whether the cluster could go back",
        run: async (context) => (await import("./run/maintenance.ts")).downgradeValidate(context),
      },
      {
        name: "enable",
        arguments: "<TARGET_VERSION>",
        short: "Allows members of the version before",
        run: async (context) => (await import("./run/maintenance.ts")).downgradeEnable(context),
      },
      {
        name: "cancel",
        short: "Stays at the version of now",
        run: async (context) => (await import("./run/maintenance.ts")).downgradeCancel(context),
      },
    ],
  },
];

const CONCURRENCY: readonly Command[] = [
  {
    name: "lock",
    arguments: "<lockname> [exec-command arg1 arg2 ...]",
    short: "Takes a lock, and holds it until a signal or while a command runs",
    long: `The command finds ETCD_LOCK_KEY and ETCD_LOCK_REV in its environment; its exit status
becomes etcdctl's.`,
    example: `etcdctl lock deploy ./deploy.sh`,
    flags: [intFlag("ttl", "seconds after which a lock is free whose holder has died", 10)],
    run: async (context) => (await import("./run/concurrency.ts")).lock(context),
  },
  {
    name: "elect",
    arguments: "<election-name> [proposal]",
    short: "Takes part in an election, or watches one",
    example: `etcdctl elect primary "$(hostname)"
etcdctl elect -l primary`,
    flags: [{ ...boolFlag("listen", "print the leaders, without taking part"), short: "l" }],
    run: async (context) => (await import("./run/concurrency.ts")).elect(context),
  },
];

const VERSION_COMMAND: Command = {
  name: "version",
  short: "Prints the version of etcdctl",
  run: {
    text: () => `etcdctl version: ${VERSIONS.version}\nAPI version: ${VERSIONS.apiVersion}\n`,
  },
};

const COMPLETION: Command = {
  name: "completion",
  arguments: `[${SHELLS.join("|")}]`,
  choices: SHELLS,
  short: "Prints a script that completes command lines",
  example: `source <(etcdctl completion bash)
etcdctl completion zsh > "\${fpath[1]}/_etcdctl"
etcdctl completion fish > ~/.config/fish/completions/etcdctl.fish
etcdctl completion powershell | Out-String | Invoke-Expression`,
  run: { text: (commandLine) => completionFor(ROOT, commandLine) },
};

const LOAD: CommandFlag = {
  ...stringFlag("load", "how much: s (small), m (medium), l (large) or xl (xLarge)", "s"),
  choices: ["small", "medium", "large", "xLarge"],
};
const AFTERWARDS = [
  boolFlag("auto-compact", "compact up to the last revision afterwards"),
  boolFlag("auto-defrag", "defragment the endpoints afterwards"),
];

const CHECK: Command = {
  name: "check",
  arguments: "<subcommand>",
  short: "Checks of a cluster under load",
  commands: [
    {
      name: "perf",
      arguments: "[options]",
      short: "Checks whether the cluster is fast enough",
      long: `Puts keys at a steady pace for a minute (150, 1000, 8000 or 15000 in a second, from 50, 200, 500
or 1000 connections), deletes them, and tells whether 90 % of that was reached, no put took longer
than half a second, and the times did not differ by more than a tenth (standard deviation).`,
      flags: [
        LOAD,
        stringFlag("prefix", "prefix of the keys it writes", "/etcdctl-check-perf/"),
        ...AFTERWARDS,
      ],
      run: async (context) => (await import("./run/check-perf.ts")).checkPerf(context),
    },
    {
      name: "datascale",
      arguments: "[options]",
      short: "Checks how much memory a server needs for much data",
      long: `Puts 10000, 100000, 1000000 or 3000000 keys of 1 KiB (from 50, 200, 500 or 1000 connections),
deletes them, and tells by how much the memory of the first endpoint's process grew.`,
      flags: [
        LOAD,
        stringFlag("prefix", "prefix of the keys it writes", "/etcdctl-check-datascale/"),
        ...AFTERWARDS,
      ],
      run: async (context) => (await import("./run/check-datascale.ts")).checkDatascale(context),
    },
  ],
};

/** In which an unknown word is compared with them. */
const ORDER =
  "get put del txn compaction alarm defrag endpoint move-leader watch version lease member snapshot make-mirror lock elect auth user role check completion downgrade".split(
    " ",
  );

function inOrder(commands: readonly Command[]): readonly Command[] {
  return commands.toSorted((a, b) => ORDER.indexOf(a.name) - ORDER.indexOf(b.name));
}

export const ROOT: Command = {
  name: "etcdctl",
  short: "The command line client of etcd.",
  persistentFlags: GLOBAL_FLAGS,
  commands: inOrder([
    ...KEYS,
    LEASE,
    MEMBER,
    ENDPOINT,
    ...MAINTENANCE,
    ...CONCURRENCY,
    ...AUTH_COMMANDS,
    CHECK,
    COMPLETION,
    VERSION_COMMAND,
  ]),
};
