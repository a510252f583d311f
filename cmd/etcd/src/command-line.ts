/**
 * From words, environment and configuration file to one `EmbedConfig`.
 *
 * Precedence, as etcd has it: a configuration file replaces everything else; a flag beats the
 * default; a variable sets a flag that was not given, and both together are refused.
 */

import { readFileSync } from "node:fs";
import type { LogLevel } from "@etcd-ts/base";
import { applyEnvironment, FlagSet } from "@etcd-ts/cli";
import type { EnvironmentReport, FlagValues } from "@etcd-ts/cli";
import { ConfigError, embedConfig, FEATURE_GATE_NAMES, validateConfig } from "@etcd-ts/embed";
import type { DiscoverySettings, EmbedConfig, FeatureGates, ListenURL } from "@etcd-ts/embed";
import type { LogRotation } from "@etcd-ts/runtime";
import { NO_FILE_SETTINGS, readConfigFile } from "./config-file.ts";
import type { ConfigFile, FileSettings } from "./config-file.ts";
import {
  EXPERIMENTAL_ALIASES,
  EXPERIMENTAL_GATES,
  FLAGS,
  IGNORED_FLAGS,
  UNBUILT_FLAGS,
} from "./flags.ts";
import type { FlagName } from "./flags.ts";
import { clientSecurity, peerSecurity } from "./transport-security.ts";

type Values = FlagValues<typeof FLAGS>;

export interface CommandLine {
  readonly config: EmbedConfig;
  readonly environment: EnvironmentReport;
  /** What the operator should know, for the log. */
  readonly warnings: readonly string[];
}

/** Variables etcd reads that are no flags. */
const OTHER_VARIABLES = ["ETCD_CONFIG_FILE", "ETCD_UNSUPPORTED_ARCH", "ETCD_VERIFY"];

const BOOTSTRAP_FLAGS: readonly FlagName[] = [
  "initial-cluster",
  "discovery",
  "discovery-endpoints",
  "discovery-srv",
];

/**
 * @param words - the command line without program and script
 * @throws {FlagError} for a command line that cannot be read (exit 2)
 * @throws {ConfigError} for one that cannot be run (exit 1)
 */
export function readCommandLine(
  words: readonly string[],
  environment: { readonly [name: string]: string | undefined },
): CommandLine | "version" {
  const flags = new FlagSet(FLAGS);
  flags.parse(words);
  const parsed = flags.result();
  if (parsed.values.version) return "version";
  if (parsed.positional.length > 0) {
    throw new ConfigError(`${JSON.stringify(parsed.positional[0])} is not a valid flag`);
  }
  const file = parsed.values["config-file"] || environment["ETCD_CONFIG_FILE"] || "";
  let report: EnvironmentReport = { used: [], unrecognized: [] };
  let effective: ConfigFile = { flags, settings: NO_FILE_SETTINGS };
  if (file === "")
    report = applyEnvironment(flags, "ETCD", withoutVersion(environment), OTHER_VARIABLES);
  else effective = configFile(file);
  const { values, explicit } = effective.flags.result();
  const warnings = checkFlags(values, explicit);
  const config = configFromFlags(values, explicit, effective.settings);
  validateConfig(config);
  return { config, environment: report, warnings };
}

/** `ETCD_VERSION` is commonly set by packages; it is no flag. */
function withoutVersion(environment: { readonly [name: string]: string | undefined }): {
  readonly [name: string]: string | undefined;
} {
  return { ...environment, ETCD_VERSION: undefined };
}

function configFile(path: string): ConfigFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === "ENOENT" ? "no such file or directory" : (code ?? String(error));
    throw new ConfigError(`open ${path}: ${reason}`, { cause: error });
  }
  return readConfigFile(text, path);
}

