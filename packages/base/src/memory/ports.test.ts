/** The memory ports pass the suites of their ports. */

import { setImmediate as nextTurn } from "node:timers/promises";

import {
  testClock,
  testDisk,
  testLogger,
  testMetrics,
  testNetwork,
  testRandom,
} from "../../compliance/index.ts";
import type { Labels } from "../index.ts";
import {
  MemoryDisk,
  MemoryLogger,
  MemoryMetrics,
  MemoryNetwork,
  SeededRandom,
  VirtualClock,
} from "../index.ts";

/** Waits for all promises that can settle; `setTimeout` and its kin are kept from this package. */
const settle = nextTurn;

testClock("VirtualClock", () => {
  const clock = new VirtualClock({ settle });
  return { clock, settle: (ms) => clock.advanceSettled(ms) };
});

testClock("VirtualClock with a drawn order", () => {
  const clock = new VirtualClock({ settle, random: new SeededRandom(7) });
  return { clock, settle: (ms) => clock.advanceSettled(ms) };
});

testRandom("SeededRandom", () => new SeededRandom(1));
testRandom("SeededRandom.split()", () => new SeededRandom(1).split("a"));

testDisk("MemoryDisk", async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/d");
  return { disk, directory: "/d", cleanUp: () => Promise.resolve() };
});

testDisk("MemoryDisk over a clock", async () => {
  const clock = new VirtualClock({ settle });
  const disk = new MemoryDisk({ clock, latencyMs: (_, bytes) => bytes % 3 });
  // Time runs by itself as long as the disk has work.
  const use = { isOver: false };
  const run = async (): Promise<void> => {
    while (!use.isOver) {
      await settle();
      clock.advance(1);
    }
  };
  const running = run();
  await disk.makeDirectory("/d");
  const cleanUp = async (): Promise<void> => {
    use.isOver = true;
    await running;
  };
  return { disk, directory: "/d", cleanUp };
});

testLogger("MemoryLogger", () => {
  const logger = new MemoryLogger("info");
  return { logger, seen: () => logger.events };
});

testMetrics("MemoryMetrics", () => {
  const metrics = new MemoryMetrics();
  const read = async (name: string, labels: Labels = {}): Promise<number | undefined> => {
    const suffix = /_(bucket|sum|count)$/.exec(name)?.[1];
    if (suffix === undefined) return metrics.value(name, labels);
    const histogram = metrics.observations(name.slice(0, -suffix.length - 1));
    if (histogram === undefined || suffix === "count") return histogram?.count;
    if (suffix === "sum") return histogram.sum;
    const bound = labels["le"] === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels["le"]);
    return histogram.counts
      .filter((_, i) => (histogram.bounds[i] ?? Number.POSITIVE_INFINITY) <= bound)
      .reduce((sum, count) => sum + count, 0);
  };
  return { metrics, read };
});

for (const [name, random, latencyMs] of [
  ["MemoryNetwork", undefined, 0],
  ["MemoryNetwork with latency that splits what arrives", new SeededRandom(3), 2],
] as const) {
  for (const address of [
    { kind: "tcp", host: "127.0.0.1", port: 0 },
    { kind: "unix", path: "/run/a.sock" },
  ] as const) {
    testNetwork(`${name}, ${address.kind}`, async () => {
      const clock = new VirtualClock({ settle });
      const options = { clock, latencyMs: () => latencyMs };
      const network = new MemoryNetwork(random === undefined ? options : { ...options, random });
      return {
        network,
        address,
        until: async (isDone) => {
          for (let ms = 0; !isDone() && ms < 20_000; ms++) await clock.advanceSettled(1);
          if (!isDone()) throw new Error("the network never did it");
        },
        settle: () => clock.advanceSettled(20),
        cleanUp: () => Promise.resolve(),
      };
    });
  }
}
