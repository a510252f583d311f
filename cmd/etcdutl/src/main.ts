/**
 * The `etcdutl` command: work on the files of a member that does not run.
 *
 * Exit status: 0 done; 1 failed, or a command line that cannot be understood; 4 an output format
 * there is not; 5 interrupted; 128 wrong arguments. Results go to stdout, all else to stderr.
 */

import { EtcdError } from "@etcd-ts/base";
import {
  CommandError,
  EXIT_ERROR,
  EXIT_INTERRUPTED,
  UsageError,
  parseCommandLine,
} from "./command.ts";
import { ROOT, helpFor } from "./commands.ts";
import { helpText } from "./help.ts";
import { InterruptedError } from "./interrupt.ts";

async function main(words: readonly string[]): Promise<void> {
  const { isHelp, invocation } = parseCommandLine(ROOT, words);
  const { path } = invocation;
  const command = path.at(-1)!;
  if (isHelp) process.stdout.write(helpText(path));
  else if (command.run === undefined) process.stdout.write(helpFor(invocation));
  else await command.run(invocation);
}

function report(error: unknown): number {
  if (error instanceof InterruptedError) {
    process.stderr.write("Error: interrupted; nothing was changed\n");
    return EXIT_INTERRUPTED;
  }
  if (!(error instanceof EtcdError)) throw error;
  process.stderr.write(`Error: ${error.message}\n`);
  if (error instanceof UsageError) {
    const line = error.path.map(({ name }) => name).join(" ");
    process.stderr.write(`Run '${line} --help' for usage.\n`);
  }
  return error instanceof CommandError ? error.exitCode : EXIT_ERROR;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
