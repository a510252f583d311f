/**
 * Which pages a writer may take, and which wait for readers.
 *
 * A page taken by transaction `a` and given up by transaction `f` is part of the states a..f-1. It
 * may be taken again once `f` is committed and no reader of such a state is open.
 *
 * Invariants:
 * - A page is free, pending once, or in use: giving up a page twice is refused.
 */

import { invariant } from "@etcd-ts/base";
import { FIRST_DATA_PAGE } from "./format.ts";
import { PageSet } from "./page-set.ts";

/** Run lengths for which the search remembers where to begin. */
const HINTED_RUN_MAX = 32;

/** Pages given up by one transaction: triples of first page, count, and taken-by txid. */
interface PendingGroup {
  readonly txid: number;
  runs: number[];
}

export class Freelist {
  readonly #free: PageSet;
  readonly #pending: PageSet;
  #freeCount = 0;
  #pendingCount = 0;
  /** Groups seen by a release since which no reader has ended: looking again is in vain. */
  #held: PendingGroup[] = [];
  #fresh: PendingGroup[] = [];
  /** Who took a page, while readers are open that do not have it; by first page. */
  readonly #takenBy = new Map<number, number>();
  /** The first pages in `#takenBy` by who took them, oldest first. */
  #takers: { readonly txid: number; readonly firstPages: number[] }[] = [];
  /** Pairs of first page and count taken by the open writer, for rollback. */
  #taken: number[] = [];
  /** No run of `n` free pages begins below `#hints[n]`. */
  readonly #hints = new Int32Array(HINTED_RUN_MAX + 1).fill(FIRST_DATA_PAGE);
  /** The lowest page freed since the hints were set. */
  #lowestFreed = Infinity;

  constructor(pages: number) {
    this.#free = new PageSet(pages);
    this.#pending = new PageSet(pages);
  }

  get freeCount(): number {
    return this.#freeCount;
  }

  get pendingCount(): number {
    return this.#pendingCount;
  }

  isFree(page: number): boolean {
    return this.#free.has(page);
  }

