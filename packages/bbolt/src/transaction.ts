/**
 * Transactions: a reader of one committed state, and the writer that makes the next.
 *
 * Invariants:
 * - A reader's pages are not taken by a writer until it is closed.
 * - Until `commit` has settled, nothing the writer does can be seen by a reader.
 */

import { invariant } from "@etcd-ts/base";
import { TreeBucket, type TreeContext } from "./bucket.ts";
import { DatabaseError } from "./errors.ts";
import { FIRST_DATA_PAGE } from "./format.ts";
import { type Meta, encodeMeta } from "./meta.ts";
import type { Page } from "./page.ts";
import type { PageStore } from "./page-store.ts";
import type { PageStream } from "./page-stream.ts";
import type { Slices } from "./slices.ts";
import { spillRoot } from "./spill.ts";
import type { Bucket, Cursor, ReadTransaction, WriteTransaction } from "./types.ts";

/** What a reader needs of its database. */
export interface ReaderHost {
  readonly store: PageStore;
  /** @throws {DatabaseError} DATABASE_NOT_OPEN */
  assertOpen(): void;
  endRead(txid: number): void;
  /**
   * Calls `visit` for each page below the high-water mark that is not part of state `txid`; false
   * if that is not known.
   */
  forEachUnused(txid: number, visit: (page: number) => void): boolean;
}

/** What the writer needs of its database. */
export interface WriterHost {
  readonly store: PageStore;
  /** Writes what a commit makes before it is published. */
  readonly stream: PageStream;
  assertOpen(): void;
  takePages(pageCount: number, writer: NextState): number;
  takeRow(pageCount: number, writer: NextState): number | undefined;
  giveUpPages(firstPageID: number, pageCount: number, txid: number): void;
  slices(): Slices;
  /** Makes the state durable and current. */
  publish(state: NextState): Promise<void>;
  /** Forgets the state and all pages it took and gave up. */
  abandon(state: NextState): void;
}

/** The state a writer makes. */
export interface NextState {
  readonly txid: number;
  rootPageID: number;
  readonly rootSequence: number;
  highWater: number;
  /** Pages to write and keep, beside those that were streamed. */
  pages: Page[];
}

export class Reader implements ReadTransaction, TreeContext {
  readonly isWritable = false;
  readonly meta: Meta;
  readonly root: TreeBucket;
  readonly #host: ReaderHost;
  #isClosed = false;

  constructor(host: ReaderHost, meta: Meta) {
    this.#host = host;
    this.meta = meta;
    this.root = new TreeBucket(this, meta.rootPageID, meta.rootSequence, undefined, false);
  }

  get store(): PageStore {
    return this.#host.store;
  }

  get txid(): number {
    return this.meta.txid;
  }

  get sizeBytes(): number {
    return this.meta.highWater * this.meta.pageBytes;
  }

  get imageBytes(): number {
    return this.sizeBytes;
  }

  bucket(name: Uint8Array): Bucket | undefined {
    return this.root.bucket(name);
  }

  bucketNames(): Uint8Array[] {
    return this.root.bucketNames();
  }

  cursor(): Cursor {
    return this.root.cursor();
  }

  /** The state in both meta pages, the second as if one transaction older, then all others. */
  *copyPages(chunkBytes: number): Generator<Uint8Array> {
    this.assertOpen();
    const { pageBytes, highWater, txid } = this.meta;
    const metas = new Uint8Array(FIRST_DATA_PAGE * pageBytes);
    encodeMeta(this.meta, 0, metas.subarray(0, pageBytes));
    encodeMeta({ ...this.meta, txid: Math.max(0, txid - 1) }, 1, metas.subarray(pageBytes));
    yield* pieces(metas, chunkBytes);
    const end = highWater * pageBytes;
    for (let at = metas.length; at < end; at += chunkBytes) {
      this.assertOpen();
      const chunk = new Uint8Array(Math.min(chunkBytes, end - at));
      this.store.readRaw(chunk, at);
      yield chunk;
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#host.endRead(this.txid);
  }

  assertOpen(): void {
    if (this.#isClosed) throw new DatabaseError("TX_CLOSED");
    this.#host.assertOpen();
  }

  forEachUnused(visit: (page: number) => void): boolean {
    return this.#host.forEachUnused(this.txid, visit);
  }

  giveUp(): void {
    invariant(false, () => "Reader.giveUp: a reader changes nothing");
  }
}

function* pieces(bytes: Uint8Array, chunkBytes: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.slice(at, at + chunkBytes);
}

export class Writer implements WriteTransaction, TreeContext {
  readonly isWritable = true;
  readonly #host: WriterHost;
  readonly #state: NextState;
  readonly #root: TreeBucket;
  #phase: "open" | "committing" | "done" = "open";
  #committing: Promise<void> | undefined;

  constructor(host: WriterHost, before: Meta) {
    this.#host = host;
    this.#state = {
      txid: before.txid + 1,
      rootPageID: before.rootPageID,
      rootSequence: before.rootSequence,
      highWater: before.highWater,
      pages: [],
    };
    this.#root = new TreeBucket(this, before.rootPageID, before.rootSequence, undefined, false);
  }

  get store(): PageStore {
    return this.#host.store;
  }

  get txid(): number {
    return this.#state.txid;
  }

  get sizeBytes(): number {
    return this.#state.highWater * this.store.pageBytes;
  }

  bucket(name: Uint8Array): Bucket | undefined {
    return this.#root.bucket(name);
  }

  bucketNames(): Uint8Array[] {
    return this.#root.bucketNames();
  }

  cursor(): Cursor {
    return this.#root.cursor();
  }

  createBucket(name: Uint8Array): Bucket {
    return this.#root.createBucket(name);
  }

  createBucketIfNotExists(name: Uint8Array): Bucket {
    return this.#root.createBucketIfNotExists(name);
  }

  deleteBucket(name: Uint8Array): void {
    this.#root.deleteBucket(name);
  }

  async commit(): Promise<void> {
    this.assertOpen();
    this.#committing = this.#commit();
    return this.#committing;
  }

  /** Resolves when a commit under way has settled, however. */
  async settled(): Promise<void> {
    await this.#committing?.catch(() => undefined);
  }

  async #commit(): Promise<void> {
    this.#phase = "committing";
    const host = this.#host;
    const state = this.#state;
    try {
      await spillRoot(this.#root, {
        pageBytes: this.store.pageBytes,
        slices: host.slices(),
        take: (pageCount) => host.takePages(pageCount, state),
        takeRow: (pageCount) => host.takeRow(pageCount, state),
        giveUp: (firstPageID, pageCount) => this.giveUp(firstPageID, pageCount),
        add: (page) => state.pages.push(page),
        stream: host.stream,
      });
      state.rootPageID = this.#root.rootPageID;
      await host.publish(state);
    } catch (error) {
      // What is still being written must not meet the pages of a later writer.
      await host.stream.abandon();
      host.abandon(state);
      throw error;
    } finally {
      this.#phase = "done";
    }
  }

  rollback(): void {
    invariant(this.#phase !== "committing", () => "rollback: the commit is under way");
    if (this.#phase === "done") return;
    this.#phase = "done";
    this.#host.abandon(this.#state);
  }

  assertOpen(): void {
    if (this.#phase !== "open") throw new DatabaseError("TX_CLOSED");
    this.#host.assertOpen();
  }

  giveUp(firstPageID: number, pageCount: number): void {
    this.#host.giveUpPages(firstPageID, pageCount, this.#state.txid);
  }
}
