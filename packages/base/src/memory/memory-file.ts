/**
 * An open file of a `MemoryDisk`.
 *
 * Invariants: a handle whose sync failed refuses to write or sync again; a closed handle, or one
 * from before a crash, refuses everything; the lock is held from construction to close.
 */

import { invariant } from "../errors.ts";
import type { DiskFile, OpenOptions } from "../ports/disk.ts";
import { DiskError } from "../ports/disk.ts";
import type { MemoryDisk } from "./memory-disk.ts";
import { faultError } from "./disk-faults.ts";
import type { MemoryInode } from "./memory-inode.ts";

export class MemoryFile implements DiskFile {
  readonly path: string;
  readonly #disk: MemoryDisk;
  readonly #inode: MemoryInode;
  readonly #generation: number;
  readonly #isReadOnly: boolean;
  readonly #lock: OpenOptions["lock"];
  #isClosed = false;
  #isBroken = false;

  /** @throws {DiskError} LOCKED */
  constructor(disk: MemoryDisk, path: string, inode: MemoryInode, options: OpenOptions) {
    invariant(
      options.lock !== "exclusive" || options.mode !== "read",
      () => `MemoryFile: ${path}: an exclusive lock needs a file open for writing`,
    );
    this.path = path;
    this.#disk = disk;
    this.#inode = inode;
    this.#generation = disk.generation;
    this.#isReadOnly = options.mode === "read";
    this.#lock = options.lock;
    this.#takeLock();
  }

  sizeBytes(): number {
    this.#check();
    return this.#inode.sizeBytes;
  }

  read(target: Uint8Array, offsetBytes: number): number {
    this.#check();
    this.#disk.count("read", target.length);
    this.#disk.checkPower("read", this.path);
    this.#disk.checkFault("read", this.path);
    return this.#inode.read(target, offsetBytes);
  }

  async write(chunks: readonly Uint8Array[], offsetBytes: number): Promise<void> {
    this.#checkWritable();
    let length = 0;
    for (const chunk of chunks) length += chunk.length;
    const wait = this.#disk.begin("write", length);
    if (wait !== undefined) await wait;
    this.#check();
    const fault = this.#disk.takeFault("write", this.path);
    if (fault !== undefined) {
      this.#put(chunks, offsetBytes, Math.min(length, fault.writtenBytes ?? 0));
      throw faultError(fault, this.path);
    }
    if (this.#disk.isPoweredOff) this.#disk.checkPower("write", this.path);
    // When the power goes off in this write, any part of it may reach the device.
    const growth = offsetBytes + length - this.#inode.sizeBytes;
    const missing = Math.max(0, growth - this.#disk.freeBytes);
    this.#put(chunks, offsetBytes, Math.max(0, length - missing));
    this.#disk.checkPower("write", this.path);
    if (missing > 0) {
      const message = `write ${this.path}: no space left on device`;
      throw new DiskError("NO_SPACE", this.path, message);
    }
  }

  /** In two steps, so that a crash or a fault may come between them. */
  async writeDurably(chunks: readonly Uint8Array[], offsetBytes: number): Promise<void> {
    await this.write(chunks, offsetBytes);
    await this.#sync("dataSync");
  }

  dataSync(): Promise<void> {
    return this.#sync("dataSync");
  }

  sync(): Promise<void> {
    return this.#sync("sync");
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#checkWritable();
    await this.#disk.step("truncate", this.path, sizeBytes);
    this.#check();
    this.#disk.resize(this.#inode, this.path, sizeBytes);
  }

  async preallocate(sizeBytes: number): Promise<void> {
    this.#checkWritable();
    await this.#disk.step("preallocate", this.path, sizeBytes);
    this.#check();
    if (sizeBytes > this.#inode.sizeBytes) {
      this.#disk.resize(this.#inode, this.path, sizeBytes);
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#generation !== this.#disk.generation) return;
    if (this.#lock === "exclusive") this.#inode.exclusive = false;
    if (this.#lock === "shared") this.#inode.sharedHolders--;
  }

  async #sync(operation: "dataSync" | "sync"): Promise<void> {
    this.#checkWritable();
    const pending = this.#inode.beginSync();
    const wait = this.#disk.begin(operation, 0);
    if (wait !== undefined) await wait;
    this.#check();
    this.#disk.checkPower(operation, this.path);
    const fault = this.#disk.takeFault(operation, this.path);
    if (fault === undefined) {
      this.#inode.finishSync(pending);
      return;
    }
    this.#isBroken = true;
    this.#inode.failSync(pending);
    throw faultError(fault, this.path);
  }

  /** Writes the first `length` bytes of `chunks`. */
  #put(chunks: readonly Uint8Array[], offsetBytes: number, length: number): void {
    const end = offsetBytes + length;
    if (length === 0) return;
    if (end > this.#inode.sizeBytes) this.#disk.resize(this.#inode, this.path, end);
    let at = offsetBytes;
    for (const chunk of chunks) {
      if (at >= end) break;
      this.#inode.write(chunk.subarray(0, Math.min(chunk.length, end - at)), at);
      at += chunk.length;
    }
  }

  #takeLock(): void {
    const inode = this.#inode;
    if (this.#lock === undefined) return;
    const isTaken = inode.exclusive || (this.#lock === "exclusive" && inode.sharedHolders > 0);
    if (isTaken) throw new DiskError("LOCKED", this.path, `${this.path}: locked by another holder`);
    if (this.#lock === "exclusive") inode.exclusive = true;
    else inode.sharedHolders++;
  }

  #check(): void {
    invariant(!this.#isClosed, () => `MemoryFile: ${this.path} is closed`);
    if (this.#generation !== this.#disk.generation) {
      throw new DiskError("IO", this.path, `${this.path}: the disk has lost power`);
    }
  }

  #checkWritable(): void {
    this.#check();
    if (this.#isReadOnly) {
      throw new DiskError("ACCESS_DENIED", this.path, `${this.path}: opened for reading`);
    }
    if (this.#isBroken) {
      throw new DiskError("IO", this.path, `${this.path}: an earlier sync failed`);
    }
  }
}
