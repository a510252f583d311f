import { describe, expect, test } from "vitest";

import { encodeMessage } from "@etcd-ts/base";
import { EventType, FilterType, KV, WatchResponseCodec } from "@etcd-ts/api";
import type { WatchResponse } from "@etcd-ts/api";

import { bytes, endOf, ServicesFixture, text, until } from "./services-fixture.ts";
import type { WatchClient } from "./services-fixture.ts";

function describeEvents(response: WatchResponse): string {
  return response.events
    .map(({ type, kv, prevKV }) => {
      const kind = type === EventType.PUT ? "put" : "delete";
      const value = `${text(kv?.key)}=${text(kv?.value)}@${kv?.modRevision}`;
      return prevKV === undefined
        ? `${kind} ${value}`
        : `${kind} ${value} was ${text(prevKV.value)}`;
    })
    .join(", ");
}

async function nextEvents(watch: WatchClient): Promise<string> {
  return describeEvents(await watch.next());
}

async function running(run: (f: ServicesFixture) => Promise<void>, config = {}): Promise<void> {
  const f = await ServicesFixture.start({ config });
  await run(f);
  expect(f.fatal).toBeUndefined();
  await f.stop();
  expect(f.services.openCalls).toBe(0);
}

describe("a watch", () => {
  test("is told to be created first, with the current revision, then its events", () =>
    running(async (f) => {
      await f.put("a", "1");
      const watch = f.watch();
      watch.create("a", { startRevision: 1 });
      const created = await watch.next();
      expect(created).toMatchObject({ watchID: 0, created: true, canceled: false, events: [] });
      expect(created.header).toEqual(f.server.responseHeader(2));
      expect(await nextEvents(watch)).toBe("put a=1@2");
      await f.put("b");
      await f.put("a", "2");
      const live = await watch.next();
      expect(describeEvents(live)).toBe("put a=2@4");
      expect(live.header?.revision).toBe(4);
    }));

  test("gets the whole of a transaction at once, in its order", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("k", { rangeEnd: endOf("k") });
      await watch.next();
      await f.put("k3");
      await watch.next();
      const put = (key: string) =>
        ({
          kind: "put",
          put: {
            key: bytes(key),
            value: bytes(key),
            lease: 0n,
            prevKV: false,
            ignoreValue: false,
            ignoreLease: false,
          },
        }) as const;
      const deleteRange = { key: bytes("k3"), rangeEnd: bytes(""), prevKV: false };
      await f.channel.unary(KV.Txn, {
        compare: [],
        success: [put("k2"), put("k1"), { kind: "deleteRange", deleteRange }],
        failure: [],
      });
      expect(await nextEvents(watch)).toBe("put k2=k2@3, put k1=k1@3, delete k3=@3");
    }));

  test("shows only what its filters let through, and previous values if asked for", () =>
    running(async (f) => {
      const puts = f.watch();
      const deletes = f.watch();
      puts.create("a", { filters: [FilterType.NODELETE, 77], prevKV: true });
      deletes.create("a", { filters: [FilterType.NOPUT], prevKV: true });
      await Promise.all([puts.next(), deletes.next()]);
      await f.put("a", "1");
      await f.put("a", "2");
      await f.delete("a");
      await f.put("a", "3");
      expect(await nextEvents(puts)).toBe("put a=1@2");
      expect(await nextEvents(puts)).toBe("put a=2@3 was 1");
      expect(await nextEvents(puts)).toBe("put a=3@5");
      expect(await nextEvents(deletes)).toBe("delete a=@4 was 2");
    }));

  test("has no previous value where that is compacted", () =>
    running(async (f) => {
      for (const value of ["1", "2", "3"]) await f.put("a", value);
      await f.compact(3);
      const watch = f.watch();
      watch.create("a", { startRevision: 3, prevKV: true });
      await watch.next();
      expect(await nextEvents(watch)).toBe("put a=2@3, put a=3@4 was 2");
    }));

  test("with an empty key and an open end sees all keys", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("", { rangeEnd: bytes("\0") });
      await watch.next();
      await f.put("\0");
      await f.put("zz");
      expect(await nextEvents(watch)).toBe("put \0=@2");
      expect(await nextEvents(watch)).toBe("put zz=@3");
    }));

  test("from the future waits for it", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("a", { startRevision: 4 });
      await watch.next();
      for (const value of ["2", "3", "4"]) await f.put("a", value);
      expect(await nextEvents(watch)).toBe("put a=4@4");
    }));

  test("behind a compaction is cancelled with the revision it lost", () =>
    running(async (f) => {
      for (let i = 0; i < 5; i++) await f.put("a", `${i}`);
      await f.compact(4);
      const watch = f.watch();
      watch.create("a", { startRevision: 2 });
      expect(await watch.next()).toMatchObject({ created: true, canceled: false, watchID: 0 });
      expect(await watch.next()).toMatchObject({
        header: f.server.responseHeader(0),
        created: false,
        canceled: true,
        compactRevision: 4,
        cancelReason: "",
        events: [],
      });
    }));

  test("lives on when its client has nothing more to ask", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("a");
      watch.stream.end();
      await watch.next();
      await f.put("a", "1");
      expect(await nextEvents(watch)).toBe("put a=1@2");
    }));
});

