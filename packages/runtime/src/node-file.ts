/**
 * An open file of Node.
 *
 * Invariants:
 * - A write settles only when all its bytes are with the operating system.
 * - After a failed sync or durable write the handle refuses to write and to sync: the system may
 *   have dropped the bytes and called them clean, so a second sync that succeeds would prove
 *   nothing.
 * - Operations under way when `close` is called are the caller's to await first.
 */

import * as fs from "node:fs";

import type { DiskFile } from "@etcd-ts/base";
import { DiskError, invariant } from "@etcd-ts/base";

import { guard, settle } from "./disk-errors.ts";
import type { LockSupport } from "./file-lock.ts";

const ZEROS_BYTES = 1 << 20;
/** After a write that blocked for longer, the next ones do not. */
const QUICK_WRITE_MS = 4;
/** How many, at first; twice as many each time until one is quick, at most `PATIENT_WRITES_MAX`. */
const PATIENT_WRITES_MIN = 32;
const PATIENT_WRITES_MAX = 4096;
/** More bytes than this are never written by blocking. */
const BLOCKING_BYTES_MAX = 64 * 1024;
let zeros: Uint8Array | undefined;

export class NodeFile implements DiskFile {
  readonly path: string;
  /** The locks held; undefined if none was asked for. */
  readonly lock: LockSupport | undefined;
  readonly #isReadOnly: boolean;
  #fd: number;
  /** The same file, opened so that each write is a synced one; -1 if there is no such thing. */
  #durableFd: number | undefined;
  #syncFailure: DiskError | undefined = undefined;
  /** Durable writes that must not block, as one that did was slow. */
  #patientWrites = 0;
  #nextPatience = PATIENT_WRITES_MIN;

  constructor(fd: number, path: string, isReadOnly: boolean, lock: LockSupport | undefined) {
    this.#fd = fd;
    this.path = path;
    this.lock = lock;
    this.#isReadOnly = isReadOnly;
  }

