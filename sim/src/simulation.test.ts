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

test.each([
  { seed: 322, rule: "a member answers a leader that joined while it was down" },
  { seed: 256, rule: "a removal may count after the operator gave up on it" },
  { seed: 89, rule: "a removed member with a full disk ends with the reason" },
])("seed $seed: $rule", { timeout: 60_000 }, async ({ seed }) => {
  const { failure, story } = await simulate(drawOptions(seed), ports);
  expect(failure, story.slice(-20).join("\n")).toBe(undefined);
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

/** What the checkers say of a cluster with a planted bug, over a few seeds. */
async function findings(fields: Partial<SimOptions>): Promise<string[]> {
  const found: string[] = [];
  for (const seed of [21, 22, 23]) {
    const options = short(seed, { size: 3, faultIntervalMs: 1000, ...fields });
    const { failure } = await simulate(options, ports);
    if (failure !== undefined) found.push(failure.message);
  }
  return found;
}

test("members that do not wait for the disk are found out", async () => {
  expect(await findings({ isUnsafe: true, weights: only("power loss") })).not.toEqual([]);
});

test("stale reads are found out", async () => {
  const found = await findings({ isStale: true, weights: only("isolated leader", "pause") });
  expect(found.join("\n")).toContain("linearizability: ");
});
