import { expect, test } from "vitest";

import { compareVersions, formatVersion, parseVersion, SERVER_VERSION } from "./version.ts";

/** The order semver.org gives as its example, lowest first. */
const ASCENDING = [
  "1.0.0-alpha",
  "1.0.0-alpha.1",
  "1.0.0-alpha.beta",
  "1.0.0-beta",
  "1.0.0-beta.2",
  "1.0.0-beta.11",
  "1.0.0-rc.1",
  "1.0.0",
  "1.0.1",
  "1.2.0",
  "3.10.0",
  "10.0.0",
];

test("compareVersions() orders as semver.org does", () => {
  for (const [i, left] of ASCENDING.entries()) {
    for (const [j, right] of ASCENDING.entries()) {
      const order = compareVersions(parseVersion(left)!, parseVersion(right)!);
      expect(Math.sign(order), `${left} against ${right}`).toBe(Math.sign(i - j));
    }
  }
});

test("formatVersion() inverts parseVersion()", () => {
  for (const text of [...ASCENDING, SERVER_VERSION, "3.6.0-rc.0+build.5", "3.6.0+5"]) {
    expect(formatVersion(parseVersion(text)!)).toBe(text);
  }
});

test("parseVersion() refuses what is no version", () => {
  for (const text of ["", "3", "3.6", "v3.6.0", "3.6.x", "3.6.0-", "3.6.0.1", " 3.6.0", "-1.0.0"]) {
    expect(parseVersion(text), text).toBeUndefined();
  }
});

test("metadata takes no part in the order", () => {
  expect(compareVersions(parseVersion("3.6.0+a")!, parseVersion("3.6.0+b")!)).toBe(0);
});
