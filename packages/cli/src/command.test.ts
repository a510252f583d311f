import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  alignTabs,
  CommandFlags,
  findCommand,
  flagsOf,
  GoObject,
  goJSON,
  goQuote,
  helpOf,
  HelpRequested,
  humanBytes,
  parseGoInt,
  parseGoUint,
  readGoQuoted,
  textTable,
} from "./index.ts";
import type { Command, CommandFlag } from "./index.ts";

const LIMIT: CommandFlag = { name: "limit", kind: "int", defaultText: "0", usage: "most keys" };
const PREFIX: CommandFlag = {
  name: "prefix",
  kind: "bool",
  defaultText: "false",
  usage: "a range",
};
const FORMAT: CommandFlag = {
  name: "write-out",
  short: "w",
  kind: "string",
  defaultText: "simple",
  usage: "format",
};
const ENDPOINTS: CommandFlag = {
  name: "endpoints",
  kind: "list",
  defaultText: "a",
  usage: "where",
};
const TIMEOUT: CommandFlag = {
  name: "timeout",
  kind: "duration",
  defaultText: "5s",
  usage: "time",
};

const ROOT: Command<string> = {
  name: "ctl",
  short: "a program",
  persistentFlags: [ENDPOINTS, FORMAT, TIMEOUT],
  commands: [
    { name: "get", arguments: "<key>", short: "gets", flags: [LIMIT, PREFIX], run: "get" },
    {
      name: "lease",
      short: "leases",
      commands: [
        { name: "list", short: "lists", run: "lease list" },
        { name: "grant", short: "grants", run: "lease grant" },
      ],
    },
    { name: "lock", short: "locks", run: "lock" },
  ],
};

function parse(...words: string[]) {
  const flags = new CommandFlags([LIMIT, PREFIX, FORMAT, ENDPOINTS, TIMEOUT]);
  return { plain: flags.parse(words), flags };
}

describe("CommandFlags.parse()", () => {
  test("takes flags and words in any order, long and short", () => {
    const { plain, flags } = parse(
      "k",
      "--limit",
      "3",
      "-wjson",
      "--prefix",
      "e",
      "--endpoints=x,y",
    );
    expect(plain).toEqual(["k", "e"]);
    expect([flags.number("limit"), flags.string("write-out"), flags.bool("prefix")]).toEqual([
      3,
      "json",
      true,
    ]);
    expect(flags.list("endpoints")).toEqual(["x", "y"]);
    for (const words of [["-w", "t"], ["-w=t"], ["--write-out=t"], ["--write-out", "t"]]) {
      expect(parse(...words).flags.string("write-out")).toBe("t");
    }
  });

  test("ends flags at `--`, and adds to lists", () => {
    expect(parse("a", "--", "--limit", "-w").plain).toEqual(["a", "--limit", "-w"]);
    const { flags } = parse("--endpoints=x", "--endpoints", "y,z");
    expect(flags.list("endpoints")).toEqual(["x", "y", "z"]);
    expect(parse("--timeout=1m").flags.number("timeout")).toBe(60_000);
    expect(parse("--timeout=90s").flags.text("timeout")).toBe("1m30s");
  });

  test.each([
    [["--bogus"], "unknown flag: --bogus"],
    [["-z"], "unknown shorthand flag: 'z' in -z"],
    [["--limit"], "flag needs an argument: --limit"],
    [["-w"], "flag needs an argument: 'w' in -w"],
    [
      ["--limit=x"],
      'invalid argument "x" for "--limit" flag: strconv.ParseInt: parsing "x": invalid syntax',
    ],
    [
      ["--prefix=x"],
      'invalid argument "x" for "--prefix" flag: strconv.ParseBool: parsing "x": invalid syntax',
    ],
    [
      ["--timeout=1"],
      'invalid argument "1" for "--timeout" flag: time: missing unit in duration "1"',
    ],
    [["--timeout=x"], 'invalid argument "x" for "--timeout" flag: time: invalid duration "x"'],
  ])("refuses %j as Go does", (words, message) => {
    expect(() => parse(...words)).toThrow(message);
  });

  test("asks for help", () => {
    expect(() => parse("-h")).toThrow(HelpRequested);
    expect(() => parse("--help")).toThrow(HelpRequested);
  });
});

