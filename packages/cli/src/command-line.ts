/** A whole command line: which command is meant, with which flags and words. */

import { EtcdError } from "@etcd-ts/base";

import { CommandFlags } from "./command-flags.ts";
import { findCommand, flagsOf, UnknownCommandError } from "./command-tree.ts";
import type { CommandPath } from "./command-tree.ts";
import { FlagError, HelpRequested } from "./flag-set.ts";
import { goQuote } from "./go-text.ts";

/** Flags that cannot be understood; the help of the command may say how they are meant. */
export class CommandLineError<Run> extends EtcdError {
  readonly code = "COMMAND_LINE";
  readonly path: CommandPath<Run>;

  constructor(message: string, path: CommandPath<Run>, options?: ErrorOptions) {
    super(message, options);
    this.path = path;
  }
}

export interface CommandLine<Run> {
  readonly path: CommandPath<Run>;
  readonly flags: CommandFlags;
  /** Plain words after the command's name. */
  readonly args: readonly string[];
  /** The same with flags and `--`. */
  readonly words: readonly string[];
  /** Whether help was asked for, by `--help` or by `help` as the first word. */
  readonly isHelp: boolean;
  /** What to say before the help; help about something there is not becomes help about the program. */
  readonly note: string;
}

/**
 * Reads what follows the program's name.
 *
 * @throws {UnknownCommandError} if the first word names no command; `help` says so in `note`
 * @throws {CommandLineError} for flags that are unknown, missing or have a value that does not fit
 */
export function readCommandLine<Run>(
  root: CommandPath<Run>[number],
  argv: readonly string[],
): CommandLine<Run> {
  const isHelpCommand = argv[0] === "help";
  const { path, words, note } = isHelpCommand
    ? findTopic(root, argv.slice(1))
    : { ...findCommand(root, argv), note: "" };
  const flags = new CommandFlags(flagsOf(path));
  const read = (args: readonly string[], isHelp: boolean): CommandLine<Run> => ({
    path,
    flags,
    args,
    words,
    isHelp,
    note,
  });
  let args: readonly string[];
  try {
    args = flags.parse(words);
  } catch (error) {
    if (error instanceof HelpRequested) return read([], true);
    if (!(error instanceof FlagError)) throw error;
    throw new CommandLineError(error.message, path, { cause: error });
  }
  if (isHelpCommand) return read(args, true);
  const missing = flags.missing().map((name) => goQuote(name));
  if (missing.length > 0) {
    throw new CommandLineError(`required flag(s) ${missing.join(", ")} not set`, path);
  }
  return read(args, false);
}

function findTopic<Run>(
  root: CommandPath<Run>[number],
  topic: readonly string[],
): { readonly path: CommandPath<Run>; readonly words: readonly string[]; readonly note: string } {
  try {
    return { ...findCommand(root, topic), note: "" };
  } catch (error) {
    if (!(error instanceof UnknownCommandError)) throw error;
    const words = topic.map((word) => `\`${word}\``).join(" ");
    return { path: [root], words: [], note: `Unknown help topic [${words}]\n` };
  }
}

/** The program and the command, as they are typed: `etcdutl snapshot`. */
export function lineOf<Run>(path: CommandPath<Run>): string {
  return path.map(({ name }) => name).join(" ");
}

/** The only plain word. @throws {CommandLineError} with the text of Go's tools */
export function onlyArgument<Run>({ args, path }: CommandLine<Run>): string {
  const [word, ...others] = args;
  if (word !== undefined && others.length === 0) return word;
  throw new CommandLineError(`accepts 1 arg(s), received ${args.length}`, path);
}
