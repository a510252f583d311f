/** The log and its unstable tail, against a plain array of entries. */

import { NULL_LOGGER } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Unstable } from "./log-unstable.ts";
import { RaftLog } from "./log.ts";
import { MemoryStorage } from "./memory-storage.ts";
import type { Entry, Snapshot } from "./raftpb/types.ts";
import { EMPTY_CONF_STATE } from "./raftpb/types.ts";
import { countedSizeBytes } from "./storage.ts";

const UNBOUNDED = Number.POSITIVE_INFINITY;

function newEntry(index: number, term: number, bytes = 0): Entry {
  return { type: "EntryNormal", term, index, data: new Uint8Array(bytes) };
}

function entriesFrom(index: number, ...terms: number[]): Entry[] {
  return terms.map((term, i) => newEntry(index + i, term));
}

function snapshotAt(index: number, term: number): Snapshot {
  return { data: new Uint8Array(0), metadata: { confState: EMPTY_CONF_STATE, index, term } };
}

describe("Unstable", () => {
  test("truncateAndAppend() refuses a gap", () => {
    const unstable = new Unstable(5, NULL_LOGGER);
    expect(() => unstable.truncateAndAppend(entriesFrom(6, 1))).toThrow("gap before 6");
    expect(() => unstable.truncateAndAppend([newEntry(5, 1), newEntry(7, 1)])).toThrow(
      "7 at the place of 6",
    );
  });

  test("stableTo() keeps what has been replaced meanwhile", () => {
    const unstable = new Unstable(5, NULL_LOGGER);
    unstable.truncateAndAppend(entriesFrom(5, 1, 1));
    unstable.acceptInProgress();
    unstable.truncateAndAppend(entriesFrom(6, 2));
    unstable.stableTo(6, 1);
    expect([unstable.offset, unstable.length]).toEqual([5, 2]);
    expect(unstable.nextEntries().map(({ term }) => term)).toEqual([2]);
    unstable.stableTo(5, 1);
    expect([unstable.offset, unstable.offsetInProgress]).toEqual([6, 6]);
  });

  test("the tail never has gaps, whatever a leader sends and the disk acknowledges", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("append" as const), back: fc.nat(6), count: fc.nat(5) }),
      fc.record({ kind: fc.constant("stable" as const), at: fc.nat(8), isStale: fc.boolean() }),
      fc.record({ kind: fc.constant("accept" as const) }),
      fc.record({ kind: fc.constant("restore" as const), ahead: fc.nat(5) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const unstable = new Unstable(10, NULL_LOGGER);
        let term = 1;
        for (const one of steps) {
          const end = unstable.offset + unstable.length;
          switch (one.kind) {
            case "append": {
              const terms = Array.from({ length: one.count + 1 }, () => term);
              unstable.truncateAndAppend(entriesFrom(Math.max(1, end - one.back), ...terms));
              term++;
              break;
            }
            case "stable": {
              const index = unstable.offset + one.at;
              const known = unstable.maybeTerm(index) ?? 0;
              unstable.stableTo(index, one.isStale ? known + 1 : known);
              break;
            }
            case "accept":
              unstable.acceptInProgress();
              expect(unstable.hasNextEntries()).toBe(false);
              break;
            case "restore":
              unstable.restore(snapshotAt(end + one.ahead, term));
              expect(unstable.nextSnapshot()).toBeDefined();
              break;
          }
          const { offset, offsetInProgress, length } = unstable;
          expect(offsetInProgress).toBeGreaterThanOrEqual(offset);
          expect(offsetInProgress).toBeLessThanOrEqual(offset + length);
          unstable
            .slice(offset, offset + length)
            .forEach((entry, i) => expect(entry.index).toBe(offset + i));
          expect(unstable.nextEntries().length).toBe(offset + length - offsetInProgress);
        }
      }),
    );
  });
});

/** A log whose entries 1..stored lie in storage and the others in the tail. */
function logWith(terms: readonly number[], stored: number, maxApplyingBytes = UNBOUNDED): RaftLog {
  const storage = new MemoryStorage();
  storage.append(entriesFrom(1, ...terms.slice(0, stored)));
  const log = new RaftLog(storage, NULL_LOGGER, maxApplyingBytes);
  log.append(entriesFrom(stored + 1, ...terms.slice(stored)));
  return log;
}

const rising = fc.array(fc.nat(2), { minLength: 1, maxLength: 12 }).map((steps) => {
  let term = 1;
  return steps.map((step) => (term += step));
});

