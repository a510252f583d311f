/**
 * Flags of a command that has subcommands, with the grammar and the error texts of Go's `pflag`:
 * `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, `-abc` for booleans; flags
 * and plain words in any order; `--` ends the flags.
 */

import { FlagError, HelpRequested } from "./flag-set.ts";
import { formatGoDuration, parseGoDuration } from "@etcd-ts/base";
import { goQuote, NumberSyntaxError, parseGoInt, parseGoUint } from "./go-text.ts";

export type CommandFlagKind = "bool" | "string" | "int" | "uint" | "duration" | "list";

/** One flag. Values: boolean, string, bigint, number (durations in ms), or a list of strings. */
export interface CommandFlag {
  readonly name: string;
  readonly kind: CommandFlagKind;
  readonly short?: string;
  /** As it would be typed. */
  readonly defaultText: string;
  readonly usage: string;
  readonly isRequired?: boolean;
  /** Words a completion script offers as its value. */
  readonly choices?: readonly string[];
}

export type CommandFlagValue = boolean | string | number | bigint | readonly string[];

/** Every command has it. */
export const HELP_FLAG: CommandFlag = {
  name: "help",
  short: "h",
  kind: "bool",
  defaultText: "false",
  usage: "show how it is used",
};

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...["1", "t", "T", "TRUE", "true", "True"].map((text) => [text, true] as const),
  ...["0", "f", "F", "FALSE", "false", "False"].map((text) => [text, false] as const),
]);

/** @throws {NumberSyntaxError} with Go's text */
function parseValue(flag: CommandFlag, text: string): CommandFlagValue {
  switch (flag.kind) {
    case "bool": {
      const value = BOOLEANS.get(text);
      if (value !== undefined) return value;
      throw new NumberSyntaxError(`strconv.ParseBool: parsing ${goQuote(text)}: invalid syntax`);
    }
    case "string":
      return text;
    case "int":
      return parseGoInt(text, 10);
    case "uint":
      return parseGoUint(text, 10);
    case "duration": {
      const value = parseGoDuration(text);
      if (value !== undefined) return value;
      const isNumber = /^[+-]?[0-9.]+$/.test(text);
      throw new NumberSyntaxError(
        `time: ${isNumber ? "missing unit in" : "invalid"} duration ${goQuote(text)}`,
      );
    }
    case "list":
      return text === "" ? [] : text.split(",");
  }
}

/** The flags of one command line. */
export class CommandFlags {
  readonly #flags = new Map<string, CommandFlag>();
  readonly #values = new Map<string, CommandFlagValue>();
  readonly #explicit = new Set<string>();
  #isHelpWanted = false;

  constructor(flags: readonly CommandFlag[]) {
    for (const flag of flags) {
      this.#flags.set(flag.name, flag);
      this.#values.set(flag.name, parseValue(flag, flag.defaultText));
    }
  }

  get flags(): Iterable<CommandFlag> {
    return this.#flags.values();
  }

  isExplicit(name: string): boolean {
    return this.#explicit.has(name);
  }

  bool(name: string): boolean {
    return this.#values.get(name) === true;
  }

