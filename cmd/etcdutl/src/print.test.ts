import { describe, expect, test } from "vitest";
import { CommandError } from "./exit.ts";
import { formatted, mustBeFormat } from "./print.ts";
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
