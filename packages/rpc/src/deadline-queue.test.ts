import { VirtualClock } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { DeadlineQueue } from "./deadline-queue.ts";

describe("DeadlineQueue", () => {
  test("add() expires each deadline once, not early and at most a tick late", () => {
    const deadlines = fc.array(fc.tuple(fc.integer({ min: 0, max: 5_000 }), fc.boolean()));
    fc.assert(
      fc.property(deadlines, (entries) => {
        const clock = new VirtualClock();
        const queue = new DeadlineQueue(clock);
        const startMs = clock.monotonicMs();
        const expired: number[] = [];
        entries.forEach(([delayMs, keep], i) => {
          const deadlineMs = startMs + delayMs;
          const forget = queue.add(deadlineMs, () => {
            expired.push(i);
            const lateMs = clock.monotonicMs() - deadlineMs;
            expect(lateMs).toBeGreaterThanOrEqual(0);
            expect(lateMs).toBeLessThanOrEqual(6);
          });
          if (!keep) {
            forget();
            forget();
          }
        });
        for (let ms = 0; ms <= 5_010; ms++) clock.advance(1);
        const kept = entries.flatMap(([, keep], i) => (keep ? [i] : []));
        expect(expired.toSorted((a, b) => a - b)).toEqual(kept);
      }),
      { numRuns: 30 },
    );
  });

  test("add() from inside an expiry works, and close() forgets all", () => {
    const clock = new VirtualClock();
    const queue = new DeadlineQueue(clock);
    const nowMs = clock.monotonicMs();
    const expired: string[] = [];
    queue.add(nowMs + 10, () => {
      expired.push("first");
      queue.add(nowMs + 20, () => expired.push("second"));
      queue.add(nowMs + 1_000, () => expired.push("never"));
    });
    clock.advance(100);
    expect(expired).toEqual(["first", "second"]);
    queue.close();
    clock.advance(10_000);
    expect(expired).toEqual(["first", "second"]);
  });

  test("add() takes a deadline beyond the longest timer", () => {
    const clock = new VirtualClock();
    const queue = new DeadlineQueue(clock);
    let expired = false;
    queue.add(clock.monotonicMs() + 2 ** 33, () => (expired = true));
    clock.advance(2 ** 31);
    clock.advance(2 ** 31);
    expect(expired).toBe(false);
    clock.advance(2 ** 32 + 10);
    expect(expired).toBe(true);
  });
});
