import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { concatBytes, utf8FromString } from "./bytes.ts";
import type { Codec } from "./protobuf-wire.ts";
import {
  decodeMessage,
  encodeMessage,
  varintLength,
  WIRE_BYTES,
  WIRE_END_GROUP,
  WIRE_FIXED32,
  WIRE_FIXED64,
  WIRE_START_GROUP,
  WIRE_VARINT,
  WireFormatError,
  WireReader,
  WireWriter,
} from "./protobuf-wire.ts";

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Values at and around every power of two, where varints and halves change. */
const edge = fc
  .tuple(fc.integer({ min: 0, max: 64 }), fc.integer({ min: -2, max: 2 }))
  .map(([power, offset]) => BigInt.asUintN(64, (1n << BigInt(power)) + BigInt(offset)));
const word = fc.oneof(edge, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
const safe = fc.oneof(edge.filter((value) => value <= MAX_SAFE).map(Number), fc.maxSafeNat());

/** A varint as the specification defines it, seven bits at a time. */
function referenceVarint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

function readerOf(value: bigint): WireReader {
  const reader = new WireReader(Uint8Array.from([0x08, ...referenceVarint(value)]));
  expect(reader.next()).toBe(true);
  return reader;
}

describe("varints", () => {
  test("varint(), varint64() and varintLength() follow the specification", () => {
    fc.assert(
      fc.property(word, safe, (wide, narrow) => {
        const writer = new WireWriter(1);
        writer.varint64(wide);
        expect([...writer.finish()]).toEqual(referenceVarint(wide));
        writer.reset();
        writer.varint(narrow);
        expect([...writer.finish()]).toEqual(referenceVarint(BigInt(narrow)));
        expect(varintLength(narrow)).toBe(writer.length);
      }),
      { numRuns: 1000 },
    );
  });

  test("varint() refuses what is no counter", () => {
    for (const value of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => new WireWriter().varint(value)).toThrow("varint:");
    }
  });

  test("negative numbers take ten bytes and come back", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        const writer = new WireWriter();
        writer.varintField(1, value);
        const expected = referenceVarint(BigInt.asUintN(64, BigInt(value)));
        expect([...writer.finish()]).toEqual([0x08, ...expected]);
        const reader = new WireReader(writer.finish());
        reader.next();
        const isLimit = Math.abs(value) === Number.MAX_SAFE_INTEGER;
        if (!isLimit) expect(reader.int64Number()).toBe(value);
      }),
      { numRuns: 500 },
    );
  });

  test("the reader gives every 64-bit value in each of its shapes", () => {
    fc.assert(
      fc.property(word, (value) => {
        const signed = BigInt.asIntN(64, value);
        expect(readerOf(value).uint64()).toBe(value);
        expect(readerOf(value).int64()).toBe(signed);
        expect(readerOf(value).uint32()).toBe(Number(BigInt.asUintN(32, value)));
        expect(readerOf(value).int32()).toBe(Number(BigInt.asIntN(32, value)));
        expect(readerOf(value).bool()).toBe(value !== 0n);
        const clamped = signed > MAX_SAFE ? MAX_SAFE : signed < -MAX_SAFE ? -MAX_SAFE : signed;
        expect(readerOf(value).int64NumberClamped()).toBe(Number(clamped));
        if (value <= MAX_SAFE) expect(readerOf(value).uint64Number()).toBe(Number(value));
        else expect(() => readerOf(value).uint64Number()).toThrow(WireFormatError);
        if (signed > -MAX_SAFE && signed < MAX_SAFE) {
          expect(readerOf(value).int64Number()).toBe(Number(signed));
        } else expect(() => readerOf(value).int64Number()).toThrow(WireFormatError);
      }),
      { numRuns: 1000 },
    );
  });

  test("a varint of more than 64 bits is refused, an overlong one of at most ten bytes is not", () => {
    const read = (...bytes: number[]): bigint => {
      const reader = new WireReader(Uint8Array.from([0x08, ...bytes]));
      reader.next();
      return reader.uint64();
    };
    const nine = Array.from({ length: 9 }, () => 0xff);
    expect(read(...nine, 0x01)).toBe(2n ** 64n - 1n);
    expect(() => read(...nine, 0x02)).toThrow("integer overflow");
    expect(() => read(...nine, 0x81, 0x00)).toThrow("integer overflow");
    expect(read(0x81, 0x80, 0x00)).toBe(1n);
    for (let length = 0; length < 10; length++) {
      expect(() => read(...nine.slice(0, length))).toThrow("unexpected EOF");
    }
  });
});

