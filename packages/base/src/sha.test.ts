/** SHA-1 and SHA-256 against the vectors of FIPS 180-4 and RFC 3174, and against Node's. */

import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesFromLatin1, hexFromBytes } from "./bytes.ts";
import { sha1 } from "./sha1.ts";
import { Sha256, sha256 } from "./sha256.ts";

const TWO_BLOCKS = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

describe("sha1()", () => {
  test.each([
    ["", "da39a3ee5e6b4b0d3255bfef95601890afd80709"],
    ["abc", "a9993e364706816aba3e25717850c26c9cd0d89d"],
    [TWO_BLOCKS, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"],
    ["a".repeat(1_000_000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"],
  ])("digests published vectors", (text, digest) => {
    expect(hexFromBytes(sha1(bytesFromLatin1(text)))).toBe(digest);
  });

  test("agrees with another implementation on any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(hexFromBytes(sha1(bytes))).toBe(createHash("sha1").update(bytes).digest("hex"));
      }),
    );
  });
});

describe("sha256()", () => {
  test.each([
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    [TWO_BLOCKS, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"],
    ["a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"],
  ])("digests published vectors", (text, digest) => {
    expect(hexFromBytes(sha256(bytesFromLatin1(text)))).toBe(digest);
  });

  test("does not depend on how the bytes are cut", () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 150 }), { maxLength: 8 });
    fc.assert(
      fc.property(pieces, (parts) => {
        const ours = new Sha256();
        const other = createHash("sha256");
        for (const part of parts) {
          ours.update(part);
          other.update(part);
        }
        expect(hexFromBytes(ours.digest())).toBe(other.digest("hex"));
      }),
    );
  });

  test("refuses use after the digest", () => {
    const hash = new Sha256();
    hash.digest();
    expect(() => hash.update(new Uint8Array(1))).toThrow("after digest");
  });
});
