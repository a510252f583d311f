/**
 * The disk as one life of a member sees it. When the life is over, calls that were not made yet
 * never settle, so that nothing a dead process was about to do reaches the disk of the next one.
 */

import type { Disk, DiskFile, FileStat, OpenOptions } from "@etcd-ts/base";

import type { Plant } from "./options.ts";

const NEVER = new Promise<never>(() => undefined);

export class LifeDisk implements Disk {
  readonly #disk: Disk;
  readonly #plant: Plant;
  #isOver = false;

  constructor(disk: Disk, plant: Plant) {
    this.#disk = disk;
    this.#plant = plant;
  }

  end(): void {
    this.#isOver = true;
  }

  async open(path: string, options: OpenOptions): Promise<DiskFile> {
    if (this.#isOver) return NEVER;
    const file = await this.#disk.open(path, options);
    const isUnsynced = this.#plant === "log without syncs" && path.endsWith(".wal");
    return isUnsynced ? forgetful(file) : file;
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

/** For a planted bug: what should be durable when it is written may be lost with the power. */
function forgetful(file: DiskFile): DiskFile {
  return new Proxy(file, {
    get: (target, name) => {
      if (name === "writeDurably") return target.write.bind(target);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
