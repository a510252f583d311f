/** How the command ends: its exit codes, and the error that carries one. */

import { EtcdError } from "@etcd-ts/base";

export const EXIT = {
  error: 1,
  badConnection: 2,
  invalidInput: 3,
  badFeature: 4,
  interrupted: 5,
  badArguments: 128,
} as const;

/** Ends the command with `Error: <message>` on standard error and a code. */
export class ExitError extends EtcdError {
  readonly code = "EXIT";
  readonly status: number;

  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** Ends the command with a code; everything has been said. */
export class SilentExit extends EtcdError {
  readonly code = "EXIT";
  readonly status: number;

  constructor(status: number) {
    super("");
    this.status = status;
  }
}

export function badArguments(message: string): ExitError {
  return new ExitError(EXIT.badArguments, message);
}

/** Runs `parse`; what it throws becomes the end of `describe`. */
export function orBadArguments<T>(parse: () => T, describe: (text: string) => string): T {
  try {
    return parse();
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new ExitError(EXIT.badArguments, describe(text), { cause });
  }
}

const FILE_ERRORS: { readonly [code: string]: string } = {
  EACCES: "permission denied",
  EFBIG: "file too large",
  EISDIR: "is a directory",
  ENOENT: "no such file or directory",
  ENOSPC: "no space left on device",
  ENOTDIR: "not a directory",
  EROFS: "read-only file system",
};

/** What the system says of a file, in its own words. */
export function fileErrorText(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return FILE_ERRORS[code] ?? (error instanceof Error ? error.message : String(error));
}
