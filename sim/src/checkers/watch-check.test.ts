import { expect, test } from "vitest";

import { RevisionLedger } from "./revision-ledger.ts";
import { WatchCheck } from "./watch-check.ts";
import type { WatchedEvent } from "./watch-check.ts";

/** Revision r puts `a` and `b` to r. */
function history(last: number): RevisionLedger {
  const ledger = new RevisionLedger();
  for (let r = 2; r <= last; r++) {
    ledger.tell(
      r,
      [
        { key: "a", value: `${r}` },
        { key: "b", value: `${r}` },
      ],
      "m1",
    );
  }
  return ledger;
}

function at(revision: number, keys = ["a", "b"]): WatchedEvent[] {
  return keys.map((key) => ({ key, value: `${revision}`, modRevision: revision }));
}

function watch(start = 2): WatchCheck {
  return new WatchCheck("w", () => true, start);
}

test("WatchCheck accepts a watch that keeps its promises, and one that resumes it", () => {
  const first = watch();
  first.take([...at(2), ...at(3)], 3);
  first.take([], 3);
  first.compare(history(5));
  const second = watch(first.resumeRevision);
  second.take([...at(4), ...at(5)], 6);
  second.compare(history(6));
  expect(first.events + second.events).toBe(8);
});

test("WatchCheck: ordered", () => {
  expect(() => watch().take([...at(3), ...at(2)], 3)).toThrow("revision 2 after 3");
});

test("WatchCheck: unique", () => {
  const w = watch();
  w.take(at(2), 2);
  expect(() => w.take(at(2), 2)).toThrow("comes again");
});

test("WatchCheck: reliable", () => {
  const w = watch();
  w.take(at(2), 2);
  w.take(at(4), 4);
  expect(() => w.compare(history(4))).toThrow('revision 3 came as ""');
});

test("WatchCheck: atomic", () => {
  const half = watch();
  half.take(at(2, ["a"]), 2);
  expect(() => half.take(at(2, ["b"]), 2)).toThrow("comes again");
  const part = watch();
  part.take(at(2, ["a"]), 2);
  expect(() => part.compare(history(2))).toThrow('came as "a=2"');
});

test("WatchCheck: resumable", () => {
  const w = watch(4);
  w.take(at(5), 5);
  expect(() => w.compare(history(5))).toThrow("revision 4 came as");
});

test("WatchCheck: bookmarkable", () => {
  const w = watch();
  w.take(at(2), 2);
  w.take([], 4);
  expect(() => w.compare(history(4))).toThrow("revision 3 came as");
});

test("WatchCheck tells of events that never were", () => {
  const w = watch();
  w.take([{ key: "a", value: "other", modRevision: 2 }], 2);
  expect(() => w.compare(history(2))).toThrow("came as");
});
