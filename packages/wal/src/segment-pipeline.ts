/**
 * Makes the next segment's file ahead of need, so that a cut waits for no allocation and no lock.
 *
 * Files are called `0.tmp` and `1.tmp` in turn; one left behind by a crash is emptied and used again.
 */

import type { Disk, DiskFile } from "@etcd-ts/base";

/** Zeros written between two syncs. */
const SYNCED_BYTES = 4 << 20;

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
  #next: Promise<PreparedSegment>;

  constructor(disk: Disk, directory: string, segmentBytes: number, noSync: boolean) {
    this.#disk = disk;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
    this.#noSync = noSync;
    this.#next = this.#prepare();
  }

  /** Hands over the file made ahead and starts on the one after it. */
  async take(): Promise<PreparedSegment> {
    const taken = await this.#next;
    this.#next = this.#prepare();
    return taken;
  }

  /** Removes the file nobody took. */
  async close(): Promise<void> {
    const left = await this.#next.catch(() => undefined);
    if (left === undefined) return;
    await left.file.close();
    await this.#disk.remove(left.path);
  }

  #prepare(): Promise<PreparedSegment> {
    const path = `${this.#directory}/${this.#made % 2}.tmp`;
    this.#made++;
    const prepared = this.#allocate(path);
    // A failure is for `take`, which may come much later: it is not unhandled until then.
    prepared.catch(() => undefined);
    return prepared;
  }

  async #allocate(path: string): Promise<PreparedSegment> {
    // The lock belongs to the open file, so it outlives the renaming to a segment's name.
    const file = await this.#disk.open(path, {
      mode: "truncate",
      lock: "exclusive",
      lockFor: "segment",
    });
    try {
      // Synced bit by bit, long before the cut: there the zeros would hold up the log by their
      // whole length, and here all at once they would hold up its writes.
      for (let bytes = 0; bytes < this.#segmentBytes;) {
        bytes = Math.min(this.#segmentBytes, bytes + SYNCED_BYTES);
        await file.preallocate(bytes);
        if (!this.#noSync) await file.dataSync();
      }
    } catch (error) {
      await file.close();
      throw error;
    }
    return { path, file };
  }
}
