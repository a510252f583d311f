/**
 * Commands and their flags, with the grammar of pflag: `--x v`, `--x=v`, `-w v`, `-wv`; a boolean
 * takes a value only after `=`; flags and words may be mixed; after `--` all are words.
 */

import { EtcdError } from "@etcd-ts/base";

/** Exit statuses, as etcdctl's. */
export const EXIT_OK = 0;
export const EXIT_ERROR = 1;
export const EXIT_BAD_FEATURE = 4;
export const EXIT_INTERRUPTED = 5;
export const EXIT_BAD_ARGUMENTS = 128;

/** Ends the command with a message on stderr. */
export class CommandError extends EtcdError {
  readonly code = "COMMAND";
  readonly exitCode: number;

  constructor(exitCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** A command line that cannot be understood; its usage is shown below the message. */
export class UsageError extends EtcdError {
  readonly code = "USAGE";
  readonly path: readonly Command[];

  constructor(message: string, path: readonly Command[]) {
    super(message);
    this.path = path;
  }
}

export interface Flag {
  readonly name: string;
  readonly short?: string;
  readonly kind: "string" | "bool" | "int64" | "uint64";
  readonly defaultText: string;
  readonly help: string;
  readonly isRequired?: boolean;
  /** What completion offers. */
  readonly choices?: readonly string[];
}

export interface Command {
  readonly name: string;
  /** The words after the name, for the usage line. */
  readonly words: string;
  readonly summary: string;
  /** Lines between usage and flags. */
  readonly description?: readonly string[];
  readonly examples?: readonly string[];
  readonly flags: readonly Flag[];
  readonly commands: readonly Command[];
  /** Undefined for one that only has subcommands. */
  readonly run?: (invocation: Invocation) => Promise<void> | void;
}

export interface Invocation {
  readonly path: readonly Command[];
  readonly words: readonly string[];
  string(name: string): string;
  bool(name: string): boolean;
  integer(name: string): bigint;
}

export const HELP_FLAG: Flag = {
  name: "help",
  short: "h",
  kind: "bool",
  defaultText: "false",
  help: "show this text",
};

/** What a command line asks for; `command` has no `run` if it only shows its help. */
export interface Parsed {
  readonly isHelp: boolean;
  readonly invocation: Invocation;
}

/** @throws {UsageError} */
export function parseCommandLine(root: Command, words: readonly string[]): Parsed {
  const { path, rest } = findCommand(root, words);
  const parser = new FlagParser(path);
  parser.parse(rest);
  const isHelp = parser.bool("help");
  if (!isHelp) parser.requireFlags();
  return { isHelp, invocation: parser };
}

/** The flags of a command and those all commands have. */
export function flagsOf(path: readonly Command[]): readonly Flag[] {
  const own = path.length > 1 ? path.at(-1)!.flags : [];
  return [...own, HELP_FLAG, ...path[0]!.flags];
}

function findCommand(
  root: Command,
  words: readonly string[],
): { path: readonly Command[]; rest: readonly string[] } {
  const path = [root];
  const rest: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    const command = path.at(-1)!;
    if (word === "--") return { path, rest: [...rest, ...words.slice(i)] };
    if (word.startsWith("-") && word !== "-") {
      rest.push(word);
      if (takesNext(word, flagsOf(path)) && i + 1 < words.length) rest.push(words[++i]!);
    } else if (command.commands.length === 0) rest.push(word);
    else path.push(subcommand(path, word));
  }
  return { path, rest };
}

/** A subcommand by its name or an unambiguous beginning of it. */
export function subcommand(path: readonly Command[], word: string): Command {
  const { commands } = path.at(-1)!;
  const exact = commands.find(({ name }) => name === word);
  const matching = commands.filter(({ name }) => name.startsWith(word));
  const found = exact ?? (matching.length === 1 ? matching[0] : undefined);
  if (found !== undefined) return found;
  const line = path.map(({ name }) => name).join(" ");
  throw new UsageError(`unknown command ${JSON.stringify(word)} for "${line}"`, path);
}

function takesNext(word: string, flags: readonly Flag[]): boolean {
  if (word.includes("=")) return false;
  if (word.startsWith("--")) {
    const flag = flags.find(({ name }) => name === word.slice(2));
    return flag !== undefined && flag.kind !== "bool";
  }
  const flag = flags.find(({ short }) => short === word[1]);
  return flag !== undefined && flag.kind !== "bool" && word.length === 2;
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...["1", "t", "T", "TRUE", "true", "True"].map((text) => [text, true] as const),
  ...["0", "f", "F", "FALSE", "false", "False"].map((text) => [text, false] as const),
]);

