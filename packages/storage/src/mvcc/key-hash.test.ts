import { hexFromBytes } from "@etcd-ts/base";
import { describe, expect, test } from "vitest";
import { halfSipHash } from "./key-hash.ts";

/** Of the authors' reference implementation: key 00..07, messages of 0, 1, 2, ... bytes 00, 01, ... */
const VECTORS_2_4 = ["a9359f5b", "27475ab8", "fa62a603", "8afee704", "2a6e4689"];

describe("halfSipHash()", () => {
  const key = { low: 0x03020100, high: 0x07060504 };

  test("with two and four rounds equals the published vectors", () => {
    const hashes = VECTORS_2_4.map((_vector, length) => {
      const message = Uint8Array.from({ length }, (_byte, i) => i);
      const hash = halfSipHash(key, message, 0, length, 2, 4);
      const bytes = [hash, hash >>> 8, hash >>> 16, hash >>> 24].map((byte) => byte & 0xff);
      return hexFromBytes(Uint8Array.from(bytes));
    });
    expect(hashes).toEqual(VECTORS_2_4);
  });

  test("depends on each byte, on the length, on the key, and not on what stands around", () => {
    const message = Uint8Array.from({ length: 23 }, (_byte, i) => i * 7);
    const hashes = new Set<number>();
    for (let i = 0; i < message.length; i++) {
      const other = message.slice();
      other[i]! ^= 1;
      hashes.add(halfSipHash(key, other, 0, other.length));
      hashes.add(halfSipHash(key, message, 0, i));
    }
    hashes.add(halfSipHash({ low: 1, high: 2 }, message, 0, message.length));
    expect(hashes.size).toBe(2 * message.length + 1);
    const framed = new Uint8Array(message.length + 9);
    framed.set(message, 5);
    expect(halfSipHash(key, framed, 5, 5 + message.length)).toBe(
      halfSipHash(key, message, 0, message.length),
    );
  });
});
