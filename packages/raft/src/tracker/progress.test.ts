/** What a leader may conclude of a follower, and when it sends. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Inflights } from "./inflights.ts";
import { Progress } from "./progress.ts";

function newProgress(match: number, next: number): Progress {
  const inflights = new Inflights(3, 0);
  return new Progress({ match, next, isLearner: false, recentActive: true, inflights });
}

const command = fc.oneof(
  fc.record({ kind: fc.constant("ack" as const), index: fc.nat(30) }),
  fc.record({ kind: fc.constant("reject" as const), rejected: fc.nat(30), hint: fc.nat(30) }),
  fc.record({ kind: fc.constant("send" as const), count: fc.nat(3) }),
  fc.record({ kind: fc.constantFrom("probe" as const, "replicate" as const) }),
  fc.record({ kind: fc.constant("snapshot" as const), index: fc.nat(30) }),
);

describe("Progress", () => {
  test("keeps match below next, and never forgets what matches", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const progress = newProgress(0, 1);
        for (const one of commands) {
          const { match } = progress;
          switch (one.kind) {
            case "ack":
              if (progress.maybeUpdate(one.index)) expect(progress.match).toBe(one.index);
              else expect(one.index).toBeLessThanOrEqual(match);
              break;
            case "reject":
              if (progress.maybeDecreaseTo(one.rejected, one.hint)) {
                expect(progress.next).toBeLessThanOrEqual(Math.max(one.rejected, match + 1));
                // As the leader does: what is under way behind the gap counts no more.
                if (progress.state === "replicate") progress.becomeProbe();
              }
              break;
            case "send":
              if (progress.isPaused()) break;
              progress.sentEntries(progress.inflights.isFull() ? 0 : one.count, 10);
              break;
            case "probe":
              progress.becomeProbe();
              break;
            case "replicate":
              progress.becomeReplicate();
              break;
            case "snapshot":
              if (one.index <= match) break;
              progress.becomeSnapshot(one.index);
              expect(progress.next).toBe(one.index + 1);
              expect(progress.isPaused()).toBe(true);
              break;
          }
          expect(progress.match).toBeGreaterThanOrEqual(match);
          expect(progress.match).toBeLessThan(progress.next);
        }
      }),
    );
  });

  test("becomeProbe() goes on behind a snapshot that was sent", () => {
    const progress = newProgress(1, 5);
    progress.becomeSnapshot(10);
    progress.becomeProbe();
    expect(progress.next).toBe(11);
    progress.becomeSnapshot(20);
    progress.pendingSnapshot = 0;
    progress.becomeProbe();
    expect(progress.next).toBe(2);
  });

  test("sentEntries() pauses a probed follower after one message, a streamed one when full", () => {
    const progress = newProgress(0, 1);
    progress.sentEntries(2, 5);
    expect([progress.isPaused(), progress.next]).toEqual([true, 1]);
    progress.becomeReplicate();
    for (let i = 0; i < 3; i++) progress.sentEntries(2, 5);
    expect([progress.isPaused(), progress.next]).toEqual([true, 7]);
  });

  test("canBumpCommit() is false once the follower was told as much as it can take", () => {
    const progress = newProgress(4, 5);
    progress.becomeReplicate();
    expect(progress.canBumpCommit(4)).toBe(true);
    progress.sentCommit(4);
    expect(progress.canBumpCommit(5)).toBe(false);
    progress.sentEntries(1, 1);
    expect(progress.canBumpCommit(5)).toBe(true);
  });

  test("toString() names what holds it up", () => {
    const progress = newProgress(1, 2);
    progress.becomeSnapshot(7);
    progress.isLearner = true;
    progress.recentActive = false;
    expect(progress.toString()).toBe(
      "StateSnapshot match=1 next=8 learner paused pendingSnap=7 inactive",
    );
  });
});
