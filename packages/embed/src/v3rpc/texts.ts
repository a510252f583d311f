/** Sizes and durations as etcd's log has them. */

const SIZE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** `82 kB`, `1.5 MB`: powers of 1000, one decimal below ten. */
export function formatBytes(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), SIZE_UNITS.length - 1);
  const value = Math.floor((bytes / 1000 ** power) * 10 + 0.5) / 10;
  return `${value < 10 ? value.toFixed(1) : roundHalfToEven(value)} ${SIZE_UNITS[power]}`;
}

function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}

/** As Go writes a duration: `312.5ms`, `1.2s`, `2m3.5s`, `1h0m0s`. */
export function formatDurationMs(durationMs: number): string {
  const nanoseconds = Math.round(durationMs * 1e6);
  if (nanoseconds === 0) return "0s";
  if (nanoseconds < 1e3) return `${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${nanoseconds / 1e3}µs`;
  if (nanoseconds < 1e9) return `${nanoseconds / 1e6}ms`;
  const hours = Math.floor(nanoseconds / 3.6e12);
  const minutes = Math.floor((nanoseconds % 3.6e12) / 6e10);
  const seconds = (nanoseconds % 6e10) / 1e9;
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
