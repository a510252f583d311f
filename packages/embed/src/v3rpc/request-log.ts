/**
 * The log of unary requests: all of them at debug level, those that took too long as warnings.
 *
 * User keys are in it at debug level only; values never, only their sizes.
 */

import { formatGoDuration } from "@etcd-ts/base";
import type { Clock, Logger } from "@etcd-ts/base";
import type { CallContext, CallInterceptor } from "@etcd-ts/rpc";

import { describeRequest } from "./request-content.ts";

interface OpenRequest {
  readonly request: unknown;
  readonly startMs: number;
  response: unknown;
}

export class RequestLog implements CallInterceptor {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #warningMs: number;
  readonly #open = new Map<CallContext, OpenRequest>();

  constructor(clock: Clock, logger: Logger, warningMs: number) {
    this.#clock = clock;
    this.#logger = logger;
    this.#warningMs = warningMs;
  }

  /** Unary requests that are not answered yet. */
  get size(): number {
    return this.#open.size;
  }

  onStart(call: CallContext, request: unknown): undefined {
    if (call.method.kind !== "unary") return;
    this.#open.set(call, { request, startMs: this.#clock.monotonicMs(), response: undefined });
  }

  /** Remembers what a call is answered with, for its counts and sizes. */
  noteResponse(call: CallContext, response: unknown): void {
    const open = this.#open.get(call);
    if (open !== undefined) open.response = response;
  }

  onFinish(call: CallContext): void {
    const open = this.#open.get(call);
    if (open === undefined) return;
    this.#open.delete(call);
    const tookMs = this.#clock.monotonicMs() - open.startMs;
    if (tookMs <= this.#warningMs && !this.#logger.isEnabled("debug")) return;
    this.#write(call, open, tookMs);
  }

  #write(call: CallContext, { request, response }: OpenRequest, tookMs: number): void {
    const isDebug = this.#logger.isEnabled("debug");
    const stats = describeRequest(call.method, request, response, isDebug);
    this.#logger.log(isDebug ? "debug" : "warn", "request stats", {
      "start time": isoTime(this.#clock.wallMs() - tookMs),
      "time spent": formatGoDuration(tookMs),
      remote: call.peer.address,
      "response type": call.method.path,
      "request count": stats.requestCount,
      "request size": stats.requestBytes,
      "response count": stats.responseCount,
      "response size": stats.responseBytes,
      "request content": stats.content,
    });
  }
}

/** With microseconds, as the timestamps of the log. */
function isoTime(wallMs: number): string {
  const micros = Math.floor((wallMs % 1) * 1000);
  return new Date(wallMs).toISOString().replace("Z", `${String(micros).padStart(3, "0")}Z`);
}
