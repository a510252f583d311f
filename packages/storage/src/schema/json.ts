/**
 * The JSON that Go's encoding/json reads and writes, with 64-bit numbers kept whole.
 *
 * The bytes matter: members hash each other's `members` bucket.
 */

/** JSON values whose numbers are bigints (integers) or strings of digits (anything else). */
export type JSONValue =
  | null
  | boolean
  | bigint
  | string
  | readonly JSONValue[]
  | { readonly [name: string]: JSONValue };

/** A string literal, or a number outside of one. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Marks a string that was a number; U+0000 cannot occur unescaped in JSON text. */
const NUMBER_MARK = "\u0000";

/** @throws {SyntaxError} */
export function parseJSON(text: string): JSONValue {
  const marked = text.replace(STRING_OR_NUMBER, (token) =>
    token.startsWith('"') ? token : `"\\u0000${token}"`,
  );
  return JSON.parse(marked, (_name, value: unknown) => {
    if (typeof value !== "string" || !value.startsWith(NUMBER_MARK)) return value;
    const digits = value.slice(NUMBER_MARK.length);
    return /^-?\d+$/.test(digits) ? BigInt(digits) : digits;
  }) as JSONValue;
}

const ESCAPED_BY_GO = /[<>&\u2028\u2029]/g;

/** A string literal as Go writes it: `<`, `>`, `&` and two line separators are escaped too. */
export function goString(text: string): string {
  return JSON.stringify(text).replace(
    ESCAPED_BY_GO,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

export function goStrings(texts: readonly string[]): string {
  return `[${texts.map(goString).join(",")}]`;
}

export function isObject(value: JSONValue | undefined): value is { [name: string]: JSONValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The strings of a list; undefined if it is anything else. */
export function stringsOf(value: JSONValue | undefined): string[] | undefined {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return undefined;
  const strings: string[] = [];
  for (const item of value as readonly JSONValue[]) {
    if (typeof item !== "string") return undefined;
    strings.push(item);
  }
  return strings;
}

/** The numbers of a list; undefined if it is anything else. */
export function bigintsOf(value: JSONValue | undefined): bigint[] | undefined {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return undefined;
  const numbers: bigint[] = [];
  for (const item of value as readonly JSONValue[]) {
    if (typeof item !== "bigint") return undefined;
    numbers.push(item);
  }
  return numbers;
}
