import { describe, expect, test } from "vitest";
import { isMet } from "./check-perf.ts";
import { metricIn } from "./metrics.ts";
import { atPace, Measurement, randomKeys } from "./load.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("atPace()", () => {
  test("hands out what the pace asks for, and ends with all requests done", async () => {
    const abort = new AbortController();
    const startMs = performance.now();
    let begun = 0;
    let ended = 0;
    await atPace(200, 10, abort.signal, async () => {
      if (++begun === 100) abort.abort();
      await sleep(5);
      ended++;
    });
    expect(ended).toBe(begun);
    // The first is due at once, and each other one 5 ms after the one before it.
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(99 * 5);
  });

  test("gives a worker one request at a time, and leaves out what none can take", async () => {
    const abort = new AbortController();
    const busy = new Set<number>();
    let begun = 0;
    await atPace(100_000, 3, abort.signal, async (i) => {
      expect(busy.has(i)).toBe(false);
      busy.add(i);
      begun++;
      if (begun === 30) abort.abort();
      await sleep(2);
      busy.delete(i);
    });
    expect(busy.size).toBe(0);
    // Three that ran when the signal came, and three that waited, are all there can be beyond.
    expect(begun).toBeLessThanOrEqual(36);
  });
});

test("Measurement counts times and, by their text, failures", async () => {
  const measurement = new Measurement();
  await measurement.of(() => sleep(10));
  await measurement.of(() => Promise.reject(new Error("no")));
  await measurement.of(() => Promise.reject(new Error("no")));
  const { perSecond, slowestSeconds, deviationSeconds, errors } = measurement.statistics();
  expect([...errors]).toEqual([["no", 2]]);
  expect(slowestSeconds).toBeGreaterThan(0.009);
  expect(perSecond).toBeLessThanOrEqual(1 / slowestSeconds);
  expect(deviationSeconds).toBe(0);
});

describe("isMet()", () => {
  const good = { perSecond: 149, slowestSeconds: 0.5, deviationSeconds: 0.1, errors: new Map() };
  test.each([
    ["everything at its bound", {}, true],
    ["a failure", { errors: new Map([["no", 1]]) }, false],
    ["90 % of the pace", { perSecond: 135 }, false],
    ["one slow put", { slowestSeconds: 0.501 }, false],
    ["times far apart", { deviationSeconds: 0.101 }, false],
    ["no time at all", { deviationSeconds: NaN }, true],
  ])("with %s", (_, change, expected) => {
    expect(isMet({ ...good, ...change }, 150)).toBe(expected);
  });
});

test("metricIn() finds a metric by its whole name", () => {
  const page =
    "# HELP x\nprocess_resident_memory_bytes_max 1\nprocess_resident_memory_bytes 2.5e+07\n";
  expect(metricIn(page, "process_resident_memory_bytes")).toBe(25_000_000);
  expect(metricIn(page, "process_resident")).toBe(0);
});

test("randomKeys() are long, and differ", () => {
  const next = randomKeys("p/", 16);
  const keys = Array.from({ length: 100 }, () => Buffer.from(next()).toString("latin1"));
  expect(new Set(keys).size).toBe(100);
  for (const key of keys) expect(key).toMatch(/^p\/[^]{16}$/);
});
