/** What the MVCC store measures, under etcd's names. */

import { exponentialBuckets } from "@etcd-ts/base";
import type { Counter, Gauge, Histogram, Metrics } from "@etcd-ts/base";

export interface MvccMetrics {
  readonly rangeTotal: Counter;
  readonly putTotal: Counter;
  readonly deleteTotal: Counter;
  readonly txnTotal: Counter;
  readonly totalPutBytes: Gauge;
  readonly hashSeconds: Histogram;
  readonly hashRevisionSeconds: Histogram;
  readonly indexCompactionPauseMs: Histogram;
  readonly compactionPauseMs: Histogram;
  readonly compactionTotalMs: Histogram;
  readonly compactionKeysTotal: Counter;
  readonly compactionLast: Gauge;
  readonly eventsTotal: Counter;
  readonly watchStreams: Gauge;
  readonly watchers: Gauge;
  readonly slowWatchers: Gauge;
  readonly pendingEvents: Gauge;
}

export function mvccMetrics(metrics: Metrics): MvccMetrics {
  const counter = (name: string, help: string) => metrics.counter({ name, help });
  const gauge = (name: string, help: string) => metrics.gauge({ name, help });
  const histogram = (name: string, help: string, start: number, count: number) =>
    metrics.histogram({ name, help, buckets: exponentialBuckets(start, 2, count) });
  return {
    rangeTotal: counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
    putTotal: counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
    deleteTotal: counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
    txnTotal: counter("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
    totalPutBytes: gauge(
      "etcd_debugging_mvcc_total_put_size_in_bytes",
      "The total size of put kv pairs seen by this member.",
    ),
    hashSeconds: histogram(
      "etcd_mvcc_hash_duration_seconds",
      "The latency distribution of storage hash operation.",
      0.01,
      15,
    ),
    hashRevisionSeconds: histogram(
      "etcd_mvcc_hash_rev_duration_seconds",
      "The latency distribution of storage hash by revision operation.",
      0.01,
      15,
    ),
    indexCompactionPauseMs: histogram(
      "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
      "Bucketed histogram of index compaction pause duration.",
      0.5,
      14,
    ),
    compactionPauseMs: histogram(
      "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
      "Bucketed histogram of db compaction pause duration.",
      1,
      13,
    ),
    compactionTotalMs: histogram(
      "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
      "Bucketed histogram of db compaction total duration.",
      100,
      14,
    ),
    compactionKeysTotal: counter(
      "etcd_debugging_mvcc_db_compaction_keys_total",
      "Total number of db keys compacted.",
    ),
    compactionLast: gauge(
      "etcd_debugging_mvcc_db_compaction_last",
      "The unix time of the last db compaction. Resets to 0 on start.",
    ),
    eventsTotal: counter(
      "etcd_debugging_mvcc_events_total",
      "Total number of events sent by this member.",
    ),
    watchStreams: gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
    watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
    slowWatchers: gauge(
      "etcd_debugging_mvcc_slow_watcher_total",
      "Total number of unsynced slow watchers.",
    ),
    pendingEvents: gauge(
      "etcd_debugging_mvcc_pending_events_total",
      "Total number of pending events to be sent.",
    ),
  };
}

/** What is asked for at each scrape. */
export interface MvccReadings {
  readonly keys: () => number;
  readonly currentRevision: () => number;
  readonly compactRevision: () => number;
  readonly sizeBytes: () => number;
  readonly sizeInUseBytes: () => number;
  readonly openReadTransactions: () => number;
}

export function registerReadings(metrics: Metrics, readings: MvccReadings): void {
  const reading = (name: string, help: string, read: () => number) =>
    metrics.gaugeFunction({ name, help }, read);
  reading("etcd_debugging_mvcc_keys_total", "Total number of keys.", readings.keys);
  reading(
    "etcd_debugging_mvcc_current_revision",
    "The current revision of store.",
    readings.currentRevision,
  );
  reading(
    "etcd_debugging_mvcc_compact_revision",
    "The revision of the last compaction in store.",
    readings.compactRevision,
  );
  reading(
    "etcd_mvcc_db_total_size_in_bytes",
    "Total size of the underlying database physically allocated in bytes.",
    readings.sizeBytes,
  );
  reading(
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "Total size of the underlying database logically in use in bytes.",
    readings.sizeInUseBytes,
  );
  reading(
    "etcd_mvcc_db_open_read_transactions",
    "The number of currently open read transactions",
    readings.openReadTransactions,
  );
}