describe("ids of watches", () => {
  test("count up from 0, may be chosen, and are refused when taken", () =>
    running(async (f) => {
      const watch = f.watch();
      for (const watchID of [0, 1, 0, 7, 7]) watch.create("a", { watchID });
      const answers = [];
      for (let i = 0; i < 5; i++) answers.push(await watch.next());
      expect(answers.map(({ watchID }) => watchID)).toEqual([0, 1, 2, 7, -1]);
      expect(answers[4]).toMatchObject({
        created: true,
        canceled: true,
        cancelReason: "mvcc: duplicate watch ID provided on the WatchStream",
      });
    }));

  test("are free again after a cancel, whose watch says no more", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("a", { watchID: 5 });
      await watch.next();
      watch.cancel(5);
      watch.cancel(5);
      watch.cancel(99);
      expect(await watch.next()).toMatchObject({ watchID: 5, canceled: true, cancelReason: "" });
      await f.put("a", "1");
      watch.create("b", { watchID: 5 });
      expect(await watch.next()).toMatchObject({ watchID: 5, created: true });
      await f.put("a", "2");
      await f.put("b", "3");
      expect(await nextEvents(watch)).toBe("put b=3@4");
    }));

  test("are -1 for ranges and revisions that cannot be", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("b", { rangeEnd: bytes("a") });
      watch.create("b", { startRevision: -1 });
      expect(await watch.next()).toMatchObject({
        watchID: -1,
        created: true,
        canceled: true,
        cancelReason: "mvcc: watcher range is empty",
      });
      expect(await watch.next()).toMatchObject({
        watchID: -1,
        created: true,
        canceled: true,
        cancelReason: "etcdserver: mvcc: required revision has been compacted",
      });
      watch.stream.send({ kind: "none" });
      watch.create("b");
      expect(await watch.next()).toMatchObject({ watchID: 0, created: true, canceled: false });
    }));
});

describe("progress", () => {
  test("on request comes for the stream as a whole, only if all its watches are up to date", () =>
    running(async (f) => {
      await f.put("a");
      const watch = f.watch();
      watch.create("a");
      await watch.next();
      watch.requestProgress();
      const progress = await watch.next();
      expect(progress).toMatchObject({ watchID: -1, created: false, canceled: false, events: [] });
      expect(progress.header?.revision).toBe(2);
      watch.create("a", { startRevision: 100 });
      await watch.next();
      watch.requestProgress();
      await f.put("a", "2");
      // Nothing came of the request: one of the watches waits for revision 100.
      expect(await nextEvents(watch)).toBe("put a=2@3");
    }));

  test("is told from time to time to idle watches that want it", () =>
    running(
      async (f) => {
        const watch = f.watch();
        watch.create("a", { progressNotify: true });
        watch.create("a");
        await watch.next();
        await watch.next();
        const progress = await watch.next();
        expect(progress).toMatchObject({ watchID: 0, events: [], canceled: false });
        expect(progress.header?.revision).toBe(1);
        await f.put("b");
        // Some may have been on their way before the put.
        let next = await watch.next();
        while (next.header?.revision === 1) next = await watch.next();
        expect(next).toMatchObject({ watchID: 0, events: [] });
        expect(next.header?.revision).toBe(2);
      },
      { watchProgressNotifyIntervalMs: 40 },
    ));
});

