/** Runs seeds in this thread, or several at a time in threads of their own. */

import { once } from "node:events";
import { Worker, parentPort } from "node:worker_threads";
import process, { exit } from "node:process";

import { replayLine, reportSeed } from "./seed-report.ts";
import type { SeedReport, SeedRequest } from "./seed-report.ts";

export type SeedRunner = (request: SeedRequest) => Promise<SeedReport>;

let current: SeedRequest | undefined;

/** A rejected promise nobody takes is a bug of its own: told, and the end. */
function failOnLostRejections(): void {
  process.on("unhandledRejection", (error) => {
    console.error(`FAIL seed ${current?.seed}: a promise was rejected and nobody cared`, error);
    if (current !== undefined) console.error(replayLine(current));
    exit(1);
  });
}

export function runHere(): SeedRunner {
  failOnLostRejections();
  return (request) => {
    current = request;
    return reportSeed(request);
  };
}

/** @param file - the module whose `serveSeeds` is called when it runs in a thread */
export function runInThread(file: URL): SeedRunner {
  const worker = new Worker(file);
  worker.on("exit", (code) => exit(code === 0 ? 1 : code));
  return async (request) => {
    // Fails if the thread does.
    const answer = once(worker, "message");
    worker.postMessage(request);
    const [report] = (await answer) as [SeedReport];
    return report;
  };
}

/** The other side of `runInThread`. */
export function serveSeeds(): void {
  const run = runHere();
  parentPort!.on("message", (request: SeedRequest) => {
    void run(request).then((report) => parentPort!.postMessage(report));
  });
}
