import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  applyEnvironment,
  boolFlag,
  choiceFlag,
  ConflictingEnvironmentError,
  durationFlag,
  FlagSet,
  formatGoDuration,
  HelpRequested,
  intFlag,
  listFlag,
  parseGoDuration,
  stringFlag,
  uint32Flag,
} from "./index.ts";

const TABLE = {
  name: stringFlag("default"),
  "data-dir": stringFlag(""),
  "pre-vote": boolFlag(true),
  "max-txn-ops": intFlag(128),
  "max-concurrent-streams": uint32Flag(4294967295),
  "watch-progress-notify-interval": durationFlag("10m"),
  cors: listFlag("*"),
  "log-format": choiceFlag("json", ["json", "console"]),
};

function parse(...words: string[]) {
  const flags = new FlagSet(TABLE);
  flags.parse(words);
  return flags.result();
}

describe("FlagSet.parse()", () => {
  test("takes one or two dashes, `=` or the next word", () => {
    const spellings = [["-name", "a"], ["--name", "a"], ["-name=a"], ["--name=a"]];
    for (const words of spellings) expect(parse(...words).values.name).toBe("a");
  });

  test("gives defaults, and tells which flags were set", () => {
    const result = parse("--name=default");
    expect(result.values["max-txn-ops"]).toBe(128);
    expect(result.values["watch-progress-notify-interval"]).toBe(600_000);
    expect([...result.explicit]).toEqual(["name"]);
  });

  test("reads a boolean's value only after `=`", () => {
    expect(parse("--pre-vote=false").values["pre-vote"]).toBe(false);
    const result = parse("--pre-vote", "false");
    expect(result.values["pre-vote"]).toBe(true);
    expect(result.positional).toEqual(["false"]);
  });

  test("lets the last value win, and keeps empty ones", () => {
    expect(parse("--name=a", "--name=").values.name).toBe("");
    expect(parse("--cors=").values.cors).toEqual([]);
    expect(parse("--cors=a,b").values.cors).toEqual(["a", "b"]);
  });

  test("ends at `--` and at the first plain word", () => {
    expect(parse("--name=a", "--", "--data-dir=b").positional).toEqual(["--data-dir=b"]);
    expect(parse("x", "--name=a").positional).toEqual(["x", "--name=a"]);
  });

  test.each([
    [["--bogus"], "flag provided but not defined: -bogus"],
    [["---name=a"], "bad flag syntax: ---name=a"],
    [["--name"], "flag needs an argument: -name"],
    [["--max-txn-ops=abc"], 'invalid value "abc" for flag -max-txn-ops: parse error'],
    [["--max-concurrent-streams=-1"], "value out of range"],
    [["--max-concurrent-streams=4294967296"], "value out of range"],
    [["--pre-vote=maybe"], 'invalid boolean value "maybe" for -pre-vote: parse error'],
    [["--watch-progress-notify-interval=5"], "parse error"],
    [["--log-format=xml"], 'invalid value "xml" for flag -log-format'],
  ])("refuses %j", (words, text) => {
    expect(() => parse(...words)).toThrow(text);
  });

  test("asks for help by -h and --help", () => {
    expect(() => parse("-h")).toThrow(HelpRequested);
    expect(() => parse("--help")).toThrow(HelpRequested);
  });

  test("reads Go's integer literals", () => {
    expect(parse("--max-txn-ops=0x10").values["max-txn-ops"]).toBe(16);
    expect(parse("--max-txn-ops=-1").values["max-txn-ops"]).toBe(-1);
    expect(parse("--max-txn-ops=1_000").values["max-txn-ops"]).toBe(1000);
  });
});

describe("applyEnvironment()", () => {
  test("sets flags, ignores empty values and reports strangers", () => {
    const flags = new FlagSet(TABLE);
    const report = applyEnvironment(
      flags,
      "ETCD",
      { ETCD_NAME: "n", ETCD_DATA_DIR: "", ETCD_BOGUS: "1", ETCD_VERIFY: "all", PATH: "/bin" },
      ["ETCD_VERIFY"],
    );
    expect(flags.result().values.name).toBe("n");
    expect(flags.result().explicit.has("data-dir")).toBe(false);
    expect(report).toEqual({
      used: [{ variable: "ETCD_NAME", value: "n" }],
      unrecognized: ["ETCD_BOGUS=1"],
    });
  });

  test("refuses a variable beside its flag", () => {
    const flags = new FlagSet(TABLE);
    flags.parse(["--name=a"]);
    expect(() => applyEnvironment(flags, "ETCD", { ETCD_NAME: "a" })).toThrow(
      ConflictingEnvironmentError,
    );
  });
});

describe("Go durations", () => {
  test.each([
    ["0", 0],
    ["1h2m3.5s", 3_723_500],
    ["300ms", 300],
    ["-1.5s", -1500],
    ["1us", 0.001],
    ["10m", 600_000],
  ])("parseGoDuration(%j)", (text, durationMs) => {
    expect(parseGoDuration(text)).toBeCloseTo(durationMs, 9);
  });

  test.each(["", "5", "1x", "1h 2m", "--1s", "s", "1e9s", "9999999h"])(
    "parseGoDuration(%j) is none",
    (text) => {
      expect(parseGoDuration(text)).toBeUndefined();
    },
  );

  test("formatGoDuration() is read back by parseGoDuration()", () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e12, max: 1e12 }), (durationMs) => {
        expect(parseGoDuration(formatGoDuration(durationMs))).toBeCloseTo(durationMs, 3);
      }),
    );
  });

  test("formatGoDuration() prints as Go does", () => {
    expect(formatGoDuration(100)).toBe("100ms");
    expect(formatGoDuration(1000)).toBe("1s");
    expect(formatGoDuration(7_200_000)).toBe("2h0m0s");
    expect(formatGoDuration(61_500)).toBe("1m1.5s");
  });
});
