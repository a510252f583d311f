/** The output formats: `simple`, `fields`, `json`, `table`; all but `json` are for people. */

import { textTable } from "@etcd-ts/cli";
import { CommandError, EXIT_BAD_FEATURE } from "./exit.ts";

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
      return textTable(printable.header, [printable.row]);
    case "protobuf":
      throw new CommandError(EXIT_BAD_FEATURE, "protobuf not supported as output format");
    default:
      return printable.row.join(", ") + "\n";
  }
}