  string(name: string): string {
    return String(this.#values.get(name));
  }

  /** An integer, or the milliseconds of a duration. */
  number(name: string): number {
    return Number(this.#values.get(name));
  }

  /** An integer with all of its 64 bits. */
  integer(name: string): bigint {
    const value = this.#values.get(name);
    return typeof value === "bigint" ? value : 0n;
  }

  list(name: string): readonly string[] {
    const value = this.#values.get(name);
    return Array.isArray(value) ? (value as readonly string[]) : [];
  }

  /** The value as Go prints it. */
  text(name: string): string {
    const value = this.#values.get(name);
    if (this.#flags.get(name)?.kind === "duration") return formatGoDuration(Number(value));
    return Array.isArray(value) ? `[${value.join(",")}]` : String(value);
  }

  /** @throws {NumberSyntaxError} if the value does not fit; the flag keeps its value then */
  set(name: string, text: string): void {
    const flag = this.#flags.get(name)!;
    const value = parseValue(flag, text);
    const previous = this.#values.get(name);
    const isMore = flag.kind === "list" && this.#explicit.has(name);
    this.#values.set(name, isMore ? [...(previous as string[]), ...(value as string[])] : value);
    this.#explicit.add(name);
  }

  /** @returns the plain words @throws {FlagError} @throws {HelpRequested} if nothing is wrong */
  parse(words: readonly string[]): string[] {
    const plain: string[] = [];
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      if (word === "--") {
        plain.push(...words.slice(i + 1));
        break;
      }
      if (word.startsWith("--")) i += this.#parseLong(word, words[i + 1]);
      else if (word.startsWith("-") && word.length > 1) i += this.#parseShort(word, words[i + 1]);
      else plain.push(word);
    }
    if (this.#isHelpWanted) throw new HelpRequested("help requested");
    return plain;
  }

  /** Names of flags that have to be given and were not, in order. */
  missing(): string[] {
    const flags = [...this.#flags.values()];
    const missing = flags.filter(({ name, isRequired }) => isRequired && !this.isExplicit(name));
    return missing.map(({ name }) => name).sort();
  }

  /** Whether a word like `-w` or `--endpoints` has its value in the next word. */
  takesNextWord(word: string): boolean {
    if (word.includes("=")) return false;
    const flag = word.startsWith("--")
      ? this.#flags.get(word.slice(2))
      : word.length === 2
        ? this.#short(word[1]!)
        : undefined;
    if (!word.startsWith("--") && word.length > 2) return false;
    return flag?.kind !== "bool" && !["--help", "-h"].includes(word);
  }

  #short(letter: string): CommandFlag | undefined {
    for (const flag of this.#flags.values()) if (flag.short === letter) return flag;
    return undefined;
  }

  /** @returns how many of the following words were taken */
  #parseLong(word: string, next: string | undefined): 0 | 1 {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    if (name === "" || name.startsWith("-")) throw new FlagError(`bad flag syntax: ${word}`);
    const flag = this.#flags.get(name);
    if (flag === undefined) {
      if (name !== "help") throw new FlagError(`unknown flag: --${name}`);
      this.#isHelpWanted = true;
      return 0;
    }
    if (equals >= 0) this.#take(flag, word.slice(equals + 1));
    else if (flag.kind === "bool") this.#take(flag, "true");
    else if (next === undefined) throw new FlagError(`flag needs an argument: --${name}`);
    else {
      this.#take(flag, next);
      return 1;
    }
    return 0;
  }

  #parseShort(word: string, next: string | undefined): 0 | 1 {
    for (let letters = word.slice(1); letters !== ""; letters = letters.slice(1)) {
      const letter = letters[0]!;
      const flag = this.#short(letter);
      if (flag === undefined) {
        if (letter !== "h") {
          throw new FlagError(`unknown shorthand flag: '${letter}' in -${letters}`);
        }
        this.#isHelpWanted = true;
        continue;
      }
      const rest = letters.slice(1);
      if (rest.startsWith("=")) {
        this.#take(flag, rest.slice(1));
        return 0;
      }
      if (flag.kind === "bool") {
        this.#take(flag, "true");
        continue;
      }
      if (rest !== "") {
        this.#take(flag, rest);
        return 0;
      }
      if (next === undefined) {
        throw new FlagError(`flag needs an argument: '${letter}' in -${letters}`);
      }
      this.#take(flag, next);
      return 1;
    }
    return 0;
  }

  #take(flag: CommandFlag, text: string): void {
    try {
      this.set(flag.name, text);
    } catch (error) {
      if (!(error instanceof NumberSyntaxError)) throw error;
      const short = flag.short === undefined ? "" : `-${flag.short}, `;
      throw new FlagError(
        `invalid argument ${goQuote(text)} for "${short}--${flag.name}" flag: ${error.message}`,
        { cause: error },
      );
    }
  }
}
