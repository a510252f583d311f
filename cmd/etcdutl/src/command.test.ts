import { describe, expect, test } from "vitest";
import { flagsOf, helpOf, lineOf, readCommandLine } from "@etcd-ts/cli";
import type { CommandPath } from "@etcd-ts/cli";
import { ROOT, VERSIONS } from "./commands.ts";
import type { Run } from "./commands.ts";

function parse(...words: string[]) {
  return readCommandLine(ROOT, words);
}

describe("the command line", () => {
  test("finds commands by name and by unambiguous beginnings", () => {
    expect(lineOf(parse("snapshot", "status", "x").path)).toBe("etcdutl snapshot status");
    expect(lineOf(parse("snap", "res", "x").path)).toBe("etcdutl snapshot restore");
    expect(() => parse("ver")).toThrow('unknown command "ver" for "etcdutl"');
  });

  test.each<[string[], string]>([
    [["hashkv", "--rev=9223372036854775808", "x"], "value out of range"],
    [["verify", "--json=maybe", "x"], "strconv.ParseBool"],
    [["snapshot", "restore", "--bump-revision=-1"], "strconv.ParseUint"],
    [["defrag"], 'required flag(s) "data-dir" not set'],
    [["migrate"], 'required flag(s) "data-dir", "target-version" not set'],
  ])("refuses %j", (words, text) => {
    expect(() => parse(...words)).toThrow(text);
  });
});

describe("help", () => {
  const paths: CommandPath<Run>[] = [];
  const collect = (path: CommandPath<Run>): void => {
    paths.push(path);
    for (const command of path.at(-1)!.commands ?? []) collect([...path, command]);
  };
  collect([ROOT]);

  test.each(paths.map((path) => [lineOf(path), path] as const))(
    "of %s names its flags and commands, and fits a terminal",
    (line, path) => {
      const text = helpOf(path, VERSIONS);
      expect(text).toContain(line);
      for (const flag of flagsOf(path)) expect(text).toContain(`--${flag.name}`);
      for (const command of path.at(-1)!.commands ?? []) expect(text).toContain(command.name);
      for (const one of text.split("\n")) expect(one.length).toBeLessThanOrEqual(125);
    },
  );

  test("examples are command lines that can be understood", () => {
    for (const path of paths) {
      const text = (path.at(-1)!.example ?? "").replaceAll("\\\n", " ");
      for (const line of text.split("\n").filter((one) => one.startsWith("etcdutl "))) {
        const words = line.split(">")[0]!.trim().split(/\s+/).slice(1);
        expect(lineOf(parse(...words).path)).toBe(lineOf(path));
      }
    }
  });
});
