/**
 * What a transcript shows: the text commands write and, among it, the log lines of the members.
 *
 * Invariants:
 * - At level NONE nothing is written but errors.
 */

import type { Logger, LogLevel } from "@etcd-ts/base";
import { TranscriptError } from "./datadriven.ts";

const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"] as const;

function rankOf(level: LogLevel): number {
  switch (level) {
    case "debug":
      return 0;
    case "info":
      return 1;
    case "warn":
      return 2;
    case "error":
      return 3;
    default:
      return 4;
  }
}

export class TranscriptOutput implements Logger {
  #text = "";
  #level = 0;

  get text(): string {
    return this.#text;
  }

  /** Position in the list of levels. */
  get level(): number {
    return this.#level;
  }

  set level(level: number) {
    this.#level = level;
  }

  /** @throws {TranscriptError} */
  setLevelByName(name: string): void {
    const level = LEVELS.findIndex((one) => one === name.toUpperCase());
    if (level < 0) {
      throw new TranscriptError(`log levels must be either of [${LEVELS.join(" ")}]`);
    }
    this.#level = level;
  }

  isQuiet(): boolean {
    return this.#level === LEVELS.length - 1;
  }

  reset(): void {
    this.#text = "";
  }

  write(text: string): void {
    if (!this.isQuiet()) this.#text += text;
  }

  /** Runs `action`; each line it writes is indented by two blanks. */
  withIndent(action: () => void): void {
    const before = this.#text;
    this.#text = "";
    try {
      action();
    } finally {
      const lines = this.#text.split("\n");
      if (lines.at(-1) === "") lines.pop();
      this.#text = before + lines.map((line) => `  ${line}\n`).join("");
    }
  }

  isEnabled(level: LogLevel): boolean {
    return this.#level <= rankOf(level);
  }

  log(level: LogLevel, message: string): void {
    if (this.isEnabled(level)) this.write(`${LEVELS[rankOf(level)]!} ${message}\n`);
  }

  debug(message: string): void {
    this.log("debug", message);
  }

  info(message: string): void {
    this.log("info", message);
  }

  warn(message: string): void {
    this.log("warn", message);
  }

  error(message: string): void {
    this.log("error", message);
  }

  with(): Logger {
    return this;
  }

  named(): Logger {
    return this;
  }
}
