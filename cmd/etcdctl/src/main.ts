/**
 * The `etcdctl` command: finds the command meant, runs it, and ends with its exit code.
 *
 * Only what reads the command line is loaded at once; the rest comes with the command that needs it.
 */

import {
  CommandFlags,
  findCommand,
  FlagError,
  flagsOf,
  helpOf,
  HelpRequested,
  UnknownCommandError,
} from "@etcd-ts/cli";
import type { CommandPath } from "@etcd-ts/cli";

import { ROOT } from "./commands.ts";
import type { Run } from "./context.ts";
import { EXIT, ExitError, SilentExit } from "./exit.ts";
import { API_VERSION, VERSION } from "./version.ts";

const VERSIONS = { version: VERSION, apiVersion: API_VERSION };
/** What a shell reports of a program that wrote into a closed pipe. */
const EXIT_BROKEN_PIPE = 141;

function printHelp(path: CommandPath<Run>): void {
  process.stdout.write(helpOf(path, VERSIONS));
}

/** @returns the exit code */
async function main(argv: readonly string[]): Promise<number> {
  const isHelp = argv[0] === "help";
  let path: CommandPath<Run> = [ROOT];
  let words: readonly string[] = [];
  try {
    ({ path, words } = findCommand(ROOT, isHelp ? argv.slice(1) : argv));
  } catch (error) {
    if (!(error instanceof UnknownCommandError)) throw error;
    process.stderr.write(`Error: ${error.message}\n`);
    return EXIT.error;
  }
  const { run } = path.at(-1)!;
  const flags = new CommandFlags(flagsOf(path));
  let args: string[];
  try {
    args = flags.parse(words);
  } catch (error) {
    if (error instanceof HelpRequested) {
      printHelp(path);
      return 0;
    }
    if (!(error instanceof FlagError)) throw error;
    process.stderr.write(`Error: ${error.message}\n`);
    printHelp(path);
    return EXIT.error;
  }
  if (run === undefined || isHelp) {
    printHelp(path);
    return 0;
  }
  if (path.at(-1)!.name === "version") {
    await run(undefined as never);
    return 0;
  }
  return runCommand(run, args, words, flags);
}

async function runCommand(
  run: Run,
  args: readonly string[],
  words: readonly string[],
  flags: CommandFlags,
): Promise<number> {
  const { Context } = await import("./context.ts");
  const context = new Context(args, words, flags);
  try {
    await run(context);
    return 0;
  } catch (error) {
    if (error instanceof SilentExit) return error.status;
    context.reportFailures();
    const { errorText } = await import("@etcd-ts/client");
    process.stderr.write(`Error: ${errorText(error)}\n`);
    return error instanceof ExitError ? error.status : EXIT.error;
  }
}

process.stdout.on("error", (error) => {
  if ("code" in error && error.code === "EPIPE") process.exit(EXIT_BROKEN_PIPE);
  throw error;
});
process.exit(await main(process.argv.slice(2)));
