/** A short fixed set of seeds, and that a seed decides everything. */

import { setImmediate as nextImmediate } from "node:timers/promises";
import { expect, test } from "vitest";

import { FAULTS, drawOptions } from "./options.ts";
import type { Fault, SimOptions } from "./options.ts";
import { simulate } from "./simulation.ts";

const ports = { settle: () => nextImmediate() };

function short(seed: number, fields: Partial<SimOptions> = {}): SimOptions {
  return { ...drawOptions(seed, 12_000), thinkMs: 300, ...fields };
}

function only(...faults: Fault[]): SimOptions["weights"] {
  return Object.fromEntries(
    FAULTS.map((fault) => [fault, faults.includes(fault) ? 1 : 0]),
  ) as SimOptions["weights"];
}

test("a few seeds keep every promise", async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const { failure, counts, story } = await simulate(short(seed), ports);
    const command = `npm run sim -- --seed ${seed} fails: ${story.slice(-20).join("\n")}`;
    expect(failure, command).toBe(undefined);
    expect(counts.get("operations checked"), command).toBeGreaterThan(10);
  }
});

test("the same seed twice is the same run, another seed another", async () => {
  const options = short(11, { size: 3, faultIntervalMs: 1500 });
  const first = await simulate(options, ports);
  const second = await simulate(options, ports);
  expect(second.traceHash).toBe(first.traceHash);
  expect(second.virtualMs).toBe(first.virtualMs);
  expect([...second.counts]).toEqual([...first.counts]);
  const other = await simulate({ ...options, seed: 12 }, ports);
  expect(other.traceHash).not.toBe(first.traceHash);
});

test("members that do not wait for the disk are found out", async () => {
  const failures: string[] = [];
  for (const seed of [21, 22, 23]) {
    const { failure } = await simulate(
      short(seed, {
        size: 3,
        isUnsafe: true,
        faultIntervalMs: 1000,
        weights: only("power loss"),
      }),
      ports,
    );
    if (failure !== undefined) failures.push(failure.message);
  }
  expect(failures.length).toBeGreaterThan(0);
});
