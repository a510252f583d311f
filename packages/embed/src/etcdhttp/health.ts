/**
 * `/health`, `/livez` and `/readyz`: what load balancers and kubelets ask.
 *
 * `/health` fails on any alarm, without a leader, and when a read fails. `/readyz` fails on a
 * CORRUPT alarm only, so that a full member stays in service; `/livez` asks for a local read.
 */

import { AlarmType } from "@etcd-ts/api";
import type { Counter, EtcdError, Family, Gauge, Logger, Metrics } from "@etcd-ts/base";
import { requestTimeoutMs } from "@etcd-ts/etcdserver";
import type { RequestContext, ServerOperations } from "@etcd-ts/etcdserver";
import type { Clock } from "@etcd-ts/base";
import type { HttpRequest, HttpResponse } from "@etcd-ts/rpc";
import { allowMethod, reply, replyError, replyNotFound } from "./replies.ts";
import type { RequestTarget } from "./request-target.ts";

export interface HealthOptions {
  readonly server: ServerOperations;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly electionTimeoutMs: number;
}

type Outcome = (failure: string | undefined) => void;
type Check = (done: Outcome) => void;
type ProbeType = "livez" | "readyz";

const CHECKS: { readonly [Type in ProbeType]: readonly string[] } = {
  livez: ["serializable_read"],
  readyz: ["data_corruption", "serializable_read", "linearizable_read", "non_learner"],
};

const ALARM_NAMES: ReadonlyMap<number, string> = new Map([
  [AlarmType.NOSPACE, "NOSPACE"],
  [AlarmType.CORRUPT, "CORRUPT"],
]);

export class HealthEndpoints {
  readonly #options: HealthOptions;
  readonly #checks: ReadonlyMap<string, Check>;
  readonly #success: Counter;
  readonly #failures: Counter;
  readonly #state: Family<Gauge>;
  readonly #total: Family<Counter>;

