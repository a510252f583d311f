import { expect, test } from "vitest";

import { SERVER_ERRORS } from "@etcd-ts/api";
import { MemoryLogger, VirtualClock } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";

import { MemberFixture } from "../member-fixture.ts";
import { startAutoCompaction } from "./compactor.ts";
import type { AutoCompaction } from "../server-api.ts";

const MINUTE_MS = 60_000;

interface Bench {
  readonly clock: VirtualClock;
  /** `minute: revision` of every compaction asked for. */
  readonly asked: string[];
  revision: number;
  isLeader: boolean;
  answer: EtcdError | undefined;
}

function bench(mode: AutoCompaction): Bench {
  const clock = new VirtualClock();
  const state: Bench = { clock, asked: [], revision: 1, isLeader: true, answer: undefined };
  const every = (intervalMs: number, task: () => void): void => {
    clock.setTimer(intervalMs, () => {
      task();
      every(intervalMs, task);
    });
  };
  startAutoCompaction(mode, {
    clock,
    logger: new MemoryLogger(),
    currentRevision: () => state.revision,
    isLeader: () => state.isLeader,
    compact: (revision, done) => {
      state.asked.push(`${clock.monotonicMs() / MINUTE_MS}: ${revision}`);
      done(state.answer);
    },
    every,
  });
  return state;
}

/** A revision a minute, each after the look of its minute: minute m > 0 sees revision m. */
function pass(state: Bench, minutes: number): void {
  for (let i = 0; i < minutes; i++) {
    state.clock.advance(MINUTE_MS);
    state.revision++;
  }
}

test("periodic: waits one period, then compacts every interval to what was current then", () => {
  const short = bench({ mode: "periodic", retentionMs: 10 * MINUTE_MS });
  pass(short, 35);
  expect(short.asked).toEqual(["10: 1", "20: 10", "30: 20"]);
  const long = bench({ mode: "periodic", retentionMs: 120 * MINUTE_MS });
  pass(long, 310);
  expect(long.asked).toEqual(["120: 1", "180: 60", "240: 120", "300: 180"]);
});

test("periodic: samples as a follower, compacts as a leader", () => {
  const state = bench({ mode: "periodic", retentionMs: 10 * MINUTE_MS });
  state.isLeader = false;
  pass(state, 25);
  expect(state.asked).toEqual([]);
  state.isLeader = true;
  pass(state, 1);
  expect(state.asked).toEqual(["26: 16"]);
});

test("periodic: a failure is tried again at the next sample, a compacted revision is done", () => {
  const state = bench({ mode: "periodic", retentionMs: 10 * MINUTE_MS });
  state.answer = SERVER_ERRORS.timeout;
  pass(state, 12);
  expect(state.asked).toEqual(["10: 1", "11: 1", "12: 2"]);
  state.answer = SERVER_ERRORS.compacted;
  pass(state, 10);
  expect(state.asked).toEqual(["10: 1", "11: 1", "12: 2", "13: 3"]);
});

test("revision: keeps the newest revisions, every five minutes", () => {
  const state = bench({ mode: "revision", retentionRevisions: 8 });
  pass(state, 21);
  // Revision r stands in minute r - 1 when the compactor looks.
  expect(state.asked).toEqual(["10: 2", "15: 7", "20: 12"]);
  state.isLeader = false;
  pass(state, 10);
  expect(state.asked).toHaveLength(3);
});

test("a member compacts by itself", async () => {
  const member = new MemberFixture({
    config: { autoCompaction: { mode: "periodic", retentionMs: 10_000 } },
  });
  await member.start();
  for (let second = 0; second < 25; second++) {
    await member.put("k", `${second}`);
    await member.clock.advanceSettled(1000);
  }
  const { revision } = await member.range("k").then(({ header }) => header!);
  expect(revision).toBe(26);
  expect(member.server.store.compactRevision).toBeGreaterThan(5);
  expect(member.server.store.compactRevision).toBeLessThan(16);
  await member.stop();
});
