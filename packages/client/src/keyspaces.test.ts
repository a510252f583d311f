/** Namespaces, reads in order, and transactions of a program's own code. */

import { once } from "node:events";
import * as http2 from "node:http2";
import { stringFromUtf8 } from "@etcd-ts/base";
import { startEtcd } from "@etcd-ts/embed";
import type { Etcd } from "@etcd-ts/embed";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Proxy } from "../../../tests/processes/relay.ts";
import { startKeepalive } from "./keepalive.ts";
import { Client, compare, Mutex, op, Session, transact } from "./index.ts";
import type { Isolation } from "./index.ts";

let etcd: Etcd;
let client: Client;

beforeAll(async () => {
  etcd = await startEtcd();
  client = new Client({ endpoints: etcd.endpoints, timeoutMs: 20_000 });
});

afterAll(async () => {
  await client.close();
  await etcd.stop();
});

const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : stringFromUtf8(bytes);

describe("Client.namespace()", () => {
  test("puts its prefix before keys and takes it from answers, in every request", async () => {
    const space = client.namespace("app/").namespace("x/");
    await client.kv.put("app/w", "outside");
    await client.kv.put("app/y", "outside");
    const first = await space.kv.put("a", "1");
    const again = await space.kv.put("a", "2", { prevKV: true });
    expect(text(again.prevKV?.key)).toBe("a");
    await space.kv.put("b", "3");
    expect(text((await client.kv.get("app/x/a")).kvs[0]?.value)).toBe("2");
    for (const range of [{ prefix: true }, { fromKey: true }] as const) {
      const { kvs } = await space.kv.get("", range);
      expect(kvs.map(({ key }) => text(key))).toEqual(["a", "b"]);
    }
    const bounded = await space.kv.get("a", { rangeEnd: "b" });
    expect(bounded.kvs.map(({ key }) => text(key))).toEqual(["a"]);

    const inner = client.kv
      .txn()
      .if(compare.value("b", "=", "3"))
      .do(op.get("b"));
    const txn = await space.kv
      .txn()
      .if(compare.value("a", "=", "2"))
      .do(op.put("c", "4", { prevKV: true }), op.get("", { prefix: true }), op.txn(inner))
      .else(op.get("nothing"))
      .commit();
    expect(txn.succeeded).toBe(true);
    const [, all, nested] = txn.responses;
    const keys = all?.kind === "range" ? all.range.kvs.map(({ key }) => text(key)) : [];
    expect(keys).toEqual(["a", "b", "c"]);
    const innerAnswer = nested?.kind === "txn" ? nested.txn.responses[0] : undefined;
    expect(innerAnswer?.kind === "range" && text(innerAnswer.range.kvs[0]?.key)).toBe("b");

    const seen: (string | undefined)[] = [];
    const watcher = space.watch("", {
      prefix: true,
      prevKV: true,
      startRevision: first.header!.revision,
    });
    for await (const { events } of watcher) {
      seen.push(...events.map(({ kv, prevKV }) => `${text(kv?.key)}<${text(prevKV?.key)}`));
      if (seen.length >= 4) break;
    }
    expect(seen).toEqual(["a<undefined", "a<a", "b<undefined", "c<undefined"]);

    const gone = await space.kv.delete("", { prefix: true, prevKV: true });
    expect(gone.prevKVs.map(({ key }) => text(key))).toEqual(["a", "b", "c"]);
    expect((await client.kv.get("app/", { prefix: true })).count).toBe(2);
    await expect(space.kv.get("")).rejects.toMatchObject({ code: "EMPTY_KEY" });
  });

  test("holds leases and locks", async () => {
    const space = client.namespace("locks/");
    const session = await Session.create(space, { ttlSeconds: 30 });
    const mutex = new Mutex(session, "m");
    await mutex.lock();
    await client.kv.put("elsewhere", "x", { lease: session.leaseID });
    const { keys } = await space.lease.timeToLive(session.leaseID, { keys: true });
    expect(keys.map((key) => text(key))).toEqual([mutex.key]);
    expect((await client.kv.get(`locks/${mutex.key}`)).count).toBe(1);
    await session.close();
  });
});

