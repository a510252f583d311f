import { encodeMessage } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import fc from "fast-check";
import { expect, test } from "vitest";

import { putBytes, tombstoneBytes, writePut, writeTombstoneHead } from "./record-writer.ts";
import { deletedKeyValue } from "./stored-key-value.ts";

const counter = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
);
const lengths = fc.oneof(fc.nat(40), fc.integer({ min: 100, max: 20_000 }));
const blob = (least: number) =>
  lengths.chain((length) => {
    const size = Math.max(least, length);
    return fc.uint8Array({ minLength: size, maxLength: size });
  });
const record = fc.record({
  key: blob(1),
  createRevision: counter,
  modRevision: counter,
  version: counter,
  value: blob(0),
  lease: fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
});

/** What surrounds a record must stay as it is. */
function written(bytes: number, write: (target: Uint8Array, offset: number) => void): Uint8Array {
  const target = new Uint8Array(bytes + 8).fill(0xee);
  write(target, 3);
  expect([...target.subarray(0, 3), ...target.subarray(3 + bytes)]).toEqual(Array(8).fill(0xee));
  return target.subarray(3, 3 + bytes);
}

test("writePut() makes the bytes of KeyValueCodec, as many as putBytes() tells", () => {
  fc.assert(
    fc.property(record, (put) => {
      const bytes = putBytes(put);
      const record = written(bytes, (target, offset) => writePut(put, target, offset, bytes));
      expect(record).toEqual(encodeMessage(KeyValueCodec, { ...put, encoded: undefined }));
    }),
  );
});

test("writeTombstoneHead() makes the bytes of a KeyValue with a key alone", () => {
  fc.assert(
    fc.property(blob(1), (key) => {
      const record = written(tombstoneBytes(key.length), (target, offset) =>
        target.set(key, writeTombstoneHead(key.length, target, offset)),
      );
      expect(record).toEqual(encodeMessage(KeyValueCodec, deletedKeyValue(key, 0)));
    }),
  );
});
