/**
 * Counts of calls and messages under the names the Prometheus middleware of Go's gRPC has.
 *
 * Invariant: the series of all methods but those of Lock and Election exist from the start, at
 * zero, as in etcd, whose dashboards ask for their rates.
 */

import {
  Auth,
  Cluster,
  GRPC_CODES,
  grpcCodeName,
  Health,
  KV,
  Lease,
  Maintenance,
  Watch,
} from "@etcd-ts/api";
import type { GrpcCode, MethodKind } from "@etcd-ts/api";
import type { Clock, Counter, Family, Histogram, Metrics } from "@etcd-ts/base";
import type { AnyMethod, CallBatch, CallContext, CallInterceptor } from "@etcd-ts/rpc";

const LABEL_NAMES = ["grpc_type", "grpc_service", "grpc_method"];
const HANDLING_BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const EARLY_SERVICES = [KV, Watch, Lease, Cluster, Auth, Health, Maintenance];

const TYPES: { readonly [Kind in MethodKind]: string } = {
  unary: "unary",
  clientStream: "client_stream",
  serverStream: "server_stream",
  bidi: "bidi_stream",
};

/** The instruments of one method. */
interface MethodSeries {
  readonly started: Counter;
  readonly received: Counter;
  readonly sent: Counter;
  readonly handled: Map<GrpcCode, Counter>;
  readonly labels: { readonly [name: string]: string };
  readonly seconds: Histogram | undefined;
}

export class GrpcMetrics implements CallInterceptor {
  readonly #clock: Clock;
  readonly #started: Family<Counter>;
  readonly #handled: Family<Counter>;
  readonly #received: Family<Counter>;
  readonly #sent: Family<Counter>;
  readonly #seconds: Family<Histogram> | undefined;
  readonly #series = new Map<AnyMethod, MethodSeries>();

  /** @param isExtensive - also measure how long calls take */
  constructor(metrics: Metrics, clock: Clock, isExtensive: boolean) {
    this.#clock = clock;
    const family = (name: string, help: string, more: readonly string[] = []): Family<Counter> =>
      metrics.counterFamily({ name, help, labelNames: [...LABEL_NAMES, ...more] });
    this.#started = family(
      "grpc_server_started_total",
      "Total number of RPCs started on the server.",
    );
    this.#handled = family(
      "grpc_server_handled_total",
      "Total number of RPCs completed on the server, regardless of success or failure.",
      ["grpc_code"],
    );
    this.#received = family(
      "grpc_server_msg_received_total",
      "Total number of RPC stream messages received on the server.",
    );
    this.#sent = family(
      "grpc_server_msg_sent_total",
      "Total number of gRPC stream messages sent by the server.",
    );
    this.#seconds = isExtensive
      ? metrics.histogramFamily({
          name: "grpc_server_handling_seconds",
          help: "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
          labelNames: LABEL_NAMES,
          buckets: HANDLING_BUCKETS_SECONDS,
        })
      : undefined;
    for (const service of EARLY_SERVICES) {
      for (const method of Object.values(service) as AnyMethod[]) {
        const series = this.#of(method);
        for (const code of Object.values(GRPC_CODES)) this.#handledOf(series, code);
      }
    }
  }

  onStart(call: CallContext): undefined {
    const series = this.#of(call.method);
    series.started.inc();
    // A refused request was received all the same.
    if (call.method.kind === "unary") series.received.inc();
  }

  onMessageReceived(call: CallContext): void {
    if (call.method.kind !== "unary") this.#of(call.method).received.inc();
  }

  onMessageSent(call: CallContext): void {
    if (call.method.kind !== "unary") this.#of(call.method).sent.inc();
  }

  onFinish(call: CallContext, code: GrpcCode): void {
    const series = this.#of(call.method);
    // The middleware counts the answer of a unary call even where it is only a status.
    if (call.method.kind === "unary") series.sent.inc();
    this.#handledOf(series, code).inc();
    if (series.seconds === undefined) return;
    series.seconds.observe((this.#clock.monotonicMs() - call.startMs) / 1000);
  }

  /** How long each call took is not known of batches. */
  mayBatch(batch: CallBatch): boolean {
    return this.#of(batch.method).seconds === undefined;
  }

  onBatchAnswered({ method, answered }: CallBatch): void {
    const series = this.#of(method);
    series.started.inc(answered);
    series.received.inc(answered);
    series.sent.inc(answered);
    this.#handledOf(series, GRPC_CODES.OK).inc(answered);
  }

  #of(method: AnyMethod): MethodSeries {
    const known = this.#series.get(method);
    if (known !== undefined) return known;
    const labels = {
      grpc_type: TYPES[method.kind],
      grpc_service: method.service,
      grpc_method: method.name,
    };
    const series = {
      started: this.#started.labels(labels),
      received: this.#received.labels(labels),
      sent: this.#sent.labels(labels),
      handled: new Map<GrpcCode, Counter>(),
      labels,
      seconds: this.#seconds?.labels(labels),
    };
    this.#series.set(method, series);
    return series;
  }

  #handledOf(series: MethodSeries, code: GrpcCode): Counter {
    const known = series.handled.get(code);
    if (known !== undefined) return known;
    const counter = this.#handled.labels({ ...series.labels, grpc_code: grpcCodeName(code) });
    series.handled.set(code, counter);
    return counter;
  }
}
