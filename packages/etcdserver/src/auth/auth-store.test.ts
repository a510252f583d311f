/** Users, roles and what they permit, against a model that looks at every key by itself. */

import { bytesFromLatin1, compareBytes } from "@etcd-ts/base";
import { Permission_Type } from "@etcd-ts/api";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { base64FromBytes, bytesFromBase64 } from "./base64.ts";
import { isGrantable, UserPermissions } from "./permissions.ts";
import { indexOfToken } from "./simple-tokens.ts";

const KEYS = ["a", "a\0", "ab", "b", "b\0", "c", "d"].map(bytesFromLatin1);
const OPEN = new Uint8Array([0]);
const NONE = new Uint8Array(0);

const arbitraryKey = fc.constantFrom(...KEYS);
const arbitraryRange = fc.record({
  key: arbitraryKey,
  rangeEnd: fc.oneof(fc.constant(NONE), fc.constant(OPEN), arbitraryKey),
});
const arbitraryPermission = fc
  .record({
    range: arbitraryRange,
    permType: fc.constantFrom(
      Permission_Type.READ,
      Permission_Type.WRITE,
      Permission_Type.READWRITE,
    ),
  })
  .filter(({ range }) => isGrantable(range.key, range.rangeEnd))
  .map(({ range, permType }) => ({ $typeName: "authpb.Permission" as const, permType, ...range }));

function holds(range: { key: Uint8Array; rangeEnd: Uint8Array }, key: Uint8Array): boolean {
  if (range.rangeEnd.length === 0) return compareBytes(range.key, key) === 0;
  const isOpen = compareBytes(range.rangeEnd, OPEN) === 0;
  return compareBytes(range.key, key) <= 0 && (isOpen || compareBytes(key, range.rangeEnd) < 0);
}

describe("permits()", () => {
  test("never lets through a range with a key that no permission holds", () => {
    fc.assert(
      fc.property(fc.array(arbitraryPermission), arbitraryRange, (permissions, asked) => {
        const merged = new UserPermissions();
        for (const permission of permissions) merged.add(permission);
        const readable = permissions.filter(({ permType }) => permType !== Permission_Type.WRITE);
        const delivered = KEYS.filter((key) => holds(asked, key));
        const isEach = delivered.every((key) => readable.some((range) => holds(range, key)));
        if (merged.permits("read", asked.key, asked.rangeEnd)) expect(isEach).toBe(true);
        // One key that is permitted can always be asked for.
        for (const key of delivered) {
          const isPermitted = readable.some((range) => holds(range, key));
          expect(merged.permits("read", key, NONE)).toBe(isPermitted);
        }
      }),
    );
  });

  test("takes an open end for all keys from there, not for one", () => {
    const merged = new UserPermissions();
    const key = bytesFromLatin1("a");
    merged.add({
      $typeName: "authpb.Permission",
      permType: Permission_Type.READ,
      key,
      rangeEnd: NONE,
    });
    expect(merged.permits("read", key, NONE)).toBe(true);
    expect(merged.permits("read", key, OPEN)).toBe(false);
    expect(merged.permits("write", key, NONE)).toBe(false);
  });

  test("joins ranges that touch, and no others", () => {
    const merged = new UserPermissions();
    const add = (begin: string, end: string): void =>
      merged.add({
        $typeName: "authpb.Permission",
        permType: Permission_Type.READWRITE,
        key: bytesFromLatin1(begin),
        rangeEnd: bytesFromLatin1(end),
      });
    const permits = (): boolean =>
      merged.permits("write", bytesFromLatin1("a"), bytesFromLatin1("c"));
    add("a", "b");
    add("b\0", "c");
    expect(permits()).toBe(false);
    add("b", "b\0");
    expect(permits()).toBe(true);
  });
});

describe("base64", () => {
  test("comes back as it went, and is what others write", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(bytesFromBase64(base64FromBytes(bytes))).toEqual(bytes);
      }),
    );
    expect(base64FromBytes(bytesFromLatin1("any carnal pleas"))).toBe("YW55IGNhcm5hbCBwbGVhcw==");
  });

  test.each(["a", "ab=c", "====", "YQ=", "Y*=="])("refuses %j", (text) => {
    expect(bytesFromBase64(text)).toBeUndefined();
  });
});

test.each([
  ["abc.12", 12],
  ["abc", undefined],
  ["abc.1.2", undefined],
  ["abc.", undefined],
  ["abc.x", undefined],
])("indexOfToken(%j)", (token, index) => {
  expect(indexOfToken(token)).toBe(index);
});
