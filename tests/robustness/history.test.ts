import { KeyValueCodec } from "@etcd-ts/api";
import type { KeyValue } from "@etcd-ts/api";
import { bytesFromLatin1 } from "@etcd-ts/base";
import { expect, test } from "vitest";
import { History } from "./history.ts";

function pair(key: string, value: string): KeyValue {
  return KeyValueCodec.create({ key: bytesFromLatin1(key), value: bytesFromLatin1(value) });
}

function told(): History {
  const history = new History();
  history.tell(
    [
      { key: "a", value: "1", modRevision: 2 },
      { key: "b", value: "2", modRevision: 2 },
      { key: "a", value: undefined, modRevision: 3 },
      { key: "c", value: "3", modRevision: 5 },
    ],
    "m0",
  );
  return history;
}

test("tell() counts up to the first revision nobody told of", () => {
  const history = told();
  expect(history.toldTo).toBe(3);
  history.tell([{ key: "b", value: "4", modRevision: 4 }], "m1");
  expect(history.toldTo).toBe(5);
  expect(() => history.tell([{ key: "b", value: "5", modRevision: 4 }], "m1")).toThrow(
    'm1 has "b=5" at revision 4',
  );
});

test("checkPastReads() finds a pair too many, one too few and another value", () => {
  const right = told();
  right.readPast(3, [pair("b", "2")], "m0");
  right.readPast(2, [pair("b", "2"), pair("a", "1")], "m0");
  expect(right.checkPastReads()).toBe(2);
  for (const wrong of [[pair("b", "2"), pair("a", "1")], [], [pair("b", "3")]]) {
    const history = told();
    history.readPast(3, wrong, "m1");
    expect(() => history.checkPastReads()).toThrow('was "b=2"');
  }
});

test("mustBeCompacted() finds a compaction nobody asked for", () => {
  const history = told();
  history.compacting(3);
  history.mustBeCompacted(3, "m0");
  expect(() => history.mustBeCompacted(4, "m0")).toThrow("m0 has compacted 4, asked for was 3");
});
