/**
 * Files as the core sees them: reads are synchronous, writes and syncs are not.
 *
 * Durability contract, which the simulated disk enforces:
 * - `write` makes bytes visible to reads once it settles (until then a read may see either state),
 *   durable only after a `dataSync` or `sync` that begins after that.
 * - A file created, renamed or removed is durable only after `syncDirectory` of its parent.
 * - A failed sync leaves the file's unsynced bytes undefined; the caller must stop using it.
 * Paths use "/" and are absolute or relative to the process. Files are created with mode 0600,
 * directories with 0700.
 */

import { EtcdError } from "../errors.ts";

export type DiskErrorCode =
  | "NOT_FOUND"
  | "EXISTS"
  | "LOCKED"
  | "NO_SPACE"
  | "ACCESS_DENIED"
  | "NOT_DIRECTORY"
  | "IS_DIRECTORY"
  | "NOT_EMPTY"
  | "IO";

export class DiskError extends EtcdError {
  readonly code: DiskErrorCode;
  readonly path: string;

  constructor(code: DiskErrorCode, path: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.path = path;
  }
}

/**
 * - `read`: the file must exist; writes are refused.
 * - `readWrite`: the file must exist.
 * - `create`: made if it is missing, kept as it is if not.
 * - `createNew`: must not exist (`EXISTS`).
 * - `truncate`: made if it is missing, emptied if not.
 */
export type OpenMode = "read" | "readWrite" | "create" | "createNew" | "truncate";

export interface OpenOptions {
  readonly mode: OpenMode;
  /**
   * An advisory lock held until close, against other processes and other opens in this one.
   * `LOCKED` if somebody else holds it.
   */
  readonly lock?: "exclusive" | "shared";
  /**
   * Go etcd locks log segments in one way and the database in another, which do not see each
   * other. `segment` takes the lock in the first way if the system has it, which costs nothing;
   * otherwise it is taken in both. All who lock a file must ask alike.
   */
  readonly lockFor?: "segment";
}

export interface FileStat {
  readonly kind: "file" | "directory";
  readonly sizeBytes: number;
  /** Permission bits, e.g. 0o600. */
  readonly mode: number;
}

export interface DiskFile {
  readonly path: string;
  sizeBytes(): number;
  /**
   * Fills `target` from `offsetBytes`, synchronously.
   *
   * @returns bytes read; fewer than `target.length` only at the end of the file
   */
  read(target: Uint8Array, offsetBytes: number): number;
  /**
   * Writes all chunks one after another from `offsetBytes`, extending the file as needed. The
   * chunks must not change until it settles.
   */
  write(chunks: readonly Uint8Array[], offsetBytes: number): Promise<void>;
  /**
   * As `write` and then `dataSync`, in one step where the system has one. If it fails, it is as if
   * the sync had: what reached the disk is unknown.
   *
   * @param mayBlock - the caller has nothing else to do: on a disk that is quick, it may be done
   *   before this returns
   */
  writeDurably(
    chunks: readonly Uint8Array[],
    offsetBytes: number,
    mayBlock?: boolean,
  ): Promise<void>;
  /** fdatasync: contents, and the size if it changed. */
  dataSync(): Promise<void>;
  /** fsync. */
  sync(): Promise<void>;
  /** Cuts or zero-extends the file. */
  truncate(sizeBytes: number): Promise<void>;
  /** Extends the file to `sizeBytes` of zeros with its blocks allocated; never shrinks it. */
  preallocate(sizeBytes: number): Promise<void>;
  /** Gives up the lock and the handle; idempotent. */
  close(): Promise<void>;
}

export interface Disk {
  open(path: string, options: OpenOptions): Promise<DiskFile>;
  /** Undefined if nothing is there. */
  stat(path: string): Promise<FileStat | undefined>;
  /** Names in a directory, in byte order, without "." and "..". */
  list(path: string): Promise<string[]>;
  /** Makes the directory and its parents; fine if it exists. */
  makeDirectory(path: string): Promise<void>;
  /** Replaces `to` if it is a file. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file. */
  remove(path: string): Promise<void>;
  /** Removes a directory and all below it; fine if it is missing. */
  removeTree(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
}
