/** The member's core configuration out of the one operators write. */

import { defaultServerConfig } from "@etcd-ts/etcdserver";
import type { ServerConfig } from "@etcd-ts/etcdserver";
import type { EmbedConfig } from "./config.ts";
import { parseAutoCompaction } from "./config.ts";
import type { InitialCluster } from "./discovery/initial-cluster.ts";

const MEGABYTE = 1024 * 1024;

export function serverConfig(config: EmbedConfig, initial: InitialCluster): ServerConfig {
  const peerURLs = config.initialAdvertisePeerURLs.map(({ text }) => text);
  return defaultServerConfig({
    name: config.name,
    dataDirectory: config.dataDir,
    walDirectory: config.walDir,
    initialCluster: initial.members,
    initialClusterToken: initial.token,
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
