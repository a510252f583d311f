import fc from "fast-check";
import { expect, test } from "vitest";

import { utf8FromString } from "./bytes.ts";
import { crc32c } from "./crc32c.ts";

test("crc32c() agrees with RFC 3720, appendix B.4", () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  const readCommand = new Uint8Array(48);
  readCommand.set([0x01, 0xc0], 0);
  readCommand.set([0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28], 16);
  readCommand[40] = 0x02;
  expect(crc32c(0, new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(0, new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(0, ascending)).toBe(0x46dd794e);
  expect(crc32c(0, ascending.toReversed())).toBe(0x113fdb5c);
  expect(crc32c(0, readCommand)).toBe(0xd9963a56);
  expect(crc32c(0, utf8FromString("123456789"))).toBe(0xe3069283);
  expect(crc32c(0, new Uint8Array(0))).toBe(0);
});

test("crc32c() of parts, one after another, is that of the whole", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), fc.nat(20), (bytes, cut, lead) => {
      const middle = Math.min(cut, bytes.length);
      const whole = crc32c(0, bytes);
      expect(crc32c(crc32c(0, bytes, 0, middle), bytes, middle)).toBe(whole);
      const shifted = new Uint8Array(lead + bytes.length);
      shifted.set(bytes, lead);
      expect(crc32c(0, shifted, lead, lead + bytes.length)).toBe(whole);
    }),
  );
});

test("crc32c() sees every single flipped bit", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), fc.nat(), (bytes, bit) => {
      const flipped = bytes.slice();
      const at = bit % (bytes.length * 8);
      flipped[at >> 3]! ^= 1 << (at & 7);
      expect(crc32c(0, flipped)).not.toBe(crc32c(0, bytes));
    }),
  );
});
