import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { parseJson } from "./json-value.ts";

describe("parseJson()", () => {
  test("reads what JSON.parse reads, spaced or not", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 1, "\t"), (value, space) => {
        const text = JSON.stringify(value, undefined, space);
        const plain = JSON.parse(text, (name, item: unknown) => {
          if (name === "__proto__") return undefined;
          return Number.isInteger(item) && !Number.isSafeInteger(item) ? "long" : item;
        }) as unknown;
        const read = JSON.parse(JSON.stringify(parseJson(text)), (_name, item: unknown) =>
          (typeof item === "string" && /^-?\d{16,}$/.test(item)) ||
          (Number.isInteger(item) && !Number.isSafeInteger(item))
            ? "long"
            : item,
        ) as unknown;
        expect(read).toEqual(plain);
      }),
    );
  });

  test("refuses what JSON.parse refuses", () => {
    const mutation = fc.tuple(
      fc.json(),
      fc.nat(),
      fc.constantFrom(...'{}[]",:\\0-+.eEtfn x\n\u0000'),
    );
    fc.assert(
      fc.property(mutation, ([json, position, character]) => {
        const at = position % (json.length + 1);
        const text = json.slice(0, at) + character + json.slice(at + 1);
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        let error: unknown;
        try {
          parseJson(text);
        } catch (cause) {
          error = cause;
        }
        const isDuplicate = error instanceof Error && error.message.includes("duplicate field");
        expect(error === undefined || isDuplicate).toBe(valid);
      }),
      { numRuns: 500 },
    );
  });

  test("keeps every digit of a long integer, and leaves other numbers alone", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }), (value) => {
        expect(String(parseJson(String(value)))).toBe(String(value));
      }),
    );
    const others = "[0.1234567890123456789,1234567890123456789e3,123456789012345]";
    expect(parseJson(others)).toEqual(JSON.parse(others));
  });

  test.each([
    ['{"a":1,"a":2}', 'proto: duplicate field "a"'],
    ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b"}', "invalid character '\"' after object key:value pair"],
    ["[1 2]", "invalid character '2' after array element"],
    ['{"a":Zm9v}', "invalid character 'Z' looking for beginning of value"],
    ['{"a":trux}', "invalid character 'x' in literal true (expecting 'e')"],
    ['{"a":-}', "invalid character '}' in numeric literal"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"],
    ['"a\n"', "invalid character '\\n' in string literal"],
    ["{}'", "invalid character '\\'' after top-level value"],
    ['{"a":', "unexpected EOF"],
    ["[".repeat(100_000), "exceeded max depth"],
  ])("says of %s in Go's words what is wrong", (text, message) => {
    expect(() => parseJson(text)).toThrow(message);
  });

  test("does not let a name reach the prototype", () => {
    const value = parseJson('{"__proto__":{"polluted":1},"a":1}');
    expect([Object.keys(value as object), ({} as { polluted?: number }).polluted]).toEqual([
      ["a"],
      undefined,
    ]);
  });
});
