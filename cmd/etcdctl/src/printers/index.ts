/** The output formats by name. */

import { EXIT, ExitError } from "../exit.ts";
import { FieldsPrinter } from "./fields.ts";
import { JsonPrinter } from "./json.ts";
import type { Printer } from "./printer.ts";
import { ProtobufPrinter } from "./protobuf.ts";
import { SimplePrinter } from "./simple.ts";
import { TablePrinter } from "./table.ts";

export type { EndpointHealth, OfEndpoint, Printer } from "./printer.ts";
export { SimplePrinter } from "./simple.ts";

/** @throws {ExitError} for an unknown format */
export function createPrinter(format: string, isHex: boolean): Printer {
  switch (format) {
    case "simple":
      return new SimplePrinter(isHex);
    case "fields":
      return new FieldsPrinter(isHex);
    case "json":
      return new JsonPrinter(isHex);
    case "protobuf":
      return new ProtobufPrinter();
    case "table":
      return new TablePrinter();
    default:
      throw new ExitError(EXIT.badFeature, "unsupported output format");
  }
}
