/** The order of log levels, and their parsing. */

import type { LogLevel } from "./ports/logger.ts";

/** From the least to the most severe. */
export const LOG_LEVELS: readonly LogLevel[] = [
  "debug",
  "info",
  "warn",
  "error",
  "dpanic",
  "panic",
  "fatal",
];

/** Whether an event of `level` passes a sink that starts at `minimum`. */
export function isLevelAtLeast(level: LogLevel, minimum: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(minimum);
}

/** The level of that name in lower or upper case; undefined for any other text. */
export function parseLogLevel(text: string): LogLevel | undefined {
  return LOG_LEVELS.find((level) => level === text || level.toUpperCase() === text);
}
