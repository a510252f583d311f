import fc from "fast-check";
import { expect, test } from "vitest";
import { compareBytes } from "@etcd-ts/base";
import { decodeRevision, encodeRevision } from "./revision.ts";

const counter = fc.maxSafeNat();

test("encodeRevision() is 8 bytes, an underscore and 8 bytes, and a t for a tombstone", () => {
  expect([...encodeRevision(258, 1)]).toEqual([
    0, 0, 0, 0, 0, 0, 1, 2, 0x5f, 0, 0, 0, 0, 0, 0, 0, 1,
  ]);
  expect([...encodeRevision(258, 1, true)].slice(16)).toEqual([1, 0x74]);
});

test("decodeRevision() is the inverse of encodeRevision()", () => {
  fc.assert(
    fc.property(counter, counter, fc.boolean(), (main, sub, isTombstone) => {
      const decoded = decodeRevision(encodeRevision(main, sub, isTombstone));
      expect(decoded).toEqual({ main, sub, isTombstone });
    }),
  );
});

test("encodeRevision() keeps the order of revisions", () => {
  fc.assert(
    fc.property(counter, counter, counter, counter, (mainA, subA, mainB, subB) => {
      const order = Math.sign(
        compareBytes(encodeRevision(mainA, subA), encodeRevision(mainB, subB)),
      );
      expect(order).toBe(Math.sign(mainA - mainB || subA - subB));
    }),
  );
});

test("decodeRevision() refuses what is no revision", () => {
  expect(decodeRevision(new Uint8Array(16))).toBeUndefined();
  expect(decodeRevision(new Uint8Array(17))).toBeUndefined();
  const mark = encodeRevision(1, 0, true);
  mark[17] = 0x75;
  expect(decodeRevision(mark)).toBeUndefined();
  const beyond = encodeRevision(1, 0);
  beyond[0] = 0x80;
  expect(decodeRevision(beyond)).toBeUndefined();
});
