/**
 * What must be true of every file, in the words of `bbolt check`.
 *
 * - Each page below the high-water mark is reached from the root exactly once, or free, not both;
 *   the meta pages and a stored freelist count as reached.
 * - A tree consists of branch and leaf pages that point to pages below the high-water mark.
 * - Keys grow strictly within a page, and lie within what the branches above say.
 */

import { CorruptionError, compareBytes, hexFromBytes, invariant } from "@etcd-ts/base";
import { openBucketValue } from "./bucket.ts";
import { FIRST_DATA_PAGE } from "./format.ts";
import type { Page } from "./page.ts";
import { PageSet } from "./page-set.ts";
import { storedFreeIDs } from "./reachable.ts";
import { Reader } from "./transaction.ts";
import type { Transaction } from "./types.ts";

export interface CheckOptions {
  /** Check only what is below this page. */
  readonly fromPageID?: number;
  /** How a key appears in a text. Default: hex. */
  readonly keyText?: (key: Uint8Array) => string;
}

/** Pages `checkInSteps` reads between two breaks: a few milliseconds. */
export const CHECK_STEP_PAGES = 1024;

/**
 * One text for each thing that is wrong with the state a reader sees. It reads every page as the
 * iteration goes on, and ends whatever the file says.
 */
export function* check(tx: Transaction, options: CheckOptions = {}): Generator<string, void> {
  for (const finding of checkInSteps(tx, options)) if (finding !== undefined) yield finding;
}

/** As `check`; `undefined` after every `CHECK_STEP_PAGES`, for the caller to let others run. */
export function checkInSteps(
  tx: Transaction,
  options: CheckOptions = {},
): Generator<string | undefined, void> {
  invariant(tx instanceof Reader, () => "check: needs a read transaction");
  return new Checker(tx, options).run();
}

type Key = Uint8Array | undefined;
type Finding = string | undefined;

class Checker {
  readonly #tx: Reader;
  readonly #fromPageID: number | undefined;
  readonly #keyText: (key: Uint8Array) => string;
  readonly #reached: PageSet;
  readonly #highWater: number;
  /** Undefined if nothing says which pages are free. */
  #freed: PageSet | undefined;
  #pagesSinceBreak = 0;

  constructor(tx: Reader, options: CheckOptions) {
    this.#tx = tx;
    this.#fromPageID = options.fromPageID;
    this.#keyText = options.keyText ?? hexFromBytes;
    this.#highWater = tx.meta.highWater;
    this.#reached = new PageSet(this.#highWater);
  }

  *run(): Generator<Finding, void> {
    yield* this.#readFreed();
    yield* this.#reachOwnPages();
    const from = this.#fromPageID;
    if (from === undefined) {
      yield* this.#tree(this.#tx.meta.rootPageID, [], undefined, undefined);
      yield* this.#unreached();
    } else if (from < FIRST_DATA_PAGE || from >= this.#highWater) {
      yield `page ID (${from}) out of range [${FIRST_DATA_PAGE}, ${this.#highWater})`;
    } else yield* this.#tree(from, [], undefined, undefined);
  }

