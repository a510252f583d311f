/**
 * What one member is told at its start: every setting of a single etcd member, its default and the
 * rules that refuse a combination, with etcd's texts. Units stand in the names.
 */

import type { LogLevel } from "@etcd-ts/base";
import type { LogRotation } from "@etcd-ts/runtime";
import { defaultFeatureGates } from "./feature-gates.ts";
import type { FeatureGates } from "./feature-gates.ts";
import {
  bindAddress,
  checkAdvertiseURLs,
  checkBindURL,
  ConfigError,
  parseListenURLs,
} from "./listen-url.ts";
import type { ListenURL } from "./listen-url.ts";
import {
  checkTransportSecurity,
  NO_TRANSPORT_SECURITY,
  tlsProtocol,
} from "./tls/transport-security.ts";
import type { TransportSecurity } from "./tls/transport-security.ts";

export type AutoCompactionMode = "periodic" | "revision";

/** Another etcd cluster in which members of a new one find each other. */
export interface DiscoverySettings {
  readonly endpoints: readonly string[];
  readonly token: string;
  readonly dialTimeoutMs: number;
  /** Of one request, after the connection stands. */
  readonly requestTimeoutMs: number;
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Empty without authentication. */
  readonly username: string;
  readonly password: string;
  /** Endpoints without a scheme use TLS if this is given; `https://` ones always do. */
  readonly tls: DiscoveryTLS | undefined;
}

/** Paths of PEM files, empty where nothing was given. */
export interface DiscoveryTLS {
  readonly certFile: string;
  readonly keyFile: string;
  /** Empty: the authorities of the system. */
  readonly caFile: string;
  /** Accepts any certificate. For tests only. */
  readonly insecureSkipVerify: boolean;
}

export interface EmbedConfig {
  readonly name: string;
  /** Default `<name>.etcd` in the current directory. */
  readonly dataDir: string;
  /** Default `<dataDir>/member/wal`. */
  readonly walDir: string;

  readonly listenPeerURLs: readonly ListenURL[];
  readonly listenClientURLs: readonly ListenURL[];
  /** HTTP only; makes `listenClientURLs` gRPC only. */
  readonly listenClientHTTPURLs: readonly ListenURL[];
  readonly listenMetricsURLs: readonly ListenURL[];
  readonly initialAdvertisePeerURLs: readonly ListenURL[];
  readonly advertiseClientURLs: readonly ListenURL[];

  /** `name=url,name=url`; default this member alone. */
  readonly initialCluster: string;
  readonly initialClusterState: "new" | "existing";
  readonly initialClusterToken: string;
  /** Where the initial cluster comes from instead; undefined: from `initialCluster`. */
  readonly discovery: DiscoverySettings | undefined;
  /** A DNS domain whose SRV records are the initial cluster; empty: `initialCluster` is. */
  readonly discoverySRV: string;
  /** What `-<name>` follows the service in those records; empty for nothing. */
  readonly discoverySRVName: string;
  /** Makes a cluster of this member alone out of the data it has. */
  readonly forceNewCluster: boolean;

  readonly heartbeatIntervalMs: number;
  readonly electionTimeoutMs: number;
  readonly initialElectionTickAdvance: boolean;
  readonly preVote: boolean;
  readonly strictReconfigCheck: boolean;
  readonly maxLearners: number;
  readonly raftReadTimeoutMs: number;
  readonly raftWriteTimeoutMs: number;

  readonly snapshotCount: number;
  readonly snapshotCatchupEntries: number;
  /** 0 keeps all. */
  readonly snapshotFilesMax: number;
  /** 0 keeps all. */
  readonly walFilesMax: number;

  /** 0 means 2 GiB; below 0 no quota. */
  readonly quotaBackendBytes: number;
  readonly backendBatchIntervalMs: number;
  readonly backendBatchLimit: number;
  /** 0 never defragments at boot. */
  readonly bootstrapDefragThresholdMegabytes: number;
  readonly unsafeNoFsync: boolean;

  readonly txnOpsMax: number;
  readonly requestBytesMax: number;
  readonly concurrentStreamsMax: number;
  readonly grpcKeepaliveMinTimeMs: number;
  /** 0 never pings. */
  readonly grpcKeepaliveIntervalMs: number;
  readonly grpcKeepaliveTimeoutMs: number;
  readonly enableGRPCGateway: boolean;
  readonly cors: readonly string[];
  readonly hostWhitelist: readonly string[];
  /** `simple`, `jwt,<option>=<value>,...`, or empty for no tokens. */
  readonly authToken: string;
  /** Of simple tokens. */
  readonly authTokenTTLSeconds: number;
  readonly bcryptCost: number;

  readonly clientSecurity: TransportSecurity;
  readonly peerSecurity: TransportSecurity;
  readonly selfSignedCertValidityYears: number;
  /** Go's names; none for the default. */
  readonly cipherSuites: readonly string[];
  /** `TLS1.2`, `TLS1.3` or empty. */
  readonly tlsMinVersion: string;
  readonly tlsMaxVersion: string;

