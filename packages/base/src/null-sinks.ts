/** A logger and metrics that keep nothing, for callers who give none. */

import type { LogFields, Logger, LogLevel } from "./ports/logger.ts";
import type { Counter, Family, Gauge, Histogram, Metrics } from "./ports/metrics.ts";

function ignore(): void {}

export const NULL_LOGGER: Logger = {
  isEnabled: (_level: LogLevel): boolean => false,
  log: ignore,
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ignore,
  with: (_fields: LogFields): Logger => NULL_LOGGER,
  named: (_name: string): Logger => NULL_LOGGER,
};

const COUNTER: Counter = { inc: ignore };
const GAUGE: Gauge = { set: ignore, add: ignore };
const HISTOGRAM: Histogram = { observe: ignore };

function familyOf<T>(instrument: T): Family<T> {
  return { labels: () => instrument, remove: ignore };
}

const COUNTERS = familyOf(COUNTER);
const GAUGES = familyOf(GAUGE);
const HISTOGRAMS = familyOf(HISTOGRAM);

export const NULL_METRICS: Metrics = {
  counter: () => COUNTER,
  gauge: () => GAUGE,
  histogram: () => HISTOGRAM,
  counterFamily: () => COUNTERS,
  gaugeFamily: () => GAUGES,
  histogramFamily: () => HISTOGRAMS,
  gaugeFunction: ignore,
};
