/**
 * Completion scripts, made from the commands' tables: the words that may follow are listed in the
 * script itself, so that pressing TAB starts no program.
 */

import { flagsOf } from "./command-tree.ts";
import type { Command, CommandPath } from "./command-tree.ts";
import { HELP_FLAG } from "./command-flags.ts";
import { CommandLineError, lineOf, onlyArgument } from "./command-line.ts";
import type { CommandLine } from "./command-line.ts";
import { goQuote } from "./go-text.ts";

export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;
export type Shell = (typeof SHELLS)[number];

interface CompletedFlag {
  /** `--write-out`. */
  readonly text: string;
  readonly short: string | undefined;
  readonly help: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** Where on a command line something may follow. */
interface Place {
  /** `etcdutl snapshot`. */
  readonly line: string;
  readonly commands: readonly { readonly name: string; readonly short: string }[];
  readonly flags: readonly CompletedFlag[];
  /** Words the command itself takes. */
  readonly words: readonly string[];
}

function placesOf<Run>(path: CommandPath<Run>): Place[] {
  const { commands = [], choices = [] } = path.at(-1)!;
  const flags = [...flagsOf(path), HELP_FLAG].map((flag) => ({
    text: `--${flag.name}`,
    short: flag.short,
    help: flag.usage,
    takesValue: flag.kind !== "bool",
    choices: flag.choices ?? [],
  }));
  const own = { line: lineOf(path), commands, flags, words: choices };
  return [own, ...commands.flatMap((command) => placesOf([...path, command]))];
}

function wordsOf({ commands, flags, words }: Place): string[] {
  return [...commands.map(({ name }) => name), ...words, ...flags.map(({ text }) => text)];
}

/** The script for the shell named by the only word. @throws {CommandLineError} */
export function completionFor<Run>(root: Command<Run>, commandLine: CommandLine<Run>): string {
  const word = onlyArgument(commandLine);
  const shell = SHELLS.find((one) => one === word);
  if (shell !== undefined) return completionScript(root, shell);
  const { path } = commandLine;
  throw new CommandLineError(
    `invalid argument ${goQuote(word)} for ${goQuote(lineOf(path))}`,
    path,
  );
}

export function completionScript<Run>(root: Command<Run>, shell: Shell): string {
  const places = placesOf([root]);
  switch (shell) {
    case "bash":
      return bash(root.name, places);
    case "zsh":
      return `#compdef ${root.name}\nautoload -U +X bashcompinit && bashcompinit\n${bash(root.name, places)}`;
    case "fish":
      return fish(root.name, places);
    case "powershell":
      return powershell(root.name, places);
  }
}

/**
 * The line up to the cursor without flags and their values is the place. After a flag that takes a
 * value come its choices; files are offered where no word fits.
 */
function bash(program: string, places: readonly Place[]): string {
  const cases = places.map(
    (place) => `    "${place.line}") words="${wordsOf(place).join(" ")}" ;;`,
  );
  const lines = places.map(({ line }) => `"${line}"`).join("|");
  const flags = uniqueFlags(places).filter(({ takesValue }) => takesValue);
  const names = (flag: CompletedFlag): string =>
    flag.short === undefined ? flag.text : `${flag.text}|-${flag.short}`;
  const values = flags.map((flag) => `    ${names(flag)}) words="${flag.choices.join(" ")}" ;;`);
  return [
    `_${program}() {`,
    `  local current="\${COMP_WORDS[COMP_CWORD]}" place="${program}" word words="" previous=""`,
    `  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do`,
    `    [ "$word" = "=" ] && continue`,
    `    case "$previous" in ${flags.map(names).join("|")}) previous=""; continue ;; esac`,
    `    previous="$word"`,
    `    case "$place $word" in ${lines}) place="$place $word" ;; esac`,
    `  done`,
    `  case "$place" in`,
    ...cases,
    `  esac`,
    `  case "$previous" in`,
    ...values,
    `  esac`,
    `  COMPREPLY=($(compgen -W "$words" -- "$current"))`,
    `}`,
    `complete -o default -F _${program} ${program}`,
    ``,
  ].join("\n");
}

function uniqueFlags(places: readonly Place[]): CompletedFlag[] {
  const found = new Map(places.flatMap(({ flags }) => flags.map((flag) => [flag.text, flag])));
  return [...found.values()];
}

function fish(program: string, places: readonly Place[]): string {
  const lines: string[] = [];
  for (const place of places) {
    const names = place.line.split(" ").slice(1);
    const below = place.commands.map(({ name }) => name).join(" ");
    const seen = names.map((name) => `__fish_seen_subcommand_from ${name}`);
    const conditions = below === "" ? seen : [...seen, `not __fish_seen_subcommand_from ${below}`];
    const when = conditions.length === 0 ? "true" : conditions.join("; and ");
    const begin = `complete -c ${program}`;
    for (const { name, short } of place.commands) {
      lines.push(`${begin} -f -n ${quoted(when)} -a ${name} -d ${quoted(short)}`);
    }
    if (place.words.length > 0) {
      lines.push(`${begin} -f -n ${quoted(when)} -a ${quoted(place.words.join(" "))}`);
    }
    for (const { text, short, help, takesValue, choices } of place.flags) {
      const letter = short === undefined ? "" : ` -s ${short}`;
      const value = takesValue ? " -r" : "";
      const offered = choices.length === 0 ? "" : ` -f -a ${quoted(choices.join(" "))}`;
      lines.push(
        `${begin} -n ${quoted(when)} -l ${text.slice(2)}${letter}${value}${offered} -d ${quoted(help)}`,
      );
    }
  }
  return lines.join("\n") + "\n";
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function powershell(program: string, places: readonly Place[]): string {
  const cases = places.map((place) => {
    const words = wordsOf(place).map((word) => `'${word}'`);
    return `    '${place.line}' = @(${words.join(", ")})`;
  });
  return [
    `Register-ArgumentCompleter -Native -CommandName ${program} -ScriptBlock {`,
    `  param($wordToComplete, $commandAst, $cursorPosition)`,
    `  $places = @{`,
    ...cases,
    `  }`,
    `  $place = '${program}'`,
    `  foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {`,
    `    if ($places.ContainsKey("$place $element")) { $place = "$place $element" }`,
    `  }`,
    `  $places[$place] | Where-Object { $_ -like "$wordToComplete*" } |`,
    `    ForEach-Object { [System.Management.Automation.CompletionResult]::new($_) }`,
    `}`,
    ``,
  ].join("\n");
}
