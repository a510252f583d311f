/** How log values look in a line; as zap writes them. */

import type { LogFields, LogValue } from "@etcd-ts/base";

/** What stands between the parts of an object: nothing extra, or spaces (console). */
export type Spacing = "tight" | "spaced";

/** `"a":1,"b":"x"` without braces; fields that are undefined are left out. */
export function encodeFields(fields: LogFields, spacing: Spacing): string {
  const parts: string[] = [];
  const colon = spacing === "tight" ? ":" : ": ";
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    parts.push(JSON.stringify(name) + colon + encodeValue(value, spacing));
  }
  return parts.join(comma(spacing));
}

export function comma(spacing: Spacing): string {
  return spacing === "tight" ? "," : ", ";
}

function encodeValue(value: LogValue, spacing: Spacing): string {
  switch (typeof value) {
    case "string":
      return encodeText(value);
    case "number":
      return encodeNumber(value);
    case "bigint":
    case "boolean":
      return String(value);
    case "undefined":
      return "null";
    default:
      if (isList(value)) {
        return `[${value.map((item) => encodeValue(item, spacing)).join(comma(spacing))}]`;
      }
      return `{${encodeFields(value, spacing)}}`;
  }
}

function isList(value: LogValue): value is readonly LogValue[] {
  return Array.isArray(value);
}

/** A JSON string; lone surrogates become escapes, line breaks never stay. */
export function encodeText(text: string): string {
  return JSON.stringify(text);
}

/** JSON has no infinities; zap writes them as strings. */
function encodeNumber(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? '"NaN"' : value > 0 ? '"+Inf"' : '"-Inf"';
}

/** `2006-01-02T15:04:05.000000Z0700` in local time: "Z" at UTC, else as in "-0500". */
export function formatTime(date: Date): string {
  const offsetMinutes = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offsetMinutes * 60_000).toISOString().slice(0, -1);
  return `${local}000${formatOffset(offsetMinutes)}`;
}

function formatOffset(minutes: number): string {
  if (minutes === 0) return "Z";
  const size = Math.abs(minutes);
  const digits = String(Math.floor(size / 60) * 100 + (size % 60)).padStart(4, "0");
  return (minutes < 0 ? "-" : "+") + digits;
}