describe("fields", () => {
  type Sample = { id: bigint; name: string; data: Uint8Array; nested: Sample | undefined };
  const codec: Codec<Sample> = {
    encode(message, writer) {
      writer.varint64Field(1, message.id);
      writer.stringField(2, message.name);
      writer.bytesField(3, message.data);
      writer.boolField(5, message.id === 0n);
      if (message.nested === undefined) return;
      const mark = writer.beginMessage(1000);
      codec.encode(message.nested, writer);
      writer.endMessage(mark);
    },
    decode(reader) {
      const message: Sample = { id: 0n, name: "", data: new Uint8Array(0), nested: undefined };
      while (reader.next()) {
        if (reader.field === 1) message.id = reader.uint64();
        else if (reader.field === 2) message.name = reader.string();
        else if (reader.field === 3) message.data = reader.view().slice();
        else if (reader.field === 1000) message.nested = codec.decode(reader.message());
        else reader.skip();
      }
      return message;
    },
  };
  const sample: fc.Arbitrary<Sample> = fc.letrec<{ sample: Sample }>((tie) => ({
    sample: fc.record({
      id: word,
      name: fc.string({ unit: "binary", maxLength: 200 }),
      data: fc.uint8Array({ maxLength: 300 }),
      nested: fc.option(tie("sample"), { nil: undefined, depthSize: "small" }),
    }),
  })).sample;

  test("messages come back, nested ones of every length included", () => {
    fc.assert(
      fc.property(sample, (message) => {
        expect(decodeMessage(codec, encodeMessage(codec, message))).toEqual(message);
      }),
      { numRuns: 300 },
    );
    for (const length of [0, 1, 100, 121, 122, 123, 127, 128, 16_375, 16_384, 2_097_200]) {
      const nested = { id: 1n, name: "", data: new Uint8Array(length), nested: undefined };
      const message = { ...nested, nested };
      const back = decodeMessage(codec, encodeMessage(codec, message));
      expect(back.nested?.data.length).toBe(length);
    }
  });

  test("every proper prefix is refused or is a shorter message, and nothing else happens", () => {
    fc.assert(
      fc.property(sample, fc.nat(), (message, cut) => {
        const encoded = encodeMessage(codec, message);
        const prefix = encoded.subarray(0, cut % encoded.length);
        try {
          decodeMessage(codec, prefix);
        } catch (error) {
          expect(error).toBeInstanceOf(WireFormatError);
        }
      }),
    );
  });

  test("arbitrary bytes are decoded or refused with WireFormatError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        try {
          decodeMessage(codec, input);
        } catch (error) {
          expect(error).toBeInstanceOf(WireFormatError);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("unknown fields of every wire type are passed over", () => {
    const known = encodeMessage(codec, {
      id: 7n,
      name: "n",
      data: Uint8Array.of(1),
      nested: undefined,
    });
    const writer = new WireWriter();
    writer.tag(900, WIRE_VARINT);
    writer.varint64(2n ** 64n - 1n);
    writer.tag(901, WIRE_FIXED64);
    writer.raw(new Uint8Array(8));
    writer.tag(902, WIRE_FIXED32);
    writer.raw(new Uint8Array(4));
    writer.bytesField(903, utf8FromString("skipped"));
    writer.tag(904, WIRE_START_GROUP);
    writer.tag(1, WIRE_VARINT);
    writer.varint(5);
    writer.tag(905, WIRE_START_GROUP);
    writer.tag(905, WIRE_END_GROUP);
    writer.tag(904, WIRE_END_GROUP);
    const unknown = writer.finish();
    const message = decodeMessage(codec, concatBytes([unknown, known, unknown]));
    expect(message).toMatchObject({ id: 7n, name: "n" });
  });

  test("broken structure is refused by name", () => {
    const decode = (...bytes: number[]): unknown => decodeMessage(codec, Uint8Array.from(bytes));
    expect(() => decode(0x00, 0x01)).toThrow("illegal tag 0");
    expect(() => decode(0x0e)).toThrow("illegal wireType 6");
    expect(() => decode(0x0f)).toThrow("illegal wireType 7");
    expect(() => decode(0x0a, 0x00)).toThrow("wrong wireType = 2 for field 1");
    expect(() => decode(0x12, 0x05, 0x61)).toThrow("unexpected EOF");
    expect(() => decode(0x12, 0xff, 0xff, 0xff, 0xff, 0x7f)).toThrow("unexpected EOF");
    expect(() => decode(0x34)).toThrow("unexpected end of group");
    expect(() => decode(0x33, 0x3c)).toThrow("unexpected end of group");
    expect(() => decode(0x33)).toThrow("unexpected EOF");
    expect(() => decode(...Array.from({ length: 200 }, () => 0x33))).toThrow("nested too deep");
    expect(() => decode(0xf8, 0xff, 0xff, 0xff, 0xff, 0x01)).toThrow("illegal tag");
  });

  test("a nested reader does not read past its message", () => {
    const outer = new WireReader(Uint8Array.of(0x0a, 0x02, 0x08, 0x80, 0x01));
    outer.next();
    const nested = outer.message();
    nested.next();
    expect(() => nested.uint64()).toThrow("unexpected EOF");
  });
});

describe("WireWriter", () => {
  test("finish() is a copy, view() is not, reset() starts over", () => {
    const writer = new WireWriter(4);
    writer.bytesField(1, Uint8Array.of(1, 2, 3, 4, 5));
    const [copy, view] = [writer.finish(), writer.view()];
    expect(copy).toEqual(Uint8Array.of(0x0a, 5, 1, 2, 3, 4, 5));
    view[0] = 0;
    expect([copy[0], writer.finish()[0]]).toEqual([0x0a, 0]);
    writer.reset();
    expect([writer.length, writer.finish().length]).toEqual([0, 0]);
  });

  test("tags agree with the fields and wire types the reader tells", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 29 - 1 }), (field) => {
        const writer = new WireWriter();
        writer.tag(field, WIRE_BYTES);
        writer.varint(0);
        const reader = new WireReader(writer.finish());
        expect(reader.next()).toBe(true);
        expect([reader.field, reader.wireType]).toEqual([field, WIRE_BYTES]);
        reader.skip();
        expect(reader.next()).toBe(false);
      }),
    );
  });
});

