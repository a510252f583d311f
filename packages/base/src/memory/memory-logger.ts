/** A logger that keeps its events, for tests to look at. */

import type { LogFields, Logger, LogLevel } from "../ports/logger.ts";
import { isLevelAtLeast } from "../log-levels.ts";

export interface LogEvent {
  readonly level: LogLevel;
  /** The joined name; empty if unnamed. */
  readonly logger: string;
  readonly message: string;
  readonly fields: LogFields;
}

export class MemoryLogger implements Logger {
  /** Shared with all loggers made from this one, in order of logging. */
  readonly events: LogEvent[];
  readonly #level: LogLevel;
  readonly #name: string;
  readonly #fields: LogFields;

  constructor(
    level: LogLevel = "debug",
    events: LogEvent[] = [],
    name = "",
    fields: LogFields = {},
  ) {
    this.#level = level;
    this.events = events;
    this.#name = name;
    this.#fields = fields;
  }

  isEnabled(level: LogLevel): boolean {
    return isLevelAtLeast(level, this.#level);
  }

  log(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (!this.isEnabled(level)) return;
    const all = { ...this.#fields, ...fields };
    this.events.push({ level, logger: this.#name, message, fields: all });
  }

  debug(message: string, fields?: LogFields): void {
    this.log("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.log("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.log("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.log("error", message, fields);
  }

  with(fields: LogFields): Logger {
    return new MemoryLogger(this.#level, this.events, this.#name, { ...this.#fields, ...fields });
  }

  named(name: string): Logger {
    const joined = this.#name === "" ? name : `${this.#name}.${name}`;
    return new MemoryLogger(this.#level, this.events, joined, this.#fields);
  }

  /** Events with exactly this message. */
  find(message: string): LogEvent[] {
    return this.events.filter((event) => event.message === message);
  }
}
