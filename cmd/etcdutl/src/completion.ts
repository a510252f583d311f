/**
 * Completion scripts, made from the commands' tables: the words that may follow are listed in the
 * script itself, so that pressing TAB starts no program.
 */

import { flagsOf } from "./command.ts";
import type { Command } from "./command.ts";

export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;
export type Shell = (typeof SHELLS)[number];

interface Place {
  /** `etcdutl snapshot`. */
  readonly line: string;
  readonly commands: readonly Command[];
  readonly flags: readonly { readonly text: string; readonly help: string }[];
}

function placesOf(path: readonly Command[]): Place[] {
  const { commands } = path.at(-1)!;
  const flags = flagsOf(path).map(({ name, help }) => ({ text: `--${name}`, help }));
  const own = { line: path.map(({ name }) => name).join(" "), commands, flags };
  return [own, ...commands.flatMap((command) => placesOf([...path, command]))];
}

function wordsOf({ commands, flags }: Place): string[] {
  return [...commands.map(({ name }) => name), ...flags.map(({ text }) => text)];
}

export function completionScript(root: Command, shell: Shell): string {
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

/** The line up to the cursor without flags is the place; files are offered where no word fits. */
function bash(program: string, places: readonly Place[]): string {
  const cases = places.map(
    (place) => `    "${place.line}") words="${wordsOf(place).join(" ")}" ;;`,
  );
  const lines = places.map(({ line }) => `"${line}"`).join("|");
  return [
    `_${program}() {`,
    `  local current="\${COMP_WORDS[COMP_CWORD]}" place="${program}" word words=""`,
    `  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do`,
    `    case "$place $word" in ${lines}) place="$place $word" ;; esac`,
    `  done`,
    `  case "$place" in`,
    ...cases,
    `  esac`,
    `  COMPREPLY=($(compgen -W "$words" -- "$current"))`,
    `}`,
    `complete -o default -F _${program} ${program}`,
    ``,
  ].join("\n");
}

function fish(program: string, places: readonly Place[]): string {
  const lines: string[] = [];
  for (const place of places) {
    const names = place.line.split(" ").slice(1);
    const below = place.commands.map(({ name }) => name).join(" ");
    const seen = names.map((name) => `__fish_seen_subcommand_from ${name}`);
    const conditions = below === "" ? seen : [...seen, `not __fish_seen_subcommand_from ${below}`];
    const when = conditions.length === 0 ? "true" : conditions.join("; and ");
    for (const { name, summary } of place.commands) {
      lines.push(`complete -c ${program} -f -n ${quoted(when)} -a ${name} -d ${quoted(summary)}`);
    }
    for (const { text, help } of place.flags) {
      lines.push(
        `complete -c ${program} -n ${quoted(when)} -l ${text.slice(2)} -d ${quoted(help)}`,
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
