import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { JsonLoggerOptions } from "./index.ts";
import { JsonLogger } from "./index.ts";
import { formatTime } from "./log-encoding.ts";

const NOW = new Date("2026-01-02T03:04:05.678Z");

function createLogger(options: Partial<JsonLoggerOptions> = {}): {
  logger: JsonLogger;
  lines: string[];
} {
  const lines: string[] = [];
  const sink = { write: (line: string) => void lines.push(line), close: () => Promise.resolve() };
  return { logger: new JsonLogger({ sinks: [sink], now: () => NOW, ...options }), lines };
}

test("json lines have zap's keys in zap's order", () => {
  const { logger, lines } = createLogger();
  logger
    .named("raft")
    .with({ member: "8e9e05c52164694d" })
    .warn("slow", { took: 1.5, id: 2n ** 63n });
  const time = formatTime(NOW);
  expect(lines).toEqual([
    `{"level":"warn","ts":"${time}","logger":"raft","msg":"slow","member":"8e9e05c52164694d","took":1.5,"id":9223372036854775808}\n`,
  ]);
});

test("console lines are tab-separated, with the fields as a spaced object", () => {
  const { logger, lines } = createLogger({ format: "console" });
  logger
    .named("raft")
    .with({ a: 1 })
    .info("became leader", { urls: ["x", "y"], deep: { b: true, c: 2 } });
  logger.info("plain");
  const time = formatTime(NOW);
  expect(lines).toEqual([
    `${time}\tinfo\traft\tbecame leader\t{"a": 1, "urls": ["x", "y"], "deep": {"b": true, "c": 2}}\n`,
    `${time}\tinfo\tplain\n`,
  ]);
});

test("one event is one line, whatever it holds", () => {
  for (const format of ["json", "console"] as const) {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (message, text) => {
        const { logger, lines } = createLogger({ format });
        logger.info(message, { text, [text]: [text] });
        expect(lines).toHaveLength(1);
        expect(/[\n\r]/.test(lines[0]!.slice(0, -1))).toBe(false);
        if (format === "json") expect(JSON.parse(lines[0]!).msg).toBe(message);
      }),
      { numRuns: 40 },
    );
  }
});

test("what JSON cannot say is said as zap says it", () => {
  const { logger, lines } = createLogger();
  logger.info("", {
    a: Number.NaN,
    b: Infinity,
    c: -Infinity,
    d: undefined,
    e: [undefined],
    f: {},
  });
  expect(lines[0]).toContain('"msg":"","a":"NaN","b":"+Inf","c":"-Inf","e":[null],"f":{}}');
});

test("formatTime() has microseconds and the zone as Go writes them", () => {
  const zone = process.env["TZ"];
  const inZone = (name: string): string => {
    process.env["TZ"] = name;
    return formatTime(NOW);
  };
  try {
    expect(inZone("UTC")).toBe("2026-01-02T03:04:05.678000Z");
    expect(inZone("America/New_York")).toBe("2026-01-01T22:04:05.678000-0500");
    expect(inZone("Asia/Kolkata")).toBe("2026-01-02T08:34:05.678000+0530");
  } finally {
    if (zone === undefined) delete process.env["TZ"];
    else process.env["TZ"] = zone;
  }
});

describe("sampling", () => {
  test("writes the first hundred of a second and then each hundredth, by level and message", () => {
    let nowMs = NOW.getTime();
    const { logger, lines } = createLogger({ now: () => new Date(nowMs) });
    const count = (text: string): number => lines.filter((line) => line.includes(text)).length;
    for (let i = 0; i < 450; i++) logger.info("often", { i });
    logger.warn("often");
    logger.info("seldom");
    expect([count('"often"'), count('"warn"'), count('"seldom"')]).toEqual([104, 1, 1]);
    expect(lines.some((line) => line.includes('"i":299'))).toBe(true);
    nowMs += 999;
    for (let i = 0; i < 49; i++) logger.info("often");
    expect(count('"often"')).toBe(104);
    nowMs += 1;
    logger.info("often");
    expect(count('"often"')).toBe(105);
  });

  test("can be turned off", () => {
    const { logger, lines } = createLogger({ sampling: false });
    for (let i = 0; i < 450; i++) logger.info("often");
    expect(lines).toHaveLength(450);
  });

  test("many different messages are all written", () => {
    const { logger, lines } = createLogger();
    for (let i = 0; i < 10_000; i++) logger.info(`message ${i}`);
    expect(lines).toHaveLength(10_000);
  });
});

test("setLevel() changes all loggers made from one", () => {
  const { logger, lines } = createLogger({ level: "error" });
  const child = logger.named("a");
  child.warn("no");
  logger.setLevel("debug");
  child.debug("yes");
  expect(lines).toHaveLength(1);
  expect(child.isEnabled("debug")).toBe(true);
});
