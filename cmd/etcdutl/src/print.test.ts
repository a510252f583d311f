import { describe, expect, test } from "vitest";
import { CommandError } from "./command.ts";
import { formatted, humanSize, mustBeFormat, table } from "./print.ts";
import { printableHash, printableStatus, readableReport } from "./run-inspect.ts";

const STATUS = {
  hash: 0xfe01cf57,
  revision: 10,
  totalKey: 7,
  totalSize: 2_121_728,
  version: "3.6.0",
};

// The texts are those of etcdutl 3.6.
describe("formatted()", () => {
  test("prints a status in each format", () => {
    const printable = printableStatus(STATUS);
    expect(formatted(printable, "simple")).toBe("fe01cf57, 10, 7, 2.1 MB, 3.6.0\n");
    expect(formatted(printable, "json")).toBe(
      '{"hash":4261531479,"revision":10,"totalKey":7,"totalSize":2121728,"version":"3.6.0"}\n',
    );
    expect(formatted(printable, "fields")).toBe(
      '"Hash" : 4261531479\n"Revision" : 10\n"Keys" : 7\n"Size" : 2121728\n"Version" : 3.6.0\n',
    );
    expect(formatted(printable, "table")).toBe(
      [
        "+----------+----------+------------+------------+---------+",
        "|   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |",
        "+----------+----------+------------+------------+---------+",
        "| fe01cf57 |       10 |          7 |     2.1 MB |   3.6.0 |",
        "+----------+----------+------------+------------+---------+",
        "",
      ].join("\n"),
    );
  });

  test("prints a hash as a decimal number", () => {
    const printable = printableHash({ hash: 5, hashRevision: 4, compactRevision: -1 });
    expect(formatted(printable, "simple")).toBe("5, 4, -1\n");
  });

  test("refuses protobuf and formats there are not", () => {
    expect(() => formatted(printableStatus(STATUS), "protobuf")).toThrow(CommandError);
    expect(() => mustBeFormat("xml")).toThrow("unsupported output format");
  });
});

test.each([
  [0, "0 B"],
  [9, "9 B"],
  [10, "10 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [24_576, "25 kB"],
  [9_949, "9.9 kB"],
  [9_950, "10 kB"],
  [999_999, "1000 kB"],
  [1_377_783_808, "1.4 GB"],
])("humanSize(%d) is %s", (bytes, text) => {
  expect(humanSize(bytes)).toBe(text);
});

test("table() is as wide as its widest cells", () => {
  expect(table(["a"], [["bbbb"]])).toBe("+------+\n|  A   |\n+------+\n| bbbb |\n+------+\n");
});

test("readableReport() says what is wrong and what to do", () => {
  const text = readableReport({
    path: "/x",
    kind: "snapshot",
    isIntact: false,
    checks: [
      {
        name: "checksum",
        status: "failed",
        summary: "bad",
        problems: ["p1", "p2"],
        problemCount: 5,
      },
      { name: "pages", status: "ok", summary: "fine", problems: [], problemCount: 0 },
    ],
  });
  expect(text).toContain("FAILED   checksum  bad");
  expect(text).toContain("and 3 more");
  expect(text).toContain("NOT INTACT: do not restore from this file");
});
