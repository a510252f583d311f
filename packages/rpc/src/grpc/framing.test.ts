import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { EchoCodec, echo } from "../../compliance/echo-bed.ts";
import { FrameReader, encodeFrame, frameOf } from "./framing.ts";

/** Cuts `bytes` at the given fractions. */
function cut(bytes: Uint8Array, fractions: readonly number[]): Uint8Array[] {
  const at = fractions
    .map((fraction) => Math.floor(fraction * bytes.length))
    .toSorted((a, b) => a - b);
  const edges = [0, ...at, bytes.length];
  return edges.slice(1).map((edge, i) => bytes.subarray(edges[i], edge));
}

const fractions = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });

describe("FrameReader", () => {
  test("next() gives the same messages however the bytes are cut", () => {
    const messages = fc.array(fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.boolean()));
    fc.assert(
      fc.property(messages, fractions, fc.boolean(), (sent, cuts, drainEach) => {
        const bytes = Buffer.concat(
          sent.map(([payload, compressed]) => frameOf(payload, compressed)),
        );
        const reader = new FrameReader(300);
        const got: [Uint8Array, boolean][] = [];
        const drain = (): void => {
          for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
            got.push([new Uint8Array(frame.payload), frame.compressed]);
          }
        };
        for (const part of cut(bytes, cuts)) {
          reader.push(part);
          if (drainEach) drain();
        }
        drain();
        expect(got).toEqual(
          sent.map(([payload, compressed]) => [new Uint8Array(payload), compressed]),
        );
        expect(reader.isPartial).toBe(false);
      }),
    );
  });

  test("isPartial tells a message cut short, at any byte", () => {
    const bytes = frameOf(new Uint8Array(20), false);
    for (let length = 1; length < bytes.length; length++) {
      const reader = new FrameReader(20);
      reader.push(bytes.subarray(0, length));
      expect(reader.next()).toBeUndefined();
      expect(reader.isPartial).toBe(true);
    }
  });

  test("next() refuses a length above the maximum from the prefix alone", () => {
    const reader = new FrameReader(100);
    reader.push(frameOf(new Uint8Array(101), false).subarray(0, 5));
    expect(() => reader.next()).toThrow("grpc: received message larger than max (101 vs. 100)");
    const high = new FrameReader(100);
    high.push(new Uint8Array([0, 255, 255, 255, 255]));
    expect(() => high.next()).toThrow("larger than max (4294967295 vs. 100)");
  });

  test("next() refuses a flag that is neither 0 nor 1", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 255 }), (flag) => {
        const reader = new FrameReader(100);
        reader.push(new Uint8Array([flag, 0, 0, 0, 0]));
        expect(() => reader.next()).toThrow(`grpc: received unexpected payload format ${flag}`);
      }),
    );
  });
});

test("encodeFrame() is a prefix and the message, also after a large one", () => {
  for (const text of ["", "a", "x".repeat(400_000), "b"]) {
    const reader = new FrameReader(1_000_000);
    reader.push(encodeFrame(EchoCodec, echo(text, 3)));
    const frame = reader.next();
    expect(frame?.compressed).toBe(false);
    expect(frame?.payload.length).toBe(
      (text === "" ? 0 : text.length + (text.length > 127 ? 4 : 2)) + 2,
    );
    expect(reader.isPartial).toBe(false);
  }
});
