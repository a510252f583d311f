/** What every `Clock` keeps. `settle(ms)` lets at least that much of its time pass. */

import { describe, expect, test } from "vitest";

import type { Clock } from "../src/index.ts";
import { sleep, yieldTurn } from "../src/index.ts";

export interface ClockUnderTest {
  readonly clock: Clock;
  settle(ms: number): Promise<void>;
}

export function testClock(name: string, create: () => ClockUnderTest): void {
  describe(name, () => {
    test("monotonicMs() never goes back, wallMs() is a date of our time", () => {
      const { clock } = create();
      let last = clock.monotonicMs();
      for (let i = 0; i < 1000; i++) {
        const now = clock.monotonicMs();
        expect(now).toBeGreaterThanOrEqual(last);
        last = now;
      }
      expect(clock.wallMs()).toBeGreaterThan(Date.UTC(2020));
    });

    test("setTimer() runs once, no sooner than asked", async () => {
      const { clock, settle } = create();
      for (const delayMs of [0, 0.5, 1, 3, 20]) {
        const startedMs = clock.monotonicMs();
        const ranMs: number[] = [];
        clock.setTimer(delayMs, () => ranMs.push(clock.monotonicMs() - startedMs));
        expect(ranMs).toEqual([]);
        await settle(delayMs + 15);
        await settle(delayMs + 15);
        expect(ranMs).toHaveLength(1);
        expect(ranMs[0]).toBeGreaterThanOrEqual(delayMs);
      }
    });

    test("timers of different times run in their order", async () => {
      const { clock, settle } = create();
      const order: number[] = [];
      for (const delayMs of [30, 5, 15]) clock.setTimer(delayMs, () => order.push(delayMs));
      await settle(60);
      expect(order).toEqual([5, 15, 30]);
    });

    test("cancel() keeps a timer from running, and may come again or late", async () => {
      const { clock, settle } = create();
      let runs = 0;
      const cancelled = clock.setTimer(5, () => runs++);
      const ran = clock.setTimer(5, () => (runs += 10));
      const turn = clock.nextTurn(() => runs++);
      cancelled.cancel();
      cancelled.cancel();
      turn.cancel();
      await settle(30);
      ran.cancel();
      expect(runs).toBe(10);
    });

    test("a delay above 2^31 ms is kept", async () => {
      const { clock, settle } = create();
      let hasRun = false;
      const timer = clock.setTimer(2 ** 31 + 10, () => (hasRun = true));
      await settle(20);
      timer.cancel();
      expect(hasRun).toBe(false);
    });

    test("nextTurn() runs in a later turn, also from within a turn", async () => {
      const { clock, settle } = create();
      const order: string[] = [];
      clock.nextTurn(() => {
        order.push("first");
        clock.nextTurn(() => order.push("second"));
        order.push("end of first");
      });
      order.push("caller");
      await settle(5);
      await settle(5);
      expect(order).toEqual(["caller", "first", "end of first", "second"]);
    });

    test("sleep() and yieldTurn() resolve", async () => {
      const { clock, settle } = create();
      const order: string[] = [];
      const startedMs = clock.monotonicMs();
      const both = [
        sleep(clock, 10).then(() => order.push(`slept ${clock.monotonicMs() - startedMs >= 10}`)),
        yieldTurn(clock).then(() => order.push("turned")),
      ];
      await settle(40);
      await Promise.all(both);
      expect(order).toEqual(["turned", "slept true"]);
    });
  });
}