/** Refuses flags that cannot be honoured. @returns warnings */
function checkFlags(values: Values, explicit: ReadonlySet<string>): string[] {
  for (const name of UNBUILT_FLAGS) {
    if (explicit.has(name) && !isDefault(name, values)) {
      throw new ConfigError(`--${name} is a flag of etcd that etcd-ts has not built yet`);
    }
  }
  if (BOOTSTRAP_FLAGS.filter((name) => explicit.has(name)).length > 1) {
    throw new ConfigError(
      'multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery", "discovery-endpoints" or "discovery-srv"',
    );
  }
  if (values["discovery-fallback"] === "proxy") {
    throw new ConfigError(
      'v2 proxy is deprecated, and --discovery-fallback can\'t be configured as "proxy"',
    );
  }
  if (explicit.has("listen-client-urls") && !explicit.has("advertise-client-urls")) {
    throw new ConfigError(
      "--advertise-client-urls is required when --listen-client-urls is set explicitly",
    );
  }
  if (!["periodic", "revision"].includes(values["auto-compaction-mode"])) {
    const mode = values["auto-compaction-mode"];
    throw new ConfigError(
      mode === ""
        ? "undefined auto-compaction-mode"
        : `unknown auto-compaction-mode ${JSON.stringify(mode)}`,
    );
  }
  if (!["array", "map"].includes(values["backend-bbolt-freelist-type"])) {
    throw new ConfigError(
      `unknown backend-bbolt-freelist-type ${JSON.stringify(values["backend-bbolt-freelist-type"])}`,
    );
  }
  if (!["basic", "extensive"].includes(values.metrics)) {
    throw new ConfigError(`unknown metrics mode ${JSON.stringify(values.metrics)}`);
  }
  checkLogFlags(values);
  checkExperimental(explicit);
  return [...explicit]
    .filter((name) => name.startsWith("experimental-") || IGNORED_FLAGS.includes(name as FlagName))
    .map((name) =>
      name.startsWith("experimental-")
        ? `--${name} is deprecated in 3.6 and will be decommissioned in 3.7`
        : `--${name} has no effect`,
    );
}

const LOG_LEVELS: ReadonlySet<string> = new Set([
  "debug",
  "info",
  "warn",
  "error",
  "dpanic",
  "panic",
  "fatal",
]);

function checkLogFlags(values: Values): void {
  if (!LOG_LEVELS.has(values["log-level"])) {
    throw new ConfigError(`unrecognized level: ${JSON.stringify(values["log-level"])}`);
  }
  if (!["json", "console"].includes(values["log-format"])) {
    throw new ConfigError(
      `unknown log format: ${values["log-format"]}, supported values json, console`,
    );
  }
  if (values.logger === "capnslog") throw new ConfigError("--logger=capnslog is removed in v3.5");
  if (values.logger !== "zap") {
    throw new ConfigError(`unknown logger option ${JSON.stringify(values.logger)}`);
  }
}

function checkExperimental(explicit: ReadonlySet<string>): void {
  for (const [flag, gate] of EXPERIMENTAL_GATES) {
    if (explicit.has(flag) && explicit.has("feature-gates")) {
      throw new ConfigError(
        `cannot specify both flags: --${flag} and --feature-gates (${gate}); use --feature-gates only`,
      );
    }
  }
  const both = ["experimental-warning-unary-request-duration", "warning-unary-request-duration"];
  if (both.every((name) => explicit.has(name))) {
    throw new ConfigError(
      "both --experimental-warning-unary-request-duration and --warning-unary-request-duration flags are set; use only --warning-unary-request-duration",
    );
  }
}

function isDefault(name: FlagName, values: Values): boolean {
  return JSON.stringify(values[name]) === JSON.stringify(FLAGS[name].defaultValue);
}

/** The value of a flag, or of its experimental alias when that was given. */
function aliased(name: FlagName, values: Values, explicit: ReadonlySet<string>): number {
  const alias = EXPERIMENTAL_ALIASES.find(([, stable]) => stable === name)?.[0];
  return values[alias !== undefined && explicit.has(alias) ? alias : name] as number;
}

