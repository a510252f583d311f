import { WireWriter } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { HeaderField } from "./header-field.ts";
import { HpackDecoder, HpackError } from "./hpack-decoder.ts";
import { HpackEncoder, RepeatedBlock } from "./hpack-encoder.ts";
import type { FieldToSend, Indexing } from "./hpack-encoder.ts";
import {
  huffmanDecode,
  huffmanDecodedBytesMax,
  huffmanEncode,
  huffmanEncodedBytes,
} from "./huffman.ts";

function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
}

function decode(decoder: HpackDecoder, bytes: Uint8Array, listBytesMax = 1 << 20): string[] {
  const fields: HeaderField[] = [];
  decoder.decode(bytes, 0, bytes.length, listBytesMax, fields);
  return fields.map((field) => `${field.name}: ${field.value}`);
}

const latin1 = fc
  .array(fc.integer({ min: 0, max: 255 }), { maxLength: 60 })
  .map((units) => String.fromCharCode(...units));
const name = fc.oneof(
  fc.constantFrom(":status", "content-type", "grpc-status", "x-trace-bin", "cookie"),
  fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/),
);
const indexing = fc.constantFrom<Indexing>("add", "never", "without");
const fieldLists = fc.array(fc.array(fc.tuple(name, latin1, indexing), { maxLength: 12 }), {
  maxLength: 20,
});

describe("Huffman code", () => {
  test.each([
    ["www.example.com", "f1e3 c2e5 f23a 6ba0 ab90 f4ff"],
    ["no-cache", "a8eb 1064 9cbf"],
    ["custom-key", "25a8 49e9 5ba9 7d7f"],
    ["custom-value", "25a8 49e9 5bb8 e8b4 bf"],
    ["Mon, 21 Oct 2013 20:13:21 GMT", "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff"],
    ["https://www.example.com", "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3"],
  ])("%s is coded as RFC 7541 has it", (text, coded) => {
    const target = new Uint8Array(64);
    const length = huffmanEncode(text, target, 0);
    expect(target.slice(0, length)).toEqual(hex(coded));
    expect(huffmanEncodedBytes(text)).toBe(length);
    const decoded = Buffer.alloc(huffmanDecodedBytesMax(length));
    expect(decoded.toString("latin1", 0, huffmanDecode(target, 0, length, decoded))).toBe(text);
  });

  test("every byte string comes back", () => {
    fc.assert(
      fc.property(latin1, (text) => {
        const coded = new Uint8Array(huffmanEncodedBytes(text));
        expect(huffmanEncode(text, coded, 0)).toBe(coded.length);
        const decoded = Buffer.alloc(huffmanDecodedBytesMax(coded.length));
        const length = huffmanDecode(coded, 0, coded.length, decoded);
        expect(decoded.toString("latin1", 0, length)).toBe(text);
      }),
    );
  });

  test.each([
    ["padding of a whole byte", "1c64 ff"],
    ["padding that is not ones", "f1e3 c2e5 f23a 6ba0 ab90 f4fe"],
    ["the end-of-string symbol", "ffff ffff"],
  ])("refuses %s", (_name, coded) => {
    const bytes = hex(coded);
    expect(huffmanDecode(bytes, 0, bytes.length, new Uint8Array(64))).toBe(-1);
  });
});

