/**
 * The `etcdctl` command: finds the command meant, runs it, and ends with its exit code.
 *
 * Only what reads the command line is loaded at once; the rest comes with the command that needs it.
 */

import {
  CommandLineError,
  err,
  exit,
  helpOf,
  out,
  readCommandLine,
  UnknownCommandError,
} from "@etcd-ts/cli";
import type { CommandLine } from "@etcd-ts/cli";

import type { Action } from "./command.ts";
import { ROOT, VERSIONS } from "./commands.ts";
import type { Run } from "./context.ts";
import { EXIT, ExitError, SilentExit } from "./exit.ts";

/** @returns the exit code */
async function main(argv: readonly string[]): Promise<number> {
  try {
    const commandLine = readCommandLine(ROOT, argv);
    const { run } = commandLine.path.at(-1)!;
    err(commandLine.note);
    if (run === undefined || commandLine.isHelp) out(helpOf(commandLine.path, VERSIONS));
    else if (typeof run === "object") out(run.text(commandLine));
    else return await runCommand(run, commandLine);
    return 0;
  } catch (error) {
    if (!(error instanceof CommandLineError || error instanceof UnknownCommandError)) throw error;
    err(`Error: ${error.message}\n`);
    if (error instanceof CommandLineError) out(helpOf(error.path, VERSIONS));
    return EXIT.error;
  }
}

async function runCommand(run: Run, commandLine: CommandLine<Action>): Promise<number> {
  const { Context } = await import("./context.ts");
  const { args, words, flags } = commandLine;
  const context = new Context(args, words, flags);
  try {
    await run(context);
    return 0;
  } catch (error) {
    if (error instanceof SilentExit) return error.status;
    context.reportFailures();
    const { errorText } = await import("@etcd-ts/client");
    err(`Error: ${errorText(error)}\n`);
    return error instanceof ExitError ? error.status : EXIT.error;
  }
}

void main(process.argv.slice(2)).then(exit);
