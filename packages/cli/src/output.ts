/**
 * Standard output and standard error of a short-lived tool.
 *
 * Written straight to the descriptors: `process.stdout` would load Node's streams and sockets,
 * which takes longer than all else a short command does. The order of what is written is kept.
 */

import { writeSync } from "node:fs";

/** What a shell reports of a program that wrote into a closed pipe. */
const EXIT_BROKEN_PIPE = 141;

class Output {
  readonly #descriptor: 1 | 2;
  /** A pipe that its owner set to non-blocking was full once: what follows waits in the stream. */
  #isThroughStream = false;

  constructor(descriptor: 1 | 2) {
    this.#descriptor = descriptor;
  }

  write(text: string | Uint8Array): void {
    let bytes: Uint8Array = typeof text === "string" ? Buffer.from(text) : text;
    while (bytes.length > 0 && !this.#isThroughStream) {
      try {
        bytes = bytes.subarray(writeSync(this.#descriptor, bytes));
      } catch (error) {
        this.#failed(error);
      }
    }
    if (bytes.length > 0) this.#stream.write(bytes);
  }

  get #stream(): NodeJS.WriteStream {
    return this.#descriptor === 1 ? process.stdout : process.stderr;
  }

  #failed(error: unknown): void {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EPIPE") process.exit(EXIT_BROKEN_PIPE);
    if (code !== "EAGAIN") throw error;
    this.#isThroughStream = true;
    this.#stream.on("error", (cause) => this.#failed(cause));
  }

  /** Settles when everything is handed to the system. */
  flush(): Promise<void> {
    if (!this.#isThroughStream) return Promise.resolve();
    return new Promise((resolve) => this.#stream.write("", () => resolve()));
  }
}

const OUT = new Output(1);
const ERR = new Output(2);

/** Writes results. */
export function out(text: string | Uint8Array): void {
  OUT.write(text);
}

/** Writes everything that is no result. */
export function err(text: string): void {
  ERR.write(text);
}

/** Ends the process once its output is written. */
export async function exit(status: number): Promise<never> {
  await Promise.all([OUT.flush(), ERR.flush()]);
  process.exit(status);
}
