/** Bugs planted in whole runs: for each, the judge that must see it does. */

import { NULL_LOGGER, NULL_METRICS, decodeMessage, encodeMessage } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import { Backend } from "@etcd-ts/storage";
import { expect, test } from "vitest";

import { SimCluster } from "./cluster.ts";
import type { SimMember } from "./member.ts";
import { NODE_PORTS } from "./node-ports.ts";
import { FAULTS, drawOptions } from "./options.ts";
import type { Fault, Plant, SimOptions } from "./options.ts";
import { simulate } from "./simulation.ts";

function only(...faults: Fault[]): SimOptions["weights"] {
  return Object.fromEntries(
    FAULTS.map((fault) => [fault, faults.includes(fault) ? 1 : 0]),
  ) as SimOptions["weights"];
}

/** What the judges say, a line a seed; goes on until they say what is `wanted`. */
async function findings(
  seeds: readonly number[],
  fields: Partial<SimOptions>,
  wanted?: RegExp,
): Promise<string> {
  const common = { size: 3, thinkMs: 300, faultIntervalMs: 1000 };
  const found: string[] = [];
  for (const seed of seeds) {
    const options = { ...drawOptions(seed, 12_000), ...common, ...fields };
    const { failure } = await simulate(options, NODE_PORTS);
    if (failure === undefined) continue;
    found.push(failure.message);
    if (wanted?.test(failure.message) === true) break;
  }
  return found.length === 0 ? "nothing found" : found.join("\n");
}

/** Leaders are replaced while they are paused, and are asked first of all when they go on. */
const PAUSED_LEADERS = {
  weights: only("paused leader"),
  clients: 12,
  thinkMs: 200,
  faultMs: 45_000,
  faultIntervalMs: 8000,
  electionTimeoutMs: 500,
  heartbeatIntervalMs: 100,
};
const CALM = {
  weights: only("kill"),
  faultIntervalMs: 9000,
  thinkMs: 100,
  clients: 5,
  watchers: 3,
};
/** Much to elect and much to commit meanwhile. */
const ELECTIONS = {
  ...CALM,
  hasUsers: false,
  hasDowngrades: false,
  faultMs: 45_000,
  faultIntervalMs: 4000,
  electionTimeoutMs: 500,
  heartbeatIntervalMs: 100,
  snapshotCount: 10_000,
  lossPercent: 0,
  latePercent: 0,
  duplicatePercent: 0,
};
/** Nobody writes: logs hold little but what each new leader puts there. */
const QUIET = { clients: 0, watchers: 0 };
/** Several ask for votes at once. */
const RACES = {
  ...ELECTIONS,
  ...QUIET,
  weights: only("paused leader"),
  size: 5,
  faultIntervalMs: 2000,
  preVote: false,
  latencyMs: 20,
};
const LEASES = { ...CALM, faultMs: 30_000 };

