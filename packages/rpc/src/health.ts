/**
 * `grpc.health.v1.Health`: Check, Watch and List, over a status that can be set.
 *
 * One service is known, "", the server as a whole; it serves from creation, as in etcd.
 */

import { create } from "@bufbuild/protobuf";
import {
  GRPC_CODES,
  Health,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus,
  HealthListResponseSchema,
  RpcError,
} from "@etcd-ts/api";
import type { HealthCheckRequest, HealthCheckResponse } from "@etcd-ts/api";

import type { StreamCall } from "./call.ts";
import type { ServiceTable } from "./service-table.ts";

const { NOT_SERVING, SERVICE_UNKNOWN, SERVING } = HealthCheckResponse_ServingStatus;

/** The server as a whole. */
const SERVER = "";

const UNKNOWN_SERVICE = new RpcError("NOT_FOUND", GRPC_CODES.NOT_FOUND, "unknown service");

type Watcher = StreamCall<HealthCheckRequest, HealthCheckResponse>;

export class HealthService {
  #serving = true;
  readonly #watchers = new Set<Watcher>();

  /** Serves the three methods on `table`. */
  register(table: ServiceTable): void {
    table.unary(Health.Check, (request, call) => {
      if (request.service === SERVER) call.respond(this.#response());
      else call.fail(UNKNOWN_SERVICE);
    });
    table.unary(Health.List, (_request, call) => {
      const statuses = { [SERVER]: this.#response() };
      call.respond(create(HealthListResponseSchema, { statuses }));
    });
    table.stream(Health.Watch, (call) => call.onMessage((request) => this.#watch(request, call)));
  }

  get isServing(): boolean {
    return this.#serving;
  }

  /** Sets the status of the server and tells the watchers if it changed. */
  setServing(serving: boolean): void {
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const watcher of this.#watchers) watcher.send(this.#response());
  }

  /** Sends the status now and at each change; a service nobody knows is told to be so. */
  #watch(request: HealthCheckRequest, call: Watcher): void {
    if (request.service !== SERVER) {
      call.send(create(HealthCheckResponseSchema, { status: SERVICE_UNKNOWN }));
      return;
    }
    call.send(this.#response());
    this.#watchers.add(call);
    call.onCancel(() => this.#watchers.delete(call));
  }

  #response(): HealthCheckResponse {
    return create(HealthCheckResponseSchema, { status: this.#serving ? SERVING : NOT_SERVING });
  }
}