  constructor(options: HealthOptions) {
    this.#options = options;
    const { metrics } = options;
    this.#success = metrics.counter({
      name: "etcd_server_health_success",
      help: "The total number of successful health checks",
    });
    this.#failures = metrics.counter({
      name: "etcd_server_health_failures",
      help: "The total number of failed health checks",
    });
    this.#state = metrics.gaugeFamily({
      name: "etcd_server_healthcheck",
      help: "The result of each kind of healthcheck.",
      labelNames: ["type", "name"],
    });
    this.#total = metrics.counterFamily({
      name: "etcd_server_healthchecks_total",
      help: "The total number of each kind of healthcheck.",
      labelNames: ["type", "name", "status"],
    });
    this.#checks = new Map<string, Check>([
      ["data_corruption", (done) => this.#checkCorruption(done)],
      ["serializable_read", (done) => this.#checkRead(true, done)],
      ["linearizable_read", (done) => this.#checkRead(false, done)],
      ["non_learner", (done) => done(this.#learnerFailure())],
    ]);
  }

  /** @returns whether the path was one of these endpoints */
  handle(target: RequestTarget, request: HttpRequest, response: HttpResponse): boolean {
    const { pathname, query } = target;
    if (pathname === "/health") {
      if (allowMethod(request, response, "GET")) this.#health(query, response);
      return true;
    }
    const match = /^\/(livez|readyz)(?:\/(.*))?$/.exec(pathname);
    if (match === null) return false;
    const type = match[1] as ProbeType;
    const name = match[2];
    if (name !== undefined && !CHECKS[type].includes(name)) replyNotFound(response);
    else if (allowMethod(request, response, "GET")) this.#probe(type, name, query, response);
    return true;
  }

  #context(): RequestContext {
    const { clock, electionTimeoutMs } = this.#options;
    return {
      auth: { kind: "member" },
      deadlineMs: clock.monotonicMs() + requestTimeoutMs({ electionTimeoutMs }),
    };
  }

  #health(query: URLSearchParams, response: HttpResponse): void {
    const excluded = new Set(query.getAll("exclude"));
    const isSerializable = query.get("serializable") === "true";
    const finish = (reason: string): void => this.#answerHealth(response, reason);
    const { server } = this.#options;
    const alarm = server
      .activeAlarms()
      .map((raised) => alarmName(raised.alarm))
      .find((name) => !excluded.has(name));
    if (alarm !== undefined) finish(`ALARM ${alarm}`);
    else if (!isSerializable && server.facts().leaderID === 0n) finish("RAFT NO LEADER");
    else {
      this.#checkRead(isSerializable, (failure) =>
        finish(failure === undefined ? "" : `RANGE ERROR:${failure}`),
      );
    }
  }

  #answerHealth(response: HttpResponse, reason: string): void {
    const body = JSON.stringify({ health: reason === "" ? "true" : "false", reason });
    if (reason === "") {
      this.#success.inc();
      reply(response, 200, "text/plain; charset=utf-8", body);
      return;
    }
    this.#failures.inc();
    this.#options.logger.warn("/health error", { output: body, "status-code": 503 });
    replyError(response, 503, body);
  }

  #probe(
    type: ProbeType,
    single: string | undefined,
    query: URLSearchParams,
    response: HttpResponse,
  ): void {
    const excluded = new Set(single === undefined ? query.getAll("exclude") : []);
    const names = single === undefined ? CHECKS[type].filter((n) => !excluded.has(n)) : [single];
    const isVerbose = query.has("verbose");
    const lines: string[] = [];
    let isFailed = false;
    const next = (i: number): void => {
      const name = names[i];
      if (name === undefined) {
        this.#answerProbe(response, lines, isFailed, isVerbose, type);
        return;
      }
      this.#checks.get(name)!((failure) => {
        this.#record(type, name, failure === undefined);
        if (failure !== undefined) isFailed = true;
        lines.push(failure === undefined ? `[+]${name} ok` : `[-]${name} failed: ${failure}`);
        next(i + 1);
      });
    };
    next(0);
  }

  #answerProbe(
    response: HttpResponse,
    lines: readonly string[],
    isFailed: boolean,
    isVerbose: boolean,
    type: ProbeType,
  ): void {
    const report = lines.map((line) => `${line}\n`).join("");
    if (isFailed) {
      this.#options.logger.warn("Health check error", {
        path: `/${type}`,
        reason: report,
        "status-code": 503,
      });
      replyError(response, 503, report);
      return;
    }
    response.setHeader("X-Content-Type-Options", "nosniff");
    reply(response, 200, "text/plain; charset=utf-8", `${isVerbose ? report : ""}ok\n`);
  }

  #record(type: ProbeType, name: string, isOK: boolean): void {
    this.#state.labels({ type, name }).set(isOK ? 1 : 0);
    this.#total.labels({ type, name, status: isOK ? "success" : "error" }).inc();
  }

  #checkCorruption(done: Outcome): void {
    const alarms = this.#options.server.activeAlarms();
    const isCorrupt = alarms.some(({ alarm }) => alarm === AlarmType.CORRUPT);
    done(isCorrupt ? "alarm activated: CORRUPT" : undefined);
  }

  #checkRead(serializable: boolean, done: Outcome): void {
    const request = {
      key: new Uint8Array(0),
      rangeEnd: new Uint8Array(0),
      limit: 1,
      revision: 0,
      sortOrder: 0,
      sortTarget: 0,
      serializable,
      keysOnly: true,
      countOnly: false,
      minModRevision: 0,
      maxModRevision: 0,
      minCreateRevision: 0,
      maxCreateRevision: 0,
    } as const;
    const settle = (error: EtcdError | undefined): void => done(error?.message);
    this.#options.server.range(request, this.#context(), settle);
  }

  #learnerFailure(): string | undefined {
    return this.#options.server.facts().isLearner ? "not supported for learner" : undefined;
  }
}

function alarmName(type: number): string {
  return ALARM_NAMES.get(type) ?? "UNKNOWN";
}
