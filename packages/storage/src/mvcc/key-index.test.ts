import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TickingClock } from "../../compliance/harness.ts";
import { bytesFromLatin1, EMPTY_BYTES, latin1FromBytes } from "@etcd-ts/base";
import { BLOCK_KEYS_MAX, KeyIndex, Located } from "./key-index.ts";
import { KeyIndexBuilder } from "./key-index-builder.ts";
import { NO_SLOT } from "./key-table.ts";

const bytes = bytesFromLatin1;

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
  let begin: Uint8Array | undefined = EMPTY_BYTES;
  while (begin !== undefined) begin = index.compactSome(begin, revision, 1);
}

function expectEqual(index: KeyIndex, naive: NaiveIndex, oldest: number, newest: number): void {
  index.verify();
  const keys = [...naive.histories.keys()].toSorted();
  const visited: string[] = [];
  const found = new Located();
  index.visit(EMPTY_BYTES, undefined, (slot) => {
    const key = latin1FromBytes(index.keyOf(slot));
    visited.push(key);
    for (let revision = oldest; revision <= newest; revision++) {
      const isFound = index.locate(slot, revision, found);
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
            const slot = index.tombstone(bytes(key), main, 0);
            expect(slot !== NO_SLOT).toBe(naive.tombstone(key, main, 0));
            expect(slot).toBe(slot === NO_SLOT ? NO_SLOT : index.find(bytes(key)));
          } else {
            const before = index.find(bytes(key));
            const createdBefore = before === NO_SLOT ? 0 : index.createRevision(before);
            const slot = index.put(bytes(key), main, 0);
            naive.put(key, main, 0);
            const version = index.version(slot);
            expect(index.createRevision(slot)).toBe(version === 1 ? main : createdBefore);
            if (compacted === 0) expect(version).toBe(versionOf(naive, key));
          }
        }
        expectEqual(index, naive, compacted, main);
      }),
      { numRuns: 150 },
    );
  });

  test("countLive() equals what a visit counts, over many blocks", () => {
    const keyOf = (n: number) => Uint8Array.of(n >> 8, n & 255);
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
            expect(index.find(keyOf(n))).not.toBe(NO_SLOT);
          }
          compactAll(index, main - 100);
          index.verify();
          for (const [from, to] of ranges) {
            const end = to === null ? undefined : keyOf(to);
            let count = 0;
            index.visit(keyOf(from), end, (slot) => {
              if (index.isLive(slot)) count++;
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
    for (let i = 0; i < keys; i++) index.put(bytes(String(i).padStart(6, "0")), i + 2, 0);
    index.verify();
    expect(index.live).toBe(keys);
    expect(index.countLive(EMPTY_BYTES, undefined)).toBe(keys);
  });

  test("KeyIndexBuilder makes the index that the same changes one by one make", async () => {
    const clock = new TickingClock();
    const changes = fc.array(fc.tuple(fc.nat(9000), fc.boolean()), {
      minLength: 3000,
      maxLength: 9000,
    });
    await fc.assert(
      fc.asyncProperty(changes, async (list) => {
        const keyOf = (n: number) => bytes(String((n * 7919) % 9001));
        const index = new KeyIndex();
        const builder = new KeyIndexBuilder(undefined, 700);
        for (const [i, [n, isPut]] of list.entries()) {
          const key = keyOf(n);
          if (isPut) {
            const slot = index.put(key, i + 2, 0);
            const [created, version] = [index.createRevision(slot), index.version(slot)];
            builder.add(key, 0, key.length, i + 2, 0, created, version);
          } else if (index.tombstone(key, i + 2, 0) !== NO_SLOT) {
            builder.add(key, 0, key.length, i + 2, 0, 0, 0);
          }
        }
        const built = await clock.until(builder.build(clock));
        built.verify();
        expect([built.size, built.live]).toEqual([index.size, index.live]);
        const entries = (each: KeyIndex) => {
          const seen: unknown[] = [];
          const found = new Located();
          each.visit(EMPTY_BYTES, undefined, (slot) => {
            seen.push(latin1FromBytes(each.keyOf(slot)), each.createRevision(slot));
            for (let revision = 0; revision < list.length + 2; revision += 301) {
              seen.push(each.locate(slot, revision, found) ? { ...found } : undefined);
            }
            seen.push(each.version(slot));
            return true;
          });
          return seen;
        };
        expect(entries(built)).toEqual(entries(index));
        built.put(bytes("a"), list.length + 2, 0);
        built.put(EMPTY_BYTES, list.length + 2, 1);
        built.verify();
      }),
      { numRuns: 4 },
    );
    const empty = await clock.until(new KeyIndexBuilder().build(clock));
    empty.put(bytes("a"), 2, 0);
    empty.verify();
  });

  test("put() splits a full block wherever the new key falls", () => {
    const keyOf = (i: number) => bytes(String(i).padStart(6, "0"));
    for (let place = 0; place <= BLOCK_KEYS_MAX; place++) {
      const index = new KeyIndex();
      for (let i = 0; i < BLOCK_KEYS_MAX; i++) index.put(keyOf(2 * i + 1), i + 2, 0);
      index.put(keyOf(2 * place), 1000, 0);
      index.verify();
      expect(index.createRevision(index.find(keyOf(2 * place)))).toBe(1000);
      expect(index.countLive(EMPTY_BYTES, undefined)).toBe(BLOCK_KEYS_MAX + 1);
    }
  });

  test("put() refuses a revision that is not above the key's", () => {
    const index = new KeyIndex();
    index.put(bytes("a"), 5, 1);
    expect(() => index.put(bytes("a"), 5, 1)).toThrow("5.1 is not above 5.1");
  });

  test("compactSome() drops empty blocks and keeps the rest in order", () => {
    const index = new KeyIndex();
    const keys = BLOCK_KEYS_MAX * 4;
    const keyOf = (i: number) => bytes(String(i).padStart(6, "0"));
    for (let i = 0; i < keys; i++) index.put(keyOf(i), i + 2, 0);
    for (let i = 0; i < keys; i++) if (i % 100 !== 0) index.tombstone(keyOf(i), keys + 2, i);
    compactAll(index, keys + 3);
    index.verify();
    expect(index.size).toBe(Math.ceil(keys / 100));
    index.put(bytes("zzz"), keys + 4, 0);
    index.put(EMPTY_BYTES, keys + 4, 1);
    index.verify();
  });
});
