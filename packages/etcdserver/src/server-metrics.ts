/** Gauges and counters of the member as a whole, under etcd's names. */

import { SERVER_VERSION } from "@etcd-ts/api";
import type { Counter, Family, Gauge, Metrics } from "@etcd-ts/base";

export interface ServerMetrics {
  readonly hasLeader: Gauge;
  readonly isLeader: Gauge;
  readonly isLearner: Gauge;
  /** By `Local` and `Remote`; 1 for a member, 0 for one that was. */
  readonly knownPeers: Family<Gauge>;
  readonly leaderChanges: Counter;
  readonly heartbeatFailures: Counter;
  readonly snapshotInstalls: Gauge;
  readonly learnerPromotions: Counter;
  readonly learnerPromoteFailures: Family<Counter>;
  readonly committed: Gauge;
  readonly applied: Gauge;
  readonly pending: Gauge;
  readonly failed: Counter;
  readonly leaseExpired: Counter;
  readonly clusterVersion: Family<Gauge>;
}

export function declareServerMetrics(metrics: Metrics, memberID: bigint): ServerMetrics {
  metrics
    .gaugeFamily({
      name: "etcd_server_version",
      help: "Which version is running. 1 for 'server_version' label with current version.",
      labelNames: ["server_version"],
    })
    .labels({ server_version: SERVER_VERSION })
    .set(1);
  metrics
    .gaugeFamily({
      name: "etcd_server_id",
      help: "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
      labelNames: ["server_id"],
    })
    .labels({ server_id: memberID.toString(16) })
    .set(1);
  return declareInstruments(metrics);
}

function declareInstruments(metrics: Metrics): ServerMetrics {
  const gauge = (name: string, help: string): Gauge => metrics.gauge({ name, help });
  const counter = (name: string, help: string): Counter => metrics.counter({ name, help });
  return {
    hasLeader: gauge(
      "etcd_server_has_leader",
      "Whether or not a leader exists. 1 is existence, 0 is not.",
    ),
    isLeader: gauge(
      "etcd_server_is_leader",
      "Whether or not this member is a leader. 1 if is, 0 otherwise.",
    ),
    isLearner: gauge(
      "etcd_server_is_learner",
      "Whether or not this member is a learner. 1 if is, 0 otherwise.",
    ),
    knownPeers: metrics.gaugeFamily({
      name: "etcd_network_known_peers",
      help: "The current number of known peers.",
      labelNames: ["Local", "Remote"],
    }),
    leaderChanges: counter(
      "etcd_server_leader_changes_seen_total",
      "The number of leader changes seen.",
    ),
    heartbeatFailures: counter(
      "etcd_server_heartbeat_send_failures_total",
      "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
    ),
    snapshotInstalls: gauge(
      "etcd_server_snapshot_apply_in_progress_total",
      "1 if the server is applying the incoming snapshot. 0 if none.",
    ),
    learnerPromotions: counter(
      "etcd_server_learner_promote_successes",
      "The total number of successful learner promotions while this member is leader.",
    ),
    learnerPromoteFailures: metrics.counterFamily({
      name: "etcd_server_learner_promote_failures",
      help: "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
      labelNames: ["Reason"],
    }),
    committed: gauge(
      "etcd_server_proposals_committed_total",
      "The total number of consensus proposals committed.",
    ),
    applied: gauge(
      "etcd_server_proposals_applied_total",
      "The total number of consensus proposals applied.",
    ),
    pending: gauge(
      "etcd_server_proposals_pending",
      "The current number of pending proposals to commit.",
    ),
    failed: counter(
      "etcd_server_proposals_failed_total",
      "The total number of failed proposals seen.",
    ),
    leaseExpired: counter(
      "etcd_debugging_server_lease_expired_total",
      "The total number of expired leases.",
    ),
    clusterVersion: metrics.gaugeFamily({
      name: "etcd_cluster_version",
      help: "Which version is running. 1 for 'cluster_version' label with current cluster version",
      labelNames: ["cluster_version"],
    }),
  };
}
