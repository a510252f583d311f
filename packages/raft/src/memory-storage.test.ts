/** The log in memory, against a plain array. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MemoryStorage } from "./memory-storage.ts";
import type { Entry } from "./raftpb/types.ts";
import { EMPTY_CONF_STATE } from "./raftpb/types.ts";
import { CompactedError, SnapshotOutOfDateError, UnavailableError } from "./storage.ts";

const EMPTY = new Uint8Array(0);

function entriesFrom(index: number, ...terms: number[]): Entry[] {
  return terms.map((term, i) => ({ type: "EntryNormal", term, index: index + i, data: EMPTY }));
}

const command = fc.oneof(
  fc.record({ kind: fc.constant("append" as const), back: fc.nat(5), count: fc.nat(5) }),
  fc.record({ kind: fc.constant("compact" as const), share: fc.nat(100) }),
  fc.record({ kind: fc.constant("install" as const), ahead: fc.integer({ min: 1, max: 4 }) }),
);

describe("MemoryStorage", () => {
  test("holds what was appended last, from behind what was compacted", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
        const storage = new MemoryStorage();
        const terms = [0];
        let previous = 0;
        let term = 1;
        for (const one of commands) {
          if (one.kind === "append") {
            const from = Math.max(1, terms.length - one.back);
            const added = Array.from({ length: one.count }, () => term);
            storage.append(entriesFrom(from, ...added));
            const first = Math.max(from, previous + 1);
            const kept = added.slice(first - from);
            if (kept.length > 0) terms.splice(first, terms.length, ...kept);
            term++;
          } else if (one.kind === "compact") {
            const last = terms.length - 1;
            const index = previous + Math.floor(((last - previous) * one.share) / 100);
            if (index <= previous) {
              expect(() => storage.compact(index)).toThrow(CompactedError);
              continue;
            }
            storage.compact(index);
            previous = index;
          } else {
            previous = terms.length - 1 + one.ahead;
            while (terms.length <= previous) terms.push(term);
            const metadata = { confState: EMPTY_CONF_STATE, index: previous, term };
            storage.applySnapshot({ data: EMPTY, metadata });
          }
          const last = terms.length - 1;
          expect([storage.firstIndex(), storage.lastIndex()]).toEqual([previous + 1, last]);
          expect(storage.term(previous)).toBe(terms[previous]);
          if (last > previous) {
            const entries = storage.entries(previous + 1, last + 1, Number.POSITIVE_INFINITY);
            expect(entries.map((entry) => entry.term)).toEqual(terms.slice(previous + 1));
          }
          expect(() => storage.term(last + 1)).toThrow(UnavailableError);
          if (previous > 0) expect(() => storage.term(previous - 1)).toThrow(CompactedError);
          expect(() => storage.entries(previous, last + 1, 1)).toThrow(CompactedError);
        }
      }),
    );
  });

  test("entries() handed out stay as they were", () => {
    const storage = new MemoryStorage();
    storage.append(entriesFrom(1, 1, 1, 1));
    const held = storage.entries(1, 4, Number.POSITIVE_INFINITY);
    storage.append(entriesFrom(2, 5));
    storage.compact(1);
    expect(held.map(({ term }) => term)).toEqual([1, 1, 1]);
  });

  test("append() refuses a gap", () => {
    const storage = new MemoryStorage();
    expect(() => storage.append(entriesFrom(2, 1))).toThrow("missing log entry");
  });

  test("createSnapshot() carries the last configuration on and refuses the past", () => {
    const storage = new MemoryStorage();
    storage.append(entriesFrom(1, 1, 2, 2));
    const confState = { ...EMPTY_CONF_STATE, voters: [1n] };
    storage.createSnapshot(2, confState, Uint8Array.of(1));
    expect(storage.createSnapshot(3, undefined, EMPTY).metadata).toEqual({
      confState,
      index: 3,
      term: 2,
    });
    expect(() => storage.createSnapshot(3, undefined, EMPTY)).toThrow(SnapshotOutOfDateError);
    expect(() => storage.createSnapshot(9, undefined, EMPTY)).toThrow("out of bound");
    expect(storage.initialState().confState).toEqual(confState);
  });
});
