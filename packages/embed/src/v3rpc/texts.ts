/** Sizes as etcd's log has them. */

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
