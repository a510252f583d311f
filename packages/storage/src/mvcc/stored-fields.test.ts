import { CorruptionError } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import { encodeMessage } from "@etcd-ts/base";
import fc from "fast-check";
import { expect, test } from "vitest";

import { keyValueFromStored, StoredFields } from "./stored-key-value.ts";

const counter = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 }),
);
const record = fc
  .record({
    key: fc.uint8Array({ maxLength: 300 }),
    createRevision: counter,
    modRevision: counter,
    version: counter,
    value: fc.uint8Array({ maxLength: 300 }),
    lease: fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  })
  .map((fields) => encodeMessage(KeyValueCodec, { ...fields, encoded: undefined }));
/** Records as they are written, damaged, and bytes that never were any. */
const stored = fc.oneof(
  record,
  fc.tuple(record, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
    const damaged = bytes.slice();
    if (damaged.length > 0) damaged[at % Math.min(12, damaged.length)] = byte;
    return damaged;
  }),
  fc.tuple(record, fc.nat()).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1))),
  fc.uint8Array({ maxLength: 40 }),
);

function outcome<T>(read: () => T): T | "damaged" {
  try {
    return read();
  } catch (error) {
    if (error instanceof CorruptionError) return "damaged";
    throw error;
  }
}

test("StoredFields reads what keyValueFromStored() reads, and refuses what it refuses", () => {
  const fields = new StoredFields();
  fc.assert(
    fc.property(stored, fc.uint8Array({ maxLength: 30 }), (bytes, around) => {
      const page = Uint8Array.from([...around, ...bytes, ...around]);
      const start = around.length;
      const read = outcome(() => {
        fields.read(page, start, start + bytes.length, "db");
        const { createRevision, version, lease } = fields;
        const key = page.subarray(fields.keyStart, fields.keyEnd);
        return { key: [...key], createRevision, version, lease };
      });
      const expected = outcome(() => {
        const { key, createRevision, version, lease } = keyValueFromStored(bytes, "db");
        return { key: [...key], createRevision, version, lease };
      });
      expect(read).toEqual(expected);
    }),
    { numRuns: 2000 },
  );
});