const PLANTED: readonly { plant: Plant; fields: Partial<SimOptions>; finding: RegExp }[] = [
  {
    plant: "no sync",
    fields: { weights: only("power loss") },
    finding: /^(invalid database|(raft|state machine|durability|linearizability|member): )/,
  },
  {
    plant: "stale reads",
    fields: { ...PAUSED_LEADERS, weights: only("isolated leader") },
    finding: /^linearizability: /,
  },
  { plant: "stale reads of leaders", fields: PAUSED_LEADERS, finding: /^linearizability: / },
  { plant: "guest is root", fields: { ...CALM, hasUsers: true }, finding: /^auth: / },
  { plant: "any password", fields: { ...CALM, hasUsers: true }, finding: /^auth: .* wrong pass/ },
  { plant: "watch loses", fields: CALM, finding: /^watch: .* came as "/ },
  { plant: "watch repeats", fields: CALM, finding: /^watch: .* comes again or late/ },
  { plant: "watch swaps", fields: CALM, finding: /^watch: .* after / },
  { plant: "watch splits", fields: CALM, finding: /^watch: .* comes again or late/ },
  { plant: "watch resumes late", fields: LEASES, finding: /^watch: .* came as ""/ },
  { plant: "lease ends early", fields: LEASES, finding: /^lease: .* was gone at / },
  { plant: "lease never ends", fields: LEASES, finding: /^lease: .* still holds / },
  {
    plant: "downgrade stays",
    fields: { ...CALM, faultMs: 30_000, hasDowngrades: true },
    finding: /^version: m\d+ is in a cluster of version /,
  },
  // A member that forgot its vote gives another one.
  {
    plant: "log without syncs",
    fields: {
      ...ELECTIONS,
      weights: only("power loss", "paused leader"),
      ...QUIET,
      faultIntervalMs: 300,
    },
    finding: /^raft: \w+ voted for \w+ and \w+ in term /,
  },
  {
    plant: "votes twice",
    fields: RACES,
    finding: /^raft: \w+ voted for \w+ and \w+ in term /,
  },
  {
    plant: "counts refusals",
    fields: RACES,
    finding: /^raft: \w+ and \w+ both lead term /,
  },
  {
    plant: "elects the outdated",
    fields: { ...ELECTIONS, weights: only("cut link", "isolated leader") },
    finding: /^raft: the leader of term \d+ has an entry of term \d+ at \d+, committed was one /,
  },
  {
    plant: "commits alone",
    fields: { ...ELECTIONS, weights: only("isolated leader") },
    finding: /^raft: (the leader of term \d+ has an|entries of terms \d+ and \d+ committed)/,
  },
  {
    plant: "sends other entries",
    fields: CALM,
    finding: /^raft: two entries at index \d+ of term /,
  },
  {
    plant: "stores other entries",
    fields: { ...CALM, weights: only("defragmentation") },
    finding: /^state machine: /,
  },
];

test.each(PLANTED)(
  "found out: $plant",
  { timeout: 120_000 },
  async ({ plant, fields, finding }) => {
    const found = await findings([24, 25, 26, 28], { ...fields, plant }, finding);
    expect(found.split("\n").at(-1)).toMatch(finding);
  },
);

test("without a plant nothing is found in the same runs", { timeout: 120_000 }, async () => {
  for (const fields of [PAUSED_LEADERS, { ...LEASES, hasUsers: true }]) {
    expect(await findings([24, 25], fields)).toBe("nothing found");
  }
  const weights = only("power loss", "paused leader", "isolated leader");
  expect(await findings([24], { ...ELECTIONS, weights })).toBe("nothing found");
});

/** Changes what a read at rest no longer looks at: how often the last key was written. */
async function changeDatabase({ members, clock }: SimCluster): Promise<void> {
  const member = members[0]!;
  await member.stop();
  const path = "/data/member/snap/db";
  const options = { disk: member.disk, clock, path, logger: NULL_LOGGER, metrics: NULL_METRICS };
  const backend = await Backend.open(options);
  let last: readonly [Uint8Array, Uint8Array] | undefined;
  backend.forEach("key", (key, value) => {
    last = [key, value];
  });
  const kv = decodeMessage(KeyValueCodec, last![1]);
  const changed = { ...kv, encoded: undefined, version: kv.version + 1 };
  backend.put("key", last![0], encodeMessage(KeyValueCodec, changed));
  await backend.close();
  member.start();
}

test("found out: a member whose data differs", async () => {
  const options = { ...drawOptions(27, 5000), size: 3, corruptCheckMs: 0, compactHashCheckMs: 0 };
  const { failure } = await simulate(options, { ...NODE_PORTS, sabotage: changeDatabase });
  expect(failure?.message).toMatch(/^hash: m1 /);
});

/** Where the newest meta page says the root page is. */
function rootOffset(file: Uint8Array): number {
  const view = new DataView(file.buffer, file.byteOffset);
  const pageBytes = view.getUint32(24, true);
  const metas = [0, pageBytes].map((at) => ({
    txid: view.getBigUint64(at + 64, true),
    root: Number(view.getBigUint64(at + 32, true)),
  }));
  const [newest] = metas.sort((a, b) => (a.txid > b.txid ? -1 : 1));
  return newest!.root * pageBytes;
}

test("found out: a database with a page of no type", async () => {
  const cluster = new SimCluster({ ...drawOptions(27, 5000), size: 1 }, NODE_PORTS);
  const [member] = cluster.members as [SimMember];
  const later = async <T>(promise: Promise<T>): Promise<T> => {
    promise.catch(() => undefined);
    await cluster.clock.advanceSettled(1000);
    return promise;
  };
  member.start();
  await cluster.clock.advanceSettled(10_000);
  await later(member.stop());
  await later(member.checkDatabase());
  const path = "/data/member/snap/db";
  member.disk.flipBit(path, rootOffset(member.disk.fileBytes(path)) + 8, 7);
  await expect(later(member.checkDatabase())).rejects.toThrow(/^database: m1: page /);
});
