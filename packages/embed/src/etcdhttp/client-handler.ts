/**
 * The HTTP side of client and metrics listeners: gateway, version, metrics, health, debug vars.
 */

import { SERVER_VERSION } from "@etcd-ts/api";
import type { ServerOperations } from "@etcd-ts/etcdserver";
import type { HttpHandler, JsonGateway } from "@etcd-ts/rpc";
import type { PrometheusMetrics } from "@etcd-ts/runtime";
import { withAccessControl } from "./access-control.ts";
import type { AccessControlOptions } from "./access-control.ts";
import type { HealthEndpoints } from "./health.ts";
import { allowMethod, reply, replyError, replyNotFound } from "./replies.ts";
import { withTarget } from "./request-target.ts";
import type { RequestTarget } from "./request-target.ts";

export interface ClientHandlerOptions extends AccessControlOptions {
  readonly server: ServerOperations;
  readonly metrics: PrometheusMetrics;
  readonly health: HealthEndpoints;
  /** Serves `/v3/`; undefined when the gateway is off. */
  readonly gateway: JsonGateway | undefined;
  /** The arguments of the process, for `/debug/vars`. */
  readonly commandLine: readonly string[];
}

/** What a client listener serves beside gRPC. */
export function createClientHandler(options: ClientHandlerOptions): HttpHandler {
  const handle = withTarget((target, request, response) => {
    const { pathname } = target;
    if (pathname === "/version") {
      if (allowMethod(request, response, "GET")) {
        reply(response, 200, "application/json", versionJSON(options.server));
      }
    } else if (pathname === "/debug/vars") {
      if (allowMethod(request, response, "GET")) {
        reply(response, 200, "application/json; charset=utf-8", debugVars(options));
      }
    } else serveMetricsAndHealth(options, target, request, response);
  });
  return withAccessControl(options, (request, response) => {
    // The gateway has rules of its own for paths.
    if (options.gateway?.handle(request, response) !== true) handle(request, response);
  });
}

/** What a `--listen-metrics-urls` listener serves. */
export function createMetricsHandler(
  options: Pick<ClientHandlerOptions, "metrics" | "health">,
): HttpHandler {
  return withTarget((target, request, response) => {
    serveMetricsAndHealth(options, target, request, response);
  });
}

function serveMetricsAndHealth(
  options: Pick<ClientHandlerOptions, "metrics" | "health">,
  target: RequestTarget,
  request: Parameters<HttpHandler>[0],
  response: Parameters<HttpHandler>[1],
): void {
  if (target.pathname === "/metrics") {
    options.metrics.expose(request.headers.accept).then(
      ({ contentType, body }) => reply(response, 200, contentType, body),
      (error: unknown) => replyError(response, 500, String(error)),
    );
    return;
  }
  if (!options.health.handle(target, request, response)) replyNotFound(response);
}

/** The body of `/version`, on client and peer listeners. */
export function versionJSON(server: ServerOperations): string {
  const { storageVersion } = server.currentStatus();
  return JSON.stringify({
    etcdserver: SERVER_VERSION,
    etcdcluster: server.facts().clusterVersion ?? "not_decided",
    storage: storageVersion === "" ? "unknown" : storageVersion,
  });
}

function debugVars(options: ClientHandlerOptions): string {
  const { server } = options;
  const facts = server.facts();
  const memory = process.memoryUsage();
  return JSON.stringify(
    {
      cmdline: options.commandLine,
      memstats: {
        HeapAlloc: memory.heapUsed,
        HeapSys: memory.heapTotal,
        Sys: memory.rss,
        External: memory.external,
      },
      "raft.status": {
        id: facts.memberID.toString(16),
        term: facts.raftTerm,
        commit: facts.committedIndex,
        lead: facts.leaderID.toString(16),
        raftState: facts.isLeader ? "StateLeader" : "StateFollower",
        applied: facts.appliedIndex,
      },
    },
    undefined,
    2,
  );
}
