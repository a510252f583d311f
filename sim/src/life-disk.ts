/**
 * The disk as one life of a member sees it. When the life is over, calls that were not made yet
 * never settle, so that nothing a dead process was about to do reaches the disk of the next one.
 */

import type { Disk, DiskFile, FileStat, OpenOptions } from "@etcd-ts/base";

const NEVER = new Promise<never>(() => undefined);

export class LifeDisk implements Disk {
  readonly #disk: Disk;
  #isOver = false;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  end(): void {
    this.#isOver = true;
  }

  open(path: string, options: OpenOptions): Promise<DiskFile> {
    return this.#isOver ? NEVER : this.#disk.open(path, options);
  }

  stat(path: string): Promise<FileStat | undefined> {
    return this.#isOver ? NEVER : this.#disk.stat(path);
  }

  list(path: string): Promise<string[]> {
    return this.#isOver ? NEVER : this.#disk.list(path);
  }

  makeDirectory(path: string): Promise<void> {
    return this.#isOver ? NEVER : this.#disk.makeDirectory(path);
  }

  rename(from: string, to: string): Promise<void> {
    return this.#isOver ? NEVER : this.#disk.rename(from, to);
  }

  remove(path: string): Promise<void> {
    return this.#isOver ? NEVER : this.#disk.remove(path);
  }

  removeTree(path: string): Promise<void> {
    return this.#isOver ? NEVER : this.#disk.removeTree(path);
  }

  syncDirectory(path: string): Promise<void> {
    return this.#isOver ? NEVER : this.#disk.syncDirectory(path);
  }
}
