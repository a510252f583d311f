/** HPACK's static table: RFC 7541, appendix A. Its indexes begin at 1. */

import { HeaderField, HeaderName } from "./header-field.ts";

const NAMES_AND_VALUES: readonly (readonly [name: string, ...values: string[]])[] = [
  [":authority"],
  [":method", "GET", "POST"],
  [":path", "/", "/index.html"],
  [":scheme", "http", "https"],
  [":status", "200", "204", "206", "304", "400", "404", "500"],
  ["accept-charset"],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language"],
  ["accept-ranges"],
  ["accept"],
  ["access-control-allow-origin"],
  ["age"],
  ["allow"],
  ["authorization"],
  ["cache-control"],
  ["content-disposition"],
  ["content-encoding"],
  ["content-language"],
  ["content-length"],
  ["content-location"],
  ["content-range"],
  ["content-type"],
  ["cookie"],
  ["date"],
  ["etag"],
  ["expect"],
  ["expires"],
  ["from"],
  ["host"],
  ["if-match"],
  ["if-modified-since"],
  ["if-none-match"],
  ["if-range"],
  ["if-unmodified-since"],
  ["last-modified"],
  ["link"],
  ["location"],
  ["max-forwards"],
  ["proxy-authenticate"],
  ["proxy-authorization"],
  ["range"],
  ["referer"],
  ["refresh"],
  ["retry-after"],
  ["server"],
  ["set-cookie"],
  ["strict-transport-security"],
  ["transfer-encoding"],
  ["user-agent"],
  ["vary"],
  ["via"],
  ["www-authenticate"],
];

export const STATIC_ENTRIES = 61;

/** Position 0 is unused. */
export const STATIC_TABLE: readonly HeaderField[] = staticTable();

/** The index of each name's first entry. */
export const STATIC_NAMES: ReadonlyMap<string, number> = new Map(
  STATIC_TABLE.map((field, index) => [field.name, index] as const)
    .slice(1)
    .toReversed(),
);

function staticTable(): HeaderField[] {
  const fields = [new HeaderField(new HeaderName("unused"), "")];
  for (const [text, ...values] of NAMES_AND_VALUES) {
    const name = new HeaderName(text);
    for (const value of values.length === 0 ? [""] : values) {
      fields.push(new HeaderField(name, value));
    }
  }
  return fields;
}