  readonly autoCompactionMode: AutoCompactionMode;
  readonly autoCompactionRetention: string;
  readonly compactionBatchLimit: number;
  readonly compactionSleepIntervalMs: number;
  /** 0 never compares the data of members. */
  readonly corruptCheckTimeMs: number;
  readonly compactHashCheckTimeMs: number;
  readonly watchProgressNotifyIntervalMs: number;
  readonly downgradeCheckTimeMs: number;
  readonly warningApplyDurationMs: number;
  readonly warningUnaryRequestDurationMs: number;
  readonly metrics: "basic" | "extensive";
  readonly featureGates: FeatureGates;

  readonly logLevel: LogLevel;
  readonly logFormat: "json" | "console";
  /** `default`, `stderr`, `stdout` or file paths. */
  readonly logOutputs: readonly string[];
  readonly logRotation: LogRotation | undefined;
}

export const DEFAULT_NAME = "default";
export const DEFAULT_CLIENT_URLS = "http://localhost:2379";
export const DEFAULT_PEER_URLS = "http://localhost:2380";
export const QUOTA_BACKEND_BYTES_DEFAULT = 2 * 1024 ** 3;
export const REQUEST_BYTES_MAX_DEFAULT = 1_572_864;
export const ELECTION_TIMEOUT_MS_MAX = 50_000;
export const RAFT_IO_TIMEOUT_MS_MIN = 5000;
export const PROGRESS_NOTIFY_INTERVAL_MS_MIN = 100;

/** etcd's defaults, with any settings replaced. */
export function embedConfig(settings: Partial<EmbedConfig> = {}): EmbedConfig {
  const name = settings.name ?? DEFAULT_NAME;
  const dataDir = settings.dataDir ?? `${name}.etcd`;
  const peerURLs = settings.initialAdvertisePeerURLs ?? parseListenURLs(DEFAULT_PEER_URLS);
  return {
    name,
    dataDir,
    walDir: `${dataDir}/member/wal`,
    listenPeerURLs: parseListenURLs(DEFAULT_PEER_URLS),
    listenClientURLs: parseListenURLs(DEFAULT_CLIENT_URLS),
    listenClientHTTPURLs: [],
    listenMetricsURLs: [],
    initialAdvertisePeerURLs: peerURLs,
    advertiseClientURLs: parseListenURLs(DEFAULT_CLIENT_URLS),
    initialCluster: peerURLs.map(({ text }) => `${name}=${text}`).join(","),
    initialClusterState: "new",
    initialClusterToken: "etcd-cluster",
    discovery: undefined,
    discoverySRV: "",
    discoverySRVName: "",
    forceNewCluster: false,
    heartbeatIntervalMs: 100,
    electionTimeoutMs: 1000,
    initialElectionTickAdvance: true,
    preVote: true,
    strictReconfigCheck: true,
    maxLearners: 1,
    raftReadTimeoutMs: RAFT_IO_TIMEOUT_MS_MIN,
    raftWriteTimeoutMs: RAFT_IO_TIMEOUT_MS_MIN,
    snapshotCount: 10_000,
    snapshotCatchupEntries: 5000,
    snapshotFilesMax: 5,
    walFilesMax: 5,
    quotaBackendBytes: 0,
    backendBatchIntervalMs: 100,
    backendBatchLimit: 10_000,
    bootstrapDefragThresholdMegabytes: 0,
    unsafeNoFsync: false,
    txnOpsMax: 128,
    requestBytesMax: REQUEST_BYTES_MAX_DEFAULT,
    concurrentStreamsMax: 4_294_967_295,
    grpcKeepaliveMinTimeMs: 5000,
    grpcKeepaliveIntervalMs: 7_200_000,
    grpcKeepaliveTimeoutMs: 20_000,
    enableGRPCGateway: true,
    cors: ["*"],
    hostWhitelist: ["*"],
    authToken: "simple",
    authTokenTTLSeconds: 300,
    bcryptCost: 10,
    clientSecurity: NO_TRANSPORT_SECURITY,
    peerSecurity: NO_TRANSPORT_SECURITY,
    selfSignedCertValidityYears: 1,
    cipherSuites: [],
    tlsMinVersion: "TLS1.2",
    tlsMaxVersion: "",
    autoCompactionMode: "periodic",
    autoCompactionRetention: "0",
    compactionBatchLimit: 1000,
    compactionSleepIntervalMs: 10,
    corruptCheckTimeMs: 0,
    compactHashCheckTimeMs: 60_000,
    watchProgressNotifyIntervalMs: 600_000,
    downgradeCheckTimeMs: 5000,
    warningApplyDurationMs: 100,
    warningUnaryRequestDurationMs: 300,
    metrics: "basic",
    featureGates: defaultFeatureGates(),
    logLevel: "info",
    logFormat: "json",
    logOutputs: ["default"],
    logRotation: undefined,
    ...settings,
  };
}

