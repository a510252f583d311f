import { SeededRandom, randomBelow } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Freelist } from "./freelist.ts";

/** Sets of pages that make up states, and a freelist beside them. */
class Simulation {
  readonly freelist = new Freelist(2);
  readonly random: SeededRandom;
  highWater = 2;
  txid = 0;
  current = new Set<number>();
  /** The current pages as they were taken: first page and count. */
  runs = new Map<number, number>();
  readers: { readonly txid: number; readonly pages: ReadonlySet<number> }[] = [];
  readersEnded = false;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  begin(): void {
    const txids = this.readers.map((reader) => reader.txid);
    this.freelist.release(txids, this.readersEnded);
    this.readersEnded = false;
    for (let page = 2; page < this.highWater; page++) {
      const isNeeded =
        this.current.has(page) || this.readers.some((reader) => reader.pages.has(page));
      if (this.freelist.isFree(page) === isNeeded) {
        throw new Error(`page ${page} is ${isNeeded ? "needed and free" : "neither"}`);
      }
    }
  }

  write(isCommitted: boolean): void {
    this.begin();
    const txid = this.txid + 1;
    const next = new Set(this.current);
    const highWater = this.highWater;
    const nextRuns = new Map(this.runs);
    for (const [first, count] of this.runs) {
      if (randomBelow(this.random, 3) > 0) continue;
      expect(this.freelist.give(first, count, txid)).toBeUndefined();
      expect(this.freelist.give(first, count, txid)).toBe(first);
      for (let page = first; page < first + count; page++) next.delete(page);
      nextRuns.delete(first);
    }
    const runs = randomBelow(this.random, 8);
    for (let i = 0; i < runs; i++) {
      const count = 1 + randomBelow(this.random, 4);
      nextRuns.set(this.take(count, txid, next), count);
    }
    if (!isCommitted) {
      this.freelist.rollback(txid, highWater);
      this.highWater = highWater;
      return;
    }
    this.freelist.commit();
    this.current = next;
    this.runs = nextRuns;
    this.txid = txid;
  }

  take(count: number, txid: number, next: Set<number>): number {
    const expected = this.lowestRun(count);
    const hasReaders = this.readers.length > 0;
    let first = this.freelist.take(count, txid, hasReaders);
    expect(first).toBe(expected);
    if (first === undefined) {
      first = this.highWater;
      this.highWater += count;
      this.freelist.noteTaken(first, count, txid, hasReaders);
    }
    for (let page = first; page < first + count; page++) {
      const isRead = this.readers.some((reader) => reader.pages.has(page));
      if (isRead || this.current.has(page)) throw new Error(`page ${page} is in use`);
      next.add(page);
    }
    return first;
  }

  lowestRun(count: number): number | undefined {
    let length = 0;
    for (let page = 2; page < this.highWater; page++) {
      length = this.freelist.isFree(page) ? length + 1 : 0;
      if (length === count) return page - count + 1;
    }
    return undefined;
  }
}

describe("Freelist", () => {
  test("frees what no state needs, and nothing else", () => {
    const steps = fc.array(fc.nat(9), { size: "max", maxLength: 60 });
    fc.assert(
      fc.property(fc.nat(), steps, (seed, program) => {
        const simulation = new Simulation(seed);
        for (const step of program) {
          const { readers, random } = simulation;
          if (step < 2) readers.push({ txid: simulation.txid, pages: simulation.current });
          else if (step < 4 && readers.length > 0) {
            const [ended] = readers.splice(randomBelow(random, readers.length), 1);
            simulation.readersEnded ||= readers.every((reader) => reader.txid !== ended!.txid);
          } else simulation.write(step < 9);
          const { freelist, highWater, current } = simulation;
          expect(freelist.freeCount + freelist.pendingCount + current.size).toBe(highWater - 2);
          const unused = new Set<number>();
          freelist.forEachUnused(simulation.txid, highWater, (page) => unused.add(page));
          expect(unused.size).toBe(highWater - 2 - current.size);
          expect([...freelist.sortedIDs()]).toEqual([...unused].sort((a, b) => a - b));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("take() finds runs across the words of its bitmap", () => {
    const freelist = new Freelist(1000);
    freelist.addFree(30, 5);
    freelist.addFree(60, 100);
    expect(freelist.take(6, 1, false)).toBe(60);
    expect(freelist.take(5, 1, false)).toBe(30);
    expect(freelist.take(94, 1, false)).toBe(66);
    expect(freelist.take(1, 1, false)).toBeUndefined();
    expect(freelist.freeCount).toBe(0);
  });

  test("addFree() refuses a page that is free", () => {
    const freelist = new Freelist(10);
    freelist.addFree(4, 2);
    expect(() => freelist.addFree(5, 1)).toThrow("page 5 is free already");
  });
});
