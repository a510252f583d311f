import { expect, test } from "vitest";

import { sleep } from "../ports/clock.ts";
import { SeededRandom } from "../seeded-random.ts";
import { VirtualClock } from "./virtual-clock.ts";

test("advance() runs what falls due, each at its own time, and stops at the end", () => {
  const clock = new VirtualClock({ wallStartMs: 1000 });
  const ran: number[] = [];
  for (const delayMs of [5, 1, 10, 11]) {
    clock.setTimer(delayMs, () => ran.push(clock.monotonicMs()));
  }
  clock.setTimer(2, () => clock.setTimer(3, () => ran.push(-clock.monotonicMs())));
  clock.advance(10);
  expect(ran).toEqual([1, 5, -5, 10]);
  expect([clock.monotonicMs(), clock.wallMs(), clock.pending, clock.nextDueMs()]).toEqual([
    10, 1010, 1, 11,
  ]);
});

test("timers for one time run in the order they were set", () => {
  const clock = new VirtualClock();
  const ran: number[] = [];
  for (let i = 0; i < 20; i++) clock.setTimer(i % 2, () => ran.push(i));
  clock.advance(1);
  const even = Array.from({ length: 10 }, (_, i) => 2 * i);
  expect(ran).toEqual([...even, ...even.map((i) => i + 1)]);
});

test("with a random the order of one time is drawn, and replays with the seed", () => {
  const order = (seed: number): string => {
    const clock = new VirtualClock({ random: new SeededRandom(seed) });
    const ran: number[] = [];
    for (let i = 0; i < 10; i++) clock.nextTurn(() => ran.push(i));
    clock.advance(0);
    return ran.join();
  };
  const orders = new Set(Array.from({ length: 20 }, (_, seed) => order(seed)));
  expect(orders.size).toBe(20);
  for (let seed = 0; seed < 20; seed++) expect(orders).toContain(order(seed));
});

test("advanceSettled() lets promises go on between timers", async () => {
  const clock = new VirtualClock();
  const slept: number[] = [];
  const walk = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) {
      await sleep(clock, 2);
      slept.push(clock.monotonicMs());
    }
  };
  const walked = walk();
  await clock.advanceSettled(7);
  expect(slept).toEqual([2, 4, 6]);
  await clock.runUntilIdle();
  expect(slept).toEqual([2, 4, 6, 8, 10]);
  await walked;
});

test("runUntil() gives what the promise gives, and tells when it never will", async () => {
  const clock = new VirtualClock();
  expect(await clock.runUntil(sleep(clock, 50).then(() => "done"))).toBe("done");
  expect(clock.monotonicMs()).toBe(50);
  const failing = sleep(clock, 1).then(() => Promise.reject(new Error("broken")));
  await expect(clock.runUntil(failing)).rejects.toThrow("broken");
  await expect(clock.runUntil(new Promise(() => {}))).rejects.toThrow("nothing left to run");
});

test("jumpWall() moves the date and no timer", () => {
  const clock = new VirtualClock({ wallStartMs: 0 });
  let hasRun = false;
  clock.setTimer(10, () => (hasRun = true));
  clock.jumpWall(-5000);
  clock.advance(9);
  expect([clock.wallMs(), hasRun]).toEqual([-4991, false]);
  clock.advance(1);
  expect(hasRun).toBe(true);
});

test("an advance back in time and timers that never run dry are refused", () => {
  const clock = new VirtualClock();
  expect(() => clock.advance(-1)).toThrow("advance: -1");
  expect(() => clock.setTimer(Number.NaN, () => {})).toThrow("not a number");
});
