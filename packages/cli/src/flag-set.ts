/**
 * Command-line flags with the grammar and the error texts of Go's `flag` package, and the rules
 * by which etcd takes them from the environment too.
 *
 * Grammar: `-x`, `--x`, `--x=v`, `--x v`; a boolean takes a value only after `=`; the first word
 * that is no flag, or `--`, ends the flags.
 */

import { EtcdError, parseGoDuration } from "@etcd-ts/base";

/** A command line that cannot be understood; commands exit with status 2. */
export class FlagError extends EtcdError {
  readonly code = "FLAG";
}

/** A value its flag does not take; the message becomes the end of a `FlagError`. */
export class FlagValueError extends EtcdError {
  readonly code = "FLAG_VALUE";
}

export interface Flag<T> {
  /** As `--help` shows it. */
  readonly defaultText: string;
  readonly defaultValue: T;
  readonly isBoolean: boolean;
  /** @throws {FlagValueError} */
  readonly parse: (text: string) => T;
}

export type FlagTable = { readonly [name: string]: Flag<unknown> };

export type FlagValues<Table extends FlagTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Flag<infer T> ? T : never;
};

export function customFlag<T>(defaultText: string, parse: (text: string) => T): Flag<T> {
  return { defaultText, defaultValue: parse(defaultText), isBoolean: false, parse };
}

export function stringFlag(defaultValue: string): Flag<string> {
  return customFlag(defaultValue, (text) => text);
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...["1", "t", "T", "TRUE", "true", "True"].map((text) => [text, true] as const),
  ...["0", "f", "F", "FALSE", "false", "False"].map((text) => [text, false] as const),
]);

export function boolFlag(defaultValue: boolean): Flag<boolean> {
  const parse = (text: string): boolean => {
    const value = BOOLEANS.get(text);
    if (value === undefined) throw new FlagValueError("parse error");
    return value;
  };
  return { defaultText: String(defaultValue), defaultValue, isBoolean: true, parse };
}

/** A Go integer literal (decimal, `0x`, `0o`, `0b`, `_`) in [minimum, maximum]. */
function integerFlag(defaultValue: number, minimum: bigint, maximum: bigint): Flag<number> {
  return customFlag(String(defaultValue), (text) => {
    const match = /^([+-]?)(0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|[0-9][0-9_]*)$/.exec(text);
    if (match === null) throw new FlagValueError("parse error");
    let digits = match[2]!.replaceAll("_", "").toLowerCase();
    if (/^0[0-7]+$/.test(digits)) digits = `0o${digits.slice(1)}`;
    const value = match[1] === "-" ? -BigInt(digits) : BigInt(digits);
    if (value < minimum || value > maximum) throw new FlagValueError("value out of range");
    return Number(value);
  });
}

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

export function intFlag(defaultValue: number): Flag<number> {
  return integerFlag(defaultValue, INT64_MIN, INT64_MAX);
}

export function uintFlag(defaultValue: number): Flag<number> {
  return integerFlag(defaultValue, 0n, 2n ** 64n - 1n);
}

export function uint32Flag(defaultValue: number): Flag<number> {
  return integerFlag(defaultValue, 0n, 2n ** 32n - 1n);
}

/** A Go duration; the value is in milliseconds. */
export function durationFlag(defaultText: string): Flag<number> {
  return customFlag(defaultText, (text) => {
    const durationMs = parseGoDuration(text);
    if (durationMs === undefined) throw new FlagValueError("parse error");
    return durationMs;
  });
}

/** One of a few words. */
export function choiceFlag(defaultValue: string, choices: readonly string[]): Flag<string> {
  return customFlag(defaultValue, (text) => {
    if (choices.includes(text)) return text;
    throw new FlagValueError(`unexpected value ${JSON.stringify(text)}`);
  });
}

/** Words between commas; the empty text is no words. */
export function listFlag(defaultText: string): Flag<readonly string[]> {
  return customFlag(defaultText, (text) => (text === "" ? [] : text.split(",")));
}

export interface ParsedFlags<Table extends FlagTable> {
  readonly values: FlagValues<Table>;
  /** Names given on the command line or by the environment. */
  readonly explicit: ReadonlySet<string>;
  /** Words after the flags. */
  readonly positional: readonly string[];
}

/** Raised by `-h` and `--help` where the table has no such flag. */
export class HelpRequested extends FlagError {}

/** Reads flags from words. Later values replace earlier ones. */
export class FlagSet<Table extends FlagTable> {
  readonly table: Table;
  readonly #values = new Map<string, unknown>();
  readonly #explicit = new Set<string>();
  #positional: readonly string[] = [];

  constructor(table: Table) {
    this.table = table;
    for (const [name, flag] of Object.entries(table)) this.#values.set(name, flag.defaultValue);
  }

  isExplicit(name: string): boolean {
    return this.#explicit.has(name);
  }

  /** @throws {FlagError} with Go's text */
  parse(words: readonly string[]): void {
    let i = 0;
    while (i < words.length) {
      const word = words[i]!;
      if (word.length < 2 || !word.startsWith("-")) break;
      i++;
      if (word === "--") break;
      i += this.#parseFlag(word, words[i]);
    }
    this.#positional = words.slice(i);
  }

  /** @returns how many of the following words were taken */
  #parseFlag(word: string, next: string | undefined): 0 | 1 {
    const body = word.replace(/^--?/, "");
    if (body === "" || body.startsWith("-") || body.startsWith("=")) {
      throw new FlagError(`bad flag syntax: ${word}`);
    }
    const equals = body.indexOf("=");
    const name = equals < 0 ? body : body.slice(0, equals);
    const flag = this.table[name];
    if (flag === undefined) {
      if (name === "help" || name === "h") throw new HelpRequested("help requested");
      throw new FlagError(`flag provided but not defined: -${name}`);
    }
    if (equals >= 0) {
      this.#set(name, flag, body.slice(equals + 1));
      return 0;
    }
    if (flag.isBoolean) {
      this.#set(name, flag, "true");
      return 0;
    }
    if (next === undefined) throw new FlagError(`flag needs an argument: -${name}`);
    this.#set(name, flag, next);
    return 1;
  }

  #set(name: string, flag: Flag<unknown>, text: string): void {
    try {
      this.#values.set(name, flag.parse(text));
    } catch (error) {
      if (!(error instanceof FlagValueError)) throw error;
      const kind = flag.isBoolean ? "boolean value" : "value";
      const where = flag.isBoolean ? `-${name}` : `flag -${name}`;
      const shown = JSON.stringify(text);
      throw new FlagError(`invalid ${kind} ${shown} for ${where}: ${error.message}`, {
        cause: error,
      });
    }
    this.#explicit.add(name);
  }

  /**
   * Sets a flag from an environment variable.
   *
   * @throws {FlagError} if the value does not fit
   */
  setFromEnvironment(name: string, variable: string, text: string): void {
    const flag = this.table[name]!;
    try {
      this.#values.set(name, flag.parse(text));
    } catch (error) {
      if (!(error instanceof FlagValueError)) throw error;
      throw new FlagError(
        `invalid value ${JSON.stringify(text)} for ${variable}: ${error.message}`,
        {
          cause: error,
        },
      );
    }
    this.#explicit.add(name);
  }

  result(): ParsedFlags<Table> {
    return {
      values: Object.fromEntries(this.#values) as FlagValues<Table>,
      explicit: this.#explicit,
      positional: this.#positional,
    };
  }
}
