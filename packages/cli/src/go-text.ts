/** Text as Go's `fmt`, `strconv` and `encoding/json` write and read it. */

import { EtcdError } from "@etcd-ts/base";

const SHORT_ESCAPES: ReadonlyMap<number, string> = new Map([
  [0x07, "\\a"],
  [0x08, "\\b"],
  [0x0c, "\\f"],
  [0x0a, "\\n"],
  [0x0d, "\\r"],
  [0x09, "\\t"],
  [0x0b, "\\v"],
  [0x5c, "\\\\"],
  [0x22, '\\"'],
]);

const PRINTABLE = /^[ \p{L}\p{M}\p{N}\p{P}\p{S}]$/u;

/** `%q`: in double quotes, what cannot be printed escaped; bytes that are no UTF-8 as `\xNN`. */
export function goQuote(value: string | Uint8Array): string {
  const bytes = typeof value === "string" ? Buffer.from(value, "utf8") : value;
  let quoted = '"';
  for (let i = 0; i < bytes.length;) {
    const { point, length } = decodePoint(bytes, i);
    i += length;
    quoted += point < 0 ? `\\x${hex(bytes[i - 1]!, 2)}` : quotePoint(point);
  }
  return `${quoted}"`;
}

function quotePoint(point: number): string {
  const short = SHORT_ESCAPES.get(point);
  if (short !== undefined) return short;
  const character = String.fromCodePoint(point);
  if (PRINTABLE.test(character)) return character;
  if (point < 0x20 || point === 0x7f) return `\\x${hex(point, 2)}`;
  return point < 0x10000 ? `\\u${hex(point, 4)}` : `\\U${hex(point, 8)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** The character at `i`; -1 for a byte that begins none. */
function decodePoint(bytes: Uint8Array, i: number): { point: number; length: number } {
  const first = bytes[i]!;
  if (first < 0x80) return { point: first, length: 1 };
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  const part = Buffer.from(bytes.subarray(i, i + length));
  const text = part.toString("utf8");
  if (part.length === length && Buffer.from(text, "utf8").equals(part)) {
    const point = text.codePointAt(0)!;
    if (text.length === (point > 0xffff ? 2 : 1)) return { point, length };
  }
  return { point: -1, length: 1 };
}

const UNESCAPED: ReadonlyMap<string, number> = new Map([
  ["a", 7],
  ["b", 8],
  ["f", 12],
  ["n", 10],
  ["r", 13],
  ["t", 9],
  ["v", 11],
  ["\\", 92],
  ['"', 34],
]);

/**
 * Reads a Go string literal, in double quotes or back quotes, at the beginning of `text`.
 *
 * @returns its bytes and what follows it; undefined if there is none
 */
export function readGoQuoted(
  text: string,
): { readonly value: Uint8Array; readonly rest: string } | undefined {
  const raw = /^`([^`]*)`/.exec(text);
  if (raw !== null) return { value: Buffer.from(raw[1]!), rest: text.slice(raw[0].length) };
  const literal = /^"((?:[^"\\\n]|\\.)*)"/.exec(text);
  if (literal === null) return undefined;
  const parts: Uint8Array[] = [];
  const escape =
    /\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\"]))|([^\\]+)|(\\)/gsu;
  for (const match of literal[1]!.matchAll(escape)) {
    const [, byte, octal, short, long, letter, plain, stray] = match;
    if (stray !== undefined) return undefined;
    if (plain !== undefined) parts.push(Buffer.from(plain));
    else if (byte !== undefined) parts.push(Buffer.of(parseInt(byte, 16)));
    else if (octal !== undefined) {
      if (parseInt(octal, 8) > 255) return undefined;
      parts.push(Buffer.of(parseInt(octal, 8)));
    } else if (letter !== undefined) parts.push(Buffer.of(UNESCAPED.get(letter)!));
    else {
      const point = parseInt(short ?? long!, 16);
      if (point > 0x10ffff) return undefined;
      parts.push(Buffer.from(String.fromCodePoint(point)));
    }
  }
  return { value: Buffer.concat(parts), rest: text.slice(literal[0].length) };
}

