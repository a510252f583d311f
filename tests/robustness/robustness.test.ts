/**
 * Real processes under load and faults, judged by the checkers of the simulator.
 *
 * `ROBUSTNESS_ROUNDS=N` makes N times as many faults; default 1, for about five minutes.
 * `ROBUSTNESS_PROGRAM=FILE` has another etcd go through the same.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { ViolationError } from "../../sim/src/violation.ts";
import { Load, summary } from "./load.ts";
import { ProcessCluster } from "../processes/cluster.ts";
import type { ClusterMember } from "../processes/cluster.ts";

/** `ROBUSTNESS_PROGRAM` puts the reference in the place of ours, to compare. */
const REFERENCE = process.env["ROBUSTNESS_PROGRAM"];
/** Long enough for several members that share a core. */
const ELECTION_TIMEOUT_MS = 1000;
const ROUNDS = Number(process.env["ROBUSTNESS_ROUNDS"] ?? "1");
const FAULT_MS = 2500;
const CHECKS = ["--compact-hash-check-time=2s", "--feature-gates=CompactHashCheck=true"];

let cluster: ProcessCluster | undefined;

afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
});

async function startCluster(count: number, ...flags: readonly string[]): Promise<ProcessCluster> {
  cluster = await ProcessCluster.start({
    members: count,
    flags: [`--election-timeout=${ELECTION_TIMEOUT_MS}`, ...CHECKS, ...flags],
    ...(REFERENCE === undefined ? {} : { program: [REFERENCE] }),
  });
  return cluster;
}

/** Nothing lost: the members agree, and the history explains every answer. */
async function judge(load: Load): Promise<void> {
  const { answered, unknown } = await load.check();
  console.log(`${answered} operations answered, ${unknown} unknown`);
  expect(answered).toBeGreaterThan(100);
}

/** Members may change once the others have been connected for five seconds; until then asks again. */
async function untilHealthy<T>(change: () => Promise<T>): Promise<T> {
  for (const untilMs = performance.now() + 60_000; ; await sleep(500)) {
    try {
      return await change();
    } catch (error) {
      const isEarly = (error as Error).message === "etcdserver: unhealthy cluster";
      if (!isEarly || performance.now() > untilMs) throw error;
    }
  }
}

async function expectEqualHashes(members: readonly ClusterMember[]): Promise<void> {
  const hashes: string[] = [];
  const client = cluster!.client(...members);
  const { header } = await client.kv.get("x", { timeoutMs: 20_000 });
  for (const member of members) {
    const at = cluster!.client(member);
    await at.kv.get("x", { timeoutMs: 20_000 });
    const { hash, compactRevision } = await at.maintenance.hashKV(header!.revision, {
      timeoutMs: 10_000,
    });
    hashes.push(`${hash} ${compactRevision}`);
  }
  expect(new Set(hashes).size).toBe(1);
}

test("kill -9 of the leader loses nothing, and writes resume", { timeout: 300_000 }, async () => {
  const processes = await startCluster(3);
  const load = new Load(processes, { clients: 6 });
  const times: number[] = [];
  for (let round = 0; round < 10 * ROUNDS; round++) {
    const leader = await processes.leader();
    await sleep(500);
    const killedMs = performance.now();
    await leader.kill();
    times.push(await load.writesResume(processes.up(), killedMs));
    await processes.boot(leader);
  }
  console.log(`writes after the leader was killed, ${summary(times, ELECTION_TIMEOUT_MS)}`);
  // Ten times what it takes: others may want the processor.
  expect(Math.max(...times)).toBeLessThan(20 * ELECTION_TIMEOUT_MS);
  await processes.leader();
  await judge(load);
  await expectEqualHashes(processes.members);
});

test("a paused leader is never read from as if it led", { timeout: 300_000 }, async () => {
  const processes = await startCluster(3);
  const load = new Load(processes, { clients: 6 });
  for (let round = 0; round < 2 * ROUNDS; round++) {
    await sleep(1000);
    const leader = await processes.leader();
    leader.pause();
    const pausedMs = performance.now();
    const resumedMs = await load.writesResume(processes.up(), pausedMs);
    console.log(`writes resumed ${Math.round(resumedMs)} ms after the leader was paused`);
    await sleep(FAULT_MS);
    // Calls waited in its sockets: what it answers now must not be what it knew then.
    leader.resume();
  }
  await sleep(1000);
  await processes.leader();
  await judge(load);
});

test("partitions: full, one-way, partial", { timeout: 300_000 }, async () => {
  const processes = await startCluster(3);
  const load = new Load(processes, { clients: 6 });
  const { links } = processes;
  const others = (of: ClusterMember): ClusterMember[] =>
    processes.members.filter((member) => member !== of);
  for (let round = 0; round < ROUNDS; round++) {
    const faults: readonly [string, (leader: number, a: number, b: number) => void][] = [
      ["the leader from both", (leader, a, b) => [a, b].forEach((to) => links.cut(leader, to))],
      [
        "what the leader sends to both",
        (leader, a, b) => [a, b].forEach((to) => links.stop(leader, to)),
      ],
      [
        "what both send to the leader",
        (leader, a, b) => [a, b].forEach((to) => links.stop(to, leader)),
      ],
      ["the leader from one", (leader, a) => links.cut(leader, a)],
    ];
    for (const [name, fault] of faults) {
      const leader = await processes.leader();
      const [a, b] = others(leader);
      fault(leader.position, a!.position, b!.position);
      const cutMs = performance.now();
      const resumedMs = await load.writesResume(processes.members, cutMs + 100);
      console.log(`${name} cut: a write after ${Math.round(resumedMs + 100)} ms`);
      await sleep(FAULT_MS);
      links.mend();
      await processes.leader();
    }
  }
  await judge(load);
  await expectEqualHashes(processes.members);
});

