/** The ports on Node pass the suites of their ports. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Labels, NetworkAddress } from "@etcd-ts/base";
import type { SeenEvent } from "@etcd-ts/base/compliance";
import {
  testClock,
  testDisk,
  testLogger,
  testMetrics,
  testNetwork,
  testRandom,
} from "@etcd-ts/base/compliance";

import {
  JsonLogger,
  NodeClock,
  NodeDisk,
  NodeNetwork,
  NodeRandom,
  PrometheusMetrics,
} from "./index.ts";

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function temporaryDirectory(): { directory: string; cleanUp: () => Promise<void> } {
  const directory = mkdtempSync(join(tmpdir(), "etcd-ts-"));
  const cleanUp = async (): Promise<void> => rmSync(directory, { recursive: true, force: true });
  return { directory, cleanUp };
}

testClock("NodeClock", () => ({ clock: new NodeClock(), settle: wait }));

testRandom("NodeRandom", () => new NodeRandom());

testDisk("NodeDisk", async () => ({ disk: new NodeDisk(), ...temporaryDirectory() }));

testLogger("JsonLogger", () => {
  const lines: string[] = [];
  const sink = { write: (line: string) => void lines.push(line), close: () => Promise.resolve() };
  const seen = (): SeenEvent[] =>
    lines.map((line) => {
      const { level, ts: _ts, logger = "", msg: message, ...fields } = JSON.parse(line);
      return { level, logger, message, fields };
    });
  return { logger: new JsonLogger({ sinks: [sink] }), seen };
});

for (const accept of ["text/plain", "application/openmetrics-text"]) {
  testMetrics(`PrometheusMetrics as ${accept}`, () => {
    const metrics = new PrometheusMetrics({ process: false });
    const read = async (name: string, labels: Labels = {}): Promise<number | undefined> => {
      const { body } = await metrics.expose(accept);
      for (const line of body.split("\n")) {
        const [, series, list = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
        const isNamed = series === name || series === `${name}_total`;
        if (isNamed && list === formatLabels(labels)) return Number(value);
      }
      return undefined;
    };
    return { metrics, read };
  });
}

function formatLabels(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join();
}

for (const kind of ["tcp", "unix"] as const) {
  testNetwork(`NodeNetwork, ${kind}`, async () => {
    const { directory, cleanUp } = temporaryDirectory();
    const path = join(directory, "s");
    const address: NetworkAddress =
      kind === "tcp" ? { kind: "tcp", host: "127.0.0.1", port: 0 } : { kind: "unix", path };
    const until = async (isDone: () => boolean): Promise<void> => {
      for (let i = 0; i < 15_000 && !isDone(); i++) await wait(2);
      if (!isDone()) throw new Error("the network never did it");
    };
    return { network: new NodeNetwork(), address, until, settle: () => wait(20), cleanUp };
  });
}
