import { describe, expect, test } from "vitest";
import fc from "fast-check";
import { UsageError, flagsOf, parseCommandLine } from "./command.ts";
import type { Command } from "./command.ts";
import { ROOT, helpFor } from "./commands.ts";
import { helpText } from "./help.ts";

function parse(...words: string[]) {
  return parseCommandLine(ROOT, words).invocation;
}

function names(...words: string[]): string {
  return parse(...words)
    .path.map(({ name }) => name)
    .join(" ");
}

describe("parseCommandLine()", () => {
  test("finds commands by name and by unambiguous beginnings", () => {
    expect(names("snapshot", "status", "x")).toBe("etcdutl snapshot status");
    expect(names("snap", "res", "x")).toBe("etcdutl snapshot restore");
    expect(names("-w", "json", "hash", "x")).toBe("etcdutl hashkv");
    expect(() => names("ver")).toThrow('unknown command "ver" for "etcdutl"');
    expect(() => names("snapshot", "s", "t", "--", "x")).not.toThrow();
    expect(() => names("snapshot", "bogus")).toThrow(
      'unknown command "bogus" for "etcdutl snapshot"',
    );
  });

  test("takes flags in each spelling and anywhere among the words", () => {
    const spellings = [
      ["-w", "json", "hashkv", "x"],
      ["hashkv", "-w=json", "x"],
      ["hashkv", "-wjson", "x"],
      ["hashkv", "x", "--write-out", "json"],
      ["hashkv", "x", "--write-out=json"],
      ["--write-out", "json", "hashkv", "x"],
    ];
    for (const words of spellings) {
      const invocation = parse(...words);
      expect(invocation.string("write-out")).toBe("json");
      expect(invocation.words).toEqual(["x"]);
    }
  });

  test("gives a boolean its value after = only", () => {
    expect(parse("verify", "--json", "x").bool("json")).toBe(true);
    expect(parse("verify", "--json=false", "x").bool("json")).toBe(false);
    expect(parse("verify", "--json", "false").words).toEqual(["false"]);
  });

  test("takes everything after -- as words", () => {
    expect(parse("hashkv", "--", "--rev").words).toEqual(["--rev"]);
  });

  test("asks for help with any command line", () => {
    expect(parseCommandLine(ROOT, ["defrag", "-h"]).isHelp).toBe(true);
    expect(parseCommandLine(ROOT, ["--help"]).isHelp).toBe(true);
  });

  test.each<[string[], string]>([
    [["hashkv", "--bogus"], "unknown flag: --bogus"],
    [["hashkv", "-x"], "unknown shorthand flag: 'x' in -x"],
    [["hashkv", "--rev"], "flag needs an argument: --rev"],
    [["hashkv", "--rev=a", "x"], 'invalid argument "a" for "--rev" flag: strconv.ParseInt'],
    [["hashkv", "--rev=9223372036854775808", "x"], "value out of range"],
    [["verify", "--json=maybe", "x"], "strconv.ParseBool"],
    [["snapshot", "restore", "--bump-revision=-1"], "strconv.ParseUint"],
    [["defrag"], 'required flag(s) "data-dir" not set'],
    [["migrate"], 'required flag(s) "data-dir", "target-version" not set'],
    [["--"], ""],
  ])("refuses %j", (words, text) => {
    if (text === "") expect(parse(...words).words).toEqual([]);
    else expect(() => parse(...words)).toThrow(text);
  });

  test("never fails but with a UsageError", () => {
    const word = fc.oneof(
      fc.constantFrom("snapshot", "restore", "-w", "--", "--rev", "--rev=1", "hashkv", "-", "--="),
      fc.string({ maxLength: 6 }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        try {
          parse(...words);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
    );
  });
});

describe("helpText()", () => {
  const paths: (readonly Command[])[] = [];
  const collect = (path: readonly Command[]): void => {
    paths.push(path);
    for (const command of path.at(-1)!.commands) collect([...path, command]);
  };
  collect([ROOT]);

  test.each(paths.map((path) => [path.map(({ name }) => name).join(" "), path] as const))(
    "of %s names its flags and commands, and fits a terminal",
    (line, path) => {
      const text = helpText(path);
      expect(text).toContain(line);
      for (const flag of flagsOf(path)) expect(text).toContain(`--${flag.name}`);
      for (const command of path.at(-1)!.commands) expect(text).toContain(command.name);
      for (const one of text.split("\n")) expect(one.length).toBeLessThanOrEqual(125);
    },
  );

  test("examples are command lines that can be understood", () => {
    for (const path of paths) {
      const text = (path.at(-1)!.examples ?? []).join("\n").replaceAll("\\\n", " ");
      for (const line of text.split("\n").filter((one) => one.startsWith("etcdutl "))) {
        expect(names(...line.trim().split(/\s+/).slice(1))).toBe(
          path.map(({ name }) => name).join(" "),
        );
      }
    }
  });

  test("help names a command by words", () => {
    expect(helpFor(parse("help", "snapshot", "status"))).toContain("etcdutl snapshot status");
    expect(helpFor(parse("help"))).toBe(helpText([ROOT]));
    expect(() => helpFor(parse("help", "bogus"))).toThrow("unknown command");
  });
});