test("the checkers find reads that are not up to date", { timeout: 120_000 }, async () => {
  const processes = await startCluster(3);
  const load = new Load(processes, { clients: 6, isStale: true });
  await sleep(500);
  const leader = await processes.leader();
  const [away, other] = processes.members.filter((member) => member !== leader);
  processes.links.cut(away!.position, leader.position);
  processes.links.cut(away!.position, other!.position);
  await sleep(FAULT_MS);
  processes.links.mend();
  await processes.leader();
  await expect(load.check()).rejects.toThrow(ViolationError);
});

test("five members go on without any two", { timeout: 600_000 }, async () => {
  const processes = await startCluster(5);
  const load = new Load(processes, { clients: 5 });
  const { members } = processes;
  const pairs = members.flatMap((a, i) => members.slice(i + 1).map((b) => [a, b] as const));
  expect(pairs).toHaveLength(10);
  const times: number[] = [];
  for (const down of Array.from({ length: ROUNDS }, () => pairs).flat()) {
    await processes.leader();
    const killedMs = performance.now();
    await Promise.all(down.map((member) => member.kill()));
    times.push(await load.writesResume(processes.up(), killedMs));
    await Promise.all(down.map((member) => processes.boot(member)));
  }
  console.log(`writes with two of five down, ${summary(times, ELECTION_TIMEOUT_MS)}`);
  await processes.leader();
  await judge(load);
  await expectEqualHashes(processes.members);
});

test("members are looked after while clients go on", { timeout: 300_000 }, async () => {
  const processes = await startCluster(3, "--snapshot-count=200", "--snapshot-catchup-entries=20");
  const load = new Load(processes, { clients: 6, hasUpkeep: true });
  for (let round = 0; round < 4 * ROUNDS; round++) {
    await sleep(1500);
    const leader = await processes.leader();
    const away = processes.members.find((member) => (member === leader) === (round % 2 === 0))!;
    // Longer than what it misses is kept.
    await away.kill();
    await sleep(1500);
    await processes.boot(away);
  }
  await processes.leader();
  await judge(load);
  const { compactions, defragmentations, snapshots, compactedReads } = load.upkeep;
  console.log({ compactions, defragmentations, snapshots, compactedReads });
  for (const count of [compactions, defragmentations, snapshots, compactedReads]) {
    expect(count).toBeGreaterThan(0);
  }
  await expectEqualHashes(processes.members);
});

test("a lost majority is told, and ends when one returns", { timeout: 120_000 }, async () => {
  const processes = await startCluster(3);
  await processes.leader();
  const [a, b, c] = processes.members as [ClusterMember, ClusterMember, ClusterMember];
  await processes.client(a).kv.put("k", "before", { timeoutMs: 10_000 });
  await Promise.all([a, b].map((member) => member.kill()));
  const client = processes.client(c);
  await sleep(3 * ELECTION_TIMEOUT_MS);
  await expect(client.kv.put("k", "lost", { timeoutMs: 20_000 })).rejects.toThrow(
    /etcdserver: (request timed out|no leader|leader changed)/,
  );
  const health = await fetch(`${c.clientURL}/health`);
  expect(health.status).toBe(503);
  expect(await health.json()).toMatchObject({ health: "false", reason: "RAFT NO LEADER" });
  expect((await fetch(`${c.clientURL}/livez`)).status).toBe(200);
  expect((await fetch(`${c.clientURL}/readyz`)).status).toBe(503);
  await processes.boot(a);
  await client.kv.put("k", "after", { timeoutMs: 20_000 });
  await processes.boot(b);
  const { kvs } = await processes.client(b).kv.get("k", { timeoutMs: 20_000 });
  expect(Buffer.from(kvs[0]!.value).toString()).toBe("after");
  expect((await fetch(`${c.clientURL}/readyz`)).status).toBe(200);
});

test(
  "a member comes back by snapshot; a wiped one as a learner",
  { timeout: 300_000 },
  async () => {
    const processes = await startCluster(
      3,
      "--snapshot-count=100",
      "--snapshot-catchup-entries=10",
    );
    const load = new Load(processes, { clients: 4 });
    const leader = await processes.leader();
    const [lagging, wiped] = processes.members.filter((member) => member !== leader) as [
      ClusterMember,
      ClusterMember,
    ];
    await lagging.kill();
    // Far more entries than are kept for those who lag behind.
    const from = load.operations.length;
    await expect
      .poll(() => load.operations.length - from, { timeout: 60_000 })
      .toBeGreaterThan(400);
    await processes.boot(lagging);
    await expect
      .poll(() => lagging.logOfThisLife, { timeout: 30_000 })
      .toContain("applied snapshot");

    const rest = [leader, lagging];
    const client = processes.client(...rest);
    const { members } = await client.cluster.list({ timeoutMs: 10_000 });
    const gone = members.find(({ peerURLs }) => peerURLs.includes(wiped.peerURL))!;
    await wiped.kill();
    await untilHealthy(() => client.cluster.remove(gone.ID, { timeoutMs: 10_000 }));
    processes.wipe(wiped);
    const added = await untilHealthy(() =>
      client.cluster.add([wiped.peerURL], { learner: true, timeoutMs: 10_000 }),
    );
    await processes.boot(wiped, "existing");
    await expect
      .poll(
        async () => {
          try {
            await client.cluster.promote(added.member!.ID, { timeoutMs: 5000 });
            return "promoted";
          } catch (error) {
            return (error as Error).message;
          }
        },
        { timeout: 30_000 },
      )
      .toBe("promoted");
    await processes.learnIDs();
    await processes.leader();
    await judge(load);
    await expectEqualHashes(processes.members);
  },
);
