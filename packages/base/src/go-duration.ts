/**
 * Durations as Go writes them (`1h2m3.5s`, `300ms`, `1m0s`), held in milliseconds.
 *
 * Source: the documentation of Go's `time.ParseDuration` and `Duration.String`.
 */

/** Milliseconds in each unit. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["µs", 1e-3],
  ["μs", 1e-3],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

/** The largest magnitude Go holds: 2^63 - 1 nanoseconds. */
const DURATION_MS_MAX = 9_223_372_036_854;

/** @returns milliseconds, or undefined if `text` is no duration; a bare "0" is one */
export function parseGoDuration(text: string): number | undefined {
  const sign = text.startsWith("-") ? -1 : 1;
  const body = text.replace(/^[+-]/, "");
  if (body === "0") return 0;
  const part = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/gy;
  let total = 0;
  let end = 0;
  for (let match = part.exec(body); match !== null; match = part.exec(body)) {
    total += Number(match[1]) * UNITS.get(match[2]!)!;
    end = part.lastIndex;
  }
  if (end === 0 || end !== body.length || total > DURATION_MS_MAX) return undefined;
  return sign * total;
}

/** The text Go prints: `0s`, `150ms`, `1.5s`, `2h0m0s`. */
export function formatGoDuration(durationMs: number): string {
  const sign = durationMs < 0 ? "-" : "";
  const nanoseconds = Math.round(Math.abs(durationMs) * 1e6);
  if (nanoseconds === 0) return "0s";
  if (nanoseconds < 1e3) return `${sign}${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${sign}${nanoseconds / 1e3}µs`;
  if (nanoseconds < 1e9) return `${sign}${nanoseconds / 1e6}ms`;
  const hours = Math.floor(nanoseconds / 3.6e12);
  const minutes = Math.floor((nanoseconds % 3.6e12) / 6e10);
  const seconds = (nanoseconds % 6e10) / 1e9;
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`;
  if (minutes > 0) return `${sign}${minutes}m${seconds}s`;
  return `${sign}${seconds}s`;
}
