/**
 * Logs in the two layouts of zap that etcd writes.
 *
 * json: `{"level":"info","ts":"...","logger":"raft","msg":"...","field":1}`, one object a line.
 * console: time, level, name and message separated by tabs, then the fields as a spaced object.
 *
 * Invariants:
 * - One event is one line, whatever it holds.
 * - Sampling: of events with the same level and message within a second, the first
 *   `SAMPLE_FIRST` are written and then each `SAMPLE_THEREAFTER`th.
 */

import type { LogFields, Logger, LogLevel } from "@etcd-ts/base";
import { isLevelAtLeast } from "@etcd-ts/base";

import type { Spacing } from "./log-encoding.ts";
import { comma, encodeFields, encodeText, formatTime } from "./log-encoding.ts";
import type { LogSink } from "./log-sink.ts";

export type LogFormat = "json" | "console";

export interface JsonLoggerOptions {
  readonly sinks: readonly LogSink[];
  /** Default: info. */
  readonly level?: LogLevel;
  /** Default: json. */
  readonly format?: LogFormat;
  /** Default: true. */
  readonly sampling?: boolean;
  /** Default: the wall clock. */
  readonly now?: () => Date;
}

const SAMPLE_FIRST = 100;
const SAMPLE_THEREAFTER = 100;
const SAMPLE_TICK_MS = 1000;
/** Messages counted at once; with more than this the counts start over. */
const SAMPLED_MESSAGES_MAX = 4096;

/** What a logger and all made from it share. */
class LogCore {
  level: LogLevel;
  readonly sinks: readonly LogSink[];
  readonly format: LogFormat;
  readonly now: () => Date;
  readonly #counts: Map<string, { endMs: number; count: number }> | undefined;

  constructor(options: JsonLoggerOptions) {
    this.level = options.level ?? "info";
    this.sinks = options.sinks;
    this.format = options.format ?? "json";
    this.now = options.now ?? (() => new Date());
    this.#counts = options.sampling === false ? undefined : new Map();
  }

  isSampled(level: LogLevel, message: string, nowMs: number): boolean {
    if (this.#counts === undefined) return true;
    const key = `${level} ${message}`;
    let counted = this.#counts.get(key);
    if (counted === undefined) {
      if (this.#counts.size >= SAMPLED_MESSAGES_MAX) this.#counts.clear();
      counted = { endMs: 0, count: 0 };
      this.#counts.set(key, counted);
    }
    if (nowMs >= counted.endMs) {
      counted.endMs = nowMs + SAMPLE_TICK_MS;
      counted.count = 0;
    }
    counted.count++;
    const over = counted.count - SAMPLE_FIRST;
    return over <= 0 || over % SAMPLE_THEREAFTER === 0;
  }

  write(line: string): void {
    for (const sink of this.sinks) sink.write(line);
  }
}

class ZapLogger implements Logger {
  readonly #core: LogCore;
  readonly #name: string;
  /** The fields of this logger as they are written, without braces. */
  readonly #context: string;

  constructor(core: LogCore, name: string, context: string) {
    this.#core = core;
    this.#name = name;
    this.#context = context;
  }

  isEnabled(level: LogLevel): boolean {
    return isLevelAtLeast(level, this.#core.level);
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    if (!this.isEnabled(level)) return;
    const now = this.#core.now();
    if (!this.#core.isSampled(level, message, now.getTime())) return;
    const all = this.#withContext(fields);
    const time = formatTime(now);
    const isJSON = this.#core.format === "json";
    this.#core.write(
      isJSON
        ? this.#jsonLine(level, time, message, all)
        : this.#consoleLine(level, time, message, all),
    );
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
    return new ZapLogger(this.#core, this.#name, this.#withContext(fields));
  }

  named(name: string): Logger {
    const joined = this.#name === "" ? name : `${this.#name}.${name}`;
    return new ZapLogger(this.#core, joined, this.#context);
  }

  #withContext(fields: LogFields | undefined): string {
    if (fields === undefined) return this.#context;
    const spacing: Spacing = this.#core.format === "json" ? "tight" : "spaced";
    const own = encodeFields(fields, spacing);
    if (this.#context === "" || own === "") return this.#context + own;
    return this.#context + comma(spacing) + own;
  }

  #jsonLine(level: LogLevel, time: string, message: string, fields: string): string {
    const name = this.#name === "" ? "" : `"logger":${encodeText(this.#name)},`;
    const rest = fields === "" ? "" : `,${fields}`;
    return `{"level":"${level}","ts":"${time}",${name}"msg":${encodeText(message)}${rest}}\n`;
  }

  #consoleLine(level: LogLevel, time: string, message: string, fields: string): string {
    const parts = [time, level];
    if (this.#name !== "") parts.push(this.#name);
    // The message stands bare; a line break in it would make two lines of one event.
    parts.push(message.replaceAll("\n", "\\n").replaceAll("\r", "\\r"));
    if (fields !== "") parts.push(`{${fields}}`);
    return `${parts.join("\t")}\n`;
  }
}

export class JsonLogger extends ZapLogger {
  readonly #root: LogCore;

  constructor(options: JsonLoggerOptions) {
    const core = new LogCore(options);
    super(core, "", "");
    this.#root = core;
  }

  /** Changes the level of this logger and of all made from it. */
  setLevel(level: LogLevel): void {
    this.#root.level = level;
  }

  /** Closes the sinks. */
  async close(): Promise<void> {
    for (const sink of this.#root.sinks) await sink.close();
  }
}
