/** What a `MemoryDisk` does, counts and can be told to fail. */

import type { DiskErrorCode } from "../ports/disk.ts";
import { DiskError } from "../ports/disk.ts";

export type DiskOperation =
  | "open"
  | "read"
  | "write"
  | "dataSync"
  | "sync"
  | "truncate"
  | "preallocate"
  | "makeDirectory"
  | "rename"
  | "remove"
  | "removeTree"
  | "syncDirectory";

export interface DiskFault {
  readonly operation: DiskOperation;
  readonly code: DiskErrorCode;
  /** Only for this path. Default: any. */
  readonly path?: string;
  /** Let this many matching operations pass first. Default: 0. */
  readonly after?: number;
  /** How many operations fail. Default: 1. */
  readonly times?: number;
  /** Bytes of a failing write that get through. Default: 0. */
  readonly writtenBytes?: number;
}

export function faultError(fault: DiskFault, path: string): DiskError {
  const text = fault.code === "NO_SPACE" ? "no space left on device" : "input/output error";
  return new DiskError(fault.code, path, `${fault.operation} ${path}: ${text}`);
}

export function poweredOff(path: string): DiskError {
  return new DiskError("IO", path, `${path}: the disk has lost power`);
}
