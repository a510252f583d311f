import { formatGoDuration } from "@etcd-ts/base";
import { expect, test } from "vitest";

import { formatBytes } from "./texts.ts";

test("formatBytes() counts in powers of 1000, with a decimal below ten", () => {
  const sizes = [0, 9, 10, 999, 1000, 1450, 9950, 20_480, 999_499, 82_854_982, 5e9];
  expect(sizes.map(formatBytes)).toEqual([
    "0 B",
    "9 B",
    "10 B",
    "999 B",
    "1.0 kB",
    "1.5 kB",
    "10 kB",
    "20 kB",
    "1000 kB",
    "83 MB",
    "5.0 GB",
  ]);
});

test("formatGoDuration() prints what Go prints", () => {
  const durations = [0, 0.000_5, 0.25, 312.5, 1200, 123_500, 3_600_000, 7_384_000];
  expect(durations.map(formatGoDuration)).toEqual([
    "0s",
    "500ns",
    "250µs",
    "312.5ms",
    "1.2s",
    "2m3.5s",
    "1h0m0s",
    "2h3m4s",
  ]);
});
