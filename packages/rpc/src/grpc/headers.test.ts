import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Metadata } from "../metadata.ts";
import {
  decodeMetadata,
  decodeStatusMessage,
  decodeTimeout,
  encodeMetadata,
  encodeStatusMessage,
  encodeTimeout,
} from "./headers.ts";

describe("decodeTimeout()", () => {
  test.each([
    ["1H", 3_600_000],
    ["2M", 120_000],
    ["3S", 3_000],
    ["4m", 4],
    ["5u", 0.005],
    ["6n", 0.000006],
    ["00000010m", 10],
    ["99999999H", 9_223_372_036_854],
    ["0S", 0],
  ])("reads %s", (value, ms) => {
    const timeoutMs = decodeTimeout(value);
    expect(timeoutMs).toBeCloseTo(ms, 9);
  });

  test.each([
    ["", "transport: timeout string is too short"],
    ["m", "transport: timeout string is too short"],
    ["123456789m", "transport: timeout string is too long"],
    ["10", "transport: timeout unit is not recognized"],
    ["1s", "transport: timeout unit is not recognized"],
    ["-1S", "invalid syntax"],
    ["1.S", "invalid syntax"],
  ])("refuses %s", (value, text) => {
    expect(decodeTimeout(value)).toContain(text);
  });

  test("is never shorter than what encodeTimeout() was given, nor much longer", () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e12, noNaN: true }), (ms) => {
        const decoded = decodeTimeout(encodeTimeout(ms)) as number;
        expect(decoded).toBeGreaterThanOrEqual(ms * 0.999999);
        expect(decoded).toBeLessThanOrEqual(ms * 1.01 + 0.002);
      }),
    );
  });
});

describe("encodeStatusMessage()", () => {
  test("leaves printable ASCII alone, except the percent sign", () => {
    expect(encodeStatusMessage("etcdserver: key (x) ~ 5%")).toBe("etcdserver: key (x) ~ 5%25");
  });

  test("gives header-safe text that decodes to what it was", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (message) => {
        const encoded = encodeStatusMessage(message);
        expect(encoded).toMatch(/^[ -~]*$/);
        expect(decodeStatusMessage(encoded)).toBe(message);
      }),
    );
  });

  test("decodes what is no encoding as it is", () => {
    expect(decodeStatusMessage("100% %zz %4")).toBe("100% %zz %4");
  });
});

describe("metadata on the wire", () => {
  const name = fc.stringMatching(/^x[a-z0-9._]{0,8}$/);
  const text = fc.stringMatching(/^[!-~]([ -~]{0,8}[!-~])?$/);

  test("decodes to what was encoded, bytes included", () => {
    const texts = fc.array(fc.tuple(name, text));
    const binaries = fc.array(fc.tuple(name, fc.uint8Array({ maxLength: 9 })));
    fc.assert(
      fc.property(texts, binaries, (plain, binary) => {
        const metadata = new Metadata();
        for (const [key, value] of plain) metadata.append(key, value);
        for (const [key, value] of binary) metadata.appendBytes(`${key}-bin`, value);
        const headers: { [name: string]: string | string[] } = {};
        encodeMetadata(metadata, headers);
        const raw: string[] = [];
        for (const [key, value] of Object.entries(headers)) {
          for (const one of Array.isArray(value) ? value : [value]) raw.push(key, one);
        }
        const decoded = decodeMetadata(raw) as Metadata;
        expect([...decoded.entries()]).toEqual([...metadata.entries()]);
      }),
    );
  });

  test("keeps the protocol's own names out", () => {
    const decoded = decodeMetadata([
      ":path",
      "/x",
      ":authority",
      "h",
      "te",
      "trailers",
      "grpc-timeout",
      "1S",
      "user-agent",
      "u",
    ]) as Metadata;
    expect([...decoded.entries()].map(([key]) => key)).toEqual([":authority", "user-agent"]);
  });

  test("splits and pads binary values as they come, and refuses what is no base64", () => {
    const decoded = decodeMetadata(["a-bin", "AA==, AQ", "a-bin", "Ag=="]) as Metadata;
    expect(decoded.getAll("a-bin")).toEqual(["\u0000", "\u0001", "\u0002"]);
    expect(decodeMetadata(["a-bin", "%%%"])).toContain('malformed binary metadata "%%%"');
  });
});
