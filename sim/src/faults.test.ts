import { expect, test } from "vitest";

import { SimCluster } from "./cluster.ts";
import { Faults } from "./faults.ts";
import { NODE_PORTS } from "./node-ports.ts";
import { FAULTS, drawOptions } from "./options.ts";
import type { Fault } from "./options.ts";
import { Workload } from "./workload.ts";

function only(...faults: Fault[]): Record<Fault, number> {
  return Object.fromEntries(
    FAULTS.map((fault) => [fault, faults.includes(fault) ? 1 : 0]),
  ) as Record<Fault, number>;
}

test("a member whose disk fails, late or again, is started again before the end", async () => {
  const weights = only("full disk", "sync error", "power loss in a write");
  const options = { ...drawOptions(3, 0), size: 3, faultIntervalMs: 3000, weights };
  const cluster = new SimCluster(options, NODE_PORTS);
  const faults = new Faults(cluster);
  for (const member of cluster.members) member.start();
  await cluster.clock.advanceSettled(3000);
  const workload = new Workload(cluster);
  workload.start();
  faults.start();
  const downSince = new Map<string, number>();
  let longestMs = 0;
  for (let passedMs = 0; passedMs < 60_000; passedMs += 100) {
    await cluster.clock.advanceSettled(100);
    const nowMs = cluster.clock.monotonicMs();
    for (const { name, isUp } of cluster.members) {
      if (isUp) downSince.delete(name);
      else if (!downSince.has(name)) downSince.set(name, nowMs);
      longestMs = Math.max(longestMs, nowMs - (downSince.get(name) ?? nowMs));
    }
  }
  expect(cluster.failure).toBe(undefined);
  expect(cluster.trace.counts.get("members that stopped on a fault")).toBeGreaterThan(3);
  expect(longestMs).toBeLessThan(15_000);
  const healed = faults.heal();
  await cluster.clock.advanceSettled(20_000);
  await healed;
  await Promise.all([workload.stop(), cluster.clock.advanceSettled(20_000)]);
  for (const member of cluster.members) expect(member.life?.isReady).toBe(true);
});