describe("findCommand()", () => {
  test.each([
    [["get", "k"], "get", ["k"]],
    [["--endpoints", "get", "get", "k"], "get", ["--endpoints", "get", "k"]],
    [["-w", "json", "lease", "--limit=1", "list"], "lease list", ["-w", "json", "--limit=1"]],
    [["g", "k"], "get", ["k"]],
    [["le", "gr", "5"], "lease grant", ["5"]],
    [["lease", "bogus"], undefined, ["bogus"]],
  ])("reads %j", (words, run, rest) => {
    const found = findCommand(ROOT, words);
    expect([found.path.at(-1)!.run, found.words]).toEqual([run, rest]);
  });

  test("says what may have been meant", () => {
    expect(() => findCommand(ROOT, ["l"])).toThrow('unknown command "l"');
    expect(() => findCommand(ROOT, ["gte"])).toThrow("Did you mean this?\n\tget\n");
    expect(() => findCommand(ROOT, ["bogus"])).toThrow("Run 'ctl --help' for usage.");
  });
});

test("helpOf() lists commands, own flags and inherited ones", () => {
  const { path } = findCommand(ROOT, ["get"]);
  expect(flagsOf(path).map(({ name }) => name)).toEqual([
    "limit",
    "prefix",
    "endpoints",
    "write-out",
    "timeout",
  ]);
  const help = helpOf(path, { version: "1.2.3", apiVersion: "1.2" });
  expect(help).toContain("USAGE:\n  ctl get <key> [flags]\n");
  expect(help).toMatch(
    /OPTIONS:\n {2}-h, --help\[=false\]\t+help for get\n {6}--limit=0\t+most keys/,
  );
  expect(help).toMatch(/GLOBAL OPTIONS:\n {6}--endpoints=\[a\]\t+where/);
  const root = helpOf([ROOT], { version: "1.2.3", apiVersion: "1.2" });
  expect(root).toMatch(
    /COMMANDS:\n {2}get\t+gets\n {2}help\t+Help about any command\n {2}lease grant\t/,
  );
});

describe("Go's text", () => {
  test.each([
    ["a\tb\n", String.raw`"a\tb\n"`],
    ['q"\\', String.raw`"q\"\\"`],
    [Uint8Array.of(0xff, 0x61, 0xc3), String.raw`"\xffa\xc3"`],
    ["\u0000\u007f", String.raw`"\x00\x7f"`],
    ["é€😀", '"é€😀"'],
    ["\u00a0\u200b\u2028", String.raw`"\u00a0\u200b\u2028"`],
  ])("goQuote(%j)", (value, quoted) => {
    expect(goQuote(value)).toBe(quoted);
  });

  test("readGoQuoted() reads what goQuote() wrote", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), (bytes) => {
        const read = readGoQuoted(`${goQuote(bytes)} rest`);
        expect([...read!.value]).toEqual([...bytes]);
        expect(read!.rest).toBe(" rest");
      }),
    );
    expect(readGoQuoted("`a\\b`)")!.rest).toBe(")");
    for (const text of ['"open', "plain", String.raw`"\q"`]) {
      expect(readGoQuoted(text)).toBeUndefined();
    }
  });

  test("parseGoInt() and parseGoUint() keep to 64 bits", () => {
    expect(parseGoInt("-ff", 16)).toBe(-255n);
    expect(parseGoUint("ffffffffffffffff", 16)).toBe(2n ** 64n - 1n);
    expect(() => parseGoInt("8000000000000000", 16)).toThrow("value out of range");
    expect(() => parseGoUint("-1", 10)).toThrow('strconv.ParseUint: parsing "-1": invalid syntax');
  });

  test("goJSON() keeps the order and leaves out what is empty", () => {
    const value = new GoObject()
      .fields({ z: 1n, a: "", b: Buffer.from("hi"), list: [], no: undefined })
      .always({ zero: 0, text: "<&>", none: null });
    expect(goJSON([value])).toBe(
      String.raw`[{"z":1,"b":"aGk=","zero":0,"text":"\u003c\u0026\u003e","none":null}]`,
    );
  });

  test.each([
    [9, "9 B"],
    [20_480, "20 kB"],
    [2_147_483_648, "2.1 GB"],
    [999_999, "1000 kB"],
    [82_854_982, "83 MB"],
  ])("humanBytes(%d)", (bytes, text) => {
    expect(humanBytes(bytes)).toBe(text);
  });
});

test("textTable() centres headers and puts cells to the right", () => {
  expect(
    textTable(
      ["a_b", "Long Name"],
      [
        ["1", "x"],
        ["12345", "yy"],
      ],
    ),
  ).toBe(
    [
      "+-------+-----------+",
      "|  A B  | LONG NAME |",
      "+-------+-----------+",
      "|     1 |         x |",
      "| 12345 |        yy |",
      "+-------+-----------+",
      "",
    ].join("\n"),
  );
});

test("alignTabs() pads lines that follow each other to one column", () => {
  expect(alignTabs("a\tx\nlonger-than-8\ty\n\nb\tz\n")).toBe("a\t\tx\nlonger-than-8\ty\n\nb\tz\n");
});
