/** watch: events on keys, from the command line or from lines of standard input. */

import { spawn } from "node:child_process";
import { CommandFlags, err, goQuote, out } from "@etcd-ts/cli";
import { errorText, WatchCanceledError } from "@etcd-ts/client";
import type { Client, Watcher } from "@etcd-ts/client";
import type { WatchResponse } from "@etcd-ts/api";

import type { Context } from "../context.ts";
import { badArguments, EXIT, ExitError, fileErrorText } from "../exit.ts";
import { WATCH } from "../kv-flags.ts";
import { LineReader } from "../lines.ts";
import { eventTypeName } from "../printers/printer.ts";
import type { Printer } from "../printers/index.ts";
import { splitWords } from "../words.ts";

const BAD_NUMBER = "bad number of arguments";

interface Wanted {
  readonly keys: readonly string[];
  readonly exec: readonly string[];
}

/** Keys and the command after `--`; keys come from the environment if it has them. */
export function watchArguments(
  plain: readonly string[],
  words: readonly string[],
  environment: { readonly [name: string]: string | undefined },
): Wanted {
  const key = environment["ETCDCTL_WATCH_KEY"] ?? "";
  const rangeEnd = environment["ETCDCTL_WATCH_RANGE_END"] ?? "";
  const separator = words.indexOf("--");
  const exec = separator < 0 ? [] : words.slice(separator + 1);
  if (separator >= 0 && exec.length === 0) {
    throw badArguments(`${BAD_NUMBER} (found separator --, but no commands)`);
  }
  const own = plain.slice(0, plain.length - exec.length);
  if (key === "") return { keys: own, exec };
  if (own.length > 0) throw badArguments(`${BAD_NUMBER} (found conflicting environment key)`);
  return { keys: rangeEnd === "" ? [key] : [key, rangeEnd], exec };
}

function startWatch(client: Client, keys: readonly string[], flags: CommandFlags): Watcher {
  const [key, rangeEnd] = keys;
  if (key === undefined) throw badArguments(BAD_NUMBER);
  const isRange = keys.length === 2;
  if (isRange && flags.bool("prefix")) {
    throw badArguments("`range_end` and `--prefix` are mutually exclusive");
  }
  return client.watch(key, {
    startRevision: flags.number("rev"),
    prefix: flags.bool("prefix"),
    prevKV: flags.bool("prev-kv"),
    progressNotify: flags.bool("progress-notify"),
    requireLeader: true,
    ...(isRange && rangeEnd !== undefined ? { rangeEnd } : {}),
  });
}

export async function watch(context: Context): Promise<void> {
  const { flags } = context;
  const { ETCDCTL_WATCH_KEY: key = "", ETCDCTL_WATCH_RANGE_END: end = "" } = process.env;
  if (key === "" && end !== "") {
    throw badArguments(
      `ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=${goQuote(end)}`,
    );
  }
  if (flags.bool("interactive")) {
    await watchInteractively(context);
    return;
  }
  const { keys, exec } = watchArguments(context.args, context.words, process.env);
  if (keys.length === 0) throw badArguments(BAD_NUMBER);
  const client = await context.client();
  await printWatch(startWatch(client, keys, flags), exec, context.printer);
  throw new ExitError(EXIT.interrupted, "watch is canceled by the server");
}

async function watchInteractively(context: Context): Promise<void> {
  const client = await context.client();
  const { printer } = context;
  const lines = new LineReader();
  const watchers: Watcher[] = [];
  for (;;) {
    const line = await lines.next();
    if (line === undefined) {
      throw new ExitError(EXIT.invalidInput, "error reading watch request line: EOF");
    }
    const words = splitWords(line);
    if (words.length === 0) {
      err(`Invalid command: ${line} (watch and progress supported)\n`);
    } else if (words[0] === "progress") {
      for (const watcher of watchers) watcher.requestProgress();
    } else if (words[0] !== "watch") {
      err(`Invalid command ${line} (only support watch)\n`);
    } else if (words.length < 2 && (process.env["ETCDCTL_WATCH_KEY"] ?? "") === "") {
      err(`Invalid command ${line} (command type or key is not provided)\n`);
    } else {
      watchLine(client, line, words.slice(1), printer, watchers);
    }
  }
}

