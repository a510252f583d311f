/**
 * A program with commands and subcommands: finding the one meant, and its help, laid out as
 * etcd's own tools lay it out (NAME, USAGE, ..., OPTIONS, GLOBAL OPTIONS).
 */

import type { CommandFlag } from "./command-flags.ts";
import { CommandFlags, HELP_FLAG } from "./command-flags.ts";
import { FlagError } from "./flag-set.ts";
import { goQuote } from "./go-text.ts";
import { alignTabs } from "./text-table.ts";

/** A command; without `run` it only has subcommands. */
export interface Command<Run> {
  readonly name: string;
  /** After the name: `[options] <key> [range_end]`. */
  readonly arguments?: string;
  readonly short: string;
  readonly long?: string;
  readonly example?: string;
  /** Words it takes, where they are few. */
  readonly choices?: readonly string[];
  readonly flags?: readonly CommandFlag[];
  /** Of this command and everything below it. */
  readonly persistentFlags?: readonly CommandFlag[];
  readonly commands?: readonly Command<Run>[];
  readonly run?: Run;
}

export interface Versions {
  readonly version: string;
  readonly apiVersion: string;
}

/** From the root to the command meant. */
export type CommandPath<Run> = readonly Command<Run>[];

/** A word that names no command; the text is for the user, with what it may have meant. */
export class UnknownCommandError extends FlagError {}

function persistent<Run>(path: CommandPath<Run>): CommandFlag[] {
  return path.flatMap((command) => command.persistentFlags ?? []);
}

/** Every flag of the command at the end of `path`. */
export function flagsOf<Run>(path: CommandPath<Run>): CommandFlag[] {
  return [...(path.at(-1)!.flags ?? []), ...persistent(path)];
}

/** Finds the command: each plain word that names a subcommand, whole or by a clear beginning. */
export function findCommand<Run>(
  root: Command<Run>,
  words: readonly string[],
): { readonly path: CommandPath<Run>; readonly words: readonly string[] } {
  const path = [root];
  let left = words;
  for (;;) {
    const command = path.at(-1)!;
    const at = firstPlainWord(left, new CommandFlags(flagsOf(path)));
    if (at < 0) return { path, words: left };
    const next = childNamed(command, left[at]!);
    if (next === undefined) {
      if (path.length === 1) throw unknownCommand(root, left[at]!);
      return { path, words: left };
    }
    path.push(next);
    left = left.toSpliced(at, 1);
  }
}

function firstPlainWord(words: readonly string[], flags: CommandFlags): number {
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === "--") return -1;
    if (!word.startsWith("-") || word === "-") return word === "" ? -1 : i;
    if (flags.takesNextWord(word)) i++;
  }
  return -1;
}

function childNamed<Run>(command: Command<Run>, word: string): Command<Run> | undefined {
  const children = command.commands ?? [];
  const exact = children.find(({ name }) => name === word);
  if (exact !== undefined) return exact;
  const begun = children.filter(({ name }) => name.startsWith(word));
  return begun.length === 1 ? begun[0] : undefined;
}

function unknownCommand<Run>(root: Command<Run>, word: string): UnknownCommandError {
  const meant = (root.commands ?? [])
    .map(({ name }) => name)
    .filter((name) => distance(word, name) <= 2 || name.startsWith(word.toLowerCase()));
  let text = `unknown command ${goQuote(word)} for ${goQuote(root.name)}`;
  if (meant.length > 0) {
    text += `\n\nDid you mean this?\n${meant.map((name) => `\t${name}\n`).join("")}`;
  }
  return new UnknownCommandError(`${text}\nRun '${root.name} --help' for usage.`);
}

/** Levenshtein's, without regard to case. */
function distance(a: string, b: string): number {
  const [left, right] = [a.toLowerCase(), b.toLowerCase()];
  let previous = Array.from({ length: right.length + 1 }, (_, j) => j);
  for (let i = 1; i <= left.length; i++) {
    const current = [i];
    for (let j = 1; j <= right.length; j++) {
      const change = previous[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1);
      current[j] = Math.min(change, previous[j]! + 1, current[j - 1]! + 1);
    }
    previous = current;
  }
  return previous[right.length]!;
}

const HELP_COMMAND = { name: "help", short: "Help about any command" } as const;

/** The help of the command at the end of `path`. */
export function helpOf<Run>(path: CommandPath<Run>, versions: Versions): string {
  const command = path.at(-1)!;
  const isRoot = path.length === 1;
  const below = path.slice(1).map(({ name }) => name);
  const title = isRoot ? command.name : below.join(" ");
  const parts = ["NAME:", indent(`${title} - ${command.short}`), "", "USAGE:"];
  parts.push(indent(usageLine(path)));
  if (isRoot) parts.push("", "VERSION:", indent(versions.version));
  if (command.commands !== undefined) parts.push("", "API VERSION:", indent(versions.apiVersion));
  if (command.example !== undefined) parts.push("", "Examples:", indent(command.example.trim()));
  if (command.commands !== undefined) {
    parts.push("", "COMMANDS:");
    const lines = listCommands(command, "");
    if (isRoot) lines.push(`${HELP_COMMAND.name}\t${HELP_COMMAND.short}`);
    parts.push(...lines.sort().map((line) => indent(line)));
  }
  if (command.long !== undefined) {
    parts.push(
      "",
      "DESCRIPTION:",
      ...command.long
        .trim()
        .split("\n")
        .map((line) => `  ${line}`),
    );
  }
  const own = isRoot ? persistent(path) : [...(command.flags ?? []), ...persistent([command])];
  parts.push("", "OPTIONS:", ...flagLines(own, command.name));
  const inherited = persistent(path.slice(0, -1));
  if (inherited.length > 0) {
    parts.push("", "GLOBAL OPTIONS:", ...flagLines(inherited, undefined));
  }
  return `${alignTabs(`${parts.join("\n")}\n`)}\n`;
}

function usageLine<Run>(path: CommandPath<Run>): string {
  const names = path.map(({ name }) => name).join(" ");
  const words = path.at(-1)!.arguments;
  return `${names}${words === undefined ? "" : ` ${words}`} [flags]`;
}

function listCommands<Run>(command: Command<Run>, prefix: string): string[] {
  return (command.commands ?? []).flatMap((child) => {
    const name = `${prefix}${child.name}`;
    const own = child.run === undefined ? [] : [`${name}\t${child.short}`];
    return [...own, ...listCommands(child, `${name} `)];
  });
}

function flagLines(flags: readonly CommandFlag[], helpFor: string | undefined): string[] {
  const all = [...flags];
  if (helpFor !== undefined) {
    all.push({ ...HELP_FLAG, usage: `help for ${helpFor}` });
  }
  all.sort((a, b) => (a.name < b.name ? -1 : 1));
  return all.map((flag) => {
    const short = flag.short === undefined ? "      " : `  -${flag.short}, `;
    let shown = flag.defaultText;
    if (flag.kind === "string") shown = goQuote(shown);
    if (flag.kind === "list") shown = `[${shown}]`;
    const value = flag.kind === "bool" ? `[=${shown}]` : `=${shown}`;
    return `${short}--${flag.name}${value}\t${flag.usage}`;
  });
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}
