/** The log's instruments, and the warning about a disk that is slow to sync. */

import { exponentialBuckets } from "@etcd-ts/base";
import type { Clock, Gauge, Histogram, Logger, Metrics } from "@etcd-ts/base";

/** A sync above this delays heartbeats and leads to elections. */
const SLOW_SYNC_MS = 1_000;

export class WalInstruments {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #syncSeconds: Histogram;
  readonly #writeSeconds: Histogram;
  readonly #writeBytes: Gauge;

  constructor(metrics: Metrics, clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
    const buckets = exponentialBuckets(0.001, 2, 14);
    this.#syncSeconds = metrics.histogram({
      name: "etcd_disk_wal_fsync_duration_seconds",
      help: "The latency distributions of fsync called by WAL.",
      buckets,
    });
    this.#writeSeconds = metrics.histogram({
      name: "etcd_disk_wal_write_duration_seconds",
      help: "The latency distributions of write called by WAL.",
      buckets,
    });
    this.#writeBytes = metrics.gauge({
      name: "etcd_disk_wal_write_bytes_total",
      help: "Total number of bytes written in WAL.",
    });
  }

  start(): number {
    return this.#clock.monotonicMs();
  }

  /**
   * A write and its sync are one step of the disk: their time counts as that of both.
   *
   * @param isSynced - false if the log is written without syncs
   */
  wrote(bytes: number, startMs: number, isSynced: boolean): void {
    const tookMs = this.#clock.monotonicMs() - startMs;
    this.#writeSeconds.observe(tookMs / 1000);
    this.#writeBytes.add(bytes);
    if (!isSynced) return;
    this.#syncSeconds.observe(tookMs / 1000);
    if (tookMs > SLOW_SYNC_MS) {
      this.#logger.warn("slow fdatasync", {
        took: `${tookMs / 1000}s`,
        "expected-duration": `${SLOW_SYNC_MS / 1000}s`,
      });
    }
  }
}
