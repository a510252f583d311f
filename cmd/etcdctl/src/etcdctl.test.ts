import { describe, expect, test } from "vitest";
import { CommandFlags } from "@etcd-ts/cli";
import { CompareResult, CompareTarget } from "@etcd-ts/api";
import { parsePeerURLs } from "./run/member.ts";
import { parseCompare, parseOperation } from "./run/txn.ts";
import { watchArguments } from "./run/watch.ts";
import { GET } from "./kv-flags.ts";
import { splitWords } from "./words.ts";

test("splitWords() takes quotes as a shell would", () => {
  expect(splitWords(`put "a\\tb" 'x y' --lease=1 c`)).toEqual([
    "put",
    "a\tb",
    "x y",
    "--lease=1",
    "c",
  ]);
  expect(() => splitWords(String.raw`put "\q"`)).toThrow("invalid syntax");
});

describe("parseCompare()", () => {
  const { VERSION: ver, CREATE, MOD, VALUE, LEASE } = CompareTarget;
  test.each([
    ['ver("k") = "1"', ver, CompareResult.EQUAL, { kind: "version", version: 1 }],
    [
      'create("k") > "1"',
      CREATE,
      CompareResult.GREATER,
      { kind: "createRevision", createRevision: 1 },
    ],
    ['m("k") < "-1"', MOD, CompareResult.LESS, { kind: "modRevision", modRevision: -1 }],
    ['val("k") != "x"', VALUE, CompareResult.NOT_EQUAL, { kind: "value", value: Buffer.from("x") }],
    ['lease("k") = "1f"', LEASE, CompareResult.EQUAL, { kind: "lease", lease: 31n }],
  ])("reads %s", (line, target, result, value) => {
    expect(parseCompare(line)).toMatchObject({ target, result, value, key: Buffer.from("k") });
  });

  test.each([
    "mod",
    'mod("k")= "1"',
    'mod(k) = "1"',
    'mod("k") = 1',
    'x("k") = "1"',
    'mod("k") >= "1"',
  ])("refuses %s", (line) => {
    expect(() => parseCompare(line)).toThrow("malformed comparison");
  });
});

test("parseOperation() reads get, put and del with their flags", async () => {
  expect(await parseOperation("get a --prefix --limit=2")).toMatchObject({
    kind: "range",
    range: { limit: 2 },
  });
  expect(await parseOperation("put a 'b c' --prev-kv")).toMatchObject({
    kind: "put",
    put: { prevKV: true },
  });
  expect(await parseOperation("del a --from-key")).toMatchObject({ kind: "deleteRange" });
  for (const line of ["get", "move a b", "get a --bogus"]) {
    await expect(parseOperation(line)).rejects.toMatchObject({ status: 3 });
  }
});

describe("watchArguments()", () => {
  const read = (words: string[], environment = {}) =>
    watchArguments(new CommandFlags(GET).parse(words), words, environment);

  test("parts keys from the command", () => {
    expect(read(["a", "b", "--", "echo", "-n", "x"])).toEqual({
      keys: ["a", "b"],
      exec: ["echo", "-n", "x"],
    });
    expect(read(["a"])).toEqual({ keys: ["a"], exec: [] });
    expect(() => read(["a", "--"])).toThrow("found separator --");
  });

  test("takes keys from the environment, but not beside others", () => {
    const environment = { ETCDCTL_WATCH_KEY: "k", ETCDCTL_WATCH_RANGE_END: "z" };
    expect(read(["--", "echo"], environment)).toEqual({ keys: ["k", "z"], exec: ["echo"] });
    expect(() => read(["a"], environment)).toThrow("conflicting environment key");
  });
});

test("parsePeerURLs() refuses what would stop a member of 3.6", () => {
  expect(parsePeerURLs("http://a:1, https://[::1]:2,unix://x")).toEqual([
    "http://a:1",
    "https://[::1]:2",
    "unix://x",
  ]);
  for (const url of ["bogus", "ftp://a:1", "http://a", "http://a:1/path", ""]) {
    expect(() => parsePeerURLs(url)).toThrow("URL");
  }
});