describe("HpackDecoder", () => {
  test.each([
    [
      "C.3",
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
    ],
    [
      "C.4",
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
    ],
  ])("decodes the requests of RFC 7541, %s", (_name, blocks) => {
    const decoder = new HpackDecoder();
    const start = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
    expect(blocks.map((block) => decode(decoder, hex(block)))).toEqual([
      start,
      [...start, "cache-control: no-cache"],
      [
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
      ],
    ]);
  });

  test.each([
    ["index 0", "80"],
    ["an index above the tables", "be"],
    ["a name index above the tables", "7f20 01 61"],
    ["an integer without end", "ff"],
    ["an integer of many bytes", "ff 8080 8080 8080 01"],
    ["an integer padded with zeros", "ff 8080 8080 00"],
    ["a string longer than the block", "000a 61"],
    ["a missing string", "00 01 61"],
    ["a huge string length", "00 7fff ffff 7f"],
    ["a malformed Huffman code", "00 0161 84ff ffff ff"],
    ["a size update above the maximum", "3fe2 1f"],
    ["a size update after a field", "82 20"],
    ["three size updates", "20 20 20"],
  ])("refuses %s", (_name, block) => {
    expect(() => decode(new HpackDecoder(), hex(block))).toThrow(HpackError);
  });

  test("a size update evicts, and a field above the size empties the table", () => {
    const decoder = new HpackDecoder();
    decode(decoder, hex("4001 6101 62"));
    expect(decode(decoder, hex("be"))).toEqual(["a: b"]);
    expect(() => decode(decoder, hex("20 be"))).toThrow(HpackError);
    decode(decoder, hex("3f01 4001 6101 62"));
    expect(() => decode(decoder, hex("be"))).toThrow(HpackError);
  });

  test("a list above the maximum is measured, not kept", () => {
    const decoder = new HpackDecoder();
    const value = "7fa1 1e" + "61".repeat(4_000);
    const bomb = hex(`4001 78 ${value}` + "be".repeat(10_000));
    const fields: HeaderField[] = [];
    const bytes = decoder.decode(bomb, 0, bomb.length, 16_384, fields);
    expect(bytes).toBe(10_001 * (4_000 + 1 + 32));
    expect(fields.length).toBe(4);
    expect(decode(decoder, hex("be"))[0]).toHaveLength(4_003);
  });

  test("whatever the bytes, it decodes them or says no", () => {
    const decoder = new HpackDecoder();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          decode(decoder, bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(HpackError);
        }
      }),
    );
  });
});

describe("HpackEncoder", () => {
  function encoded(write: (output: WireWriter) => void): Uint8Array {
    const output = new WireWriter(1);
    write(output);
    return output.finish();
  }

  const texts = (fields: readonly FieldToSend[]): string[] =>
    fields.map(([field, value]) => `${field}: ${value}`);

  test("what it writes comes back, list after list, whatever the table", () => {
    fc.assert(
      fc.property(fieldLists, fc.nat({ max: 40 }), (lists, resizeAt) => {
        const encoder = new HpackEncoder();
        const decoder = new HpackDecoder();
        lists.forEach((fields, i) => {
          if (i === resizeAt) encoder.setTableBytesMax(100);
          const bytes = encoded((output) => encoder.fields(output, fields));
          expect(decode(decoder, bytes)).toEqual(texts(fields));
        });
      }),
    );
  });

  test("a repeated block becomes a byte a field", () => {
    const block = new RepeatedBlock([
      [":status", "200", "without"],
      ["content-type", "application/grpc", "add"],
      ["grpc-encoding", "gzip", "add"],
    ]);
    const trailers = new RepeatedBlock([["grpc-status", "0", "add"]]);
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    const lengths = [];
    for (let i = 0; i < 4; i++) {
      const bytes = encoded((output) => encoder.block(output, block));
      expect(decode(decoder, bytes)).toEqual(texts(block.fields));
      const ending = encoded((output) => encoder.block(output, trailers));
      expect(decode(decoder, ending)).toEqual(texts(trailers.fields));
      lengths.push(bytes.length);
    }
    expect(lengths.slice(1)).toEqual([3, 3, 3]);
  });

  test("setTableBytesMax() announces the empty table once and adds no more", () => {
    const encoder = new HpackEncoder();
    const field: FieldToSend = ["content-type", "application/grpc", "add"];
    const decoder = new HpackDecoder();
    decode(
      decoder,
      encoded((output) => encoder.fields(output, [field])),
    );
    encoder.setTableBytesMax(0);
    encoder.setTableBytesMax(8_192);
    const first = encoded((output) => encoder.fields(output, [field]));
    const second = encoded((output) => encoder.fields(output, [field]));
    expect([first[0], first.slice(1)]).toEqual([0x20, second]);
    expect(decode(decoder, first)).toEqual(texts([field]));
    expect(() => decode(decoder, hex("be"))).toThrow(HpackError);
  });
});
