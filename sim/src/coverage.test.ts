import { expect, test } from "vitest";

import { FAULT_CLASSES, missingClasses } from "./coverage.ts";
import { NODE_PORTS } from "./node-ports.ts";
import { FAULTS, drawOptions } from "./options.ts";
import type { Fault } from "./options.ts";
import { isEnough } from "./run-length.ts";
import { simulate } from "./simulation.ts";

test("missingClasses() names a class whose counter is absent or 0", () => {
  const counts = new Map([...FAULT_CLASSES.values()].map((counter) => [counter, 1]));
  expect(missingClasses(counts)).toEqual([]);
  counts.delete("messages overtaken");
  counts.set("files torn at a sector", 0);
  expect(missingClasses(counts)).toEqual(["disk: torn sectors", "network: reorder"]);
  expect(missingClasses(new Map())).toHaveLength(FAULT_CLASSES.size);
});

test("isEnough() asks for the seeds and for the hours", () => {
  const goal = { seeds: 1000, hours: 100 };
  expect(isEnough(goal, 999, 200)).toBe(false);
  expect(isEnough(goal, 1500, 99.9)).toBe(false);
  expect(isEnough(goal, 1000, 100)).toBe(true);
  expect(isEnough({ seeds: 0, hours: 2 }, 1, 1.9)).toBe(false);
  expect(isEnough({ seeds: 3, hours: 0 }, 3, 0.1)).toBe(true);
  expect(isEnough({ seeds: Infinity, hours: 0 }, 1e6, 1e6)).toBe(false);
});

/** These need the fortune of a long run: a write of many pages at the moment of a power loss. */
const RARE = new Set(["disk: torn pages"]);

test("every class of faults strikes within a few seeds", { timeout: 240_000 }, async () => {
  const weights = Object.fromEntries(FAULTS.map((fault) => [fault, 1])) as Record<Fault, number>;
  const dense = {
    weights,
    faultIntervalMs: 1500,
    thinkMs: 200,
    walSegmentBytes: 4096,
    lossPercent: 1,
    duplicatePercent: 1,
    latePercent: 1,
    driftPerMille: 5,
    hasUsers: true,
    hasDowngrades: true,
  };
  const counts = new Map<string, number>();
  const missing = (): string[] => missingClasses(counts).filter((name) => !RARE.has(name));
  for (let seed = 1; seed <= 40 && missing().length > 0; seed++) {
    const {
      failure,
      story,
      counts: more,
    } = await simulate(
      { ...drawOptions(seed, 60_000), ...dense, size: [1, 3, 5][seed % 3]! },
      NODE_PORTS,
    );
    expect(failure, `seed ${seed}: ${story.slice(-20).join("\n")}`).toBe(undefined);
    for (const [name, count] of more) counts.set(name, (counts.get(name) ?? 0) + count);
  }
  expect(missing()).toEqual([]);
});