class FlagParser implements Invocation {
  readonly path: readonly Command[];
  readonly #flags: readonly Flag[];
  readonly #given = new Map<string, string>();
  #words: string[] = [];

  constructor(path: readonly Command[]) {
    this.path = path;
    this.#flags = flagsOf(path);
  }

  get words(): readonly string[] {
    return this.#words;
  }

  parse(words: readonly string[]): void {
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      if (word === "--") {
        this.#words.push(...words.slice(i + 1));
        return;
      }
      if (!word.startsWith("-") || word === "-") this.#words.push(word);
      else if (word.startsWith("--")) i += this.#parseLong(word, words[i + 1]);
      else i += this.#parseShort(word, words[i + 1]);
    }
  }

  requireFlags(): void {
    const missing = this.#flags.filter(({ name, isRequired }) => isRequired && !this.#has(name));
    if (missing.length === 0) return;
    const names = missing.map(({ name }) => JSON.stringify(name)).sort();
    throw new UsageError(`required flag(s) ${names.join(", ")} not set`, this.path);
  }

  string(name: string): string {
    return this.#given.get(name) ?? this.#flag(name).defaultText;
  }

  bool(name: string): boolean {
    return BOOLEANS.get(this.string(name)) ?? false;
  }

  integer(name: string): bigint {
    return BigInt(this.string(name));
  }

  #has(name: string): boolean {
    return this.#given.has(name);
  }

  #flag(name: string): Flag {
    return this.#flags.find((flag) => flag.name === name)!;
  }

  /** @returns how many of the following words were taken */
  #parseLong(word: string, next: string | undefined): 0 | 1 {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    if (name === "") throw new UsageError(`bad flag syntax: ${word}`, this.path);
    const flag = this.#flags.find((one) => one.name === name);
    if (flag === undefined) throw new UsageError(`unknown flag: --${name}`, this.path);
    if (equals >= 0) return this.#set(flag, word.slice(equals + 1), 0);
    if (flag.kind === "bool") return this.#set(flag, "true", 0);
    if (next === undefined) {
      throw new UsageError(`flag needs an argument: --${name}`, this.path);
    }
    return this.#set(flag, next, 1);
  }

  #parseShort(word: string, next: string | undefined): 0 | 1 {
    const letter = word[1]!;
    const flag = this.#flags.find(({ short }) => short === letter);
    if (flag === undefined) {
      throw new UsageError(`unknown shorthand flag: '${letter}' in ${word}`, this.path);
    }
    const rest = word.slice(2);
    if (rest.startsWith("=")) return this.#set(flag, rest.slice(1), 0);
    if (flag.kind === "bool") {
      this.#set(flag, "true", 0);
      return rest === "" ? 0 : this.#parseShort(`-${rest}`, next);
    }
    if (rest !== "") return this.#set(flag, rest, 0);
    if (next === undefined) {
      throw new UsageError(`flag needs an argument: '${letter}' in ${word}`, this.path);
    }
    return this.#set(flag, next, 1);
  }

  #set<Taken extends 0 | 1>(flag: Flag, text: string, taken: Taken): Taken {
    const reason = faultOf(flag, text);
    if (reason !== undefined) {
      const names = flag.short === undefined ? `--${flag.name}` : `-${flag.short}, --${flag.name}`;
      throw new UsageError(
        `invalid argument ${JSON.stringify(text)} for "${names}" flag: ${reason}`,
        this.path,
      );
    }
    this.#given.set(flag.name, text);
    return taken;
  }
}

const INT64_MAX = 2n ** 63n - 1n;
const UINT64_MAX = 2n ** 64n - 1n;

/** Why `text` is no value of the flag, in Go's words. */
function faultOf(flag: Flag, text: string): string | undefined {
  const quoted = JSON.stringify(text);
  switch (flag.kind) {
    case "string":
      return undefined;
    case "bool":
      return BOOLEANS.has(text)
        ? undefined
        : `strconv.ParseBool: parsing ${quoted}: invalid syntax`;
    case "int64": {
      const value = /^-?\d+$/.test(text) ? BigInt(text) : undefined;
      if (value === undefined) return `strconv.ParseInt: parsing ${quoted}: invalid syntax`;
      const isOut = value > INT64_MAX || value < -INT64_MAX - 1n;
      return isOut ? `strconv.ParseInt: parsing ${quoted}: value out of range` : undefined;
    }
    case "uint64": {
      const value = /^\d+$/.test(text) ? BigInt(text) : undefined;
      if (value === undefined) return `strconv.ParseUint: parsing ${quoted}: invalid syntax`;
      const isOut = value > UINT64_MAX;
      return isOut ? `strconv.ParseUint: parsing ${quoted}: value out of range` : undefined;
    }
  }
}
