/**
 * Advisory locks that exclude Go etcd's.
 *
 * Go etcd takes an open-file-description lock (fcntl F_OFD_SETLK) on log segments and a flock(2)
 * lock on the database. The two kinds do not see each other, so a lock here takes both, unless it is
 * for a log segment: those are opened while the log is written, and the second kind costs a process.
 * Both belong to the open file, so they also exclude another open in this process and end with
 * close.
 *
 * On Linux the first kind comes from `fs-native-extensions`; the second from the `flock` tool of
 * util-linux or busybox, which locks a descriptor it inherits: the lock stays with our open file
 * when the tool ends. On other systems the library takes flock(2) itself.
 */

import { spawn } from "node:child_process";
import { createRequire } from "node:module";

import { DiskError } from "@etcd-ts/base";

export type LockMode = "exclusive" | "shared";

/** Which kinds of lock this machine offers; why not, where it does not. */
export interface LockSupport {
  readonly kinds: readonly ("ofd" | "flock")[];
  readonly missing: readonly string[];
}

/** The part of `fs-native-extensions` that is used; the package brings no types. */
type TryLock = (
  fd: number,
  offset: number,
  length: number,
  options: { shared: boolean },
) => boolean;

const FLOCK_CONFLICT_EXIT = 1;
/** The descriptor the tool finds the file under. */
const INHERITED_FD = 3;

let library: TryLock | Error | undefined;

/** Loaded when first needed: a machine without a build of it still runs, with the other kind. */
function loadLibrary(): TryLock | Error {
  if (library !== undefined) return library;
  const require = createRequire(import.meta.url);
  try {
    library = (require("fs-native-extensions") as { tryLock: TryLock }).tryLock;
  } catch (error) {
    library = error instanceof Error ? error : new Error(String(error));
  }
  return library;
}

/**
 * Locks the open file `fd`, without waiting.
 *
 * @param isSegment - the first kind is enough, where it can be had
 * @returns the kinds taken; at least one
 * @throws {DiskError} LOCKED if another holds it, IO if no kind can be taken
 */
export async function lockFile(
  fd: number,
  path: string,
  mode: LockMode,
  isSegment: boolean,
): Promise<LockSupport> {
  const kinds: ("ofd" | "flock")[] = [];
  const missing: string[] = [];
  const loaded = loadLibrary();
  const isLinux = process.platform === "linux";
  if (loaded instanceof Error) missing.push(`fs-native-extensions: ${loaded.message}`);
  else {
    if (!tryLibrary(loaded, fd, path, mode)) throw locked(path);
    kinds.push(isLinux ? "ofd" : "flock");
  }
  if (isLinux && !(isSegment && kinds.length > 0)) {
    const outcome = await runFlock(fd, mode);
    if (outcome === "locked") throw locked(path);
    if (outcome === "taken") kinds.push("flock");
    else missing.push(outcome.message);
  }
  if (kinds.length === 0) {
    throw new DiskError("IO", path, `lock ${path}: no way to lock it (${missing.join("; ")})`);
  }
  return { kinds, missing };
}

function tryLibrary(run: TryLock, fd: number, path: string, mode: LockMode): boolean {
  try {
    return run(fd, 0, 0, { shared: mode === "shared" });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new DiskError("IO", path, `lock ${path}: ${text}`, { cause: error });
  }
}

function runFlock(fd: number, mode: LockMode): Promise<"taken" | "locked" | { message: string }> {
  return new Promise((resolve) => {
    const flags = ["-n", mode === "shared" ? "-s" : "-x", String(INHERITED_FD)];
    const tool = spawn("flock", flags, { stdio: ["ignore", "ignore", "ignore", fd] });
    tool.once("error", (error) => resolve({ message: `flock: ${error.message}` }));
    tool.once("exit", (code, signal) => {
      if (code === 0) resolve("taken");
      else if (code === FLOCK_CONFLICT_EXIT) resolve("locked");
      else resolve({ message: `flock: ended with ${code ?? signal}` });
    });
  });
}

function locked(path: string): DiskError {
  return new DiskError("LOCKED", path, `${path}: file already locked`);
}
