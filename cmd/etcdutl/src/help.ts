/** The text of `--help`, made from the commands' own tables. */

import { HELP_FLAG, flagsOf } from "./command.ts";
import type { Command, Flag } from "./command.ts";

/** @param path - from the program down to the command */
export function helpText(path: readonly Command[]): string {
  const command = path.at(-1)!;
  const line = path.map(({ name }) => name).join(" ");
  const parts = [`${command.summary}.`, usage(command, line)];
  if (command.description !== undefined) parts.push(command.description.join("\n"));
  if (command.commands.length > 0) {
    const width = Math.max(...command.commands.map(({ name }) => name.length));
    const lines = command.commands.map(
      ({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`,
    );
    parts.push(["Commands:", ...lines].join("\n"));
  }
  if (command.examples !== undefined) {
    parts.push(["Examples:", ...command.examples.map((one) => one && `  ${one}`)].join("\n"));
  }
  const shown = path.length > 1 ? flagsOf(path) : [HELP_FLAG, ...command.flags];
  parts.push(["Flags:", ...flagLines(shown)].join("\n"));
  if (command.commands.length > 0) {
    parts.push(`\`${line} <command> --help\` says more about a command.`);
  }
  return parts.join("\n\n") + "\n";
}

function usage(command: Command, line: string): string {
  const words = command.words === "" ? "" : ` ${command.words}`;
  return `Usage:\n  ${line}${words}`;
}

function flagLines(flags: readonly Flag[]): string[] {
  const names = flags.map((flag) => {
    const short = flag.short === undefined ? "    " : `-${flag.short}, `;
    return `${short}--${flag.name}${flag.kind === "bool" ? "" : ` ${flag.kind}`}`;
  });
  const width = Math.max(...names.map((name) => name.length));
  return flags.map((flag, i) => {
    const hasDefault = flag.kind !== "bool" && flag.defaultText !== "";
    const byDefault = hasDefault ? ` (default ${flag.defaultText})` : "";
    return `  ${names[i]!.padEnd(width)}  ${flag.help}${byDefault}`;
  });
}
