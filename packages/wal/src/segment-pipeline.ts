/**
 * Makes the next segment's file ahead of need, so that a cut waits for no allocation.
 *
 * Files are called `0.tmp` and `1.tmp` in turn; one left behind by a crash is emptied and used again.
 */

import type { Disk, DiskFile } from "@etcd-ts/base";

export interface PreparedSegment {
  readonly path: string;
  readonly file: DiskFile;
}

export class SegmentPipeline {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #segmentBytes: number;
  #made = 0;
  #next: Promise<PreparedSegment>;

  constructor(disk: Disk, directory: string, segmentBytes: number) {
    this.#disk = disk;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
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
    const file = await this.#disk.open(path, { mode: "truncate" });
    try {
      await file.preallocate(this.#segmentBytes);
    } catch (error) {
      await file.close();
      throw error;
    }
    return { path, file };
  }
}
