import { concatBytes, decodeMessage, encodeMessage, equalBytes } from "@etcd-ts/base";
import { RangeRequestCodec, RangeResponseCodec, SERVER_ERRORS } from "@etcd-ts/api";
import type { RangeRequest, RangeResponse } from "@etcd-ts/api";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { MemberFixture, bytes } from "./member-fixture.ts";
import type { EncodedRangeResponse } from "./server-api.ts";

function encoded(member: MemberFixture, request: RangeRequest): Promise<EncodedRangeResponse> {
  return member.call((context, done) => member.server.rangeEncoded(request, context, done));
}

describe("rangeEncoded()", () => {
  test("is range() in wire form, whatever is asked for", async () => {
    const member = new MemberFixture();
    await member.start();
    for (let i = 0; i < 60; i++) await member.put(`k${(i * 7) % 40}`, `v${(i * 13) % 11}`);
    const revision = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 61 }));
    const requests = fc.record({
      key: fc.constantFrom("k", "k3", "a").map(bytes),
      rangeEnd: fc.constantFrom("l", "k35", "\0").map(bytes),
      limit: fc.constantFrom(0, 1, 10, 100),
      revision,
      sortOrder: fc.nat(2),
      sortTarget: fc.nat(4),
      serializable: fc.boolean(),
      keysOnly: fc.boolean(),
      countOnly: fc.boolean(),
      minModRevision: fc.constantFrom(0, 0, 20),
      maxModRevision: fc.constantFrom(0, 0, 50),
      minCreateRevision: fc.constantFrom(0, 0, 20),
      maxCreateRevision: fc.constantFrom(0, 0, 50),
    });
    await fc.assert(
      fc.asyncProperty(requests, async (fields) => {
        const request = RangeRequestCodec.create(fields);
        const response = await member.call<RangeResponse>((context, done) =>
          member.server.range(request, context, done),
        );
        const { message, count } = await encoded(member, request);
        const joined = concatBytes(message.chunks);
        expect([joined.length, count]).toEqual([message.bytes, response.count]);
        const whole = encodeMessage(RangeResponseCodec, response);
        if (equalBytes(joined, whole)) return;
        expect(decodeMessage(RangeResponseCodec, joined)).toEqual(response);
        expect(joined).toEqual(whole);
      }),
      { numRuns: 300 },
    );
    await member.stop();
  });

  test("fails as range() does", async () => {
    const member = new MemberFixture();
    await member.start();
    await member.put("a", "1");
    const range = { key: bytes("a"), rangeEnd: bytes("b") };
    const future = RangeRequestCodec.create({ ...range, revision: 100 });
    await expect(encoded(member, future)).rejects.toBe(SERVER_ERRORS.futureRevision);
    await member.stop();
    const late = RangeRequestCodec.create(range);
    await expect(encoded(member, late)).rejects.toBe(SERVER_ERRORS.stopped);
  });
});
