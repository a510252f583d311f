/** How long work keeps the event loop from its next turn: the measure of "nothing blocks". */

import { monitorEventLoopDelay } from "node:perf_hooks";
import type { IntervalHistogram } from "node:perf_hooks";

export interface DelaySummary {
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

const NANOSECONDS_PER_MS = 1e6;

export class EventLoopDelay {
  readonly #resolutionMs: number;
  readonly #histogram: IntervalHistogram;

  /**
   * Starts measuring at once.
   *
   * @param resolutionMs - time between two samples: what is shorter is not seen, and each sample
   *   wakes the loop
   */
  constructor(resolutionMs = 1) {
    this.#resolutionMs = resolutionMs;
    this.#histogram = monitorEventLoopDelay({ resolution: resolutionMs });
    this.#histogram.enable();
  }

  /** What was seen since the start or the last `reset`. */
  summary(): DelaySummary {
    const histogram = this.#histogram;
    const lateness = (nanoseconds: number): number => latenessMs(nanoseconds, this.#resolutionMs);
    return {
      meanMs: lateness(histogram.mean),
      p50Ms: lateness(histogram.percentile(50)),
      p99Ms: lateness(histogram.percentile(99)),
      p999Ms: lateness(histogram.percentile(99.9)),
      maxMs: lateness(histogram.max),
    };
  }

  reset(): void {
    this.#histogram.reset();
  }

  stop(): DelaySummary {
    this.#histogram.disable();
    return this.summary();
  }
}

/** The histogram holds the time between two samples; what is over the interval is delay. */
function latenessMs(nanoseconds: number, resolutionMs: number): number {
  return Number.isNaN(nanoseconds)
    ? 0
    : Math.max(0, nanoseconds / NANOSECONDS_PER_MS - resolutionMs);
}
