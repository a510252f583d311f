import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CommandLineError, lineOf, onlyArgument, readCommandLine } from "./command-line.ts";
import { progressText } from "./progress-bar.ts";
import { UnknownCommandError } from "./command-tree.ts";
import type { Command } from "./index.ts";

const ROOT: Command<string> = {
  name: "tool",
  short: "works",
  persistentFlags: [
    { name: "write-out", short: "w", kind: "string", defaultText: "simple", usage: "format" },
  ],
  commands: [
    {
      name: "move",
      short: "moves",
      run: "move",
      flags: [
        { name: "from", kind: "string", defaultText: "", usage: "from", isRequired: true },
        { name: "to", kind: "string", defaultText: "", usage: "to", isRequired: true },
        { name: "by", kind: "uint", defaultText: "0", usage: "how far" },
      ],
    },
    { name: "list", short: "lists", commands: [{ name: "all", short: "all", run: "all" }] },
  ],
};

const read = (...words: string[]) => readCommandLine(ROOT, words);

describe("readCommandLine()", () => {
  test("finds the command, its flags and its words", () => {
    const { path, flags, args, isHelp } = read("-w", "json", "li", "a", "x", "--", "-y");
    expect([lineOf(path), flags.string("write-out"), args, isHelp]).toEqual([
      "tool list all",
      "json",
      ["x", "-y"],
      false,
    ]);
  });

  test("wants the flags that are required, unless help is wanted", () => {
    expect(() => read("move", "--to=x")).toThrow('required flag(s) "from" not set');
    expect(() => read("move")).toThrow('required flag(s) "from", "to" not set');
    expect(read("move", "--help").isHelp).toBe(true);
    expect(read("help", "move")).toMatchObject({ isHelp: true });
    expect(lineOf(read("help", "move").path)).toBe("tool move");
    expect(read("move", "--from=a", "--to=b").isHelp).toBe(false);
    expect(() => read("move", "-h", "--bogus")).toThrow("unknown flag: --bogus");
  });

  test("helps with the program where the topic is none", () => {
    const { path, isHelp, note } = read("help", "bogus", "x");
    expect([lineOf(path), isHelp, note]).toEqual([
      "tool",
      true,
      "Unknown help topic [`bogus` `x`]\n",
    ]);
    expect(read("help", "list").note).toBe("");
  });

  test("keeps all 64 bits of an integer", () => {
    const { flags } = read("move", "--from=a", "--to=b", "--by=18446744073709551615");
    expect(flags.integer("by")).toBe(18446744073709551615n);
    expect(() => read("move", "--by=18446744073709551616")).toThrow("value out of range");
    expect(read("list").flags.integer("write-out")).toBe(0n);
  });

  test("tells which command's flags were wrong", () => {
    const refusal = (() => {
      try {
        return read("list", "all", "--bogus");
      } catch (error) {
        return error;
      }
    })();
    expect(refusal).toBeInstanceOf(CommandLineError);
    expect(lineOf((refusal as CommandLineError<string>).path)).toBe("tool list all");
    expect(() => read("bogus")).toThrow(UnknownCommandError);
  });

  test("never fails but with its own errors", () => {
    const word = fc.oneof(
      fc.constantFrom(
        "move",
        "list",
        "all",
        "-w",
        "--",
        "--by",
        "--by=1",
        "help",
        "-",
        "--=",
        "-h",
      ),
      fc.string({ maxLength: 6 }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        try {
          read(...words);
        } catch (error) {
          const isOwn = error instanceof CommandLineError || error instanceof UnknownCommandError;
          expect(isOwn).toBe(true);
        }
      }),
    );
  });

  test("onlyArgument() takes one word", () => {
    expect(onlyArgument(read("list", "all", "x"))).toBe("x");
    expect(() => onlyArgument(read("list", "all", "x", "y"))).toThrow(
      "accepts 1 arg(s), received 2",
    );
  });
});

test("progressText() is as long at the end as at the beginning of the bar", () => {
  expect(progressText(0, 60, 0)).toBe(`0 / 60 [${"_".repeat(40)}] 0.00% 0 p/s`);
  expect(progressText(30, 60, 30)).toBe(
    `30 / 60 [${"-".repeat(19)}>${"_".repeat(20)}] 50.00% 1 p/s`,
  );
  expect(progressText(60, 60, 60)).toBe(`60 / 60 [${"-".repeat(40)}] 100.00% 1 p/s`);
});
