import { describe, expect, test } from "vitest";

import { Metadata, isBinaryName } from "./metadata.ts";

describe("Metadata", () => {
  test("get() and getAll() ignore the case of names and keep the order of values", () => {
    const metadata = Metadata.of({ Token: "a" });
    metadata.append("TOKEN", "b");
    expect([metadata.get("token"), metadata.getAll("Token"), metadata.size]).toEqual([
      "a",
      ["a", "b"],
      1,
    ]);
    metadata.set("token", "c");
    expect(metadata.getAll("token")).toEqual(["c"]);
    metadata.delete("Token");
    expect([metadata.has("token"), metadata.get("token"), metadata.getAll("token")]).toEqual([
      false,
      undefined,
      [],
    ]);
  });

  test("getBytes() returns what appendBytes() took", () => {
    const metadata = new Metadata();
    const bytes = new Uint8Array([0, 127, 128, 255]);
    metadata.appendBytes("x-bin", bytes);
    expect(metadata.getBytes("X-Bin")).toEqual(bytes);
    expect([isBinaryName("x-bin"), isBinaryName("x-bin2")]).toEqual([true, false]);
  });
});