  sizeBytes(): number {
    this.#check();
    return guard("stat", this.path, () => fs.fstatSync(this.#fd).size);
  }

  read(target: Uint8Array, offsetBytes: number): number {
    this.#check();
    let done = 0;
    while (done < target.length) {
      const left = target.length - done;
      const count = guard("read", this.path, () =>
        fs.readSync(this.#fd, target, done, left, offsetBytes + done),
      );
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  async write(chunks: readonly Uint8Array[], offsetBytes: number): Promise<void> {
    this.#checkWritable();
    await this.#writeAll(this.#fd, chunks, offsetBytes);
  }

  async #writeAll(fd: number, chunks: readonly Uint8Array[], offsetBytes: number): Promise<void> {
    let rest = chunks.filter((chunk) => chunk.length > 0);
    let at = offsetBytes;
    while (rest.length > 0) {
      const written = await this.#writeSome(fd, rest, at);
      if (written === 0) throw new DiskError("IO", this.path, `write ${this.path}: no progress`);
      at += written;
      rest = dropFront(rest, written);
    }
  }

  /**
   * A write that syncs costs one trip to a thread where a write and a sync cost two, and syncs no
   * more than what it wrote. Where it may block it costs none: on a busy machine the two changes of
   * thread take longer than the disk does.
   */
  async writeDurably(
    chunks: readonly Uint8Array[],
    offsetBytes: number,
    mayBlock = false,
  ): Promise<void> {
    this.#checkWritable();
    this.#durableFd ??= openDurable(this.#fd);
    if (this.#durableFd < 0) {
      await this.write(chunks, offsetBytes);
      return this.dataSync();
    }
    try {
      if (mayBlock && this.#isQuick(chunks)) {
        this.#writeBlocking(this.#durableFd, chunks[0]!, offsetBytes);
      } else await this.#writeAll(this.#durableFd, chunks, offsetBytes);
    } catch (error) {
      if (error instanceof DiskError) this.#syncFailure = error;
      throw error;
    }
  }

  #isQuick(chunks: readonly Uint8Array[]): boolean {
    if (chunks.length !== 1 || chunks[0]!.length > BLOCKING_BYTES_MAX) return false;
    if (this.#patientWrites === 0) return true;
    this.#patientWrites--;
    return false;
  }

  /** A disk that is slow once is let alone for a while, and longer each time it still is. */
  #writeBlocking(fd: number, bytes: Uint8Array, offsetBytes: number): void {
    const startMs = performance.now();
    this.#writeNow(fd, bytes, offsetBytes);
    if (performance.now() - startMs < QUICK_WRITE_MS) {
      this.#nextPatience = PATIENT_WRITES_MIN;
      return;
    }
    this.#patientWrites = this.#nextPatience;
    this.#nextPatience = Math.min(2 * this.#nextPatience, PATIENT_WRITES_MAX);
  }

  #writeNow(fd: number, bytes: Uint8Array, offsetBytes: number): void {
    for (let at = 0; at < bytes.length;) {
      const left = bytes.length - at;
      const written = guard("write", this.path, () =>
        fs.writeSync(fd, bytes, at, left, offsetBytes + at),
      );
      if (written === 0) throw new DiskError("IO", this.path, `write ${this.path}: no progress`);
      at += written;
    }
  }

  dataSync(): Promise<void> {
    return this.#sync("fdatasync", fs.fdatasync);
  }

  sync(): Promise<void> {
    return this.#sync("fsync", fs.fsync);
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#checkWritable();
    await settle("truncate", this.path, (done) => fs.ftruncate(this.#fd, sizeBytes, done));
  }

  /**
   * Writes zeros rather than asking for blocks: a block that was never written costs the file
   * system a journal commit when it is first used, on the path of an acknowledgement.
   */
  async preallocate(sizeBytes: number): Promise<void> {
    this.#checkWritable();
    zeros ??= new Uint8Array(ZEROS_BYTES);
    for (let at = this.sizeBytes(); at < sizeBytes;) {
      const length = Math.min(ZEROS_BYTES, sizeBytes - at);
      await this.write([zeros.subarray(0, length)], at);
      at += length;
    }
  }

  async close(): Promise<void> {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    const durableFd = this.#durableFd ?? -1;
    this.#fd = -1;
    if (durableFd >= 0) await settle("close", this.path, (done) => fs.close(durableFd, done));
    await settle("close", this.path, (done) => fs.close(fd, done));
  }

  #writeSome(fd: number, chunks: readonly Uint8Array[], offsetBytes: number): Promise<number> {
    const only = chunks.length === 1 ? chunks[0] : undefined;
    return settle<number>("write", this.path, (done) => {
      if (only === undefined) fs.writev(fd, chunks, offsetBytes, done);
      else fs.write(fd, only, 0, only.length, offsetBytes, done);
    });
  }

  async #sync(name: string, run: typeof fs.fsync): Promise<void> {
    this.#checkWritable();
    try {
      await settle(name, this.path, (done) => run(this.#fd, done));
    } catch (error) {
      if (error instanceof DiskError) this.#syncFailure = error;
      throw error;
    }
  }

  #check(): void {
    invariant(this.#fd >= 0, () => `NodeFile: ${this.path} is closed`);
  }

  #checkWritable(): void {
    this.#check();
    if (this.#isReadOnly) {
      throw new DiskError("ACCESS_DENIED", this.path, `${this.path}: opened for reading`);
    }
    if (this.#syncFailure !== undefined) {
      const message = `${this.path}: an earlier sync failed`;
      throw new DiskError("IO", this.path, message, { cause: this.#syncFailure });
    }
  }
}

/**
 * Opens the file behind `fd` once more with O_DSYNC. By its descriptor, as its name may be another
 * file's by now; its locks are the open file's they were taken with, and stay there.
 *
 * @returns -1 where that cannot be done
 */
function openDurable(fd: number): number {
  const { O_WRONLY, O_DSYNC } = fs.constants;
  if (process.platform !== "linux") return -1;
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_DSYNC);
  } catch {
    return -1;
  }
}

function dropFront(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  let first = 0;
  while (first < chunks.length && left >= chunks[first]!.length) left -= chunks[first++]!.length;
  const rest = chunks.slice(first);
  if (left > 0) rest[0] = rest[0]!.subarray(left);
  return rest;
}
