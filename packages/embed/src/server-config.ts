/** The member's core configuration out of the one operators write. */

import { defaultServerConfig } from "@etcd-ts/etcdserver";
import type { ServerConfig } from "@etcd-ts/etcdserver";
import type { EmbedConfig } from "./config.ts";
import { parseAutoCompaction } from "./config.ts";
import { ConfigError } from "./listen-url.ts";

const MEGABYTE = 1024 * 1024;

/** @throws {ConfigError} if the initial cluster is none, or does not fit this member */
export function serverConfig(config: EmbedConfig): ServerConfig {
  const peerURLs = config.initialAdvertisePeerURLs.map(({ text }) => text);
  return defaultServerConfig({
    name: config.name,
    dataDirectory: config.dataDir,
    walDirectory: config.walDir,
    initialCluster: parseInitialCluster(config),
    initialClusterToken: config.initialClusterToken,
    initialClusterState: config.initialClusterState,
    advertiseClientURLs: config.advertiseClientURLs.map(({ text }) => text),
    advertisePeerURLs: peerURLs,
    heartbeatIntervalMs: config.heartbeatIntervalMs,
    electionTimeoutMs: config.electionTimeoutMs,
    initialElectionTickAdvance: config.initialElectionTickAdvance,
    preVote: config.preVote,
    snapshotCount: config.snapshotCount,
    snapshotCatchUpEntries: config.snapshotCatchupEntries,
    snapshotFilesMax: config.snapshotFilesMax,
    walFilesMax: config.walFilesMax,
    quotaBackendBytes: config.quotaBackendBytes,
    maxTxnOps: config.txnOpsMax,
    maxRequestBytes: config.requestBytesMax,
    maxLearners: config.maxLearners,
    strictReconfigCheck: config.strictReconfigCheck,
    autoCompaction: autoCompaction(config),
    compactionBatchLimit: config.compactionBatchLimit,
    compactionSleepMs: config.compactionSleepIntervalMs,
    backendBatchIntervalMs: config.backendBatchIntervalMs,
    backendBatchLimit: config.backendBatchLimit,
    bootstrapDefragThresholdBytes: config.bootstrapDefragThresholdMegabytes * MEGABYTE,
    unsafeNoFsync: config.unsafeNoFsync,
    warningApplyDurationMs: config.warningApplyDurationMs,
    leaseCheckpoint: config.featureGates.LeaseCheckpoint,
    leaseCheckpointPersist: config.featureGates.LeaseCheckpointPersist,
    downgradeCheckMs: config.downgradeCheckTimeMs,
    forceNewCluster: config.forceNewCluster,
    initialCorruptCheck: config.featureGates.InitialCorruptCheck,
    corruptCheckMs: config.corruptCheckTimeMs,
    compactHashCheckMs: config.featureGates.CompactHashCheck ? config.compactHashCheckTimeMs : 0,
  });
}

function autoCompaction(config: EmbedConfig): ServerConfig["autoCompaction"] {
  const parsed = parseAutoCompaction(config);
  switch (parsed.mode) {
    case "off":
      return parsed;
    case "periodic":
      return { mode: "periodic", retentionMs: parsed.periodMs };
    default:
      return { mode: "revision", retentionRevisions: parsed.revisions };
  }
}

/** `name=url,name=url`: a name may come several times, with a URL each. */
function parseInitialCluster(config: EmbedConfig): ReadonlyMap<string, readonly string[]> {
  const members = new Map<string, string[]>();
  for (const part of config.initialCluster.split(",")) {
    if (part.trim() === "") continue;
    const equals = part.indexOf("=");
    const name = part.slice(0, equals).trim();
    if (equals < 1) throw new ConfigError(`empty name or URL in initial cluster: ${part}`);
    const urls = members.get(name) ?? [];
    urls.push(part.slice(equals + 1).trim());
    members.set(name, urls);
  }
  const own = members.get(config.name);
  if (own === undefined) {
    throw new ConfigError(
      `couldn't find local name ${JSON.stringify(config.name)} in the initial cluster configuration`,
    );
  }
  const advertised = config.initialAdvertisePeerURLs.map(({ text }) => text);
  if (own.toSorted().join() !== advertised.toSorted().join()) {
    throw new ConfigError(
      `--initial-cluster has ${config.name}=${own.join()} but missing from --initial-advertise-peer-urls=${advertised.join()}`,
    );
  }
  return members;
}
