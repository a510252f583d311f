/**
 * Pages of the file, read when needed and kept within a byte bound.
 *
 * Invariants:
 * - A cached page whose id some open transaction can reach equals the page on disk. A page on
 *   disk changes only while no transaction can reach it, and `adopt` replaces or `forget` drops
 *   what was cached under its id before one can.
 * - Each page owns its memory, so that dropping it frees it, unless a view escaped.
 *
 * Pages leave by the clock algorithm (Corbato, 1968): a hand goes round and takes the first page
 * not looked at since it last passed. A new page counts as not looked at, so that a scan evicts
 * its own pages before the hot ones.
 */

import { CorruptionError, type DiskFile } from "@etcd-ts/base";
import { FIRST_DATA_PAGE, RUN_BYTES_MAX, readUint32 } from "./format.ts";
import { type Page, parsePage } from "./page.ts";

/** Read at once when pages are asked for in file order. */
const READ_AHEAD_BYTES = 256 * 1024;

/** A miss this many pages or fewer after the one before continues a scan. */
const SCAN_GAP_PAGES = 8;

/** Misses in file order before reading ahead. */
const SCAN_MISSES = 3;

/** Pages whose ids agree in these bits take turns in the short list; a power of two less one. */
const NEAR_MASK = 4095;

/** What a cached page costs beside its bytes, roughly. */
const PAGE_OVERHEAD_BYTES = 256;

export class PageStore {
  readonly path: string;
  readonly pageBytes: number;
  hits = 0;
  misses = 0;
  /** Grows whenever bytes that `passingPage` gave out may have been written over. */
  windowVersion = 0;
  readonly #file: DiskFile;
  readonly #cacheBytesMax: number;
  #filePages: number;
  #pages = new Map<number, Page>();
  /** Some of them, found without a hash. */
  readonly #near: (Page | undefined)[] = Array.from({ length: NEAR_MASK + 1 }, () => undefined);
  #ring: Page[] = [];
  #hand = 0;
  #cachedBytes = 0;
  #window: Uint8Array | undefined;
  #windowStart = 0;
  #windowEnd = 0;
  #lastMissEnd = 0;
  #scanMisses = 0;

  constructor(file: DiskFile, pageBytes: number, cacheBytesMax: number, filePages: number) {
    this.#file = file;
    this.path = file.path;
    this.pageBytes = pageBytes;
    this.#cacheBytesMax = cacheBytesMax;
    this.#filePages = filePages;
  }

  get cachedBytes(): number {
    return this.#cachedBytes;
  }

  /** Page ids are below this. */
  get filePages(): number {
    return this.#filePages;
  }

  /**
   * A branch or leaf page.
   *
   * @throws {CorruptionError} if it is none or points outside
   */
  page(id: number): Page {
    const near = this.#near[id & NEAR_MASK];
    const cached = near?.id === id ? near : this.#pages.get(id);
    if (cached !== undefined) {
      if (cached !== near) this.#near[id & NEAR_MASK] = cached;
      if (!cached.isRecent) cached.isRecent = true;
      this.hits++;
      return cached;
    }
    this.misses++;
    const page = this.#parse(id, this.#bytesOf(id, true));
    this.#insert(page);
    return page;
  }

  /**
   * As `page` for pages that are looked at once, best in file order: it is not kept, and its bytes
   * are good only while `windowVersion` stays the same.
   */
  passingPage(id: number): Page {
    return this.#pages.get(id) ?? this.#parse(id, this.#bytesOf(id, false));
  }

  /** The bytes of a page of any kind with its continuation; the caller owns them. */
  rawPage(id: number): Uint8Array {
    return this.#bytesOf(id, true);
  }

  /** Bytes of the file, past the cache; fills `target`. */
  readRaw(target: Uint8Array, offsetBytes: number): void {
    const read = this.#file.read(target, offsetBytes);
    if (read < target.length) {
      throw new CorruptionError("file ends within a page", this.path, offsetBytes + read);
    }
  }

  /** Takes over a page that was written and that no open transaction can reach yet. */
  adopt(page: Page): void {
    this.#insert(page);
  }

