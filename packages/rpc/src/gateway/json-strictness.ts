/**
 * What Go's JSON mapping refuses or reads, and the library does not: base64 with foreign
 * characters, and integers written as strings with a fraction or exponent.
 */

import { ScalarType } from "@bufbuild/protobuf";
import type { DescField, DescMessage, JsonValue } from "@bufbuild/protobuf";

/**
 * Brings the fields of a JSON object into the form the library takes.
 *
 * @param value - changed in place
 * @throws {SyntaxError} for what must be refused
 */
export function normalizeFields(message: DescMessage, value: JsonValue): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return;
  for (const field of message.fields) {
    for (const name of field.name === field.jsonName
      ? [field.name]
      : [field.name, field.jsonName]) {
      const item = value[name];
      if (item === undefined || item === null) continue;
      if (!Array.isArray(item)) value[name] = normalizeItem(field, item);
      else item.forEach((element, i) => (item[i] = normalizeItem(field, element)));
    }
  }
}

function normalizeItem(field: DescField, value: JsonValue): JsonValue {
  const nested = field.fieldKind === "list" ? field.listKind : field.fieldKind;
  if (nested === "message" && field.message !== undefined) normalizeFields(field.message, value);
  if (nested !== "scalar" || typeof value !== "string") return value;
  switch (field.scalar) {
    case ScalarType.BYTES:
      return normalizeBase64(field, value);
    case ScalarType.STRING:
    case ScalarType.BOOL:
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return value;
    default:
      return normalizeInteger(value);
  }
}

/** Both alphabets, padding where it belongs or none. */
function normalizeBase64(field: DescField, value: string): string {
  if (/^[A-Za-z0-9+/_-]*={0,2}$/.test(value)) {
    const digits = value.indexOf("=") < 0 ? value.length : value.indexOf("=");
    const padding = value.length - digits;
    if (digits % 4 !== 1 && (padding === 0 || value.length % 4 === 0)) return value;
  }
  const shown = JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  throw new SyntaxError(`proto: invalid value for bytes field ${field.name}: ${shown}`);
}

/** More digits are no number that a field holds, and take time that grows with their square. */
const INTEGER_CHARACTERS_MAX = 1_000;

/** `"1.0"` and `"1e2"` are integers too. */
function normalizeInteger(value: string): string {
  if (value.length > INTEGER_CHARACTERS_MAX) {
    throw new SyntaxError(`proto: invalid value of ${value.length} characters for a number`);
  }
  if (!/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value) || /^-?\d+$/.test(value)) return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? String(number) : value;
}
