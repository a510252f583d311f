/**
 * Pages that are written while a commit still makes others, and are not kept: the many leaves of
 * new records, which go to the end of the file one after another.
 *
 * They are made in two blocks of memory that take turns: one is filled while the other is with the
 * disk. So a commit of any size costs no memory of its own and few, long writes.
 *
 * Invariants:
 * - A block is filled again only when all it held was written.
 * - One block is written at a time: only one grows the file.
 * - After a failure nothing is written any more; whoever asks next is told of it.
 */

import { type DiskFile, allDone, invariant } from "@etcd-ts/base";

/** Memory of one block; larger pages do not go through here. */
const BLOCK_BYTES = 512 * 1024;
/** Writes of one block under way at once, where its pages are not neighbours in the file. */
const WRITES_IN_FLIGHT = 8;

/** Bytes `[from, to)` of a block, for one place in the file. */
interface Piece {
  readonly from: number;
  to: number;
  readonly offsetBytes: number;
}

interface Block {
  readonly bytes: Uint8Array;
  used: number;
  pieces: Piece[];
  /** Settles when the block can be filled again. */
  written: Promise<void>;
}

export class PageStream {
  readonly #file: DiskFile;
  readonly #pageBytes: number;
  readonly #grow: (neededBytes: number) => Promise<void>;
  #filling: Block | undefined;
  #spare: Block | undefined;
  /** The pages written, which take the place of what was there. */
  #ids: number[] = [];

  /** @param grow - makes sure that the file reaches so far */
  constructor(file: DiskFile, pageBytes: number, grow: (neededBytes: number) => Promise<void>) {
    this.#file = file;
    this.#pageBytes = pageBytes;
    this.#grow = grow;
  }

  /**
   * Memory for a page and its continuation, zeros, to be filled before anything else happens. There
   * must be room.
   */
  room(firstPageID: number, pageCount: number): Uint8Array {
    const block = (this.#filling ??= newBlock());
    const from = block.used;
    const to = from + pageCount * this.#pageBytes;
    invariant(to <= BLOCK_BYTES, () => `PageStream.room: no room for ${pageCount} pages`);
    block.used = to;
    const offsetBytes = firstPageID * this.#pageBytes;
    const last = block.pieces.at(-1);
    if (last !== undefined && last.offsetBytes + last.to - last.from === offsetBytes) last.to = to;
    else block.pieces.push({ from, to, offsetBytes });
    this.#ids.push(firstPageID);
    return block.bytes.subarray(from, to).fill(0);
  }

  /** Whether there is room for so many pages at once; `turn` makes some. */
  hasRoom(pageCount: number): boolean {
    return (this.#filling?.used ?? 0) + pageCount * this.#pageBytes <= BLOCK_BYTES;
  }

  /** Whether there can be room for so many pages. */
  takes(pageCount: number): boolean {
    return pageCount * this.#pageBytes <= BLOCK_BYTES;
  }

  /** Hands what was filled to the disk and waits for the other block. */
  async turn(): Promise<void> {
    const full = this.#filling;
    if (full === undefined) return;
    const next = this.#spare ?? newBlock();
    this.#spare = full;
    this.#filling = next;
    full.written = next.written.then(() => this.#write(full));
    // Its failure is told to whoever waits for it next.
    full.written.catch(() => undefined);
    await next.written;
  }

  /**
   * Waits until everything is written.
   *
   * @returns the first of each row of pages, and the stream is as new
   */
  async finish(): Promise<readonly number[]> {
    await this.turn();
    await this.#spare?.written;
    const ids = this.#ids;
    this.#ids = [];
    return ids;
  }

  /** Waits until nothing is written any more, and forgets all of it. */
  async abandon(): Promise<void> {
    await Promise.allSettled([this.#filling?.written, this.#spare?.written]);
    this.#filling = undefined;
    this.#spare = undefined;
    this.#ids = [];
  }

  async #write(block: Block): Promise<void> {
    const { pieces } = block;
    let end = 0;
    for (const { from, to, offsetBytes } of pieces) end = Math.max(end, offsetBytes + to - from);
    if (pieces.length > 0) await this.#grow(end);
    for (let i = 0; i < pieces.length; i += WRITES_IN_FLIGHT) {
      const writes = pieces
        .slice(i, i + WRITES_IN_FLIGHT)
        .map(({ from, to, offsetBytes }) =>
          this.#file.write([block.bytes.subarray(from, to)], offsetBytes),
        );
      await allDone(writes);
    }
    block.pieces = [];
    block.used = 0;
  }
}

function newBlock(): Block {
  return { bytes: new Uint8Array(BLOCK_BYTES), used: 0, pieces: [], written: Promise.resolve() };
}