function gates(values: Values, explicit: ReadonlySet<string>): FeatureGates {
  const experimental = new Map<string, boolean>();
  for (const [flag, gate] of EXPERIMENTAL_GATES) {
    if (explicit.has(flag)) experimental.set(gate, values[flag] as boolean);
  }
  const entries = FEATURE_GATE_NAMES.map((name) => {
    return [name, experimental.get(name) ?? values["feature-gates"][name]];
  });
  return Object.fromEntries(entries) as FeatureGates;
}

function orDefault<T>(value: T, unset: T, fallback: T): T {
  return value === unset ? fallback : value;
}

function configFromFlags(
  values: Values,
  explicit: ReadonlySet<string>,
  file: FileSettings,
): EmbedConfig {
  const number = (name: FlagName): number => aliased(name, values, explicit);
  const { name } = values;
  const dataDir = values["data-dir"] === "" ? `${name}.etcd` : values["data-dir"];
  const defaults = embedConfig({ name, dataDir });
  const peerURLs = values["initial-advertise-peer-urls"];
  return embedConfig({
    name,
    dataDir,
    walDir: orDefault(values["wal-dir"], "", defaults.walDir),
    listenPeerURLs: required("listen-peer-urls", values["listen-peer-urls"]),
    listenClientURLs: required("listen-client-urls", values["listen-client-urls"]),
    listenClientHTTPURLs: values["listen-client-http-urls"],
    listenMetricsURLs: values["listen-metrics-urls"],
    initialAdvertisePeerURLs: required("initial-advertise-peer-urls", peerURLs),
    advertiseClientURLs: required("advertise-client-urls", values["advertise-client-urls"]),
    initialCluster: orDefault(
      values["initial-cluster"],
      "",
      peerURLs.map(({ text }) => `${name}=${text}`).join(","),
    ),
    initialClusterState: values["initial-cluster-state"] as "new" | "existing",
    initialClusterToken: values["initial-cluster-token"],
    discovery: discoveryFromFlags(values),
    discoverySRV: values["discovery-srv"],
    discoverySRVName: values["discovery-srv-name"],
    forceNewCluster: values["force-new-cluster"],
    heartbeatIntervalMs: values["heartbeat-interval"],
    electionTimeoutMs: values["election-timeout"],
    initialElectionTickAdvance: values["initial-election-tick-advance"],
    preVote: values["pre-vote"],
    strictReconfigCheck: values["strict-reconfig-check"],
    maxLearners: values["max-learners"],
    raftReadTimeoutMs: Math.max(values["raft-read-timeout"], defaults.raftReadTimeoutMs),
    raftWriteTimeoutMs: Math.max(values["raft-write-timeout"], defaults.raftWriteTimeoutMs),
    snapshotCount: orDefault(values["snapshot-count"], 0, defaults.snapshotCount),
    snapshotCatchupEntries: number("snapshot-catchup-entries"),
    snapshotFilesMax: values["max-snapshots"],
    walFilesMax: values["max-wals"],
    quotaBackendBytes: values["quota-backend-bytes"],
    backendBatchIntervalMs: orDefault(
      values["backend-batch-interval"],
      0,
      defaults.backendBatchIntervalMs,
    ),
    backendBatchLimit: orDefault(values["backend-batch-limit"], 0, defaults.backendBatchLimit),
    bootstrapDefragThresholdMegabytes: number("bootstrap-defrag-threshold-megabytes"),
    unsafeNoFsync: values["unsafe-no-fsync"],
    txnOpsMax: values["max-txn-ops"],
    authToken: values["auth-token"],
    authTokenTTLSeconds: values["auth-token-ttl"],
    bcryptCost: values["bcrypt-cost"],
    requestBytesMax: values["max-request-bytes"],
    concurrentStreamsMax: values["max-concurrent-streams"],
    grpcKeepaliveMinTimeMs: values["grpc-keepalive-min-time"],
    grpcKeepaliveIntervalMs: values["grpc-keepalive-interval"],
    grpcKeepaliveTimeoutMs: values["grpc-keepalive-timeout"],
    enableGRPCGateway: values["enable-grpc-gateway"],
    cors: values.cors,
    hostWhitelist: values["host-whitelist"],
    clientSecurity: clientSecurity(values, file),
    peerSecurity: peerSecurity(values),
    selfSignedCertValidityYears: values["self-signed-cert-validity"],
    cipherSuites: values["cipher-suites"],
    tlsMinVersion: values["tls-min-version"],
    tlsMaxVersion: values["tls-max-version"],
    autoCompactionMode: values["auto-compaction-mode"] as "periodic" | "revision",
    autoCompactionRetention: values["auto-compaction-retention"],
    compactionBatchLimit: orDefault(
      number("compaction-batch-limit"),
      0,
      defaults.compactionBatchLimit,
    ),
    compactionSleepIntervalMs: orDefault(
      number("compaction-sleep-interval"),
      0,
      defaults.compactionSleepIntervalMs,
    ),
    corruptCheckTimeMs: number("corrupt-check-time"),
    compactHashCheckTimeMs: number("compact-hash-check-time"),
    watchProgressNotifyIntervalMs: orDefault(
      number("watch-progress-notify-interval"),
      0,
      defaults.watchProgressNotifyIntervalMs,
    ),
    downgradeCheckTimeMs: number("downgrade-check-time"),
    warningApplyDurationMs: number("warning-apply-duration"),
    warningUnaryRequestDurationMs: orDefault(
      number("warning-unary-request-duration"),
      0,
      defaults.warningUnaryRequestDurationMs,
    ),
    metrics: values.metrics as "basic" | "extensive",
    featureGates: gates(values, explicit),
    logLevel: values["log-level"] as LogLevel,
    logFormat: values["log-format"] as "json" | "console",
    logOutputs: values["log-outputs"],
    logRotation: values["enable-log-rotation"]
      ? parseRotation(values["log-rotation-config-json"])
      : undefined,
  });
}

