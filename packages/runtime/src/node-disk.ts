/**
 * Files on Node.
 *
 * Invariants: files are made with mode 0600 and directories with 0700, less what the umask takes;
 * every error is a `DiskError`; a lock that is asked for is held or the open fails.
 */

import * as fs from "node:fs";

import type { Disk, FileStat, Logger, OpenMode, OpenOptions } from "@etcd-ts/base";
import { DiskError, invariant, NULL_LOGGER } from "@etcd-ts/base";

import { diskError, settle } from "./disk-errors.ts";
import type { LockSupport } from "./file-lock.ts";
import { lockFile } from "./file-lock.ts";
import { NodeFile } from "./node-file.ts";

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants;

const FLAGS: { readonly [mode in OpenMode]: number } = {
  read: O_RDONLY,
  readWrite: O_RDWR,
  create: O_RDWR | O_CREAT,
  createNew: O_RDWR | O_CREAT | O_EXCL,
  // Emptied by hand once the lock is held, so that a file in use by another is left alone.
  truncate: O_RDWR | O_CREAT,
};

export class NodeDisk implements Disk {
  readonly #logger: Logger;
  #hasWarned = false;

  /** @param options.logger - hears once of a kind of lock that this machine does not offer */
  constructor(options: { readonly logger?: Logger } = {}) {
    this.#logger = options.logger ?? NULL_LOGGER;
  }

  async open(path: string, options: OpenOptions): Promise<NodeFile> {
    const isReadOnly = options.mode === "read";
    invariant(
      options.lock !== "exclusive" || !isReadOnly,
      () => `NodeDisk.open: ${path}: an exclusive lock needs a file open for writing`,
    );
    const fd = await settle<number>("open", path, (done) =>
      fs.open(path, FLAGS[options.mode], 0o600, done),
    );
    try {
      if (fs.fstatSync(fd).isDirectory()) {
        throw new DiskError("IS_DIRECTORY", path, `open ${path}: is a directory`);
      }
      const lock =
        options.lock === undefined
          ? undefined
          : await lockFile(fd, path, options.lock, options.lockFor === "segment");
      if (lock !== undefined) this.#warnOfMissing(lock, path);
      if (options.mode === "truncate") fs.ftruncateSync(fd, 0);
      return new NodeFile(fd, path, isReadOnly, lock);
    } catch (error) {
      fs.closeSync(fd);
      throw diskError(error, "open", path);
    }
  }

  async stat(path: string): Promise<FileStat | undefined> {
    try {
      const stats = await settle<fs.Stats>("stat", path, (done) => fs.stat(path, done));
      const kind = stats.isDirectory() ? "directory" : "file";
      return { kind, sizeBytes: stats.size, mode: stats.mode & 0o777 };
    } catch (error) {
      if (error instanceof DiskError && error.code === "NOT_FOUND") return undefined;
      throw error;
    }
  }

  async list(path: string): Promise<string[]> {
    const names = await settle<Buffer[]>("open", path, (done) =>
      fs.readdir(path, { encoding: "buffer" }, done),
    );
    return names.sort((a, b) => Buffer.compare(a, b)).map(String);
  }

  async makeDirectory(path: string): Promise<void> {
    await settle<string | undefined>("mkdir", path, (done) =>
      fs.mkdir(path, { recursive: true, mode: 0o700 }, done),
    );
  }

  rename(from: string, to: string): Promise<void> {
    return settle("rename", from, (done) => fs.rename(from, to, done));
  }

  remove(path: string): Promise<void> {
    return settle("remove", path, (done) => fs.unlink(path, done));
  }

  removeTree(path: string): Promise<void> {
    return settle("remove", path, (done) => fs.rm(path, { recursive: true, force: true }, done));
  }

  async syncDirectory(path: string): Promise<void> {
    const fd = await settle<number>("open", path, (done) => fs.open(path, O_RDONLY, done));
    try {
      await settle("fsync", path, (done) => fs.fsync(fd, done));
    } finally {
      await settle("close", path, (done) => fs.close(fd, done));
    }
  }

  #warnOfMissing(lock: LockSupport, path: string): void {
    if (lock.missing.length === 0 || this.#hasWarned) return;
    this.#hasWarned = true;
    this.#logger.warn("a file lock is weaker than Go etcd's: one of its two kinds is missing", {
      path,
      taken: lock.kinds,
      missing: lock.missing,
    });
  }
}
