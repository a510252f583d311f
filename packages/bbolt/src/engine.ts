/**
 * What is behind a `Database`: the file, its current state, who reads it, and commit.
 *
 * Invariants:
 * - `#meta` is the last state whose meta page was written and synced; readers begin there.
 * - A commit writes only pages no open transaction can reach, syncs, then writes one meta page and
 *   syncs again: a crash at any point leaves this state or the one before, whole.
 * - After a failed sync, or a failed write of a meta page, what the disk holds is unknown: no more
 *   writes are taken.
 */

import { type Clock, type Disk, type DiskFile, allDone, invariant } from "@etcd-ts/base";
import { DatabaseError } from "./errors.ts";
import {
  FILE_PAGES_MAX,
  FREELIST_COUNT_LARGE,
  KIND_FREELIST,
  PAGE_HEADER_BYTES,
  isPageSize,
  writePageHeader,
  writeUint64,
} from "./format.ts";
import { Freelist } from "./freelist.ts";
import { type Meta, encodeMeta } from "./meta.ts";
import { initialise, metaProblems, readCurrentMeta, needsInitialising } from "./open.ts";
import { Page } from "./page.ts";
import { PageStore } from "./page-store.ts";
import { PageStream } from "./page-stream.ts";
import { loadFreelist } from "./reachable.ts";
import { Slices } from "./slices.ts";
import { type NextState, Reader, type ReaderHost, Writer, type WriterHost } from "./transaction.ts";
import type { DatabaseOptions, DatabaseStats } from "./types.ts";

const PAGE_BYTES_DEFAULT = 4096;
const CACHE_BYTES_DEFAULT = 64 * 1024 * 1024;

/** A small file doubles, a large one grows by this. */
const GROWTH_BYTES = 16 * 1024 * 1024;

/** Writes of one commit under way at once. */
const WRITES_IN_FLIGHT = 8;

/** The file grows for pages in a row although so many are free. */
const SINGLE_PAGES_SPARED_MAX = 256;

/** Pages handed to one write. */
const PAGES_PER_WRITE = 512;

