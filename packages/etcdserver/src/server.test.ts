import { expect, test } from "vitest";

import { MemberFixture, text } from "./member-fixture.ts";

test("put() and range() go through the log and survive a restart", async () => {
  const member = new MemberFixture();
  await member.start();
  const put = await member.put("a", "1");
  expect(put.header?.revision).toBe(2);
  const { kvs, header } = await member.range("a");
  expect(kvs.map((kv) => text(kv.value))).toEqual(["1"]);
  expect(header?.revision).toBe(2);
  await member.restart();
  expect(await member.contents()).toEqual(["a=1"]);
  await member.stop();
});