/** A number that is none; the text is Go's. */
export class NumberSyntaxError extends EtcdError {
  readonly code = "NUMBER_SYNTAX";
}

/** As `strconv.ParseInt(text, base, 64)`. @throws {NumberSyntaxError} */
export function parseGoInt(text: string, base: 10 | 16): bigint {
  const match = (base === 16 ? /^[+-]?[0-9a-fA-F]+$/ : /^[+-]?[0-9]+$/).exec(text);
  if (match === null) throw syntaxError("ParseInt", text);
  const digits = text.replace(/^[+-]/, "");
  const magnitude = BigInt(base === 16 ? `0x${digits}` : digits);
  const value = text.startsWith("-") ? -magnitude : magnitude;
  if (BigInt.asIntN(64, value) !== value) throw rangeError("ParseInt", text);
  return value;
}

/** As `strconv.ParseUint(text, base, 64)`. @throws {NumberSyntaxError} */
export function parseGoUint(text: string, base: 10 | 16): bigint {
  const match = (base === 16 ? /^[0-9a-fA-F]+$/ : /^[0-9]+$/).exec(text);
  if (match === null) throw syntaxError("ParseUint", text);
  const value = BigInt(base === 16 ? `0x${text}` : text);
  if (BigInt.asUintN(64, value) !== value) throw rangeError("ParseUint", text);
  return value;
}

function syntaxError(name: string, text: string): NumberSyntaxError {
  return new NumberSyntaxError(`strconv.${name}: parsing ${goQuote(text)}: invalid syntax`);
}

function rangeError(name: string, text: string): NumberSyntaxError {
  return new NumberSyntaxError(`strconv.${name}: parsing ${goQuote(text)}: value out of range`);
}

/** What `goJSON` writes. An object is a list, since the order of its fields counts. */
export type GoValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | readonly GoValue[]
  | GoObject;

/** Fields in order; `fields` leaves out what is empty, `always` does not. */
export class GoObject {
  readonly entries: [string, GoValue][] = [];

  /** Adds fields that are left out while empty, as `omitempty` has it. */
  fields(values: { readonly [name: string]: GoValue | undefined }): this {
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined && !isEmpty(value)) this.entries.push([name, value]);
    }
    return this;
  }

  always(values: { readonly [name: string]: GoValue }): this {
    this.entries.push(...Object.entries(values));
    return this;
  }

  /** Adds the fields of another object, as of an embedded struct. */
  embed(other: GoObject | undefined): this {
    if (other !== undefined) this.entries.push(...other.entries);
    return this;
  }
}

function isEmpty(value: GoValue): boolean {
  if (value instanceof Uint8Array || Array.isArray(value)) return value.length === 0;
  return value === null || value === "" || value === 0 || value === 0n || value === false;
}

/** As `json.Marshal` writes it: no spaces, bytes in base64, `<`, `>` and `&` escaped. */
export function goJSON(value: GoValue): string {
  if (value === null) return "null";
  if (value instanceof GoObject) {
    return `{${value.entries.map(([name, field]) => `${jsonString(name)}:${goJSON(field)}`).join(",")}}`;
  }
  if (value instanceof Uint8Array) return `"${Buffer.from(value).toString("base64")}"`;
  if (typeof value === "object") return `[${value.map((item) => goJSON(item)).join(",")}]`;
  return typeof value === "string" ? jsonString(value) : String(value);
}

function jsonString(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${hex(character.charCodeAt(0), 4)}`,
  );
}

const SIZE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"] as const;

/** `20 kB`, `2.1 GB`: powers of 1000, two digits at least. */
export function humanBytes(bytes: number | bigint): string {
  const size = Number(bytes);
  if (size < 10) return `${size} B`;
  const power = Math.floor(Math.log(size) / Math.log(1000));
  const value = Math.floor((size / 1000 ** power) * 10 + 0.5) / 10;
  const shown = value < 10 ? value.toFixed(1) : String(roundToEven(value));
  return `${shown} ${SIZE_UNITS[power]}`;
}

/** As Go's `%.0f`: halves go to the even neighbour. */
function roundToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
