import { Buffer } from "node:buffer";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  bytesFromHex,
  bytesFromLatin1,
  compareBytes,
  concatBytes,
  equalBytes,
  hexFromBytes,
  hexFromID,
  isUtf8,
  latin1FromBytes,
  stringFromUtf8,
  utf8FromString,
  utf8Length,
} from "./bytes.ts";

const bytes = fc.uint8Array({ maxLength: 40 });
/** UTF-16 with lone surrogates, and well-formed text of every length of sequence. */
const anyText = fc.string({
  unit: fc.integer({ min: 0, max: 0xffff }).map((u) => String.fromCharCode(u)),
});
const wellFormed = fc.string({ unit: "binary" });

test("compareBytes() and equalBytes() order as memcmp does", () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b));
      expect(equalBytes(a, b)).toBe(Buffer.compare(a, b) === 0);
      expect(equalBytes(a, a.slice())).toBe(true);
      expect(compareBytes(a, concatBytes([a, Uint8Array.of(0)]))).toBeLessThan(0);
    }),
  );
});

test("latin-1 strings order as their bytes do, and come back", () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      const [left, right] = [latin1FromBytes(a), latin1FromBytes(b)];
      const order = left < right ? -1 : left > right ? 1 : 0;
      expect(order).toBe(Buffer.compare(a, b));
      expect(bytesFromLatin1(left)).toEqual(a);
    }),
  );
  const long = new Uint8Array(100_000).map((_, i) => i & 0xff);
  expect(Buffer.compare(bytesFromLatin1(latin1FromBytes(long)), long)).toBe(0);
  expect(latin1FromBytes(long, 255, 258)).toBe("\u00ff\u0000\u0001");
  expect(() => bytesFromLatin1("a\u0100")).toThrow("U+100 at 1");
});

test("concatBytes() joins into new memory", () => {
  const part = Uint8Array.of(1);
  const joined = concatBytes([part]);
  joined[0] = 9;
  expect(part[0]).toBe(1);
  fc.assert(
    fc.property(fc.array(bytes), (parts) => {
      expect([...concatBytes(parts)]).toEqual(parts.flatMap((p) => [...p]));
    }),
  );
});

describe("UTF-8", () => {
  test("encoding agrees with the platform's, lone surrogates included", () => {
    fc.assert(
      fc.property(fc.oneof(anyText, wellFormed), (text) => {
        const encoded = utf8FromString(text);
        expect(Buffer.compare(encoded, Buffer.from(text, "utf8"))).toBe(0);
        expect(utf8Length(text)).toBe(encoded.length);
      }),
    );
  });

  test("decoding gives well-formed text back", () => {
    fc.assert(
      fc.property(wellFormed, (text) => {
        expect(stringFromUtf8(utf8FromString(text))).toBe(text);
        expect(isUtf8(utf8FromString(text))).toBe(true);
      }),
    );
  });

  test("isUtf8() agrees with a strict decoder on any bytes", () => {
    const nearUtf8 = fc.tuple(wellFormed, fc.nat(), fc.nat(255)).map(([text, at, byte]) => {
      const encoded = utf8FromString(text);
      if (encoded.length > 0) encoded[at % encoded.length] = byte;
      return encoded;
    });
    const hard = fc
      .array(
        fc.constantFrom(0x41, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xa0, 0xf0, 0x90, 0xf4, 0xf5),
      )
      .map((list) => Uint8Array.from(list));
    fc.assert(
      fc.property(fc.oneof(bytes, nearUtf8, hard), (input) => {
        let isValid = true;
        try {
          new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(input);
        } catch {
          isValid = false;
        }
        expect(isUtf8(input)).toBe(isValid);
        expect(stringFromUtf8(input).includes("\ufffd") || isValid).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("each byte that is no UTF-8 becomes one replacement character", () => {
    expect(stringFromUtf8(Uint8Array.of(0x61, 0xff, 0xc3, 0x62))).toBe("a\ufffd\ufffdb");
  });
});

test("hex comes back, in lower case, and anything else is refused", () => {
  fc.assert(
    fc.property(bytes, (input) => {
      expect(hexFromBytes(input)).toBe(Buffer.from(input).toString("hex"));
      expect(bytesFromHex(hexFromBytes(input).toUpperCase())).toEqual(input);
    }),
  );
  for (const text of ["a", "0g", "0x00", " 00", "00\n"]) expect(bytesFromHex(text)).toBeUndefined();
});

test("hexFromID() prints 64 bits unsigned without padding", () => {
  expect(hexFromID(0x8e9e05c52164694dn)).toBe("8e9e05c52164694d");
  expect(hexFromID(-1n)).toBe("ffffffffffffffff");
  expect(hexFromID(0x0fn)).toBe("f");
});