export class Engine implements ReaderHost, WriterHost {
  static async open(disk: Disk, path: string, options: DatabaseOptions = {}): Promise<Engine> {
    const { readOnly = false, pageBytes = PAGE_BYTES_DEFAULT } = options;
    invariant(isPageSize(pageBytes), () => `Engine.open: page size ${pageBytes}`);
    const file = await disk.open(path, {
      mode: readOnly ? "read" : "create",
      lock: readOnly ? "shared" : "exclusive",
    });
    try {
      if (!readOnly && needsInitialising(file, pageBytes)) {
        await initialise(disk, file, pageBytes, options.noSync ?? false);
      }
      const meta = readCurrentMeta(file);
      const cacheBytesMax = options.cacheBytesMax ?? CACHE_BYTES_DEFAULT;
      const store = new PageStore(file, meta.pageBytes, cacheBytesMax, meta.highWater);
      const freelist = readOnly
        ? new Freelist(meta.highWater)
        : await loadFreelist(store, meta, new Slices(options.clock));
      return new Engine(file, store, meta, freelist, options);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  readonly pageBytes: number;
  readonly store: PageStore;
  readonly stream: PageStream;
  readonly #file: DiskFile;
  readonly #freelist: Freelist;
  readonly #options: DatabaseOptions;
  readonly #clock: Clock | undefined;
  readonly #readers = new Map<number, number>();
  #openReaders = 0;
  #readersEnded = false;
  #meta: Meta;
  #writer: Writer | undefined;
  #isOpen = true;
  #writesStopped: unknown;

  private constructor(
    file: DiskFile,
    store: PageStore,
    meta: Meta,
    freelist: Freelist,
    options: DatabaseOptions,
  ) {
    this.pageBytes = meta.pageBytes;
    this.store = store;
    this.stream = new PageStream(file, this.pageBytes, (bytes) => this.#growFile(bytes));
    this.#file = file;
    this.#meta = meta;
    this.#freelist = freelist;
    this.#options = options;
    this.#clock = options.clock;
  }

  get path(): string {
    return this.#file.path;
  }

  beginRead(): Reader {
    this.assertOpen();
    const { txid } = this.#meta;
    this.#readers.set(txid, (this.#readers.get(txid) ?? 0) + 1);
    this.#openReaders++;
    return new Reader(this, this.#meta);
  }

  beginWrite(): Writer {
    this.assertOpen();
    if (this.#options.readOnly) throw new DatabaseError("DATABASE_READ_ONLY");
    if (this.#writesStopped !== undefined) {
      throw new DatabaseError("WRITES_STOPPED", { cause: this.#writesStopped });
    }
    invariant(this.#writer === undefined, () => "beginWrite: a writer is open");
    this.#freelist.release([...this.#readers.keys()], this.#readersEnded);
    this.#readersEnded = false;
    this.#writer = new Writer(this, this.#meta);
    return this.#writer;
  }

  sizeBytes(): number {
    return this.#meta.highWater * this.pageBytes;
  }

  stats(): DatabaseStats {
    return {
      freePages: this.#freelist.freeCount,
      pendingPages: this.#freelist.pendingCount,
      openReaders: this.#openReaders,
      txid: this.#meta.txid,
      fileBytes: this.#file.sizeBytes(),
      cachedBytes: this.store.cachedBytes,
      cacheHits: this.store.hits,
      cacheMisses: this.store.misses,
    };
  }

  metaProblems(): string[] {
    return metaProblems(this.#file, this.pageBytes);
  }

  async close(): Promise<void> {
    await this.#writer?.settled();
    if (!this.#isOpen) return;
    this.#writer?.rollback();
    this.#isOpen = false;
    await this.#file.close();
  }

  assertOpen(): void {
    if (!this.#isOpen) throw new DatabaseError("DATABASE_NOT_OPEN");
  }

  /** Calls `visit` for each page below the high-water mark that is not part of state `txid`. */
  forEachUnused(txid: number, visit: (page: number) => void): boolean {
    if (txid !== this.#meta.txid || this.#options.readOnly) return false;
    this.#freelist.forEachUnused(txid, this.#meta.highWater, visit);
    return true;
  }

  endRead(txid: number): void {
    this.#openReaders--;
    const left = this.#readers.get(txid)! - 1;
    if (left > 0) this.#readers.set(txid, left);
    else {
      this.#readers.delete(txid);
      this.#readersEnded = true;
    }
  }

  takePages(pageCount: number, state: NextState): number {
    const hasReaders = this.#openReaders > 0;
    return (
      this.#freelist.take(pageCount, state.txid, hasReaders) ?? this.#takeAbove(pageCount, state)
    );
  }

  /** As `takePages`, but undefined where single pages are free that should be used first. */
  takeRow(pageCount: number, state: NextState): number | undefined {
    const hasReaders = this.#openReaders > 0;
    const free = this.#freelist.take(pageCount, state.txid, hasReaders);
    if (free !== undefined || this.#freelist.freeCount > SINGLE_PAGES_SPARED_MAX) return free;
    return this.#takeAbove(pageCount, state);
  }

  #takeAbove(pageCount: number, state: NextState): number {
    const first = state.highWater;
    invariant(first + pageCount <= FILE_PAGES_MAX, () => `takePages: ${first} pages in the file`);
    state.highWater = first + pageCount;
    this.#freelist.noteTaken(first, pageCount, state.txid, this.#openReaders > 0);
    return first;
  }

  giveUpPages(firstPageID: number, pageCount: number, txid: number): void {
    const unused = this.#freelist.give(firstPageID, pageCount, txid);
    if (unused === undefined) return;
    throw this.store.fault(firstPageID, `page ${unused}: already freed`);
  }

  slices(): Slices {
    return new Slices(this.#clock);
  }

  abandon(state: NextState): void {
    this.#freelist.rollback(state.txid, this.#meta.highWater);
    this.#writer = undefined;
  }

  async publish(state: NextState): Promise<void> {
    const freelistPage = this.#freelistPage(state);
    const freelistPageID = freelistPage?.id;
    const streamed = await this.stream.finish();
    await this.#growFile(state.highWater * this.pageBytes);
    await this.#writePages(freelistPage ? [...state.pages, freelistPage] : state.pages);
    const meta: Meta = {
      pageBytes: this.pageBytes,
      rootPageID: state.rootPageID,
      rootSequence: state.rootSequence,
      freelistPageID,
      highWater: state.highWater,
      txid: state.txid,
    };
    for (const id of streamed) this.store.forget(id);
    await this.#adoptPages(state.pages);
    const page = new Uint8Array(this.pageBytes);
    const metaPageID = state.txid % 2;
    encodeMeta(meta, metaPageID, page);
    try {
      if (!this.#options.noSync) await this.#file.dataSync();
      await this.#file.write([page], metaPageID * this.pageBytes);
      if (!this.#options.noSync) await this.#file.dataSync();
    } catch (error) {
      this.#writesStopped = error;
      throw error;
    }
    this.#meta = meta;
    this.#freelist.commit();
    this.store.publish(meta.highWater);
    this.#writer = undefined;
  }

  async #adoptPages(pages: readonly Page[]): Promise<void> {
    const slices = this.slices();
    for (const page of pages) {
      this.store.adopt(page);
      if (slices.isDue()) await slices.pause();
    }
  }

  /** Gives up the stored freelist and makes the new one, if it is to be stored. */
  #freelistPage(state: NextState): Page | undefined {
    const old = this.#meta.freelistPageID;
    if (old !== undefined) {
      const pageCount = this.store.rawPage(old).length / this.pageBytes;
      this.giveUpPages(old, pageCount, state.txid);
    }
    if (this.#options.noFreelistSync ?? true) return undefined;
    const idsMax = this.#freelist.freeCount + this.#freelist.pendingCount + 1;
    const pageCount = Math.ceil((PAGE_HEADER_BYTES + 8 * idsMax) / this.pageBytes);
    const pageID = this.takePages(pageCount, state);
    const ids = this.#freelist.sortedIDs();
    const isLarge = ids.length >= FREELIST_COUNT_LARGE;
    const bytes = new Uint8Array(pageCount * this.pageBytes);
    const count = isLarge ? FREELIST_COUNT_LARGE : ids.length;
    writePageHeader(bytes, pageID, KIND_FREELIST, count, pageCount - 1);
    let at = PAGE_HEADER_BYTES;
    if (isLarge) {
      writeUint64(bytes, at, ids.length);
      at += 8;
    }
    for (const id of ids) {
      writeUint64(bytes, at, id);
      at += 8;
    }
    return new Page(pageID, bytes, false, 0, pageCount);
  }

  /** Makes room in steps, so that the size does not change with each commit. */
  async #growFile(neededBytes: number): Promise<void> {
    if (neededBytes <= this.#file.sizeBytes()) return;
    let size = neededBytes;
    if (size > GROWTH_BYTES) size = Math.ceil(size / GROWTH_BYTES) * GROWTH_BYTES;
    else size = 2 ** Math.ceil(Math.log2(size));
    await this.#file.truncate(Math.max(size, this.#options.initialBytes ?? 0));
  }

  /** Writes pages in file order, neighbours together. */
  async #writePages(pages: Page[]): Promise<void> {
    pages.sort((a, b) => a.id - b.id);
    let writes: Promise<void>[] = [];
    for (let i = 0; i < pages.length;) {
      const first = pages[i]!.id;
      const chunks: Uint8Array[] = [];
      for (let end = first; i < pages.length && pages[i]!.id === end; i++) {
        if (chunks.length === PAGES_PER_WRITE) break;
        chunks.push(pages[i]!.bytes);
        end += pages[i]!.pageCount;
      }
      writes.push(this.#file.write(chunks, first * this.pageBytes));
      if (writes.length === WRITES_IN_FLIGHT || i === pages.length) {
        await allDone(writes);
        writes = [];
      }
    }
  }
}