describe("Client.ordered()", () => {
  test("asks another member rather than go back, and says so when all are behind", async () => {
    const old = await startEtcd();
    for (let i = 0; i < 10; i++) await client.kv.put("order", String(i));
    const two = new Client({
      endpoints: [...etcd.endpoints, ...old.endpoints],
      timeoutMs: 20_000,
    });
    // Plain reads take turns between the two, which know nothing of each other.
    const plain = new Set<number>();
    while (plain.size < 2) {
      plain.add((await two.kv.get("order", { serializable: true })).header!.revision);
    }
    const kv = two.ordered();
    const revisions: number[] = [];
    for (let i = 0; i < 12; i++) {
      revisions.push((await kv.get("order", { serializable: true })).header!.revision);
    }
    expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
    expect(revisions.at(-1)).toBe(Math.max(...plain));
    two.setEndpoints(old.endpoints);
    await expect(kv.get("order")).rejects.toMatchObject({ code: "NO_GREATER_REVISION" });
    await expect(kv.txn().do(op.get("order")).commit()).rejects.toMatchObject({
      code: "NO_GREATER_REVISION",
    });
    await two.close();
    await old.stop();
  });
});

describe("transact()", () => {
  const checked: readonly Isolation[] = ["serializableSnapshot", "serializable", "repeatableReads"];

  test.each(checked)(
    "does what one after the other would do, whatever runs beside: %s",
    async (isolation) => {
      let round = 0;
      const transfers = fc.array(
        fc.record({
          from: fc.integer({ min: 0, max: 3 }),
          to: fc.integer({ min: 0, max: 3 }),
          amount: fc.integer({ min: 1, max: 9 }),
        }),
        { minLength: 2, maxLength: 12 },
      );
      await fc.assert(
        fc.asyncProperty(transfers, async (list) => {
          const account = (i: number): string => `stm/${isolation}/${round}/${i}`;
          round++;
          for (let i = 0; i < 4; i++) await client.kv.put(account(i), "50");
          await Promise.all(
            list.map(({ from, to, amount }) =>
              transact(
                client,
                async (stm) => {
                  const a = Number(text(await stm.get(account(from))));
                  stm.put(account(from), String(a - amount));
                  const b = Number(text(await stm.get(account(to))));
                  stm.put(account(to), String(b + amount));
                },
                { isolation },
              ),
            ),
          );
          const expected = [50, 50, 50, 50];
          for (const { from, to, amount } of list) {
            expected[from]! -= amount;
            expected[to]! += amount;
          }
          const { kvs } = await client.kv.get(account(0).slice(0, -1), { prefix: true });
          expect(kvs.map(({ value }) => Number(text(value)))).toEqual(expected);
        }),
        { numRuns: 12 },
      );
    },
  );

  test("readCommitted loses updates, which is what the others are for", async () => {
    await client.kv.put("committed", "0");
    let arrived = 0;
    let open: () => void = () => undefined;
    const both = new Promise<void>((resolve) => (open = resolve));
    const add = () =>
      transact(
        client,
        async (stm) => {
          const before = Number(text(await stm.get("committed")));
          if (++arrived === 2) open();
          await both;
          stm.put("committed", String(before + 1));
        },
        { isolation: "readCommitted" },
      );
    await Promise.all([add(), add()]);
    expect(text((await client.kv.get("committed")).kvs[0]?.value)).toBe("1");
  });

  test.each([
    ["serializableSnapshot", 2],
    ["serializable", 1],
  ] as const)("%s runs %i times when a key it only writes changes", async (isolation, runs) => {
    await client.kv.put("write/read", "x");
    await client.kv.put("write/blind", "x");
    let isFirst = true;
    const result = await transact(
      client,
      async (stm) => {
        await stm.get("write/read");
        if (isFirst) await client.kv.put("write/blind", "other");
        isFirst = false;
        stm.put("write/blind", "mine");
      },
      { isolation },
    );
    expect(result.runs).toBe(runs);
    expect(text((await client.kv.get("write/blind")).kvs[0]?.value)).toBe("mine");
  });

  test("reads are of one revision, unless they are repeatable only", async () => {
    for (const isolation of checked) {
      await client.kv.txn().do(op.put("pair/a", "0"), op.put("pair/b", "0")).commit();
      let isFirst = true;
      const { value } = await transact(
        client,
        async (stm) => {
          const a = text(await stm.get("pair/a"));
          if (isFirst) {
            await client.kv.txn().do(op.put("pair/a", "1"), op.put("pair/b", "1")).commit();
          }
          isFirst = false;
          const b = text(await stm.get("pair/b"));
          return [a, b];
        },
        { isolation },
      );
      expect(value).toEqual(isolation === "repeatableReads" ? ["1", "1"] : ["0", "0"]);
    }
  });

  test("sees its own writes, deletes, prefetches, and ends with what the code throws", async () => {
    await client.kv.put("own", "stored");
    const { value, response } = await transact(
      client,
      async (stm) => {
        const revision = await stm.revision("own");
        stm.delete("own");
        const deleted = await stm.get("own");
        stm.put("own", "new");
        return [revision > 0, deleted, text(await stm.get("own")), await stm.get("absent")];
      },
      { prefetch: ["own", "absent"], timeoutMs: 10_000 },
    );
    expect(value).toEqual([true, undefined, "new", undefined]);
    expect(response?.succeeded).toBe(true);
    const failing = transact(client, (stm) => {
      stm.put("own", "never");
      throw new Error("changed my mind");
    });
    await expect(failing).rejects.toThrow("changed my mind");
    expect(text((await client.kv.get("own")).kvs[0]?.value)).toBe("new");
    await expect(
      transact(client, (stm) => stm.get("own"), { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: "CANCELED" });
  });

  test("begins anew when what it reads at was compacted away", async () => {
    await client.kv.put("old/a", "1");
    let isFirst = true;
    const { value } = await transact(client, async (stm) => {
      await stm.get("old/a");
      if (isFirst) {
        const { header } = await client.kv.put("old/b", "2");
        await client.kv.put("old/b", "3");
        await client.kv.compact(header!.revision + 1);
      }
      isFirst = false;
      return text(await stm.get("old/b"));
    });
    expect(value).toBe("3");
  });
});

describe("a member that is gone without a word", () => {
  test("startKeepalive() gives the connection up", async () => {
    const proxy = await Proxy.listen(etcd.endpoints[0]!);
    const session = http2.connect(`http://${proxy.endpoint}`);
    await once(session, "remoteSettings");
    const failure = new Promise<Error>((resolve) => session.once("error", resolve));
    let isWanted = false;
    let looks = 0;
    const stop = startKeepalive(session, {
      timeMs: 20,
      timeoutMs: 200,
      isWanted: () => {
        looks++;
        return isWanted;
      },
    });
    proxy.hang();
    // Nobody waits for anything: it may be silent for as long as it likes.
    await expect.poll(() => looks).toBeGreaterThan(15);
    expect(session.destroyed).toBe(false);
    isWanted = true;
    expect((await failure).message).toBe("keepalive timeout");
    stop();
    proxy.close();
  });

  test("a write to it is not repeated, the next calls go elsewhere", async () => {
    const proxy = await Proxy.listen(etcd.endpoints[0]!);
    const two = new Client({ endpoints: [proxy.endpoint, ...etcd.endpoints] });
    // Both are connected once calls take turns between them.
    const failures: string[] = [];
    for (let i = 0; i < 20; i++) await two.kv.put("silent", String(i));
    proxy.hang();
    for (let i = 0; i < 6; i++) {
      await two.kv.put(`silent/${i}`, "x", { timeoutMs: 2000 }).catch((error: unknown) => {
        failures.push((error as { code: string }).code);
      });
    }
    expect(failures).toEqual(["DEADLINE_EXCEEDED"]);
    const { kvs } = await client.kv.get("silent/", { prefix: true });
    expect(kvs.map(({ version }) => version)).toEqual(Array<number>(5).fill(1));
    await two.close();
    proxy.close();
  });
});
