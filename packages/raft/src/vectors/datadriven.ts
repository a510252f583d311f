/**
 * The format of the transcripts: blocks of `command args`, input lines, `----`, and the output up
 * to a blank line. An output that holds blank lines itself stands between a second `----` and two
 * more. Lines that begin with `#` are comments; a line that ends in a backslash goes on in the
 * next.
 */

import { EtcdError } from "@etcd-ts/base";

/** `key`, `key=value` or `key=(value, value)`. */
export interface Argument {
  readonly key: string;
  readonly values: readonly string[];
}

export interface Block {
  /** Line of the command, from 1. */
  readonly line: number;
  readonly command: string;
  readonly arguments: readonly Argument[];
  readonly input: string;
  /** With a newline at its end, unless it is empty. */
  readonly expected: string;
}

/** A transcript that cannot be read, or asks for what cannot be done. */
export class TranscriptError extends EtcdError {
  readonly code = "TRANSCRIPT";
}

const SEPARATOR = "----";

class Lines {
  readonly #lines: readonly string[];
  #next = 0;

  constructor(text: string) {
    const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
    if (lines.at(-1) === "") lines.pop();
    this.#lines = lines;
  }

  /** Number of the line read last. */
  get number(): number {
    return this.#next;
  }

  read(): string | undefined {
    return this.#lines[this.#next++];
  }

  isAtEnd(): boolean {
    return this.#next >= this.#lines.length;
  }
}

/** @throws {TranscriptError} */
export function parseTranscript(text: string): readonly Block[] {
  const lines = new Lines(text);
  const blocks: Block[] = [];
  let openSubtests = 0;
  while (!lines.isAtEnd()) {
    const block = readBlock(lines);
    if (block === undefined) continue;
    if (block.command !== "subtest") {
      blocks.push(block);
      continue;
    }
    openSubtests += block.arguments[0]?.key === "end" ? -1 : 1;
    if (openSubtests < 0)
      throw new TranscriptError(`line ${block.line}: subtest end without start`);
  }
  if (openSubtests > 0) throw new TranscriptError("end of file within a subtest");
  return blocks;
}

function readBlock(lines: Lines): Block | undefined {
  let text = lines.read()!.trim();
  const line = lines.number;
  if (text === "" || text.startsWith("#")) return undefined;
  while (text.endsWith("\\") && !lines.isAtEnd()) {
    text = `${text.slice(0, -1)} ${lines.read()!.trim()}`;
  }
  const { command, arguments: args } = parseCommand(text, line);
  // A subtest only groups what follows.
  if (command === "subtest") return { line, command, arguments: args, input: "", expected: "" };
  const input: string[] = [];
  for (;;) {
    const next = lines.isAtEnd() ? undefined : lines.read();
    if (next === undefined) {
      return { line, command, arguments: args, input: input.join("\n").trim(), expected: "" };
    }
    if (next === SEPARATOR) break;
    input.push(next);
  }
  return {
    line,
    command,
    arguments: args,
    input: input.join("\n").trim(),
    expected: readExpected(lines),
  };
}

function readExpected(lines: Lines): string {
  const first = lines.isAtEnd() ? "" : lines.read()!;
  return first === SEPARATOR ? readFencedOutput(lines) : readPlainOutput(lines, first);
}

function readPlainOutput(lines: Lines, first: string): string {
  let text = "";
  for (let line: string | undefined = first; line !== undefined && line.trim() !== "";) {
    text += `${line}\n`;
    line = lines.isAtEnd() ? undefined : lines.read();
  }
  return text;
}

function readFencedOutput(lines: Lines): string {
  let text = "";
  while (!lines.isAtEnd()) {
    const line = lines.read()!;
    if (line !== SEPARATOR || lines.isAtEnd()) {
      text += `${line}\n`;
      continue;
    }
    const second = lines.read()!;
    if (second !== SEPARATOR) {
      text += `${line}\n${second}\n`;
      continue;
    }
    if (!lines.isAtEnd() && lines.read() !== "") {
      throw new TranscriptError(`line ${lines.number}: no blank line behind a fenced output`);
    }
    return text;
  }
  return text;
}

function parseCommand(
  text: string,
  line: number,
): { command: string; arguments: readonly Argument[] } {
  const end = text.indexOf(" ");
  if (end < 0) return { command: text, arguments: [] };
  const args: Argument[] = [];
  let rest = text.slice(end).trim();
  while (rest !== "") {
    const key = /^[^ =]*/.exec(rest)![0];
    if (key === "") throw new TranscriptError(`line ${line}: cannot parse: ${text}`);
    rest = rest.slice(key.length);
    const parsed = parseValues(rest, text, line);
    args.push({ key, values: parsed.values });
    rest = parsed.rest.trim();
  }
  return { command: text.slice(0, end), arguments: args };
}

function parseValues(
  rest: string,
  text: string,
  line: number,
): { values: readonly string[]; rest: string } {
  if (!rest.startsWith("=")) return { values: [], rest };
  if (!rest.startsWith("=(")) {
    const value = /^[^ ]*/.exec(rest.slice(1))![0];
    return { values: [value], rest: rest.slice(1 + value.length) };
  }
  const values: string[] = [];
  let depth = 1;
  let start = 2;
  let at = 2;
  while (depth > 0) {
    if (at >= rest.length) throw new TranscriptError(`line ${line}: cannot parse: ${text}`);
    const character = rest[at++]!;
    if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (character === "," && depth === 1) {
      values.push(rest.slice(start, at - 1));
      while (rest[at] === " ") at++;
      start = at;
    }
  }
  values.push(rest.slice(start, at - 1));
  return { values, rest: rest.slice(at) };
}

/** @throws {TranscriptError} unless `text` is a decimal number */
export function parseNumber(text: string): number {
  const number = Number(text);
  if (!/^-?[0-9]+$/.test(text) || !Number.isSafeInteger(number)) {
    throw new TranscriptError(`strconv.ParseInt: parsing "${text}": invalid syntax`);
  }
  return number;
}

/** @throws {TranscriptError} unless `text` is a member's decimal id */
export function parseID(text: string): bigint {
  if (!/^[0-9]+$/.test(text) || BigInt(text) > 0xffff_ffff_ffff_ffffn) {
    throw new TranscriptError(`strconv.ParseUint: parsing "${text}": invalid syntax`);
  }
  return BigInt(text);
}

/** @throws {TranscriptError} */
export function parseBoolean(text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  throw new TranscriptError(`strconv.ParseBool: parsing "${text}": invalid syntax`);
}
