import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { ROOT } from "./commands.ts";
import { SHELLS, completionScript } from "./completion.ts";

/** What bash offers after a line; the last word may be empty. */
function offered(...words: string[]): string[] {
  const list = words.map((word) => `'${word}'`).join(" ");
  const script = [
    completionScript(ROOT, "bash"),
    `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _etcdutl`,
    `printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join("\n");
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout.split("\n").filter((word) => word !== "");
}

describe("completionScript()", () => {
  test("offers commands, subcommands and flags in bash", () => {
    expect(offered("etcdutl", "sn")).toEqual(["snapshot"]);
    expect(offered("etcdutl", "snapshot", "")).toEqual(
      expect.arrayContaining(["restore", "status"]),
    );
    expect(offered("etcdutl", "-w", "json", "snapshot", "re")).toEqual(["restore"]);
    expect(offered("etcdutl", "snapshot", "restore", "--bump")).toEqual(["--bump-revision"]);
    expect(offered("etcdutl", "hashkv", "--b")).toEqual([]);
  });

  test.each(SHELLS)("names every command and flag for %s", (shell) => {
    const script = completionScript(ROOT, shell);
    for (const word of ["migrate", "restore", "target-version", "mark-compacted", "write-out"]) {
      expect(script).toContain(word);
    }
  });
});
