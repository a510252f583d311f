/** A short fixed set of seeds, and that a seed decides everything. */

import { expect, test } from "vitest";

import { NODE_PORTS } from "./node-ports.ts";
import { FAULTS, drawOptions } from "./options.ts";
import type { Fault, SimOptions } from "./options.ts";
import { simulate } from "./simulation.ts";

function short(seed: number, fields: Partial<SimOptions> = {}): SimOptions {
  return { ...drawOptions(seed, 12_000), thinkMs: 300, ...fields };
}

test("a few seeds keep every promise", async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const { failure, counts, story } = await simulate(short(seed), NODE_PORTS);
    const command = `npm run sim -- --seed ${seed} fails: ${story.slice(-20).join("\n")}`;
    expect(failure, command).toBe(undefined);
    expect(counts.get("operations checked"), command).toBeGreaterThan(10);
  }
});

test("clusters of one, three and five occur", () => {
  const sizes = Array.from({ length: 40 }, (_, seed) => drawOptions(seed).size);
  expect([...new Set(sizes)].sort()).toEqual([1, 3, 5]);
});

test("a cluster of five keeps every promise", async () => {
  const options = short(6, { size: 5, faultIntervalMs: 700 });
  const { failure, counts, story } = await simulate(options, NODE_PORTS);
  expect(failure, story.slice(-20).join("\n")).toBe(undefined);
  expect(counts.get("clusters of 5")).toBe(1);
});

test("the same seed twice is the same run, another seed another", async () => {
  const options = short(11, { size: 3, faultIntervalMs: 1500, hasUsers: true });
  const first = await simulate(options, NODE_PORTS);
  const second = await simulate(options, NODE_PORTS);
  expect(second.traceHash).toBe(first.traceHash);
  expect(second.virtualMs).toBe(first.virtualMs);
  expect([...second.counts]).toEqual([...first.counts]);
  const other = await simulate({ ...options, seed: 12 }, NODE_PORTS);
  expect(other.traceHash).not.toBe(first.traceHash);
});

test("users with few rights get no more than that, through all faults", async () => {
  const weights = Object.fromEntries(FAULTS.map((fault) => [fault, 1])) as Record<Fault, number>;
  const options = short(32, { size: 3, hasUsers: true, faultMs: 40_000, snapshotCount: 20 });
  const { failure, counts, story } = await simulate({ ...options, weights }, NODE_PORTS);
  expect(failure, story.slice(-20).join("\n")).toBe(undefined);
  expect(counts.get("calls without a right refused")).toBeGreaterThan(40);
  for (const name of ["logins", "logins refused", "tokens refused", "tokens that ran out"]) {
    expect(counts.get(name), name).toBeGreaterThan(0);
  }
});
