import { expect, test } from "vitest";

import { MemberFixture, text } from "./member-fixture.ts";

test("put() and range() go through the log and survive a restart", async () => {
  const first = new MemberFixture();
  await first.start();
  const put = await first.put("a", "1");
  expect(put.header?.revision).toBe(2);
  const { kvs, header } = await first.range("a");
  expect(kvs.map((kv) => text(kv.value))).toEqual(["1"]);
  expect(header?.revision).toBe(2);
  await first.stop();

  const second = new MemberFixture({ disk: first.disk });
  await second.start();
  expect(await second.contents()).toEqual(["a=1"]);
  await second.stop();
});