/** The user may bring the password along, after a colon. */
function discoveryFromFlags(values: Values): DiscoverySettings | undefined {
  const { "discovery-token": token, "discovery-endpoints": endpoints } = values;
  if (token === "" && endpoints.length === 0) return undefined;
  const user = values["discovery-user"];
  const password = values["discovery-password"];
  const colon = password === "" ? user.indexOf(":") : -1;
  return {
    token,
    endpoints: [...new Set(endpoints)].sort(),
    dialTimeoutMs: values["discovery-dial-timeout"],
    requestTimeoutMs: values["discovery-request-timeout"],
    keepaliveTimeMs: values["discovery-keepalive-time"],
    keepaliveTimeoutMs: values["discovery-keepalive-timeout"],
    username: colon < 0 ? user : user.slice(0, colon),
    password: colon < 0 ? password : user.slice(colon + 1),
    tls: discoveryTLS(values),
  };
}

/** Any of its flags asks for TLS. */
function discoveryTLS(values: Values): DiscoverySettings["tls"] {
  const tls = {
    certFile: values["discovery-cert"],
    keyFile: values["discovery-key"],
    caFile: values["discovery-cacert"],
    insecureSkipVerify: values["discovery-insecure-skip-tls-verify"],
  };
  const isGiven = tls.certFile !== "" || tls.keyFile !== "" || tls.caFile !== "";
  const isWanted = isGiven || tls.insecureSkipVerify || !values["discovery-insecure-transport"];
  return isWanted ? tls : undefined;
}

function required(flag: FlagName, urls: readonly ListenURL[]): readonly ListenURL[] {
  if (urls.length === 0) throw new ConfigError(`--${flag} must name at least one URL`);
  return urls;
}

/** @throws {ConfigError} */
function parseRotation(text: string): LogRotation {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(`unable to unmarshal log rotation config: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const fields = given as { readonly [name: string]: unknown };
  const number = (name: string): number => {
    const value = fields[name] ?? 0;
    if (typeof value === "number" && value >= 0) return value;
    throw new ConfigError(`invalid log rotation config field ${name}`);
  };
  return {
    maxSizeMB: number("maxsize") || 100,
    maxAgeDays: number("maxage"),
    maxBackups: number("maxbackups"),
    localTime: fields["localtime"] === true,
    compress: fields["compress"] === true,
  };
}
