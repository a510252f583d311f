import { compareBytes, concatBytes, crc32c, hexFromBytes } from "@etcd-ts/base";
import fc from "fast-check";
import { expect, test } from "vitest";

import { encodeRevision } from "../mvcc/revision.ts";
import { RevisionLog } from "./revision-log.ts";
import { BucketBuffer, ChangeCursor } from "./write-buffer.ts";
import type { Change, ChangeLayer } from "./write-buffer.ts";

/** Steps from one revision to the next. */
const steps = fc.array(
  fc.record({
    main: fc.oneof(fc.constant(0), fc.nat(3), fc.integer({ min: 1, max: 2 ** 33 })),
    sub: fc.nat(3),
    isTombstone: fc.boolean(),
    bytes: fc.oneof(fc.nat(80), fc.constantFrom(0, 16_384, 16_385, 70_000)),
  }),
  { maxLength: 40 },
);

/** The same records in a log and in a buffer of any changes. */
function build(list: typeof steps extends fc.Arbitrary<infer T> ? T : never): {
  log: RevisionLog;
  buffer: BucketBuffer;
} {
  const log = new RevisionLog();
  const buffer = new BucketBuffer();
  let main = 1;
  let sub = -1;
  list.forEach((step, i) => {
    sub = step.main > 0 ? step.sub : sub + 1 + step.sub;
    main += step.main;
    log.append(main, sub, step.isTombstone, step.bytes);
    const value = log.block.subarray(log.offset, log.offset + step.bytes).fill(i + 1);
    buffer.set({ key: encodeRevision(main, sub, step.isTombstone), value: value.slice() });
  });
  return { log, buffer };
}

/** Values are long: their checksums are compared. */
function shown(change: Change | undefined): unknown {
  if (change?.value === undefined) return change;
  return `${hexFromBytes(change.key)}: ${change.value.length} ${crc32c(0, change.value)}`;
}

function walk(layer: ChangeLayer, begin: Uint8Array): unknown[] {
  const seen: unknown[] = [];
  const cursor = new ChangeCursor([layer], begin);
  for (let change = cursor.peek(); change !== undefined; change = cursor.peek()) {
    seen.push(shown(change));
    cursor.pass(change.key);
  }
  return seen;
}

const anyKey = fc.oneof(
  fc.uint8Array({ maxLength: 19 }),
  fc
    .tuple(fc.nat(12), fc.nat(6), fc.boolean())
    .map(([main, sub, isTombstone]) => encodeRevision(main, sub, isTombstone)),
);

test("RevisionLog reads as a buffer of the same changes", () => {
  fc.assert(
    fc.property(steps, anyKey, (list, key) => {
      const { log, buffer } = build(list);
      expect(log.size).toBe(buffer.size);
      expect(shown(log.get(key))).toEqual(shown(buffer.get(key)));
      expect(log.lowerBound(key)).toBe(buffer.lowerBound(key));
      expect(walk(log, key)).toEqual(walk(buffer, key));
      for (let i = 0; i <= log.size; i++) {
        const change = buffer.at(i);
        expect(shown(log.at(i))).toEqual(shown(change));
        if (change !== undefined) expect(shown(log.get(change.key))).toEqual(shown(change));
      }
    }),
  );
});

test("RevisionLog copies what it shows", () => {
  fc.assert(
    fc.property(steps, fc.nat(40), fc.nat(40), (list, a, b) => {
      const { log } = build(list);
      const from = Math.min(a, b, log.count);
      const to = Math.min(Math.max(a, b), log.count);
      const parts: Uint8Array[] = [];
      for (let i = from; i < to; i++) {
        expect([log.key(i).length, log.value(i).length]).toEqual([
          log.keyBytes(i),
          log.valueBytes(i),
        ]);
        parts.push(log.key(i), log.value(i));
      }
      const expected = concatBytes(parts);
      const copied = new Uint8Array(expected.length + 2);
      log.copyEntries(from, to, copied, 1);
      expect(compareBytes(copied.subarray(1, -1), expected)).toBe(0);
      expect([copied[0], copied.at(-1)]).toEqual([0, 0]);
    }),
    { numRuns: 60 },
  );
});

test("append() refuses a revision that is not above the last", () => {
  const log = new RevisionLog();
  log.append(5, 1, false, 1);
  for (const [main, sub] of [
    [5, 1],
    [5, 0],
    [4, 9],
  ] as const) {
    expect(() => log.append(main, sub, false, 1)).toThrow("RevisionLog.append");
  }
});
