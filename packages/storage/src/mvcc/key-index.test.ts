import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TickingClock } from "../../compliance/harness.ts";
import { BLOCK_KEYS_MAX, KeyIndex, Located } from "./key-index.ts";
import { KeyIndexBuilder } from "./key-index-builder.ts";

/** The same history, kept as plain lists. */
class NaiveIndex {
  readonly histories = new Map<string, { main: number; sub: number; isTombstone: boolean }[]>();

  put(key: string, main: number, sub: number): void {
    const history = this.histories.get(key) ?? [];
    history.push({ main, sub, isTombstone: false });
    this.histories.set(key, history);
  }

  tombstone(key: string, main: number, sub: number): boolean {
    const history = this.histories.get(key);
    if (history === undefined || history.at(-1)!.isTombstone) return false;
    history.push({ main, sub, isTombstone: true });
    return true;
  }

  at(key: string, revision: number) {
    return this.histories.get(key)?.findLast((change) => change.main <= revision);
  }

  compact(revision: number): void {
    for (const [key, history] of this.histories) {
      const last = history.findLastIndex((change) => change.main <= revision);
      if (last < 0) continue;
      const isGone = history[last]!.isTombstone && history[last]!.main < revision;
      history.splice(0, isGone ? last + 1 : last);
      if (history.length === 0) this.histories.delete(key);
    }
  }
}

/** As a put must count: the puts of the newest generation. */
function versionOf(naive: NaiveIndex, key: string): number {
  const history = naive.histories.get(key)!;
  return history.length - 1 - history.findLastIndex((change) => change.isTombstone);
}

function compactAll(index: KeyIndex, revision: number): void {
  let begin: string | undefined = "";
  while (begin !== undefined) begin = index.compactSome(begin, revision, 1);
}

function expectEqual(index: KeyIndex, naive: NaiveIndex, oldest: number, newest: number): void {
  index.verify();
  const keys = [...naive.histories.keys()].toSorted();
  const visited: string[] = [];
  const found = new Located();
  index.visit("", undefined, (key, record) => {
    visited.push(key);
    for (let revision = oldest; revision <= newest; revision++) {
      const isFound = index.locate(record, revision, found);
      const expected = naive.at(key, revision);
      expect(isFound ? { ...found } : undefined).toEqual(expected);
    }
    return true;
  });
  expect(visited).toEqual(keys);
  expect(index.size).toBe(keys.length);
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("put" as const), key: fc.nat(30) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("delete" as const), key: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.nat(8) }) },
);

