import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { completionFor, completionScript, SHELLS } from "./completion.ts";
import { readCommandLine } from "./command-line.ts";
import type { Command } from "./index.ts";

const ROOT: Command<string> = {
  name: "tool",
  short: "works",
  persistentFlags: [
    {
      name: "write-out",
      short: "w",
      kind: "string",
      defaultText: "simple",
      usage: "format",
      choices: ["json", "simple"],
    },
  ],
  commands: [
    { name: "completion", short: "completes", choices: SHELLS, run: "completion" },
    {
      name: "snapshot",
      short: "files",
      commands: [
        { name: "status", short: "tells", run: "status" },
        {
          name: "restore",
          short: "it's back",
          run: "restore",
          flags: [
            { name: "bump-revision", kind: "uint", defaultText: "0", usage: "raise" },
            { name: "mark-compacted", kind: "bool", defaultText: "false", usage: "forget" },
          ],
        },
      ],
    },
  ],
};

/** What bash offers after a line; the last word may be empty. */
function offered(...words: string[]): string[] {
  const list = words.map((word) => `'${word}'`).join(" ");
  const script = [
    completionScript(ROOT, "bash"),
    `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _tool`,
    `printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join("\n");
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout.split("\n").filter((word) => word !== "");
}

describe("completionScript()", () => {
  test("offers commands, subcommands, words and flags in bash", () => {
    expect(offered("tool", "sn")).toEqual(["snapshot"]);
    expect(offered("tool", "snapshot", "")).toEqual(expect.arrayContaining(["restore", "status"]));
    expect(offered("tool", "snapshot", "restore", "--bump")).toEqual(["--bump-revision"]);
    expect(offered("tool", "snapshot", "status", "--b")).toEqual([]);
    expect(offered("tool", "completion", "z")).toEqual(["zsh"]);
  });

  test("takes no value of a flag for a command, and offers the values there are", () => {
    expect(offered("tool", "-w", "json", "snapshot", "re")).toEqual(["restore"]);
    expect(offered("tool", "-w", "snapshot", "sn")).toEqual(["snapshot"]);
    expect(offered("tool", "--mark-compacted", "sn")).toEqual(["snapshot"]);
    expect(offered("tool", "-w", "j")).toEqual(["json"]);
    // Bash parts words at `=`.
    expect(offered("tool", "--write-out", "=", "si")).toEqual(["simple"]);
    expect(offered("tool", "--write-out", "=", "json", "sn")).toEqual(["snapshot"]);
    expect(offered("tool", "snapshot", "restore", "--bump-revision", "")).toEqual([]);
  });

  test.each(SHELLS)("names every command and flag for %s", (shell) => {
    const script = completionScript(ROOT, shell);
    for (const word of ["completion", "restore", "bump-revision", "write-out", "powershell"]) {
      expect(script).toContain(word);
    }
  });

  test("completionFor() wants one shell it knows", () => {
    const of = (...words: string[]) => completionFor(ROOT, readCommandLine(ROOT, words));
    expect(of("completion", "fish")).toBe(completionScript(ROOT, "fish"));
    expect(() => of("completion")).toThrow("accepts 1 arg(s), received 0");
    expect(() => of("completion", "csh")).toThrow('invalid argument "csh" for "tool completion"');
  });
});