describe("RaftLog", () => {
  test("slice() equals the array, wherever the disk ends and whatever the bound", () => {
    fc.assert(
      fc.property(
        rising,
        fc.nat(12),
        fc.nat(13),
        fc.nat(13),
        fc.nat(60),
        (terms, cut, a, b, max) => {
          const stored = Math.min(cut, terms.length);
          const log = logWith(terms, stored);
          const lo = 1 + Math.min(a, b, terms.length);
          const hi = 1 + Math.min(Math.max(a, b), terms.length);
          const all = entriesFrom(1, ...terms).slice(lo - 1, hi - 1);
          expect(log.slice(lo, hi, UNBOUNDED)).toEqual(all);
          const bounded = log.slice(lo, hi, max)!;
          expect(bounded).toEqual(all.slice(0, bounded.length));
          const sizeOf = (entries: readonly Entry[]): number =>
            entries.reduce((sum, entry) => sum + countedSizeBytes(entry), 0);
          if (all.length > 0) expect(bounded.length).toBeGreaterThan(0);
          if (bounded.length > 1) expect(sizeOf(bounded)).toBeLessThanOrEqual(max);
          if (bounded.length < all.length) {
            expect(sizeOf(all.slice(0, bounded.length + 1))).toBeGreaterThan(max);
          }
        },
      ),
    );
  });

  test("maybeAppend() makes the follower's log the leader's, and cuts only what differs", () => {
    fc.assert(
      fc.property(
        rising,
        rising,
        fc.nat(12),
        fc.nat(12),
        fc.nat(12),
        (ours, theirs, shared, from, cut) => {
          // Two logs with a common beginning, whose terms differ behind it.
          const common = ours.slice(0, Math.min(shared, ours.length));
          const base = common.at(-1) ?? 0;
          const leader = [...common, ...theirs.map((term) => base + 2 * term)];
          const follower = [
            ...common,
            ...ours.slice(common.length).map((term) => base + 2 * term + 1),
          ];
          const log = logWith(follower, Math.min(cut, follower.length));
          const start = Math.min(from, leader.length);
          const previous = { index: start, term: leader[start - 1] ?? 0 };
          const entries = entriesFrom(start + 1, ...leader.slice(start));
          const last = log.maybeAppend(previous, entries, leader.length);
          const before = start === 0 || follower[start - 1] === leader[start - 1];
          expect(last !== undefined).toBe(before);
          const terms = log.slice(1, log.lastIndex() + 1, UNBOUNDED)!.map(({ term }) => term);
          if (last === undefined) {
            expect(terms).toEqual(follower);
            return;
          }
          expect(last).toBe(leader.length);
          expect(terms.slice(0, leader.length)).toEqual(leader);
          expect(log.committed).toBe(leader.length);
        },
      ),
    );
  });

  test("maybeAppend() stops the member rather than replace a committed entry", () => {
    const log = logWith([1, 1, 1], 1);
    log.commitTo(2);
    expect(() => log.maybeAppend({ index: 1, term: 1 }, entriesFrom(2, 2), 0)).toThrow(
      "entry 2 conflict with committed entry [committed(2)]",
    );
    expect(() => log.commitTo(4)).toThrow(
      "tocommit(4) is out of range [lastIndex(3)]. Was the raft log corrupted, truncated, or lost?",
    );
  });

  test("findConflictByTerm() is the last entry at or below the index with no higher term", () => {
    fc.assert(
      fc.property(rising, fc.nat(12), fc.nat(40), (terms, at, term) => {
        const log = logWith(terms, 0);
        const index = Math.min(at, terms.length);
        let expected = index;
        while (expected > 0 && terms[expected - 1]! > term) expected--;
        expect(log.findConflictByTerm(index, term)).toEqual({
          index: expected,
          term: expected === 0 ? 0 : terms[expected - 1],
        });
      }),
    );
  });

  test("findConflictByTerm() assumes agreement where the term is compacted away", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotAt(10, 3));
    const log = new RaftLog(storage, NULL_LOGGER, UNBOUNDED);
    expect(log.findConflictByTerm(10, 2)).toEqual({ index: 9, term: 0 });
    expect(log.slice(5, 11, UNBOUNDED)).toBeUndefined();
  });

  test("nextCommittedEntries() hands out pages within the bound, each once and in order", () => {
    const page = fc.integer({ min: 1, max: 60 });
    fc.assert(
      fc.property(rising, page, fc.boolean(), fc.nat(12), (terms, max, allowUnstable, cut) => {
        const stored = Math.min(cut, terms.length);
        const log = logWith(terms, stored, max);
        log.commitTo(terms.length);
        const end = allowUnstable ? terms.length : stored;
        const seen: number[] = [];
        while (log.hasNextCommittedEntries(allowUnstable)) {
          const entries = log.nextCommittedEntries(allowUnstable);
          const bytes = entries.reduce((sum, entry) => sum + countedSizeBytes(entry), 0);
          if (entries.length > 1) expect(bytes).toBeLessThanOrEqual(max);
          seen.push(...entries.map(({ index }) => index));
          log.acceptApplying(entries.at(-1)!.index, bytes, allowUnstable);
          if (seen.length < end) expect(log.hasNextCommittedEntries(allowUnstable)).toBe(false);
          log.appliedTo(entries.at(-1)!.index, bytes);
        }
        expect(seen).toEqual(Array.from({ length: end }, (_, i) => i + 1));
      }),
    );
  });

  test("restore() puts the snapshot before any entry", () => {
    const log = logWith([1, 1], 2);
    log.restore(snapshotAt(9, 4));
    expect([log.firstIndex(), log.lastIndex(), log.committed]).toEqual([10, 9, 9]);
    expect(log.hasNextCommittedEntries(true)).toBe(false);
    expect(log.lastEntryID()).toEqual({ index: 9, term: 4 });
    log.acceptUnstable();
    expect(log.nextUnstableSnapshot()).toBeUndefined();
    log.stableSnapshotTo(9);
    expect(log.hasNextOrInProgressSnapshot()).toBe(false);
  });

  test("hasUnappliedConfChange() looks at all that is committed and not applied", () => {
    const storage = new MemoryStorage();
    const log = new RaftLog(storage, NULL_LOGGER, 1);
    log.append([newEntry(1, 1), newEntry(2, 1), { ...newEntry(3, 1), type: "EntryConfChange" }]);
    log.commitTo(2);
    expect(log.hasUnappliedConfChange()).toBe(false);
    log.commitTo(3);
    expect(log.hasUnappliedConfChange()).toBe(true);
    log.appliedTo(3, 0);
    expect(log.hasUnappliedConfChange()).toBe(false);
  });
});