/** Refuses what cannot run. @throws {ConfigError} with etcd's text */
export function validateConfig(config: EmbedConfig): void {
  const bound = [
    ...config.listenPeerURLs,
    ...config.listenClientURLs,
    ...config.listenClientHTTPURLs,
    ...config.listenMetricsURLs,
  ];
  for (const url of bound) checkBindURL(url);
  checkAdvertiseURLs("initial-advertise-peer-urls", config.initialAdvertisePeerURLs);
  checkAdvertiseURLs("advertise-client-urls", config.advertiseClientURLs);
  checkSecurity(config);
  checkDiscovery(config.discovery);
  checkTiming(config);
  if (config.featureGates.LeaseCheckpointPersist && !config.featureGates.LeaseCheckpoint) {
    throw new ConfigError(
      "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
    );
  }
  parseAutoCompaction(config);
  checkLogging(config);
}

function checkSecurity(config: EmbedConfig): void {
  checkTransportSecurity(config.clientSecurity);
  checkTransportSecurity(config.peerSecurity);
  tlsProtocol(config);
  const grpc = new Set(config.listenClientURLs.map(bindAddress));
  for (const url of config.listenClientHTTPURLs) {
    if (url.port === 0 && url.address.kind === "tcp") continue;
    if (!grpc.has(bindAddress(url))) continue;
    throw new ConfigError(
      `cannot bind both --listen-client-urls and --listen-client-http-urls on the same url ${url.text}`,
    );
  }
}

function checkDiscovery(discovery: DiscoverySettings | undefined): void {
  if (discovery === undefined) return;
  if (discovery.token === "" || discovery.endpoints.length === 0) {
    throw new ConfigError("both --discovery-token and --discovery-endpoints must be set");
  }
  if (discovery.endpoints.some((endpoint) => endpoint.trim() === "")) {
    throw new ConfigError("--discovery-endpoints must not contain empty endpoints");
  }
}

function checkTiming(config: EmbedConfig): void {
  const { heartbeatIntervalMs: heartbeat, electionTimeoutMs: election } = config;
  if (heartbeat <= 0) {
    throw new ConfigError(`--heartbeat-interval must be >0 (set to ${heartbeat}ms)`);
  }
  if (election <= 0) throw new ConfigError(`--election-timeout must be >0 (set to ${election}ms)`);
  if (5 * heartbeat > election) {
    throw new ConfigError(
      `--election-timeout[${election}ms] should be at least as 5 times as --heartbeat-interval[${heartbeat}ms]`,
    );
  }
  if (election > ELECTION_TIMEOUT_MS_MAX) {
    throw new ConfigError(
      `--election-timeout[${election}ms] is too long, and should be set less than ${ELECTION_TIMEOUT_MS_MAX}ms`,
    );
  }
  if (config.compactHashCheckTimeMs <= 0) {
    throw new ConfigError(
      `--compact-hash-check-time must be >0 (set to ${config.compactHashCheckTimeMs / 1000}s)`,
    );
  }
}

function checkLogging(config: EmbedConfig): void {
  if (config.logOutputs.length > 1 && config.logOutputs.includes("default")) {
    throw new ConfigError('multi logoutput for "default" is not supported yet');
  }
  if (config.logOutputs.includes("systemd/journal")) {
    throw new ConfigError("--log-outputs=systemd/journal is not built yet in etcd-ts");
  }
  if (config.logRotation === undefined) return;
  const files = config.logOutputs.filter((output) => !isStandardOutput(output));
  if (files.length !== 1 || config.logOutputs.length !== 1) {
    throw new ConfigError(
      "--log-outputs requires a single file path when --log-rotate-config-json is defined",
    );
  }
}

function isStandardOutput(output: string): boolean {
  return ["default", "stderr", "stdout", "systemd/journal"].includes(output);
}

export type AutoCompaction =
  | { readonly mode: "off" }
  | { readonly mode: "periodic"; readonly periodMs: number }
  | { readonly mode: "revision"; readonly revisions: number };

const HOUR_MS = 3_600_000;

/** The retention as written: a duration, hours, or a count of revisions. @throws {ConfigError} */
export function parseAutoCompaction(
  config: Pick<EmbedConfig, "autoCompactionMode" | "autoCompactionRetention">,
): AutoCompaction {
  const text = config.autoCompactionRetention;
  if (config.autoCompactionMode === "revision") {
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) {
      throw new ConfigError(
        `error parsing CompactionRetention: invalid revision count ${JSON.stringify(text)}`,
      );
    }
    return text === "0" ? { mode: "off" } : { mode: "revision", revisions: Number(text) };
  }
  const periodMs = /^\d+$/.test(text) ? Number(text) * HOUR_MS : parseDuration(text);
  if (periodMs === undefined || periodMs < 0) {
    throw new ConfigError(
      `error parsing CompactionRetention: time: invalid duration ${JSON.stringify(text)}`,
    );
  }
  return periodMs === 0 ? { mode: "off" } : { mode: "periodic", periodMs };
}

const UNIT_MS: { readonly [unit: string]: number } = { ms: 1, s: 1000, m: 60_000, h: HOUR_MS };

function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, , unit] of text.matchAll(/(\d+(\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(amount) * UNIT_MS[unit!]!;
  }
  return total;
}
