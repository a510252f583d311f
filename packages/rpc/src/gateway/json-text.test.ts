import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { JSON_PIECES_MAX, JSON_WORD_BYTES_MAX, JsonObjectSplitter } from "./json-text.ts";

const objects = fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { maxLength: 6 });

function split(splitter: JsonObjectSplitter, parts: readonly Uint8Array[]): string[] {
  const found: string[] = [];
  for (const part of parts) {
    splitter.push(part, (object) => {
      found.push(Buffer.from(object).toString());
      return true;
    });
  }
  return found;
}

describe("JsonObjectSplitter", () => {
  test("push() finds the objects however the bytes are cut and spaced", () => {
    const space = fc.constantFrom("", " ", "\n", "\r\n\t");
    fc.assert(
      fc.property(objects, space, fc.integer({ min: 1, max: 9 }), (values, between, step) => {
        const texts = values.map((value) => JSON.stringify(value));
        const bytes = Buffer.from(between + texts.join(between) + between);
        const parts: Uint8Array[] = [];
        for (let at = 0; at < bytes.length; at += step) parts.push(bytes.subarray(at, at + step));
        const splitter = new JsonObjectSplitter(1_000_000);
        expect(split(splitter, parts)).toEqual(texts);
        expect(splitter.isPartial).toBe(false);
      }),
    );
  });

  test("push() does not take braces and quotes in strings for structure", () => {
    const text = JSON.stringify({ '}{"\\': "]]}}\\", b: ['\\"'] });
    expect(split(new JsonObjectSplitter(1_000), [Buffer.from(text + text)])).toEqual([text, text]);
  });

  test("push() stops when told to, and drops the rest", () => {
    const splitter = new JsonObjectSplitter(1_000);
    let count = 0;
    splitter.push(Buffer.from("{}{}nonsense"), () => ++count < 2);
    expect(count).toBe(2);
  });

  test.each([["x"], ["{} ,"], ["}"], ["\u0000"]])("push() refuses %j", (text) => {
    expect(() => split(new JsonObjectSplitter(1_000), [Buffer.from(text)])).toThrow(
      "looking for beginning of value",
    );
  });

  test("push() refuses an object above the maximum while it still comes", () => {
    const splitter = new JsonObjectSplitter(100);
    expect(split(splitter, [Buffer.from(`{"a":"${"x".repeat(92)}"}`)]).length).toBe(1);
    const push = (): void => void split(splitter, Array(21).fill(Buffer.from(`{"a":`)) as Buffer[]);
    expect(push).toThrow("request body larger than max (100 bytes)");
  });

  test.each([
    ["values", `{"a":[${"0,".repeat(JSON_PIECES_MAX)}0]}`, "more than 100000 values"],
    ["objects", `{"a":${"[".repeat(JSON_PIECES_MAX + 1)}`, "more than 100000 values"],
    ["escapes", `{"a":"${"\\/".repeat(JSON_PIECES_MAX + 1)}"}`, "more than 100000 values"],
    ["digits", `{"a":${"1".repeat(JSON_WORD_BYTES_MAX + 1)}}`, "too many characters"],
  ])("push() refuses too many %s before they are read", (_name, text, message) => {
    const bytes = Buffer.from(text);
    expect(() => split(new JsonObjectSplitter(10_000_000), [bytes])).toThrow(message);
    const parts = [bytes.subarray(0, 10), bytes.subarray(10, 999), bytes.subarray(999)];
    expect(() => split(new JsonObjectSplitter(10_000_000), parts)).toThrow(message);
  });

  test("push() counts each object, and each word, for itself", () => {
    const one = `{"a":[${"0,".repeat(JSON_PIECES_MAX - 10)}0]}`;
    const words = `{"a":[${`${"1".repeat(JSON_WORD_BYTES_MAX)} ,`.repeat(5)}1]}`;
    const splitter = new JsonObjectSplitter(10_000_000);
    expect(split(splitter, [Buffer.from(one + one + words)])).toHaveLength(3);
  });
});
