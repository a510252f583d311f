import { expect, test } from "vitest";

import { LOG_LEVELS, parseLogLevel } from "./log-levels.ts";
import { NULL_LOGGER, NULL_METRICS } from "./null-sinks.ts";

test("NULL_LOGGER takes everything and is never enabled", () => {
  const logger = NULL_LOGGER.named("a").with({ b: 1 });
  for (const level of LOG_LEVELS) {
    expect(logger.isEnabled(level)).toBe(false);
    logger.log(level, "x");
  }
});

test("NULL_METRICS gives instruments that take everything", () => {
  const definition = { name: "x", help: "x", buckets: [1] };
  NULL_METRICS.counter(definition).inc();
  NULL_METRICS.gauge(definition).set(1);
  NULL_METRICS.histogram(definition).observe(1);
  NULL_METRICS.counterFamily(definition).labels({ any: "label" }).inc(2);
  NULL_METRICS.gaugeFamily(definition).labels({}).add(1);
  NULL_METRICS.histogramFamily(definition).remove({});
  NULL_METRICS.gaugeFunction(definition, () => {
    throw new Error("asked");
  });
});

test("parseLogLevel() takes lower and upper case", () => {
  expect(LOG_LEVELS.map(parseLogLevel)).toEqual(LOG_LEVELS);
  expect(parseLogLevel("WARN")).toBe("warn");
  expect([parseLogLevel("Warn"), parseLogLevel(""), parseLogLevel("trace")]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
