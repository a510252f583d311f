/** What the backend measures, under etcd's names. */

import { exponentialBuckets } from "@etcd-ts/base";
import type { Histogram, Gauge, Metrics } from "@etcd-ts/base";

export interface BackendMetrics {
  readonly commitSeconds: Histogram;
  readonly spillSeconds: Histogram;
  readonly writeSeconds: Histogram;
  readonly rebalanceSeconds: Histogram;
  readonly defragSeconds: Histogram;
  readonly snapshotSeconds: Histogram;
  readonly defragInflight: Gauge;
}

export function backendMetrics(metrics: Metrics): BackendMetrics {
  const commitBuckets = exponentialBuckets(0.001, 2, 14);
  return {
    commitSeconds: metrics.histogram({
      name: "etcd_disk_backend_commit_duration_seconds",
      help: "The latency distributions of commit called by backend.",
      buckets: commitBuckets,
    }),
    spillSeconds: metrics.histogram({
      name: "etcd_debugging_disk_backend_commit_spill_duration_seconds",
      help: "The latency distributions of commit.spill called by bboltdb backend.",
      buckets: commitBuckets,
    }),
    writeSeconds: metrics.histogram({
      name: "etcd_debugging_disk_backend_commit_write_duration_seconds",
      help: "The latency distributions of commit.write called by bboltdb backend.",
      buckets: commitBuckets,
    }),
    rebalanceSeconds: metrics.histogram({
      name: "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
      help: "The latency distributions of commit.rebalance called by bboltdb backend.",
      buckets: commitBuckets,
    }),
    defragSeconds: metrics.histogram({
      name: "etcd_disk_backend_defrag_duration_seconds",
      help: "The latency distribution of backend defragmentation.",
      buckets: exponentialBuckets(0.1, 2, 13),
    }),
    snapshotSeconds: metrics.histogram({
      name: "etcd_disk_backend_snapshot_duration_seconds",
      help: "The latency distribution of backend snapshots.",
      buckets: exponentialBuckets(0.01, 2, 17),
    }),
    defragInflight: metrics.gauge({
      name: "etcd_disk_defrag_inflight",
      help: "Whether or not defrag is active on the member. 1 means active, 0 means not.",
    }),
  };
}
