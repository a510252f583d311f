import { expect, test } from "vitest";

import { parsePeerURLs } from "./peer-urls.ts";

test("parsePeerURLs() sorts what members can be reached at", () => {
  const urls = [" https://b.example:2380 ", "HTTP://[::1]:2380", "unix://localhost:1", "unixs:x"];
  expect(parsePeerURLs(urls)).toEqual([
    "http://[::1]:2380",
    "https://b.example:2380",
    "unix://localhost:1",
    "unixs:x",
  ]);
});

test("parsePeerURLs() refuses all if one is no peer URL", () => {
  const good = "http://a:2380";
  expect(parsePeerURLs([good])).toEqual([good]);
  expect(parsePeerURLs([])).toBeUndefined();
  const bad = [
    "",
    "a:2380",
    "127.0.0.1:2380",
    "http://a",
    "http://a:1/",
    "http://a:1/x",
    "http://a:b",
    "http://a:1:2",
    "http://::1:2380",
    "http:a:1",
    "http://",
    "ftp://a:1",
    "unix",
    "http://a b:1",
  ];
  for (const url of bad) expect(parsePeerURLs([good, url]), url).toBeUndefined();
});
