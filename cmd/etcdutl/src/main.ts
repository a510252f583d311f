/**
 * The `etcdutl` command: work on the files of a member that does not run.
 *
 * Exit status: 0 done; 1 failed, or a command line that cannot be understood; 4 an output format
 * there is not; 5 interrupted; 128 wrong arguments. Results go to stdout, all else to stderr.
 */

import { EtcdError } from "@etcd-ts/base";
import {
  CommandLineError,
  err,
  exit,
  goQuote,
  helpOf,
  lineOf,
  out,
  readCommandLine,
  UnknownCommandError,
} from "@etcd-ts/cli";
import { ROOT, VERSIONS } from "./commands.ts";
import { CommandError, EXIT_ERROR, EXIT_INTERRUPTED } from "./exit.ts";
import { InterruptedError } from "./interrupt.ts";

async function main(argv: readonly string[]): Promise<void> {
  const commandLine = readCommandLine(ROOT, argv);
  const { path, args, isHelp, note } = commandLine;
  const { run } = path.at(-1)!;
  if (run === undefined && args[0] !== undefined) {
    throw new CommandLineError(
      `unknown command ${goQuote(args[0])} for ${goQuote(lineOf(path))}`,
      path,
    );
  }
  err(note);
  if (isHelp || run === undefined) out(helpOf(path, VERSIONS));
  else await run(commandLine);
}

async function report(error: unknown): Promise<number> {
  if (error instanceof InterruptedError) {
    err("Error: interrupted; nothing was changed\n");
    return EXIT_INTERRUPTED;
  }
  if (!(error instanceof EtcdError)) throw error;
  err(`Error: ${error.message}\n`);
  if (error instanceof CommandLineError) {
    err(`Run '${lineOf(error.path)} --help' for usage.\n`);
    return EXIT_ERROR;
  }
  if (error instanceof UnknownCommandError) return EXIT_ERROR;
  const { adviceFor } = await import("./advice.ts");
  err(`Next: ${adviceFor(error)}\n`);
  return error instanceof CommandError ? error.exitCode : EXIT_ERROR;
}

main(process.argv.slice(2)).then(
  () => exit(Number(process.exitCode ?? 0)),
  async (error: unknown) => exit(await report(error)),
);
