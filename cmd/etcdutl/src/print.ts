/** The output formats: `simple`, `fields`, `json`, `table`; all but `json` are for people. */

import { CommandError, EXIT_BAD_FEATURE } from "./command.ts";

/** One thing to show: under which names, in the order of each format. */
export interface Printable {
  /** `"Name" : value` lines. */
  readonly fields: readonly (readonly [name: string, text: string])[];
  readonly json: string;
  readonly header: readonly string[];
  /** Cells of `simple` and `table`. */
  readonly row: readonly string[];
}

const FORMATS: ReadonlySet<string> = new Set(["simple", "fields", "json", "protobuf", "table"]);

/** @throws {CommandError} */
export function mustBeFormat(format: string): void {
  if (FORMATS.has(format)) return;
  throw new CommandError(EXIT_BAD_FEATURE, "unsupported output format");
}

/** @throws {CommandError} for `protobuf`, which these have no message for */
export function formatted(printable: Printable, format: string): string {
  switch (format) {
    case "fields":
      return printable.fields.map(([name, text]) => `"${name}" : ${text}\n`).join("");
    case "json":
      return printable.json + "\n";
    case "table":
      return table(printable.header, [printable.row]);
    case "protobuf":
      throw new CommandError(EXIT_BAD_FEATURE, "protobuf not supported as output format");
    default:
      return printable.row.join(", ") + "\n";
  }
}

/** Headers in capitals and centred, cells to the right. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => row[i]!.length)),
  );
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+\n`;
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const head = line(header.map((name, i) => centred(name.toUpperCase(), widths[i]!)));
  const body = rows.map((row) => line(row.map((cell, i) => cell.padStart(widths[i]!))));
  return rule + head + rule + body.join("") + rule;
}

function centred(text: string, width: number): string {
  const left = Math.floor((width - text.length) / 2);
  return text.padStart(text.length + left).padEnd(width);
}

const SIZE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** `25 kB`, `1.2 GB`: powers of 1000, one decimal below ten. */
export function humanSize(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const power = Math.min(SIZE_UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = Math.floor((bytes / 1000 ** power) * 10 + 0.5) / 10;
  return `${value < 10 ? value.toFixed(1) : roundHalfEven(value)} ${SIZE_UNITS[power]}`;
}

/** As Go prints `%.0f`. */
function roundHalfEven(value: number): string {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return String(Math.round(value));
  return String(floor % 2 === 0 ? floor : floor + 1);
}
