/** What `etcd --help` prints: usage, then each flag with its default and what it does. */

import { EXPERIMENTAL_ALIASES, EXPERIMENTAL_GATES, FLAGS, UNBUILT_FLAGS } from "./flags.ts";
import type { FlagName } from "./flags.ts";

export const USAGE = `Usage:

  etcd [flags]
    Run one etcd member.

  etcd --version
    Print the version.

  etcd -h | --help
    Print this help.

  etcd --config-file PATH
    Read all settings from a YAML or JSON file. Other flags and ETCD_* variables are then ignored.

Each flag can also be set by a variable: --data-dir by ETCD_DATA_DIR, and so on. A flag and its
variable together are refused.

Examples:

  etcd
    Serve http://localhost:2379 with the data in default.etcd.

  etcd --name s1 --data-dir /var/lib/etcd \\
       --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://10.0.0.1:2379
    Serve other machines.

  etcd --listen-client-urls unix:///run/etcd.sock --advertise-client-urls unix:///run/etcd.sock
    Serve a unix socket.
`;

type Section = readonly [title: string, flags: readonly (readonly [FlagName, string])[]];

const SECTIONS: readonly Section[] = [
  [
    "Member",
    [
      ["name", "Name of this member, for people; unique in the cluster."],
      ["data-dir", "Directory of the data; '${name}.etcd' if empty."],
      ["wal-dir", "Directory of the write-ahead log, if it should be on a disk of its own."],
      ["snapshot-count", "Applied entries after which a snapshot is written."],
      ["heartbeat-interval", "Milliseconds between the leader's heartbeats."],
      ["election-timeout", "Milliseconds without a heartbeat after which an election starts."],
      ["initial-election-tick-advance", "Shorten the wait for the first election at start."],
      ["listen-peer-urls", "URLs to listen on for other members."],
      ["listen-client-urls", "URLs to listen on for clients: gRPC, and HTTP unless split off."],
      [
        "listen-client-http-urls",
        "URLs for HTTP clients only; --listen-client-urls is then gRPC only.",
      ],
      ["max-snapshots", "Snapshot files to keep; 0 keeps all."],
      ["max-wals", "Log files to keep; 0 keeps all."],
      ["memory-mlock", "Keep the pages of the database in memory."],
      [
        "quota-backend-bytes",
        "Size of the database that raises NOSPACE; 0 is 2 GiB, below 0 no limit.",
      ],
      ["backend-bbolt-freelist-type", "'array' or 'map'; accepted for compatibility."],
      [
        "backend-batch-interval",
        "Longest wait before changes are committed to the database; 0s is 100ms.",
      ],
      [
        "backend-batch-limit",
        "Most changes before they are committed to the database; 0 is 10000.",
      ],
      ["max-txn-ops", "Most operations of a transaction."],
      ["max-request-bytes", "Largest request, in bytes."],
      ["max-concurrent-streams", "Most streams a client connection may have open."],
      ["grpc-keepalive-min-time", "Shortest time between a client's pings that is tolerated."],
      [
        "grpc-keepalive-interval",
        "Time between the server's pings to a silent client; 0 never pings.",
      ],
      ["grpc-keepalive-timeout", "Time to wait for the answer to such a ping."],
      ["socket-reuse-port", "Set SO_REUSEPORT on listeners."],
      ["socket-reuse-address", "Set SO_REUSEADDR on listeners; Node always does."],
      ["enable-grpc-gateway", "Serve the JSON gateway under /v3/."],
      ["raft-read-timeout", "Read time-out of connections between members; at least 5s."],
      ["raft-write-timeout", "Write time-out of connections between members; at least 5s."],
      [
        "feature-gates",
        "Switches, as A=true,B=false: AllAlpha, AllBeta, CompactHashCheck, InitialCorruptCheck, LeaseCheckpoint, LeaseCheckpointPersist, SetMemberLocalAddr, StopGRPCServiceOnDefrag, TxnModeWriteWithSharedBuffer.",
      ],
      ["max-learners", "Most learners in the cluster."],
      [
        "bootstrap-defrag-threshold-megabytes",
        "Defragment at start if it frees at least so many megabytes; 0 never.",
      ],
      ["snapshot-catchup-entries", "Log entries kept for slow followers after a snapshot."],
    ],
  ],
  [
    "Clustering",
    [
      ["initial-advertise-peer-urls", "Peer URLs that other members are told."],
      ["initial-cluster", "Members of a new cluster, as name=url,name=url."],
      ["initial-cluster-state", "'new', or 'existing' to join a cluster."],
      ["initial-cluster-token", "Tells clusters apart that start with the same members."],
      ["advertise-client-urls", "Client URLs that the cluster is told."],
      ["discovery", "Discovery URL (v2)."],
      ["discovery-token", "Token of the new cluster in the discovery service (v3)."],
      ["discovery-endpoints", "Endpoints of the discovery service (v3)."],
      ["discovery-dial-timeout", "Dial time-out of the discovery service."],
      ["discovery-request-timeout", "Request time-out of the discovery service."],
      ["discovery-keepalive-time", "Keepalive time of the discovery service."],
      ["discovery-keepalive-timeout", "Keepalive time-out of the discovery service."],
      ["discovery-insecure-transport", "Talk to the discovery service without TLS."],
      ["discovery-insecure-skip-tls-verify", "Do not verify the discovery service's certificate."],
      ["discovery-cert", "Client certificate for the discovery service."],
      ["discovery-key", "Client key for the discovery service."],
      ["discovery-cacert", "CA of the discovery service."],
      ["discovery-user", "User of the discovery service, name or name:password."],
      ["discovery-password", "Password of that user."],
      ["discovery-fallback", "What to do if discovery fails; only 'exit'."],
      ["discovery-proxy", "HTTP proxy for the discovery service (v2)."],
      ["discovery-srv", "DNS domain whose SRV records name the members."],
      ["discovery-srv-name", "Suffix of the SRV name."],
      ["strict-reconfig-check", "Refuse a reconfiguration that would lose quorum."],
      ["pre-vote", "Ask before an election, so that a returning member disturbs nobody."],
      ["auto-compaction-retention", "History to keep; 0 keeps all."],
      [
        "auto-compaction-mode",
        "'periodic': retention is a duration (hours without a unit); 'revision': a count.",
      ],
      ["v2-deprecation", "Accepted for compatibility; the v2 store is write-only."],
    ],
  ],
  [
    "Security",
    [
      ["cert-file", "Server certificate for clients."],
      ["key-file", "Server key for clients."],
      ["client-cert-auth", "Require client certificates."],
      ["client-cert-file", "Certificate the server itself uses as a client."],
      ["client-key-file", "Key of that certificate."],
      ["client-crl-file", "Revoked client certificates."],
      ["client-cert-allowed-hostname", "SAN host names a client certificate may have."],
      ["trusted-ca-file", "CA of client certificates."],
      ["auto-tls", "Make a certificate for clients."],
      ["peer-cert-file", "Certificate for other members."],
      ["peer-key-file", "Key for other members."],
      ["peer-client-cert-auth", "Require certificates of other members."],
      ["peer-client-cert-file", "Certificate this member uses towards others."],
      ["peer-client-key-file", "Key of that certificate."],
      ["peer-trusted-ca-file", "CA of other members' certificates."],
      ["peer-cert-allowed-cn", "Common names another member's certificate may have."],
      ["peer-cert-allowed-hostname", "SAN host names another member's certificate may have."],
      ["peer-auto-tls", "Make a certificate for other members."],
      ["peer-crl-file", "Revoked certificates of members."],
      [
        "peer-skip-client-san-verification",
        "Do not compare a member's certificate with its address.",
      ],
      ["self-signed-cert-validity", "Years a generated certificate is valid."],
      ["cipher-suites", "TLS cipher suites, up to TLS 1.2."],
      ["cors", "Origins that browsers may call from; * for all."],
      ["host-whitelist", "Host names that plain HTTP requests may name; * for all."],
      ["tls-min-version", "Lowest TLS version."],
      ["tls-max-version", "Highest TLS version."],
      ["auth-token", "Token provider: 'simple' or 'jwt,...'."],
      ["bcrypt-cost", "Cost of hashing a password."],
      ["auth-token-ttl", "Seconds a simple token lives."],
    ],
  ],
  [
    "Monitoring and logging",
    [
      ["enable-pprof", "Serve profiles under /debug/pprof/."],
      ["metrics", "'basic', or 'extensive' with histograms of gRPC calls."],
      ["listen-metrics-urls", "URLs that serve /metrics and the health endpoints only."],
      ["enable-distributed-tracing", "Send traces to a collector."],
      ["distributed-tracing-address", "Address of the collector."],
      ["distributed-tracing-service-name", "Service name in traces."],
      ["distributed-tracing-instance-id", "Instance id in traces."],
      ["distributed-tracing-sampling-rate", "Traces kept of a million."],
      ["logger", "Only 'zap'."],
      ["log-outputs", "'default' (stderr), 'stderr', 'stdout' or file paths."],
      ["log-level", "debug, info, warn, error, panic or fatal."],
      ["log-format", "'json' or 'console'."],
      ["enable-log-rotation", "Rotate the one file of --log-outputs."],
      ["log-rotation-config-json", "How: sizes in MB, ages in days, 0 for no limit."],
      ["warning-unary-request-duration", "Requests that take longer are logged."],
      ["warning-apply-duration", "Applied requests that take longer are logged."],
    ],
  ],
  [
    "Tuning and integrity",
    [
      ["corrupt-check-time", "Time between corruption checks of the cluster; 0s never."],
      ["compact-hash-check-time", "Time between comparisons of compaction hashes."],
      ["compaction-batch-limit", "Revisions deleted in one batch of a compaction; 0 is 1000."],
      ["compaction-sleep-interval", "Pause between such batches; 0s is 10ms."],
      ["watch-progress-notify-interval", "Time between progress notifications; 0s is 10m."],
      ["downgrade-check-time", "Time between checks of a downgrade under way."],
    ],
  ],
  [
    "Unsafe",
    [
      ["force-new-cluster", "Make a new cluster of one member from existing data."],
      ["unsafe-no-fsync", "Do not sync files. Acknowledged writes may be lost."],
    ],
  ],
];

function shownDefault(flag: FlagName): string {
  return ` '${FLAGS[flag].defaultText}'`;
}

/** The whole help text, ending in a newline. */
export function helpText(): string {
  const unbuilt = new Set<string>(UNBUILT_FLAGS);
  const sections = SECTIONS.map(([title, flags]) => {
    const lines = flags.map(([flag, text]) => {
      const note = unbuilt.has(flag) ? " Not built yet: refused." : "";
      return `  --${flag}${shownDefault(flag)}\n    ${text}${note}`;
    });
    return `${title}:\n${lines.join("\n")}\n`;
  });
  const aliases = [
    ...EXPERIMENTAL_ALIASES.map(([old, stable]) => `  --${old}\n    Use --${stable}.`),
    ...EXPERIMENTAL_GATES.map(([old, gate]) => `  --${old}\n    Use --feature-gates=${gate}=true.`),
  ];
  return `${USAGE}\n${sections.join("\n")}\nDeprecated:\n${aliases.join("\n")}\n`;
}
