/** The window of messages on the way, against a plain list. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Inflights } from "./inflights.ts";

type Command =
  | { kind: "add"; step: number; bytes: number }
  | { kind: "free"; share: number }
  | { kind: "reset" };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("add" as const), step: fc.nat(3), bytes: fc.nat(40) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("free" as const), share: fc.nat(120) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reset" as const) }) },
);

describe("Inflights", () => {
  test("holds what was added and not freed, within its bounds", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.nat(100),
        fc.array(command, { maxLength: 200 }),
        (messagesMax, bytesMax, commands) => {
          const inflights = new Inflights(messagesMax, bytesMax);
          let model: { index: number; bytes: number }[] = [];
          let index = 1;
          for (const one of commands) {
            const total = model.reduce((sum, { bytes }) => sum + bytes, 0);
            const isFull = model.length === messagesMax || (bytesMax > 0 && total >= bytesMax);
            expect(inflights.isFull()).toBe(isFull);
            expect(inflights.count).toBe(model.length);
            expect(inflights.bytes).toBe(total);
            expect(inflights.clone().count).toBe(model.length);
            if (one.kind === "reset") {
              inflights.reset();
              model = [];
            } else if (one.kind === "free") {
              const to = Math.floor((index * one.share) / 100);
              inflights.freeTo(to);
              model = model.filter((message) => message.index > to);
            } else if (isFull) {
              expect(() => inflights.add(index, one.bytes)).toThrow("Full inflights");
            } else {
              index += one.step;
              inflights.add(index, one.bytes);
              model.push({ index, bytes: one.bytes });
            }
          }
        },
      ),
    );
  });

  test("clone() shares nothing", () => {
    const inflights = new Inflights(4, 0);
    inflights.add(1, 10);
    const copy = inflights.clone();
    inflights.freeTo(1);
    expect([copy.count, inflights.count]).toEqual([1, 0]);
    expect(copy.isFull()).toBe(false);
  });

  test("add() refuses an index below the newest", () => {
    const inflights = new Inflights(4, 0);
    inflights.add(5, 1);
    expect(() => inflights.add(4, 1)).toThrow("below the newest");
  });
});