  *#readFreed(): Generator<string> {
    const freed = new PageSet(this.#highWater);
    if (this.#tx.forEachUnused((page) => freed.add(page))) {
      this.#freed = freed;
      return;
    }
    const { freelistPageID } = this.#tx.meta;
    if (freelistPageID === undefined) return;
    try {
      for (const page of storedFreeIDs(this.#tx.store, freelistPageID)) freed.add(page);
      this.#freed = freed;
    } catch (error) {
      yield faultText(error);
    }
  }

  /** The meta pages, and the freelist if it is stored. */
  *#reachOwnPages(): Generator<string> {
    for (let page = 0; page < FIRST_DATA_PAGE; page++) this.#reached.add(page);
    const { freelistPageID } = this.#tx.meta;
    if (freelistPageID === undefined) return;
    try {
      const { store } = this.#tx;
      const pages = store.rawPage(freelistPageID).length / store.pageBytes;
      for (let i = 0; i < pages; i++) this.#reached.add(freelistPageID + i);
    } catch (error) {
      yield faultText(error);
    }
  }

  *#unreached(): Generator<string> {
    if (this.#freed === undefined) return;
    for (let page = 0; page < this.#highWater; page++) {
      if (!this.#reached.has(page) && !this.#freed.has(page)) {
        yield `page ${page}: unreachable unfreed`;
      }
    }
  }

  /**
   * Checks a page and all below it.
   *
   * @param above - the pages on the way to it
   * @param min - keys must not be below it
   * @param max - keys must be below it
   * @returns the highest key
   */
  *#tree(id: number, above: readonly number[], min: Key, max: Key): Generator<Finding, Key> {
    const stack = [...above, id];
    const page = yield* this.#reach(id, stack);
    if (page === undefined) return undefined;
    let running = min;
    for (let i = 0; i < page.count; i++) {
      const key = page.keyAt(i);
      const pageID = page.isLeaf ? id : page.childIDAt(i);
      yield* this.#order(page, pageID, i, running, max, stack);
      if (page.isLeaf) {
        running = key;
        if (page.isBucketAt(i)) yield* this.#bucket(page, i);
      } else {
        const next = i + 1 < page.count ? page.keyAt(i + 1) : max;
        running = (yield* this.#tree(pageID, stack, key, next)) ?? key;
      }
    }
    return running;
  }

  /** Counts a page as reached; undefined if it cannot be looked into. */
  *#reach(id: number, stack: readonly number[]): Generator<Finding, Page | undefined> {
    const at = `(stack: [${stack.join(" ")}])`;
    if (id >= this.#highWater) {
      yield `page ${id}: out of bounds: ${this.#highWater} ${at}`;
      return undefined;
    }
    const isFirst = !this.#reached.has(id);
    if (!isFirst) yield `page ${id}: multiple references ${at}`;
    if (this.#freed?.has(id) === true) yield `page ${id}: reachable freed`;
    this.#reached.add(id);
    let page: Page;
    try {
      page = this.#tx.store.page(id);
    } catch (error) {
      yield faultText(error);
      return undefined;
    }
    this.#pagesSinceBreak += page.pageCount;
    if (this.#pagesSinceBreak >= CHECK_STEP_PAGES) {
      this.#pagesSinceBreak = 0;
      yield undefined;
    }
    for (let run = id + 1; run < id + page.pageCount; run++) {
      if (run < this.#highWater && this.#reached.has(run)) {
        yield `page ${run}: multiple references ${at}`;
      }
      if (run < this.#highWater) this.#reached.add(run);
      else yield `page ${run}: out of bounds: ${this.#highWater} ${at}`;
    }
    return isFirst ? page : undefined;
  }

  *#bucket(leaf: Page, i: number): Generator<Finding, void> {
    try {
      const bucket = openBucketValue(this.#tx, leaf.valueAt(i), leaf.id);
      if (bucket.rootPageID !== 0) {
        yield* this.#tree(bucket.rootPageID, [], undefined, undefined);
        return;
      }
      const page = bucket.root() as Page;
      for (let k = 0; k < page.count; k++) {
        const before = k === 0 ? undefined : page.keyAt(k - 1);
        yield* this.#order(page, leaf.id, k, before, undefined, [leaf.id]);
      }
    } catch (error) {
      yield faultText(error);
    }
  }

  /** Key `i` of a page against the one before it, or above it if it is the first. */
  *#order(
    page: Page,
    pageID: number,
    i: number,
    before: Key,
    max: Key,
    stack: readonly number[],
  ): Generator<string> {
    const key = page.keyAt(i);
    const kind = page.isLeaf ? "leaf" : "branch";
    const what = `key[${i}]=(hex)${this.#keyText(key)} on ${kind} page(${pageID})`;
    const pages = `[${stack.join(" ")}]`;
    const previous = before === undefined ? "" : this.#keyText(before);
    const order = before === undefined ? -1 : compareBytes(before, key);
    if (i === 0 && order > 0) {
      yield `the first ${what} needs to be >= the key in the ancestor (${previous}). Stack: ${pages}`;
    } else if (i > 0 && order >= 0) {
      const found = order > 0 ? "<" : "=";
      yield `${what} needs to be > (found ${found}) than previous element (hex)${previous}. Stack: ${pages}`;
    }
    if (max !== undefined && compareBytes(key, max) >= 0) {
      const next = this.#keyText(max);
      yield `${what} needs to be < than key of the next element in ancestor (hex)${next}. Pages stack: ${pages}`;
    }
  }
}

function faultText(error: unknown): string {
  if (error instanceof CorruptionError) return error.message;
  throw error;
}
