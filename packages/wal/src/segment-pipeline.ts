/**
 * Makes the next segment's file ahead of need, so that a cut waits for no allocation and no lock.
 *
 * Its zeros are written and synced a little at a time, as the segment in use fills: all at once they
 * would hold up the log, here by the load on the disk, at the cut by their whole length.
 *
 * Files are called `0.tmp` and `1.tmp` in turn; one left behind by a crash is emptied and used again.
 */

import type { Disk, DiskFile } from "@etcd-ts/base";

/** Zeros written between two syncs. */
const STEP_BYTES = 2 << 20;
/** The next segment is whole when this share of the one in use is full. */
const READY_SHARE = 0.75;

export interface PreparedSegment {
  readonly path: string;
  readonly file: DiskFile;
}

export class SegmentPipeline {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #noSync: boolean;
  #made = 0;
  /** How far the next file is allocated, or will be once `#next` settles. */
  #allocatedBytes = 0;
  #next: Promise<PreparedSegment>;

  constructor(disk: Disk, directory: string, segmentBytes: number, noSync: boolean) {
    this.#disk = disk;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
    this.#noSync = noSync;
    this.#next = this.#begin();
    this.#allocate(STEP_BYTES);
  }

  /** The segment in use is full up to `offsetBytes`. */
  reached(offsetBytes: number): void {
    const share = Math.min(1, offsetBytes / (this.#segmentBytes * READY_SHARE));
    this.#allocate(Math.ceil((share * this.#segmentBytes) / STEP_BYTES) * STEP_BYTES);
  }

  /** Hands over the file made ahead and starts on the one after it. */
  async take(): Promise<PreparedSegment> {
    this.#allocate(this.#segmentBytes);
    const taken = await this.#next;
    this.#next = this.#begin();
    this.#allocate(STEP_BYTES);
    return taken;
  }

  /** Removes the file nobody took. */
  async close(): Promise<void> {
    const left = await this.#next.catch(() => undefined);
    if (left === undefined) return;
    await left.file.close();
    await this.#disk.remove(left.path);
  }

  #begin(): Promise<PreparedSegment> {
    const path = `${this.#directory}/${this.#made % 2}.tmp`;
    this.#made++;
    this.#allocatedBytes = 0;
    // The lock belongs to the open file, so it outlives the renaming to a segment's name.
    const options = { mode: "truncate", lock: "exclusive", lockFor: "segment" } as const;
    const begun = this.#disk.open(path, options).then((file) => ({ path, file }));
    // A failure is for `take`, which may come much later: it is not unhandled until then.
    begun.catch(() => undefined);
    return begun;
  }

  #allocate(wantedBytes: number): void {
    const bytes = Math.min(wantedBytes, this.#segmentBytes);
    if (bytes <= this.#allocatedBytes) return;
    const from = this.#allocatedBytes;
    this.#allocatedBytes = bytes;
    const next = this.#next.then((prepared) => this.#extend(prepared, from, bytes));
    next.catch(() => undefined);
    this.#next = next;
  }

  async #extend(prepared: PreparedSegment, from: number, to: number): Promise<PreparedSegment> {
    const { file } = prepared;
    try {
      for (let bytes = from; bytes < to;) {
        bytes = Math.min(to, bytes + STEP_BYTES);
        await file.preallocate(bytes);
        if (!this.#noSync) await file.dataSync();
      }
    } catch (error) {
      await file.close();
      throw error;
    }
    return prepared;
  }
}