  /** Makes a run free that is neither free nor pending. */
  addFree(first: number, count: number): void {
    for (let page = first; page < first + count; page++) {
      invariant(!this.#free.has(page), () => `addFree: page ${page} is free already`);
      this.#free.add(page);
    }
    this.#freeCount += count;
    this.#lowestFreed = Math.min(this.#lowestFreed, first);
  }

  /**
   * Takes the lowest run of `count` free pages.
   *
   * @param recordTaker - readers are open: remember that they do not need it
   * @returns its first page; undefined if there is none
   */
  take(count: number, txid: number, recordTaker: boolean): number | undefined {
    if (this.#freeCount < count) return undefined;
    this.#lowerHints();
    const isHinted = count <= HINTED_RUN_MAX;
    const first = this.#findRun(count, isHinted ? this.#hints[count]! : FIRST_DATA_PAGE);
    if (isHinted) this.#hints[count] = first === undefined ? 2 ** 31 - 1 : first + count;
    if (first === undefined) return undefined;
    for (let page = first; page < first + count; page++) this.#free.delete(page);
    this.#freeCount -= count;
    this.noteTaken(first, count, txid, recordTaker);
    return first;
  }

  /** Records a run taken from above the high-water mark. */
  noteTaken(first: number, count: number, txid: number, recordTaker: boolean): void {
    this.#taken.push(first, count);
    if (!recordTaker) return;
    this.#takenBy.set(first, txid);
    const newest = this.#takers.at(-1);
    if (newest?.txid === txid) newest.firstPages.push(first);
    else this.#takers.push({ txid, firstPages: [first] });
  }

  /**
   * Gives up a run as of transaction `txid`.
   *
   * @returns a page of it that was not in use, in which case nothing has changed
   */
  give(first: number, count: number, txid: number): number | undefined {
    for (let page = first; page < first + count; page++) {
      if (this.#free.has(page) || this.#pending.has(page)) return page;
    }
    let group = this.#fresh.at(-1);
    if (group === undefined || group.txid !== txid) {
      group = { txid, runs: [] };
      this.#fresh.push(group);
    }
    for (let page = first; page < first + count; page++) this.#pending.add(page);
    group.runs.push(first, count, this.#takenBy.get(first) ?? 0);
    this.#takenBy.delete(first);
    this.#pendingCount += count;
    return undefined;
  }

  /**
   * Frees what no reader needs any more. Every pending group must be committed.
   *
   * @param readers - txids of the open readers
   * @param readersEnded - a reader has ended since the last call
   */
  release(readers: readonly number[], readersEnded: boolean): void {
    this.#forgetTakers(Math.min(...readers));
    const looked = readersEnded ? [...this.#held, ...this.#fresh] : this.#fresh;
    const kept: PendingGroup[] = [];
    for (const group of looked) {
      this.#releaseGroup(group, readers);
      if (group.runs.length > 0) kept.push(group);
    }
    if (readersEnded) this.#held = kept;
    else this.#held.push(...kept);
    this.#fresh = [];
  }

  /** Ends the open writer: what it took stays taken. */
  commit(): void {
    this.#taken = [];
  }

  /** Undoes all the open writer took and gave up; pages from `highWater` on are gone. */
  rollback(txid: number, highWater: number): void {
    const group = this.#fresh.at(-1);
    if (group?.txid === txid) {
      this.#fresh.pop();
      for (let i = 0; i < group.runs.length; i += 3) {
        this.#unpend(group.runs, i);
        const takenBy = group.runs[i + 2]!;
        if (takenBy > 0) this.#takenBy.set(group.runs[i]!, takenBy);
      }
    }
    for (let i = 0; i < this.#taken.length; i += 2) {
      const first = this.#taken[i]!;
      const count = this.#taken[i + 1]!;
      this.#takenBy.delete(first);
      if (first < highWater) this.addFree(first, count);
    }
    this.#taken = [];
  }

  /**
   * Calls `visit` for each page below `highWater` that is no part of the state `txid`, the last
   * committed one: free, pending, or taken by the open writer. In no order.
   */
  forEachUnused(txid: number, highWater: number, visit: (page: number) => void): void {
    const runs: number[] = [...this.#taken];
    for (const group of [...this.#held, ...this.#fresh]) {
      if (group.txid > txid) continue;
      for (let i = 0; i < group.runs.length; i += 3) {
        runs.push(group.runs[i]!, group.runs[i + 1]!);
      }
    }
    for (let i = 0; i < runs.length; i += 2) {
      const end = Math.min(runs[i]! + runs[i + 1]!, highWater);
      for (let page = runs[i]!; page < end; page++) visit(page);
    }
    for (let page = this.#free.next(0); page < highWater; page = this.#free.next(page + 1)) {
      visit(page);
    }
  }

  /** Ids of free and pending pages in order: what a stored freelist holds. */
  sortedIDs(): Uint32Array {
    const ids = new Uint32Array(this.#freeCount + this.#pendingCount);
    let count = 0;
    for (const set of [this.#free, this.#pending]) {
      for (let page = set.next(0); page < set.limit; page = set.next(page + 1)) {
        ids[count++] = page;
      }
    }
    return ids.sort();
  }

  /** All open readers have the pages that transactions up to `oldestReader` took. */
  #forgetTakers(oldestReader: number): void {
    let known = 0;
    for (const { txid, firstPages } of this.#takers) {
      if (txid > oldestReader) break;
      known++;
      for (const page of firstPages)
        if (this.#takenBy.get(page) === txid) this.#takenBy.delete(page);
    }
    if (known > 0) this.#takers = this.#takers.slice(known);
  }

  #releaseGroup(group: PendingGroup, readers: readonly number[]): void {
    const { runs, txid } = group;
    const kept: number[] = [];
    for (let i = 0; i < runs.length; i += 3) {
      const takenBy = runs[i + 2]!;
      if (readers.some((reader) => reader >= takenBy && reader < txid)) {
        kept.push(runs[i]!, runs[i + 1]!, takenBy);
        continue;
      }
      this.#unpend(runs, i);
      this.addFree(runs[i]!, runs[i + 1]!);
    }
    group.runs = kept;
  }

  #unpend(runs: readonly number[], i: number): void {
    const end = runs[i]! + runs[i + 1]!;
    for (let page = runs[i]!; page < end; page++) this.#pending.delete(page);
    this.#pendingCount -= runs[i + 1]!;
  }

  /** A run of `n` may now begin up to `n - 1` pages below what was freed. */
  #lowerHints(): void {
    if (this.#lowestFreed === Infinity) return;
    for (let n = 1; n <= HINTED_RUN_MAX; n++) {
      const start = Math.max(FIRST_DATA_PAGE, this.#lowestFreed - n + 1);
      if (start < this.#hints[n]!) this.#hints[n] = start;
    }
    this.#lowestFreed = Infinity;
  }

  /** First page of the lowest run of `count` free pages from `from` on. */
  #findRun(count: number, from: number): number | undefined {
    const free = this.#free;
    for (let page = free.next(from); page < free.limit;) {
      const end = free.next(page, false);
      if (end - page >= count) return page;
      page = free.next(end);
    }
    return undefined;
  }
}
