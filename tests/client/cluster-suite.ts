/**
 * What the client promises on a cluster whose connections are cut and whose members are killed.
 * Run on members of ours and of the reference.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client, Election, Mutex, op, Session, transact } from "@etcd-ts/client";
import type { Isolation } from "@etcd-ts/client";
import type { ProcessCluster } from "../processes/cluster.ts";
import { Proxy } from "../processes/relay.ts";

const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export function describeClient(name: string, startCluster: () => Promise<ProcessCluster>): void {
  describe(name, () => {
    let cluster: ProcessCluster;
    /** Goes to the members themselves. */
    let client: Client;
    let proxies: readonly Proxy[];

    beforeAll(async () => {
      cluster = await startCluster();
      client = new Client({ endpoints: cluster.endpoints, timeoutMs: 20_000 });
      proxies = await Promise.all(cluster.endpoints.map((endpoint) => Proxy.listen(endpoint)));
    }, 120_000);

    afterAll(async () => {
      await client.close();
      for (const proxy of proxies) proxy.close();
      await cluster.close();
    });

    /** Cuts one connection after the other while `work` runs, which is told how many were cut. */
    async function underCuts<T>(work: (far: Client, cuts: () => number) => Promise<T>): Promise<T> {
      const far = new Client({
        endpoints: proxies.map(({ endpoint }) => endpoint),
        timeoutMs: 20_000,
      });
      let cuts = 0;
      const timer = setInterval(() => proxies[cuts++ % proxies.length]!.cut(), 40);
      try {
        return await work(far, () => cuts);
      } finally {
        clearInterval(timer);
        expect(cuts).toBeGreaterThan(3);
        await far.close();
      }
    }

    test("calls take turns among the members", async () => {
      await client.kv.put("turns", "x");
      const answered = new Set<bigint>();
      // Whoever has answered first takes all calls until the others are there.
      const ask = async (): Promise<number> => {
        answered.add((await client.kv.get("turns")).header!.memberID);
        return answered.size;
      };
      await expect.poll(ask).toBe(3);
    });

    test("cuts lose no read, repeat no write, and leave a watch complete and in order", async () => {
      const { header } = await client.kv.put("cuts", "x");
      const seen: string[] = [];
      const { written, failed } = await underCuts(async (far, cuts) => {
        const watcher = far.watch("cuts/", { prefix: true, startRevision: header!.revision });
        const reading = (async () => {
          for await (const { events } of watcher) {
            for (const { kv } of events) seen.push(`${kv!.modRevision} ${text(kv!.key)}`);
            if (events.some(({ kv }) => text(kv!.key) === "cuts/end")) break;
          }
        })();
        const outcome = { written: 0, failed: 0 };
        const write = async (i: number): Promise<void> => {
          try {
            await far.kv.put(`cuts/${i}`, "x");
            outcome.written++;
          } catch (error) {
            expect(error).toMatchObject({ code: "UNAVAILABLE" });
            outcome.failed++;
          }
          await far.kv.get(`cuts/${i}`);
        };
        for (let i = 0; cuts() < 60 || outcome.written <= 20; i += 4) {
          await Promise.all([write(i), write(i + 1), write(i + 2), write(i + 3)]);
        }
        await client.kv.put("cuts/end", "x");
        await reading;
        return outcome;
      });
      const { kvs } = await client.kv.get("cuts/", { prefix: true, sortBy: "MOD" });
      // A write that came twice would have made a second version.
      expect(kvs.filter(({ version }) => version !== 1)).toEqual([]);
      expect(kvs.length - 1).toBeGreaterThanOrEqual(written);
      expect(kvs.length - 1).toBeLessThanOrEqual(written + failed);
      expect(seen).toEqual(kvs.map(({ key, modRevision }) => `${modRevision} ${text(key)}`));
    });

    test.each<Isolation>(["serializableSnapshot", "serializable", "repeatableReads"])(
      "transact() keeps the sum of transfers under cuts: %s",
      async (isolation) => {
        const accounts = Array.from({ length: 4 }, (_, i) => `bank/${isolation}/${i}`);
        await client.kv
          .txn()
          .do(...accounts.map((account) => op.put(account, "100")))
          .commit();
        const transfer = async (far: Client, from: string, to: string): Promise<void> => {
          await transact(
            far,
            async (stm) => {
              const [a, b] = [Number(text(await stm.get(from))), Number(text(await stm.get(to)))];
              stm.put(from, String(a - 1));
              stm.put(to, String(b + 1));
            },
            { isolation },
          );
        };
        let done = 0;
        await underCuts(async (far) => {
          await Promise.all(
            Array.from({ length: 4 }, async (_, worker) => {
              for (let i = 0; i < 25; i++) {
                const [from, to] = [worker, (worker + 1 + (i % 3)) % 4];
                const moved = transfer(far, accounts[from]!, accounts[to]!);
                await moved.then(
                  () => done++,
                  (error: unknown) => expect(error).toMatchObject({ code: "UNAVAILABLE" }),
                );
                await sleep(5);
              }
            }),
          );
        });
        const { kvs } = await client.kv.get(`bank/${isolation}/`, { prefix: true });
        expect(done).toBeGreaterThan(0);
        expect(kvs.reduce((sum, { value }) => sum + Number(text(value)), 0)).toBe(400);
      },
    );

    test("a lock has one holder under cuts", async () => {
      let holders = 0;
      let turns = 0;
      await underCuts(async (far) => {
        const sessions = await Promise.all([1, 2, 3].map(() => Session.create(far)));
        await Promise.all(
          sessions.map(async (session) => {
            const mutex = new Mutex(session, "cut-lock");
            for (let i = 0; i < 4; i++) {
              await mutex.lock();
              expect(++holders).toBe(1);
              await sleep(5);
              holders--;
              turns++;
              await mutex.unlock();
            }
          }),
        );
        for (const session of sessions) session.orphan();
      });
      expect(turns).toBe(12);
    });

    test("a killed leader costs no lease, no lock, no watch and no read", async () => {
      const session = await Session.create(client, { ttlSeconds: 4 });
      let isLost = false;
      const lose = (): void => void (isLost = true);
      void session.done.then(lose, lose);
      const mutex = new Mutex(session, "kept");
      await mutex.lock();
      const election = new Election(session, "kept-vote");
      await election.campaign("me");
      const watcher = client.watch("kept-puts/", { prefix: true });
      await watcher.created;
      const leader = await cluster.leader();
      await leader.kill();
      // Longer than the lease lasts without renewals.
      const untilMs = performance.now() + 8000;
      const acknowledged: number[] = [];
      for (let i = 0; performance.now() < untilMs || acknowledged.length <= 10; i++) {
        await client.kv.get(mutex.key);
        await client.kv.put(`kept-puts/${i}`, "x").then(
          () => acknowledged.push(i),
          (error: unknown) => expect(error).toMatchObject({ grpcCode: 14 }),
        );
        await sleep(50);
      }
      expect(isLost).toBe(false);
      expect((await client.kv.txn().if(mutex.isOwner()).commit()).succeeded).toBe(true);
      expect(text((await election.leader())?.value)).toBe("me");
      await client.kv.put("kept-puts/end", "x");
      const { kvs } = await client.kv.get("kept-puts/", { prefix: true, sortBy: "MOD" });
      expect(kvs.filter(({ version }) => version !== 1)).toEqual([]);
      const seen: string[] = [];
      for await (const { events } of watcher) {
        seen.push(...events.map(({ kv }) => text(kv!.key)));
        if (seen.at(-1) === "kept-puts/end") break;
      }
      expect(seen).toEqual(kvs.map(({ key }) => text(key)));
      await session.close();
      await cluster.boot(leader);
    }, 60_000);

    test("syncEndpoints() and autoSync learn of members", async () => {
      const one = new Client({
        endpoints: [cluster.endpoints[0]!],
        timeoutMs: 20_000,
        autoSyncIntervalMs: 50,
      });
      while (one.endpoints.length < 3) await sleep(20);
      expect([...one.endpoints].sort()).toEqual([...cluster.endpoints].sort());
      await one.close();
    });
  });
}