function watchLine(
  client: Client,
  line: string,
  words: readonly string[],
  printer: Printer,
  watchers: Watcher[],
): void {
  const flags = new CommandFlags(WATCH);
  let wanted: Wanted;
  try {
    wanted = watchArguments(flags.parse(words), words, process.env);
  } catch (error) {
    throw badArguments(errorText(error));
  }
  if (wanted.keys.length === 0) throw badArguments(BAD_NUMBER);
  let watcher: Watcher;
  try {
    watcher = startWatch(client, wanted.keys, flags);
  } catch (error) {
    err(`Invalid command ${line} (${errorText(error)})\n`);
    return;
  }
  watchers.push(watcher);
  printWatch(watcher, wanted.exec, printer).catch((error: unknown) => {
    err(`Error: ${errorText(error)}\n`);
    process.exit(error instanceof ExitError ? error.status : EXIT.error);
  });
}

/** Prints until the server ends the watch. */
async function printWatch(
  watcher: Watcher,
  exec: readonly string[],
  printer: Printer,
): Promise<void> {
  try {
    for await (const response of watcher) {
      if (response.events.length === 0) {
        out(`progress notify: ${response.header?.revision ?? 0}\n`);
      }
      printer.watch(response);
      if (exec.length > 0) await runForEach(response, exec);
    }
  } catch (error) {
    if (error instanceof ExitError) throw error;
    err(`watch was canceled (${errorText(error)})\n`);
    if (error instanceof WatchCanceledError) printer.watch(error.response);
  }
}

/** Runs the command once for each event, one after the other. */
async function runForEach(response: WatchResponse, exec: readonly string[]): Promise<void> {
  for (const { type, kv } of response.events) {
    const failure = await runCommand(exec, {
      ETCD_WATCH_REVISION: String(response.header?.revision ?? 0),
      ETCD_WATCH_EVENT_TYPE: goQuote(eventTypeName(type)),
      ETCD_WATCH_KEY: goQuote(kv?.key ?? ""),
      ETCD_WATCH_VALUE: goQuote(kv?.value ?? ""),
    });
    if (failure.status === 0) continue;
    const words = `[${exec.map((word) => goQuote(word)).join(" ")}]`;
    err(`command ${words} error (${failure.text})\n`);
    process.exit(EXIT.error);
  }
}

/** What Go's programs end with whose child was killed. */
const EXIT_BY_SIGNAL = 255;

/** As Go calls them. */
const SIGNAL_TEXTS: { readonly [signal: string]: string } = {
  SIGABRT: "aborted",
  SIGALRM: "alarm clock",
  SIGBUS: "bus error",
  SIGFPE: "floating point exception",
  SIGHUP: "hangup",
  SIGILL: "illegal instruction",
  SIGINT: "interrupt",
  SIGKILL: "killed",
  SIGPIPE: "broken pipe",
  SIGQUIT: "quit",
  SIGSEGV: "segmentation fault",
  SIGTERM: "terminated",
  SIGTRAP: "trace/breakpoint trap",
  SIGUSR1: "user defined signal 1",
  SIGUSR2: "user defined signal 2",
};

/** Runs a program with our output. @returns its exit status, and that as Go puts it */
export function runCommand(
  words: readonly string[],
  environment: { readonly [name: string]: string },
): Promise<{ readonly status: number; readonly text: string }> {
  const [program = "", ...args] = words;
  const child = spawn(program, args, {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...environment },
  });
  return new Promise((resolve) => {
    child.once("error", (error) => {
      const isPath = program.includes("/");
      const text = isPath
        ? `fork/exec ${program}: ${fileErrorText(error)}`
        : `exec: ${goQuote(program)}: executable file not found in $PATH`;
      resolve({ status: EXIT.error, text });
    });
    child.once("exit", (code, signal) => {
      if (code !== null) resolve({ status: code, text: `exit status ${code}` });
      else
        resolve({
          status: EXIT_BY_SIGNAL,
          text: `signal: ${SIGNAL_TEXTS[signal ?? ""] ?? signal}`,
        });
    });
  });
}