describe("KeyIndex", () => {
  test("answers as a plain list of changes does, compactions included", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const index = new KeyIndex();
        const naive = new NaiveIndex();
        let main = 1;
        let compacted = 0;
        for (const next of steps) {
          if (next.kind === "compact") {
            compacted = Math.max(compacted, main - next.back);
            compactAll(index, compacted);
            naive.compact(compacted);
            continue;
          }
          const key = `key-${next.key}`;
          main++;
          if (next.kind === "delete") {
            expect(index.tombstone(key, main, 0)).toBe(naive.tombstone(key, main, 0));
          } else {
            const createdBefore = index.find(key)?.createRevision ?? 0;
            const record = index.put(key, main, 0);
            naive.put(key, main, 0);
            if (record.version === 1) expect(record.createRevision).toBe(main);
            else expect(record.createRevision).toBe(createdBefore);
            if (compacted === 0) expect(record.version).toBe(versionOf(naive, key));
          }
        }
        expectEqual(index, naive, compacted, main);
      }),
      { numRuns: 150 },
    );
  });

  test("countLive() equals what a visit counts, over many blocks", () => {
    const keyOf = (n: number) => String.fromCharCode(n >> 8, n & 255);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(4000), fc.boolean()), { maxLength: 3000, minLength: 1000 }),
        fc.array(fc.tuple(fc.nat(4000), fc.option(fc.nat(4000))), { minLength: 5, maxLength: 5 }),
        (changes, ranges) => {
          const index = new KeyIndex();
          let main = 1;
          for (const [n, isPut] of changes) {
            main++;
            if (isPut) index.put(keyOf(n), main, 0);
            else index.tombstone(keyOf(n), main, 0);
          }
          index.verify();
          for (const [n] of changes.filter(([, isPut]) => isPut)) {
            expect(index.find(keyOf(n))).toBeDefined();
          }
          compactAll(index, main - 100);
          index.verify();
          for (const [from, to] of ranges) {
            const end = to === null ? undefined : keyOf(to);
            let count = 0;
            index.visit(keyOf(from), end, (_key, record) => {
              if (record.version > 0) count++;
              return true;
            });
            expect(index.countLive(keyOf(from), end)).toBe(count);
          }
        },
      ),
      { numRuns: 20 },
    );
  });

  test("put() in ascending order fills the blocks", () => {
    const index = new KeyIndex();
    const keys = BLOCK_KEYS_MAX * 3;
    for (let i = 0; i < keys; i++) index.put(String(i).padStart(6, "0"), i + 2, 0);
    index.verify();
    expect(index.live).toBe(keys);
    expect(index.countLive("", undefined)).toBe(keys);
  });

  test("KeyIndexBuilder makes the index that the same changes one by one make", async () => {
    const clock = new TickingClock();
    const changes = fc.array(fc.tuple(fc.nat(9000), fc.boolean()), {
      minLength: 3000,
      maxLength: 9000,
    });
    await fc.assert(
      fc.asyncProperty(changes, async (list) => {
        const keyOf = (n: number) => String((n * 7919) % 9001);
        const index = new KeyIndex();
        const builder = new KeyIndexBuilder(700);
        for (const [i, [n, isPut]] of list.entries()) {
          const key = keyOf(n);
          if (isPut) {
            const { createRevision, version } = index.put(key, i + 2, 0);
            builder.add(key, i + 2, 0, createRevision, version);
          } else if (index.tombstone(key, i + 2, 0)) builder.add(key, i + 2, 0, 0, 0);
        }
        const built = await clock.until(builder.build(clock));
        built.verify();
        expect([built.size, built.live]).toEqual([index.size, index.live]);
        const entries = (each: KeyIndex) => {
          const seen: unknown[] = [];
          each.visit("", undefined, (key, record) => {
            seen.push(key, record);
            return true;
          });
          return seen;
        };
        expect(entries(built)).toEqual(entries(index));
        built.put("a", list.length + 2, 0);
        built.put("", list.length + 2, 1);
        built.verify();
      }),
      { numRuns: 4 },
    );
    const empty = await clock.until(new KeyIndexBuilder().build(clock));
    empty.put("a", 2, 0);
    empty.verify();
  });

  test("put() splits a full block wherever the new key falls", () => {
    const keyOf = (i: number) => String(i).padStart(6, "0");
    for (let place = 0; place <= BLOCK_KEYS_MAX; place++) {
      const index = new KeyIndex();
      for (let i = 0; i < BLOCK_KEYS_MAX; i++) index.put(keyOf(2 * i + 1), i + 2, 0);
      index.put(keyOf(2 * place), 1000, 0);
      index.verify();
      expect(index.find(keyOf(2 * place))?.main).toBe(1000);
      expect(index.countLive("", undefined)).toBe(BLOCK_KEYS_MAX + 1);
    }
  });

  test("put() refuses a revision that is not above the key's", () => {
    const index = new KeyIndex();
    index.put("a", 5, 1);
    expect(() => index.put("a", 5, 1)).toThrow("5.1 is not above 5.1");
  });

  test("compactSome() drops empty blocks and keeps the rest in order", () => {
    const index = new KeyIndex();
    const keys = BLOCK_KEYS_MAX * 4;
    const keyOf = (i: number) => String(i).padStart(6, "0");
    for (let i = 0; i < keys; i++) index.put(keyOf(i), i + 2, 0);
    for (let i = 0; i < keys; i++) if (i % 100 !== 0) index.tombstone(keyOf(i), keys + 2, i);
    compactAll(index, keys + 3);
    index.verify();
    expect(index.size).toBe(Math.ceil(keys / 100));
    index.put("zzz", keys + 4, 0);
    index.put("", keys + 4, 1);
    index.verify();
  });
});
