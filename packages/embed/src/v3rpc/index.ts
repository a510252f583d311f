/**
 * The gRPC services of the client port over the operations of one member.
 *
 * Invariants:
 * - Every method of `METHODS` has exactly one handler.
 * - After `close` no call is held, no timer runs, and new calls are refused.
 */

import { METHODS } from "@etcd-ts/api";
import { invariant } from "@etcd-ts/base";
import { HealthService } from "@etcd-ts/rpc";
import type { MessageByteCounters } from "@etcd-ts/rpc";

import { registerAuth } from "./auth.ts";
import { registerCluster } from "./cluster.ts";
import { registerElection } from "./election.ts";
import { GrpcMetrics } from "./grpc-metrics.ts";
import { Admission } from "./interceptors.ts";
import { registerKV } from "./kv.ts";
import { registerLease } from "./lease.ts";
import { registerLock } from "./lock.ts";
import { registerMaintenance } from "./maintenance.ts";
import { OpenCalls } from "./open-calls.ts";
import type { ServiceParts, V3ServicesOptions } from "./parts.ts";
import { RequestLog } from "./request-log.ts";
import { registerWatch } from "./watch-server.ts";

export type { V3ServicesOptions } from "./parts.ts";

export class V3Services {
  /** For transports, which know how many bytes messages take. */
  readonly byteCounters: MessageByteCounters;
  readonly #openCalls: OpenCalls;

  constructor(options: V3ServicesOptions) {
    const { table, server, clock, logger, metrics, config } = options;
    this.byteCounters = declareByteCounters(options);
    this.#openCalls = new OpenCalls(
      () => server.facts().leaderID !== 0n,
      clock,
      config.electionTimeoutMs,
    );
    const parts: ServiceParts = { ...options, openCalls: this.#openCalls };
    table.intercept(new RequestLog(clock, logger, config.warningUnaryRequestDurationMs));
    table.intercept(new GrpcMetrics(metrics, clock, config.metrics === "extensive"));
    table.intercept(new Admission(server, metrics));
    table.intercept(this.#openCalls);

    const health = new HealthService();
    health.register(table);
    logger.info("grpc service status changed", { service: "", status: "SERVING" });
    registerKV(parts);
    registerWatch(parts);
    registerLease(parts);
    registerCluster(parts);
    registerAuth(parts);
    registerMaintenance(parts, health);
    registerLock(parts);
    registerElection(parts);

    const served = new Set(table.methods());
    for (const method of METHODS) {
      invariant(served.has(method), () => `V3Services: nothing serves ${method.path}`);
    }
  }

  /** Streams and waiting calls that are open. */
  get openCalls(): number {
    return this.#openCalls.size;
  }

  /** Ends open streams and waiting calls because the member stops; idempotent. */
  close(): void {
    this.#openCalls.close();
  }
}

function declareByteCounters({ metrics }: V3ServicesOptions): MessageByteCounters {
  const sent = metrics.counter({
    name: "etcd_network_client_grpc_sent_bytes_total",
    help: "The total number of bytes sent to grpc clients.",
  });
  const received = metrics.counter({
    name: "etcd_network_client_grpc_received_bytes_total",
    help: "The total number of bytes received from grpc clients.",
  });
  return { received: (bytes) => received.inc(bytes), sent: (bytes) => sent.inc(bytes) };
}
