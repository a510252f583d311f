/** Reads a password: without echo from a terminal, else the first line of standard input. */

import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { err } from "@etcd-ts/cli";

import { EXIT, ExitError } from "./exit.ts";

/** @throws {ExitError} if the input ends before */
export function askPassword(prompt: string): Promise<string> {
  err(prompt);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const isTerminal = process.stdin.isTTY;
  const reader = createInterface({ input: process.stdin, output: silent, terminal: isTerminal });
  return new Promise((resolve, reject) => {
    reader.once("line", (line) => {
      reader.removeAllListeners("close");
      reader.close();
      if (isTerminal) err("\n");
      resolve(line);
    });
    reader.once("close", () => reject(new ExitError(EXIT.error, "no password was given")));
    reader.once("SIGINT", () => process.exit(130));
  });
}
