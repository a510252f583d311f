/**
 * bcrypt in threads of its own: one hash of the usual cost takes tens of milliseconds, far more
 * than a turn of the event loop may.
 *
 * Invariants:
 * - No more than `HASHES_WAITING_MAX` wait; what comes then is turned away.
 * - A thread has one job at a time; a thread that dies fails its job and is made anew for the next.
 * - Threads start with the first job and do not keep the process alive while they have none.
 */

import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";

import { SERVER_ERRORS, ServerError } from "@etcd-ts/api";
import { EtcdError, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import type { PasswordHasher } from "@etcd-ts/etcdserver";
import { genSaltSync, hashSync } from "bcryptjs";

/** Passwords waiting for a thread. */
export const HASHES_WAITING_MAX = 256;
/** One core is left to the member. */
const THREADS_MAX = 4;
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
    | { readonly kind: "hash"; readonly password: string; readonly salt: string }
    | { readonly kind: "matches"; readonly password: string; readonly hash: string };
  readonly resolve: (outcome: string | boolean) => void;
  readonly reject: (error: EtcdError) => void;
};

/** What runs in a thread. Code instead of a file, so that it runs from sources as well. */
const THREAD_CODE = `
const { parentPort, workerData } = require("node:worker_threads");
const { hashSync, compareSync } = require(workerData.library);
parentPort.on("message", (work) => {
  parentPort.postMessage(
    work.kind === "hash" ? hashSync(work.password, work.salt) : compareSync(work.password, work.hash),
  );
});
`;

export class PasswordThreads implements PasswordHasher {
  readonly #cost: number;
  readonly #threadsMax: number;
  readonly #waiting: Job[] = [];
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Job>();
  #isClosed = false;

  constructor(cost: number, threadsMax = Math.max(1, availableParallelism() - 1)) {
    this.#cost = cost;
    this.#threadsMax = Math.min(threadsMax, THREADS_MAX);
  }

  async hash(password: string): Promise<Uint8Array> {
    refuseTooLong(password);
    const outcome = await this.#run({ kind: "hash", password, salt: saltOf(this.#cost) });
    return utf8FromString(String(outcome));
  }

  async matches(password: string, hash: Uint8Array): Promise<boolean> {
    const text = stringFromUtf8(hash);
    // Anything else is no hash, and no password fits it.
    if (!/^\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}$/.test(text)) return false;
    return (await this.#run({ kind: "matches", password, hash: text })) === true;
  }

  hashNow(password: string): Uint8Array {
    return utf8FromString(hashSync(password, saltOf(this.#cost)));
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
    const library = createRequire(import.meta.url).resolve("bcryptjs");
    const thread = new Worker(THREAD_CODE, { eval: true, workerData: { library } });
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

/** As Go's library marks its hashes. */
function saltOf(cost: number): string {
  return genSaltSync(cost).replace(/^\$2[a-z]\$/, "$2a$");
}

function refuseTooLong(password: string): void {
  if (utf8FromString(password).length > PASSWORD_BYTES_MAX) throw PASSWORD_TOO_LONG;
}
