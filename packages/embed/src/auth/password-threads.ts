/**
 * bcrypt in threads of its own: one hash of the usual cost takes tens of milliseconds, far more
 * than a turn of the event loop may. Threads, and not libuv's pool, because syncs of the log wait
 * for that one.
 *
 * The native library is two thirds of the work of the other; where it has no binary, the other
 * does the same.
 *
 * Invariants:
 * - No more than `HASHES_WAITING_MAX` wait; what comes then is turned away.
 * - The member goes first: the threads yield to it where the system lets a thread say so (Linux),
 *   and elsewhere leave it a core.
 * - A thread has one job at a time; a thread that dies fails its job and is made anew for the next.
 * - Threads start with the first job and do not keep the process alive while they have none.
 */

import { createRequire } from "node:module";
import { availableParallelism, platform } from "node:os";
import { Worker } from "node:worker_threads";

import { SERVER_ERRORS, ServerError } from "@etcd-ts/api";
import { EtcdError, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import type { PasswordHasher } from "@etcd-ts/etcdserver";
import { genSaltSync, hashSync } from "bcryptjs";

/** Passwords waiting for a thread. */
export const HASHES_WAITING_MAX = 256;
const THREADS_MAX = 4;
/** Niceness of a thread that hashes: a tenth of the member's share where both want the same core. */
const THREAD_NICENESS = 10;
export const BCRYPT_COST_MIN = 4;
export const BCRYPT_COST_MAX = 31;
export const BCRYPT_COST_DEFAULT = 10;
/** bcrypt looks at no more; etcd refuses a longer password. */
const PASSWORD_BYTES_MAX = 72;

const PASSWORD_TOO_LONG = Object.freeze(
  new ServerError("PASSWORD_TOO_LONG", "bcrypt: password length exceeds 72 bytes"),
);

/** A thread ended by itself. */
export class PasswordThreadError extends EtcdError {
  readonly code = "PASSWORD_THREAD";
}

type Job = {
  readonly work:
    | { readonly kind: "hash"; readonly password: string; readonly cost: number }
    | { readonly kind: "matches"; readonly password: string; readonly hash: string };
  readonly resolve: (outcome: string | boolean) => void;
  readonly reject: (error: EtcdError) => void;
};

/** What runs in a thread. Code instead of a file, so that it runs from sources as well. */
const THREAD_CODE = `
const { setPriority } = require("node:os");
const { parentPort, workerData } = require("node:worker_threads");
const { native, plain, niceness } = workerData;
// On Linux priorities are those of threads.
if (niceness > 0) {
  try {
    setPriority(0, niceness);
  } catch {
    // Then it competes with the member as an equal.
  }
}
function load() {
  if (native !== undefined) {
    try {
      const library = require(native);
      return {
        hash: ({ password, cost }) => library.hashSync(password, { cost, version: "2a" }),
        matches: ({ password, hash }) => library.verifySync(password, hash),
      };
    } catch {
      // No binary for this system.
    }
  }
  const library = require(plain);
  return {
    // Marked as Go's library marks its hashes.
    hash: ({ password, cost }) =>
      library.hashSync(password, library.genSaltSync(cost).replace(/^\\$2[a-z]/, "$2a")),
    matches: ({ password, hash }) => library.compareSync(password, hash),
  };
}
const kinds = load();
parentPort.on("message", (work) => parentPort.postMessage(kinds[work.kind](work)));
`;

export interface PasswordThreadOptions {
  readonly threadsMax?: number;
  /** False: bcrypt in JavaScript even where the native library is there. */
  readonly isNative?: boolean;
}

export class PasswordThreads implements PasswordHasher {
  readonly #cost: number;
  readonly #threadsMax: number;
  readonly #isNative: boolean;
  readonly #waiting: Job[] = [];
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Job>();
  #isClosed = false;

  constructor(cost: number, options: PasswordThreadOptions = {}) {
    this.#cost = cost;
    this.#threadsMax = Math.min(options.threadsMax ?? usableThreads(), THREADS_MAX);
    this.#isNative = options.isNative ?? true;
  }

  async hash(password: string): Promise<Uint8Array> {
    refuseTooLong(password);
    const outcome = await this.#run({ kind: "hash", password, cost: this.#cost });
    return utf8FromString(String(outcome));
  }

  async matches(password: string, hash: Uint8Array): Promise<boolean> {
    const plain = plainHash(stringFromUtf8(hash));
    if (plain === undefined) return false;
    return (await this.#run({ kind: "matches", password, hash: plain })) === true;
  }

  hashNow(password: string): Uint8Array {
    const salt = genSaltSync(this.#cost).replace(/^\$2[a-z]\$/, "$2a$");
    return utf8FromString(hashSync(password, salt));
  }

  /** Ends the threads; jobs that wait fail. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const job of this.#waiting.splice(0)) job.reject(SERVER_ERRORS.stopped);
    const threads = [...this.#idle.splice(0), ...this.#busy.keys()];
    await Promise.all(threads.map((thread) => thread.terminate()));
  }

  #run(work: Job["work"]): Promise<string | boolean> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) reject(SERVER_ERRORS.stopped);
      else if (this.#waiting.length >= HASHES_WAITING_MAX) reject(SERVER_ERRORS.tooManyRequests);
      else {
        this.#waiting.push({ work, resolve, reject });
        this.#assign();
      }
    });
  }

  #assign(): void {
    while (this.#waiting.length > 0) {
      const isFull = this.#busy.size >= this.#threadsMax;
      const thread = this.#idle.pop() ?? (isFull ? undefined : this.#start());
      if (thread === undefined) return;
      const job = this.#waiting.shift()!;
      this.#busy.set(thread, job);
      thread.ref();
      thread.postMessage(job.work);
    }
  }

  #start(): Worker {
    const workerData = {
      native: this.#isNative ? nativeLibrary() : undefined,
      plain: createRequire(import.meta.url).resolve("bcryptjs"),
      niceness: canYield() ? THREAD_NICENESS : 0,
    };
    const thread = new Worker(THREAD_CODE, { eval: true, workerData });
    thread.on("message", (outcome: string | boolean) => {
      const job = this.#busy.get(thread);
      this.#busy.delete(thread);
      thread.unref();
      this.#idle.push(thread);
      job?.resolve(outcome);
      this.#assign();
    });
    thread.on("error", () => undefined);
    thread.on("exit", () => this.#ended(thread));
    return thread;
  }

  #ended(thread: Worker): void {
    const job = this.#busy.get(thread);
    this.#busy.delete(thread);
    const position = this.#idle.indexOf(thread);
    if (position >= 0) this.#idle.splice(position, 1);
    job?.reject(
      this.#isClosed
        ? SERVER_ERRORS.stopped
        : new PasswordThreadError("a thread that hashes passwords has ended"),
    );
    if (!this.#isClosed) this.#assign();
  }
}

/** The cost to use for a flag: one that bcrypt does not have becomes the default. */
export function usableCost(cost: number): number {
  return cost < BCRYPT_COST_MIN || cost > BCRYPT_COST_MAX ? BCRYPT_COST_DEFAULT : cost;
}

/** Elsewhere a priority is the whole process's. */
function canYield(): boolean {
  return platform() === "linux";
}

function usableThreads(): number {
  const cores = availableParallelism();
  return canYield() ? cores : Math.max(1, cores - 1);
}

/** Undefined where it was not installed. */
function nativeLibrary(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve("@node-rs/bcrypt");
  } catch {
    return undefined;
  }
}

/**
 * A stored hash as every library takes it: to Go's, any mark of the version means the same.
 * Undefined if it is no hash, so that no password fits it.
 */
function plainHash(hash: string): string | undefined {
  const match = /^\$2[^$]?\$((?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53})$/.exec(hash);
  return match === null ? undefined : `$2a$${match[1]}`;
}

function refuseTooLong(password: string): void {
  if (utf8FromString(password).length > PASSWORD_BYTES_MAX) throw PASSWORD_TOO_LONG;
}
