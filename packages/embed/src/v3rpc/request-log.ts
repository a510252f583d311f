/**
 * The log of unary requests: all of them at debug level, those that took too long as warnings.
 *
 * User keys are in it at debug level only; values never, only their sizes.
 */

import { formatGoDuration } from "@etcd-ts/base";
import type { Clock, Logger } from "@etcd-ts/base";
import type { CallContext, CallInterceptor } from "@etcd-ts/rpc";

import { describeRequest } from "./request-content.ts";

export class RequestLog implements CallInterceptor {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #warningMs: number;

  constructor(clock: Clock, logger: Logger, warningMs: number) {
    this.#clock = clock;
    this.#logger = logger;
    this.#warningMs = warningMs;
  }

  /** Batches answer what is quick, and nothing is told of that above debug level. */
  mayBatch(): boolean {
    return !this.#logger.isEnabled("debug");
  }

  onFinish(call: CallContext): void {
    if (call.method.kind !== "unary") return;
    const tookMs = this.#clock.monotonicMs() - call.startMs;
    if (tookMs <= this.#warningMs && !this.#logger.isEnabled("debug")) return;
    this.#write(call, tookMs);
  }

  #write(call: CallContext, tookMs: number): void {
    const isDebug = this.#logger.isEnabled("debug");
    const stats = describeRequest(call.method, call.request, call.response, isDebug);
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