  /** Drops what is cached as page `id`, which was written and no open transaction can reach. */
  forget(id: number): void {
    if (id >= this.#filePages) return;
    const old = this.#pages.get(id);
    if (old !== undefined) this.#remove(old);
  }

  /** The file now has `filePages` pages, some of them written since. */
  publish(filePages: number): void {
    this.#filePages = filePages;
    this.#windowEnd = this.#windowStart;
    this.windowVersion++;
  }

  fault(id: number, text: string): CorruptionError {
    return new CorruptionError(text, this.path, id * this.pageBytes);
  }

  #parse(id: number, bytes: Uint8Array): Page {
    return parsePage(bytes, id, bytes.length / this.pageBytes, {
      path: this.path,
      offsetBytes: id * this.pageBytes,
      filePages: this.#filePages,
    });
  }

  /** @param owned - not a view of the read-ahead window */
  #bytesOf(id: number, owned: boolean): Uint8Array {
    if (!(id >= FIRST_DATA_PAGE && id < this.#filePages)) {
      throw this.fault(id, `page ${id} is out of bounds: ${this.#filePages}`);
    }
    const { pageBytes } = this;
    const first = this.#readFirst(id, owned);
    const overflow = readUint32(first, 12);
    this.#lastMissEnd = id + overflow + 1;
    if (overflow === 0) return first;
    const length = (overflow + 1) * pageBytes;
    if (id + overflow >= this.#filePages || length > RUN_BYTES_MAX) {
      throw this.fault(id, `page ${id}: overflow of ${overflow} pages is out of bounds`);
    }
    const from = id * pageBytes - this.#windowStart;
    if (from >= 0 && id * pageBytes + length <= this.#windowEnd) {
      const window = this.#window!;
      return owned ? window.slice(from, from + length) : window.subarray(from, from + length);
    }
    const run = new Uint8Array(length);
    this.readRaw(run, id * pageBytes);
    return run;
  }

  /** Page `id` without its continuation, through the read-ahead window if pages come in order. */
  #readFirst(id: number, owned: boolean): Uint8Array {
    const { pageBytes } = this;
    const start = id * pageBytes;
    const isScan = id >= this.#lastMissEnd && id - this.#lastMissEnd <= SCAN_GAP_PAGES;
    this.#scanMisses = isScan ? this.#scanMisses + 1 : 0;
    if (start < this.#windowStart || start + pageBytes > this.#windowEnd) {
      if (this.#scanMisses < SCAN_MISSES) {
        const page = new Uint8Array(pageBytes);
        this.readRaw(page, start);
        return page;
      }
      this.#fillWindow(start);
    }
    const from = start - this.#windowStart;
    const window = this.#window!;
    return owned ? window.slice(from, from + pageBytes) : window.subarray(from, from + pageBytes);
  }

  #fillWindow(start: number): void {
    this.#window ??= new Uint8Array(READ_AHEAD_BYTES);
    const length = Math.min(READ_AHEAD_BYTES, this.#filePages * this.pageBytes - start);
    this.#windowEnd = this.#windowStart;
    this.windowVersion++;
    this.readRaw(this.#window.subarray(0, length), start);
    this.#windowStart = start;
    this.#windowEnd = start + length;
  }

  #insert(page: Page): void {
    const old = this.#pages.get(page.id);
    if (old !== undefined) this.#remove(old);
    this.#pages.set(page.id, page);
    page.cacheSlot = this.#ring.push(page) - 1;
    this.#cachedBytes += page.bytes.length + PAGE_OVERHEAD_BYTES;
    while (this.#cachedBytes > this.#cacheBytesMax && this.#ring.length > 0) this.#evictOne();
  }

  #remove(page: Page): void {
    const last = this.#ring.pop()!;
    if (last !== page) {
      this.#ring[page.cacheSlot] = last;
      last.cacheSlot = page.cacheSlot;
    }
    this.#pages.delete(page.id);
    if (this.#near[page.id & NEAR_MASK] === page) this.#near[page.id & NEAR_MASK] = undefined;
    this.#cachedBytes -= page.bytes.length + PAGE_OVERHEAD_BYTES;
  }

  #evictOne(): void {
    for (;;) {
      if (this.#hand >= this.#ring.length) this.#hand = 0;
      const page = this.#ring[this.#hand]!;
      this.#hand++;
      if (!page.isRecent) {
        // The newest page takes its place, behind the hand: it is the last to be come upon.
        this.#remove(page);
        return;
      }
      page.isRecent = false;
    }
  }
}
