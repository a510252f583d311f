import { expect, test } from "vitest";

import { SERVER_ERRORS } from "@etcd-ts/api";
import { MemoryLogger, MemoryMetrics, VirtualClock } from "@etcd-ts/base";

import { ReadIndex } from "./read-index.ts";

function bench(): {
  reads: ReadIndex;
  clock: VirtualClock;
  sent: Uint8Array[];
  outcomes: string[];
  ask: (name: string) => void;
} {
  const clock = new VirtualClock();
  const sent: Uint8Array[] = [];
  const outcomes: string[] = [];
  let next = 0;
  const reads = new ReadIndex({
    clock,
    logger: new MemoryLogger(),
    metrics: new MemoryMetrics(),
    timeoutMs: 7000,
    nextContext: () => Uint8Array.of(++next),
    send: (context) => sent.push(context),
  });
  const ask = (name: string): void =>
    reads.request((error) => outcomes.push(`${name}: ${error?.message ?? "ok"}`));
  return { reads, clock, sent, outcomes, ask };
}

test("reads of one turn share a round; later ones wait for the next", () => {
  const { reads, sent, outcomes, ask } = bench();
  reads.applied(5);
  ask("a");
  ask("b");
  reads.beforeReady();
  ask("c");
  reads.beforeReady();
  expect(sent).toHaveLength(1);
  reads.answered([{ index: 5, context: sent[0]! }]);
  expect(outcomes).toEqual(["a: ok", "b: ok"]);
  reads.beforeReady();
  expect(sent).toHaveLength(2);
});

test("a confirmed round waits until its index is applied", () => {
  const { reads, sent, outcomes, ask } = bench();
  ask("a");
  reads.beforeReady();
  reads.answered([{ index: 7, context: sent[0]! }]);
  reads.applied(6);
  expect(outcomes).toEqual([]);
  reads.applied(7);
  expect(outcomes).toEqual(["a: ok"]);
});

test("an answer to something else is passed over", () => {
  const { reads, sent, outcomes, ask } = bench();
  ask("a");
  reads.beforeReady();
  reads.answered([{ index: 0, context: Uint8Array.of(99) }]);
  expect(outcomes).toEqual([]);
  reads.answered([{ index: 0, context: sent[0]! }]);
  expect(outcomes).toEqual(["a: ok"]);
});

test("a round without an answer is asked again, by any answer settled, and times out", () => {
  const { reads, clock, sent, outcomes, ask } = bench();
  ask("a");
  reads.beforeReady();
  clock.advance(500);
  reads.tick(clock.monotonicMs());
  reads.firstCommitInTerm();
  expect(sent).toHaveLength(3);
  reads.answered([{ index: 0, context: sent[1]! }]);
  ask("b");
  reads.beforeReady();
  clock.advance(7000);
  reads.tick(clock.monotonicMs());
  expect(outcomes).toEqual(["a: ok", `b: ${SERVER_ERRORS.timeout.message}`]);
});

test("a change of leader fails what is on its way, not what waits", () => {
  const { reads, outcomes, ask } = bench();
  ask("a");
  reads.beforeReady();
  ask("b");
  reads.leaderChanged();
  expect(outcomes).toEqual([`a: ${SERVER_ERRORS.leaderChanged.message}`]);
  reads.stop(SERVER_ERRORS.stopped);
  expect(outcomes.at(-1)).toBe(`b: ${SERVER_ERRORS.stopped.message}`);
});
