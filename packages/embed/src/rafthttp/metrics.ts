/**
 * Counts of the peer protocol, under etcd's names.
 *
 * Label values are ids of members and remotes; what comes from anybody else is counted under
 * `UNKNOWN_PEER`, so that nobody can make series at will.
 */

import { exponentialBuckets } from "@etcd-ts/base";
import type { Counter, Family, Gauge, Histogram, Metrics } from "@etcd-ts/base";

export const UNKNOWN_PEER = "UNKNOWN";
/** etcd's label for snapshots that are refused before their sender is known. */
export const UNKNOWN_SNAPSHOT_SENDER = "UNKNOWN_SNAPSHOT_SENDER";

/** Labels are `Local` and `Remote`, `To`, or `From`. */
export interface TransportMetrics {
  readonly activePeers: Family<Gauge>;
  readonly disconnectedPeers: Family<Counter>;
  readonly sentBytes: Family<Counter>;
  readonly receivedBytes: Family<Counter>;
  readonly sentFailures: Family<Counter>;
  readonly receivedFailures: Family<Counter>;
  readonly roundTripSeconds: Family<Histogram>;
  readonly snapshotSendSuccess: Family<Counter>;
  readonly snapshotSendInflights: Family<Gauge>;
  readonly snapshotSendFailures: Family<Counter>;
  readonly snapshotSendSeconds: Family<Histogram>;
  readonly snapshotReceiveSuccess: Family<Counter>;
  readonly snapshotReceiveInflights: Family<Gauge>;
  readonly snapshotReceiveFailures: Family<Counter>;
  readonly snapshotReceiveSeconds: Family<Histogram>;
}

export function declareTransportMetrics(metrics: Metrics): TransportMetrics {
  const counter = (name: string, help: string, ...labelNames: string[]): Family<Counter> =>
    metrics.counterFamily({ name: `etcd_network_${name}`, help, labelNames });
  const gauge = (name: string, help: string, ...labelNames: string[]): Family<Gauge> =>
    metrics.gaugeFamily({ name: `etcd_network_${name}`, help, labelNames });
  const histogram = (
    name: string,
    help: string,
    label: string,
    buckets: number[],
  ): Family<Histogram> =>
    metrics.histogramFamily({ name: `etcd_network_${name}`, help, labelNames: [label], buckets });
  const snapshotBuckets = exponentialBuckets(0.1, 2, 10);
  return {
    activePeers: gauge(
      "active_peers",
      "The current number of active peer connections.",
      "Local",
      "Remote",
    ),
    disconnectedPeers: counter(
      "disconnected_peers_total",
      "The total number of disconnected peers.",
      "Local",
      "Remote",
    ),
    sentBytes: counter("peer_sent_bytes_total", "The total number of bytes sent to peers.", "To"),
    receivedBytes: counter(
      "peer_received_bytes_total",
      "The total number of bytes received from peers.",
      "From",
    ),
    sentFailures: counter(
      "peer_sent_failures_total",
      "The total number of send failures from peers.",
      "To",
    ),
    receivedFailures: counter(
      "peer_received_failures_total",
      "The total number of receive failures from peers.",
      "From",
    ),
    roundTripSeconds: histogram(
      "peer_round_trip_time_seconds",
      "Round-Trip-Time histogram between peers",
      "To",
      exponentialBuckets(0.0001, 2, 16),
    ),
    snapshotSendSuccess: counter(
      "snapshot_send_success",
      "Total number of successful snapshot sends",
      "To",
    ),
    snapshotSendInflights: gauge(
      "snapshot_send_inflights_total",
      "Total number of inflight snapshot sends",
      "To",
    ),
    snapshotSendFailures: counter(
      "snapshot_send_failures",
      "Total number of snapshot send failures",
      "To",
    ),
    snapshotSendSeconds: histogram(
      "snapshot_send_total_duration_seconds",
      "Total latency distributions of v3 snapshot sends",
      "To",
      snapshotBuckets,
    ),
    snapshotReceiveSuccess: counter(
      "snapshot_receive_success",
      "Total number of successful snapshot receives",
      "From",
    ),
    snapshotReceiveInflights: gauge(
      "snapshot_receive_inflights_total",
      "Total number of inflight snapshot receives",
      "From",
    ),
    snapshotReceiveFailures: counter(
      "snapshot_receive_failures",
      "Total number of snapshot receive failures",
      "From",
    ),
    snapshotReceiveSeconds: histogram(
      "snapshot_receive_total_duration_seconds",
      "Total latency distributions of v3 snapshot receives",
      "From",
      snapshotBuckets,
    ),
  };
}
