/**
 * What every `Metrics` keeps. `read` gives a series as it would be scraped: the number of a counter
 * or gauge, or for a histogram's `_bucket`, `_sum` and `_count`; undefined if it is absent.
 */

import { describe, expect, test } from "vitest";

import type { Labels, Metrics } from "../src/index.ts";
import { exponentialBuckets } from "../src/index.ts";

export interface MetricsUnderTest {
  readonly metrics: Metrics;
  read(name: string, labels?: Labels): Promise<number | undefined>;
}

export function testMetrics(name: string, create: () => MetricsUnderTest): void {
  describe(name, () => {
    test("a counter starts at zero and goes up", async () => {
      const { metrics, read } = create();
      const counter = metrics.counter({ name: "a_total", help: "a" });
      expect(await read("a_total")).toBe(0);
      counter.inc();
      counter.inc(2.5);
      expect(await read("a_total")).toBe(3.5);
      expect(() => counter.inc(-1)).toThrow("-1");
    });

    test("a gauge is set and moved", async () => {
      const { metrics, read } = create();
      const gauge = metrics.gauge({ name: "g", help: "g" });
      gauge.set(5);
      gauge.add(-7);
      expect(await read("g")).toBe(-2);
    });

    test("a gauge function is asked at each scrape", async () => {
      const { metrics, read } = create();
      let value = 1;
      metrics.gaugeFunction({ name: "f", help: "f" }, () => value);
      expect(await read("f")).toBe(1);
      value = 2;
      expect(await read("f")).toBe(2);
    });

    test("a histogram counts into cumulative buckets, bounds included", async () => {
      const { metrics, read } = create();
      const buckets = exponentialBuckets(1, 2, 3);
      const histogram = metrics.histogram({ name: "h", help: "h", buckets });
      for (const value of [0.5, 1, 1.5, 4, 9]) histogram.observe(value);
      expect(await read("h_bucket", { le: "1" })).toBe(2);
      expect(await read("h_bucket", { le: "2" })).toBe(3);
      expect(await read("h_bucket", { le: "4" })).toBe(4);
      expect(await read("h_bucket", { le: "+Inf" })).toBe(5);
      expect(await read("h_sum")).toBe(16);
      expect(await read("h_count")).toBe(5);
    });

    test("series of a family are apart, appear when asked for and vanish when removed", async () => {
      const { metrics, read } = create();
      const family = metrics.counterFamily({ name: "c", help: "c", labelNames: ["x", "y"] });
      family.labels({ x: "1", y: "2" }).inc();
      family.labels({ y: "1", x: "2" }).inc(5);
      family.labels({ x: "3", y: "3" });
      family.labels({ x: "1", y: "2" }).inc();
      expect(await read("c", { x: "1", y: "2" })).toBe(2);
      expect(await read("c", { x: "2", y: "1" })).toBe(5);
      expect(await read("c", { x: "3", y: "3" })).toBe(0);
      family.remove({ x: "1", y: "2" });
      expect(await read("c", { x: "1", y: "2" })).toBeUndefined();
    });

    test("label values may hold anything", async () => {
      const { metrics, read } = create();
      const family = metrics.gaugeFamily({ name: "v", help: "v", labelNames: ["a", "b"] });
      family.labels({ a: "1,b", b: "c" }).set(1);
      family.labels({ a: "1", b: "b,c" }).set(2);
      family.labels({ a: 'q"\\', b: "" }).set(3);
      expect(await read("v", { a: "1,b", b: "c" })).toBe(1);
      expect(await read("v", { a: "1", b: "b,c" })).toBe(2);
      expect(await read("v", { a: 'q"\\', b: "" })).toBe(3);
    });

    test("labels other than those declared are refused", () => {
      const { metrics } = create();
      const family = metrics.histogramFamily({
        name: "l",
        help: "",
        labelNames: ["a"],
        buckets: [1],
      });
      expect(() => family.labels({})).toThrow("declared [a]");
      expect(() => family.labels({ b: "1" })).toThrow("declared [a]");
      expect(() => family.labels({ a: "1", b: "1" })).toThrow("declared [a]");
    });

    test("declaring a name again gives the same instrument, another kind is refused", async () => {
      const { metrics, read } = create();
      metrics.counter({ name: "n", help: "n" }).inc();
      metrics.counter({ name: "n", help: "n" }).inc();
      expect(await read("n")).toBe(2);
      expect(() => metrics.gauge({ name: "n", help: "n" })).toThrow("n is a counter, not a gauge");
    });
  });
}
