/**
 * What every `Logger` keeps. The factory gives a logger at level info and a way to see what it
 * wrote.
 */

import { describe, expect, test } from "vitest";

import type { LogFields, Logger, LogLevel } from "../src/index.ts";
import { LOG_LEVELS } from "../src/index.ts";

export interface SeenEvent {
  readonly level: LogLevel;
  /** Empty if the logger has no name. */
  readonly logger: string;
  readonly message: string;
  readonly fields: LogFields;
}

export interface LoggerUnderTest {
  readonly logger: Logger;
  seen(): readonly SeenEvent[];
}

export function testLogger(name: string, create: () => LoggerUnderTest): void {
  describe(name, () => {
    test("writes from its level on", () => {
      const { logger, seen } = create();
      for (const level of LOG_LEVELS) {
        expect(logger.isEnabled(level)).toBe(level !== "debug");
        logger.log(level, `at ${level}`);
      }
      const expected = LOG_LEVELS.slice(1).map((level) => `at ${level}`);
      expect(seen().map((event) => event.message)).toEqual(expected);
      expect(seen().map((event) => event.level)).toEqual(LOG_LEVELS.slice(1));
    });

    test("the short forms log at their level", () => {
      const { logger, seen } = create();
      logger.debug("d");
      logger.info("i", { a: 1 });
      logger.warn("w");
      logger.error("e", { b: "x" });
      expect(seen()).toEqual([
        { level: "info", logger: "", message: "i", fields: { a: 1 } },
        { level: "warn", logger: "", message: "w", fields: {} },
        { level: "error", logger: "", message: "e", fields: { b: "x" } },
      ]);
    });

    test("with() adds fields to each event and leaves the parent alone", () => {
      const { logger, seen } = create();
      const child = logger.with({ member: "a" }).with({ term: 2 });
      child.info("child", { index: 3 });
      logger.info("parent");
      expect(seen().map((event) => event.fields)).toEqual([{ member: "a", term: 2, index: 3 }, {}]);
    });

    test("named() joins names by dots and keeps the fields", () => {
      const { logger, seen } = create();
      logger.named("raft").with({ a: 1 }).named("log").info("x");
      expect(seen()).toEqual([
        { level: "info", logger: "raft.log", message: "x", fields: { a: 1 } },
      ]);
    });

    test("keeps the shape of fields", () => {
      const { logger, seen } = create();
      const fields = { list: ["a", 1, true], nested: { deep: { x: -1.5 } }, text: 'q"\n\t\u0001é' };
      logger.info("line\nbreak \u2028", fields);
      expect(seen()).toHaveLength(1);
      expect(seen()[0]!.fields).toEqual(fields);
      expect(seen()[0]!.message).toBe("line\nbreak \u2028");
    });
  });
}
