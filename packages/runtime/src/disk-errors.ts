/** How errors of the operating system become those of the `Disk` port. */

import { getSystemErrorMap } from "node:util";

import type { DiskErrorCode } from "@etcd-ts/base";
import { DiskError } from "@etcd-ts/base";

const CODES: { readonly [errno: string]: DiskErrorCode } = {
  ENOENT: "NOT_FOUND",
  EEXIST: "EXISTS",
  ENOSPC: "NO_SPACE",
  EDQUOT: "NO_SPACE",
  EFBIG: "NO_SPACE",
  EACCES: "ACCESS_DENIED",
  EPERM: "ACCESS_DENIED",
  EROFS: "ACCESS_DENIED",
  ENOTDIR: "NOT_DIRECTORY",
  EISDIR: "IS_DIRECTORY",
  ENOTEMPTY: "NOT_EMPTY",
};

/** As the operating system words it: `open /data/x: no such file or directory`. */
export function diskError(error: unknown, operation: string, path: string): DiskError {
  if (error instanceof DiskError) return error;
  const { code, errno, message } = error as NodeJS.ErrnoException;
  const known = errno === undefined ? undefined : getSystemErrorMap().get(errno);
  const text = known === undefined ? message : known[1];
  return new DiskError(CODES[code ?? ""] ?? "IO", path, `${operation} ${path}: ${text}`, {
    cause: error,
  });
}

/** Calls `run`, a function of `node:fs`, and turns what it throws into a `DiskError`. */
export function guard<T>(operation: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw diskError(error, operation, path);
  }
}

/** As `guard`, for a function of `node:fs` with a callback. */
export function settle<T = void>(
  operation: string,
  path: string,
  run: (done: (error: NodeJS.ErrnoException | null, result?: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    run((error, result) => {
      if (error === null) resolve(result as T);
      else reject(diskError(error, operation, path));
    });
  });
}
