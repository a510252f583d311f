/** Events with fields, in etcd's words. Never user keys or values above `debug`. */

export type LogLevel = "debug" | "info" | "warn" | "error" | "dpanic" | "panic" | "fatal";

export type LogValue =
  | string
  | number
  | bigint
  | boolean
  | undefined
  | readonly LogValue[]
  | { readonly [name: string]: LogValue };

export type LogFields = { readonly [name: string]: LogValue };

export interface Logger {
  /** Whether `level` is written at all; guards fields that are dear to build. */
  isEnabled(level: LogLevel): boolean;
  log(level: LogLevel, message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to each event. */
  with(fields: LogFields): Logger;
  /** A logger whose events carry the name; nested names are joined by a dot. */
  named(name: string): Logger;
}