describe("a client that does not read", () => {
  test("costs a bounded queue, gets everything in order, and holds up nobody", () =>
    running(async (f) => {
      const slow = f.watch();
      const quick = f.watch();
      slow.create("a");
      quick.create("a");
      await slow.next();
      await quick.next();
      slow.stream.pause();
      const value = "x".repeat(1024);
      const count = 600;
      for (let i = 0; i < count; i++) await f.put("a", value);
      for (let i = 0; i < count; i++) {
        expect((await quick.next()).events[0]?.kv?.modRevision).toBe(i + 2);
      }
      expect(slow.waiting.length).toBe(0);
      expect(f.server.store.watcherCounts()).toMatchObject({ synced: 1 });
      slow.stream.resume();
      const seen: number[] = [];
      while (seen.length < count) {
        for (const { kv } of (await slow.next()).events) seen.push(kv!.modRevision);
      }
      expect(seen).toEqual(Array.from({ length: count }, (_, i) => i + 2));
    }));

  test("is not read from either, so its requests do not pile up as responses", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("a", { rangeEnd: endOf("a") });
      await watch.next();
      watch.stream.pause();
      await f.put("a", "x".repeat(100_000));
      let accepted = 0;
      while (accepted < 10_000) {
        accepted++;
        watch.create("b");
        if (!watch.stream.send({ kind: "progress" })) break;
      }
      expect(accepted).toBeLessThan(100);
      watch.stream.resume();
      expect((await watch.next()).events.length).toBe(1);
      expect(await watch.next()).toMatchObject({ created: true });
    }));
});

describe("fragments", () => {
  test("split what is too large for a client that takes pieces, and only for it", () =>
    running(
      async (f) => {
        const pieces = f.watch();
        const whole = f.watch();
        for (let i = 0; i < 8; i++) await f.put(`k${i}`, "x".repeat(100_000));
        pieces.create("k", { rangeEnd: endOf("k"), startRevision: 1, fragment: true });
        whole.create("k", { rangeEnd: endOf("k"), startRevision: 1 });
        await pieces.next();
        await whole.next();
        expect((await whole.next()).events.length).toBe(8);
        const seen: number[] = [];
        for (;;) {
          const piece = await pieces.next();
          for (const { kv } of piece.events) seen.push(kv!.modRevision);
          expect(encodeMessage(WatchResponseCodec, piece).length).toBeLessThan(524_288 + 1000);
          if (!piece.fragment) break;
        }
        expect(seen).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
      },
      { requestBytesMax: 1000 },
    ));
});

describe("the end of a stream", () => {
  test("frees its watches when the client cancels", () =>
    running(async (f) => {
      const watch = f.watch();
      watch.create("a", { progressNotify: true });
      await watch.next();
      expect(f.services.openCalls).toBe(1);
      watch.stream.cancel();
      expect(f.services.openCalls).toBe(0);
      expect(f.server.store.watcherCounts()).toEqual({ synced: 0, unsynced: 0, victims: 0 });
    }));

  test("is told as the server's stop when the member stops", async () => {
    const f = await ServicesFixture.start();
    const watch = f.watch();
    watch.create("a");
    await watch.next();
    await f.stop();
    expect(await watch.end()).toMatchObject({
      grpcCode: 14,
      message: "etcdserver: server stopped",
    });
    await until(() => f.services.openCalls === 0);
  });
});
