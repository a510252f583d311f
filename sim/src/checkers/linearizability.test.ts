import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { checkLinearizable } from "./linearizability.ts";
import type { Answer, Operation } from "./linearizability.ts";
import { EMPTY_KEY_SPACE, afterRequest, changesOf, readText } from "./model.ts";
import type { Request } from "./model.ts";
import { changeText } from "./revision-ledger.ts";

function put(key: string, value: string): Request {
  return { kind: "write", condition: undefined, writes: [{ key, value, lease: 0n }] };
}

let serial = 0;
function operation(request: Request, callMs: number, returnMs: number, answer?: Answer): Operation {
  return { name: `op${++serial}`, callMs, returnMs, request, answer };
}

const readA: Request = { kind: "read", key: "a" };

describe("checkLinearizable()", () => {
  test("accepts concurrent writes in the order of their revisions", () => {
    checkLinearizable([
      operation(put("a", "1"), 0, 10, { revision: 3, isChange: true }),
      operation(put("a", "2"), 1, 9, { revision: 2, isChange: true }),
      operation(readA, 11, 12, { revision: 3, isChange: false, read: "a=1@2/3/2/0" }),
    ]);
  });

  test("tells of a stale read", () => {
    expect(() =>
      checkLinearizable([
        operation(put("a", "1"), 0, 1, { revision: 2, isChange: true }),
        operation(put("a", "2"), 2, 3, { revision: 3, isChange: true }),
        operation(readA, 4, 5, { revision: 2, isChange: false, read: "a=1@2/2/1/0" }),
      ]),
    ).toThrow("ended before something that comes first was called");
  });

  test("tells of a read of something never written", () => {
    expect(() =>
      checkLinearizable([
        operation(put("a", "1"), 0, 1, { revision: 2, isChange: true }),
        operation(readA, 4, 5, { revision: 2, isChange: false, read: "a=9@2/2/1/0" }),
      ]),
    ).toThrow('read "a=9');
  });

  test("tells of a lost write: its revision given to another", () => {
    expect(() =>
      checkLinearizable([
        operation(put("a", "1"), 0, 1, { revision: 2, isChange: true }),
        operation(put("b", "2"), 2, 3, { revision: 2, isChange: true }),
      ]),
    ).toThrow("both told revision 2");
  });

  test("tells of a condition that did not hold", () => {
    const request: Request = {
      kind: "write",
      condition: { key: "a", modRevision: 0 },
      writes: [{ key: "a", value: "2", lease: 0n }],
    };
    expect(() =>
      checkLinearizable([
        operation(put("a", "1"), 0, 1, { revision: 2, isChange: true }),
        operation(request, 2, 3, { revision: 3, isChange: true, succeeded: true }),
      ]),
    ).toThrow("nothing explains revision 3");
  });

  test("tells of revisions that come in another order than real time", () => {
    expect(() =>
      checkLinearizable([
        operation(put("a", "1"), 0, 1, { revision: 3, isChange: true }),
        operation(put("a", "2"), 2, 3, { revision: 2, isChange: true }),
      ]),
    ).toThrow("linearizability");
  });

  test("an operation without an answer explains a revision, once, not before its call", () => {
    const read = operation(readA, 4, 5, { revision: 2, isChange: false, read: "a=1@2/2/1/0" });
    checkLinearizable([operation(put("a", "1"), 0, Infinity), read]);
    checkLinearizable([operation(put("a", "1"), 0, Infinity)]);
    expect(() => checkLinearizable([operation(put("a", "1"), 6, Infinity), read])).toThrow("stale");
    expect(() => checkLinearizable([read])).toThrow("nothing explains revision 2");
    const twice = operation(readA, 6, 7, { revision: 3, isChange: false, read: "a=1@2/3/2/0" });
    expect(() => checkLinearizable([operation(put("a", "1"), 0, Infinity), read, twice])).toThrow(
      "nothing explains revision 3",
    );
  });

  test("tries each operation without an answer", () => {
    const values = ["1", "2", "3", "4", "5"];
    checkLinearizable([
      ...values.map((value) => operation(put("a", value), 0, Infinity)),
      operation(readA, 4, 5, { revision: 2, isChange: false, read: "a=5@2/2/1/0" }),
      operation(readA, 6, 7, { revision: 4, isChange: false, read: "a=2@2/4/3/0" }),
    ]);
  });

  const step = fc.record({
    key: fc.constantFrom("a", "b"),
    kind: fc.constantFrom("put", "delete", "read"),
    isKnown: fc.boolean(),
    before: fc.integer({ min: 0, max: 3 }),
    after: fc.integer({ min: 0, max: 3 }),
  });

  /** Runs the steps one by one; times are widened around the point each happened at. */
  function historyOf(steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[]) {
    let state = EMPTY_KEY_SPACE;
    const texts = new Map<number, string>();
    const operations = steps.map(({ key, kind, isKnown, before, after }, i) => {
      const request: Request =
        kind === "read"
          ? { kind, key }
          : {
              kind: "write",
              condition: undefined,
              writes: [{ key, value: kind === "put" ? `v${i}` : undefined, lease: 0n }],
            };
      const changes = changesOf(state, request);
      const isChange = changes.length > 0;
      if (isChange) {
        state = afterRequest(state, request);
        texts.set(state.revision, changeText(changes));
      }
      const answer = {
        revision: state.revision,
        isChange,
        succeeded: true,
        ...(kind === "read" ? { read: readText(state, key) } : {}),
      };
      const returnMs = isKnown ? 10 * i + 10 * after : Infinity;
      return operation(request, 10 * i - 10 * before, returnMs, isKnown ? answer : undefined);
    });
    return { operations, texts };
  }

  test("accepts whatever really happened, with the history at hand and without", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
        const { operations, texts } = historyOf(steps);
        checkLinearizable(operations);
        checkLinearizable(operations, (revision) => texts.get(revision));
      }),
    );
  });

  test("tells of any answer whose revision was changed to one long gone", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 4, maxLength: 12 }), (steps) => {
        const strict = steps.map((one) => ({ ...one, isKnown: true, before: 0, after: 0 }));
        const { operations } = historyOf(strict);
        const last = operations.at(-1)!;
        const first = operations[0]!.answer!.revision;
        // A change at the revision before the first would be a write nobody contradicts.
        fc.pre(!last.answer!.isChange && last.answer!.revision > first);
        last.answer = { ...last.answer!, revision: first };
        expect(() => checkLinearizable(operations)).toThrow("linearizability");
      }),
    );
  });
});
