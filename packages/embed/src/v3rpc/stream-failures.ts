/** Counts streams that broke, other than by their caller's wish. */

import { GRPC_CODES } from "@etcd-ts/api";
import type { Counter, Family, Metrics } from "@etcd-ts/base";
import type { CallContext } from "@etcd-ts/rpc";

export class StreamFailures {
  readonly #family: Family<Counter>;
  readonly #api: string;

  /** @param api - the label of the stream: `watch` or `lease-keepalive` */
  constructor(metrics: Metrics, api: string) {
    this.#family = metrics.counterFamily({
      name: "etcd_network_server_stream_failures_total",
      help: "The total number of stream failures from the local server.",
      labelNames: ["Type", "API"],
    });
    this.#api = api;
  }

  /** Counts the end of `call` if it is cancelled for a reason its caller did not choose. */
  observe(call: CallContext): void {
    call.onCancel(() => {
      const code = call.cancelReason?.grpcCode;
      if (code === GRPC_CODES.CANCELED || code === GRPC_CODES.DEADLINE_EXCEEDED) return;
      this.#family.labels({ Type: "receive", API: this.#api }).inc();
    });
  }
}