test("WireWriter.extend() and truncate() leave what lies around them", () => {
  const writer = new WireWriter(1);
  writer.raw(new Uint8Array([1, 2]));
  const hole = writer.extend(300);
  writer.raw(new Uint8Array([3]));
  expect([hole, writer.length]).toEqual([2, 303]);
  writer.buffer.fill(9, hole, hole + 300);
  expect(writer.finish()).toEqual(
    new Uint8Array([1, 2, ...Array.from({ length: 300 }, () => 9), 3]),
  );
  writer.truncate(3);
  writer.varint(5);
  expect(writer.finish()).toEqual(new Uint8Array([1, 2, 9, 5]));
  expect(() => writer.truncate(5)).toThrow("truncate: 5");
});

test("encodeMessage() gives bytes of their own, also of a message inside a message", () => {
  const inner: Codec<number> = {
    encode: (value, writer) => writer.varintField(1, value),
    decode: () => 0,
  };
  const outer: Codec<number> = {
    encode(value, writer) {
      writer.varintField(1, value);
      writer.bytesField(2, encodeMessage(inner, value));
      writer.varintField(3, value);
    },
    decode: () => 0,
  };
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 0x7f }), { maxLength: 300 }), (values) => {
      const encoded = values.map((value) => encodeMessage(outer, value));
      encoded.forEach((bytes, i) => {
        const value = values[i]!;
        expect([...bytes]).toEqual([8, value, 18, 2, 8, value, 24, value]);
      });
    }),
  );
  const large = new WireWriter();
  large.raw(new Uint8Array(10_000).fill(7));
  expect(large.finish()).toEqual(new Uint8Array(10_000).fill(7));
});
