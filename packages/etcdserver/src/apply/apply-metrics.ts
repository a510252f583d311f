/** How long requests took to apply, and a word about those that took too long. */

import { exponentialBuckets } from "@etcd-ts/base";
import type { Clock, Counter, EtcdError, Family, Histogram, Logger, Metrics } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";

/** As etcd names operations in `etcd_server_apply_duration_seconds`. */
const OPERATION_NAMES: { readonly [kind: string]: string } = {
  authStatus: "unknown",
};

export class ApplyMeter {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #warningMs: number;
  readonly #durations: Family<Histogram>;
  readonly #slow: Counter;
  /** By kind of operation, for success. */
  readonly #succeeded = new Map<string, Histogram>();
  /** When the request before the next one was done, in a row of them. */
  #rowMs: number | undefined;

  constructor(ports: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly metrics: Metrics;
    readonly warningMs: number;
  }) {
    this.#clock = ports.clock;
    this.#logger = ports.logger;
    this.#warningMs = ports.warningMs;
    this.#durations = ports.metrics.histogramFamily({
      name: "etcd_server_apply_duration_seconds",
      help: "The latency distributions of v2 apply called by backend.",
      labelNames: ["version", "op", "success"],
      buckets: exponentialBuckets(0.0001, 2, 20),
    });
    this.#slow = ports.metrics.counter({
      name: "etcd_server_slow_apply_total",
      help: "The total number of slow apply requests (likely overloaded from slow disk).",
    });
  }

  /** Requests until `endRow` follow each other at once: each starts when the one before is done. */
  beginRow(nowMs: number): void {
    this.#rowMs = nowMs;
  }

  endRow(): void {
    this.#rowMs = undefined;
  }

  start(): number {
    return this.#rowMs ?? this.#clock.monotonicMs();
  }

  /** @param error - what the request failed with; a compacted revision counts as success */
  finish(kind: string, startMs: number, error: EtcdError | undefined): void {
    const nowMs = this.#clock.monotonicMs();
    const tookMs = nowMs - startMs;
    if (this.#rowMs !== undefined) this.#rowMs = nowMs;
    if (error === undefined || error === SERVER_ERRORS.compacted) {
      this.#successOf(kind).observe(tookMs / 1000);
    } else {
      const request = operationName(kind);
      const labels = { version: "v3", op: request, success: "false" };
      this.#durations.labels(labels).observe(tookMs / 1000);
      const took = `${tookMs}ms`;
      this.#logger.warn("failed to apply request", { took, request, error: error.message });
    }
    if (tookMs > this.#warningMs) this.warnSlow(operationName(kind), "", tookMs, error);
  }

  warnSlow(op: string, prefix: string, tookMs: number, error: EtcdError | undefined): void {
    this.#slow.inc();
    this.#logger.warn("apply request took too long", {
      took: `${tookMs}ms`,
      "expected-duration": `${this.#warningMs}ms`,
      prefix,
      request: op,
      ...(error === undefined ? {} : { error: error.message }),
    });
  }

  /** For reads served without the log, which have no apply duration of their own. */
  warnIfSlow(op: string, prefix: string, startMs: number, error: EtcdError | undefined): void {
    this.warnIfOver(op, prefix, this.#clock.monotonicMs() - startMs, error);
  }

  /** The same for a caller that has looked at the clock. */
  warnIfOver(op: string, prefix: string, tookMs: number, error: EtcdError | undefined): void {
    if (tookMs > this.#warningMs) this.warnSlow(op, prefix, tookMs, error);
  }

  #successOf(kind: string): Histogram {
    let histogram = this.#succeeded.get(kind);
    if (histogram === undefined) {
      const labels = { version: "v3", op: operationName(kind), success: "true" };
      histogram = this.#durations.labels(labels);
      this.#succeeded.set(kind, histogram);
    }
    return histogram;
  }
}

function operationName(kind: string): string {
  return OPERATION_NAMES[kind] ?? kind.charAt(0).toUpperCase() + kind.slice(1);
}
