/**
 * Power is lost at random points under load; what comes back must be a prefix of what was proposed
 * that holds everything acknowledged, whole operations only.
 */

import { env } from "node:process";
import { expect, test } from "vitest";

import { SeededRandom, randomBelow } from "@etcd-ts/base";
import type { Random } from "@etcd-ts/base";
import { DeleteRangeRequestCodec, PutRequestCodec } from "@etcd-ts/api";
import type { RequestOp } from "@etcd-ts/api";

import { MemberFixture, bytes, promised } from "./member-fixture.ts";

const SEEDS = env["ETCD_TS_SOAK"] === undefined ? 8 : 400;
const LIVES = 4;
const KEYS = 6;

type Write = { readonly key: string; readonly value: string | undefined };

/** What a write does; several writes are one transaction. */
interface Operation {
  readonly writes: readonly Write[];
  isAcknowledged: boolean;
}

interface State {
  readonly contents: ReadonlyMap<string, string>;
  readonly revision: number;
}

function drawOperation(random: Random, serial: number): Operation {
  const first = randomBelow(random, KEYS);
  const count = random.float() < 0.3 ? 2 : 1;
  const writes = Array.from({ length: count }, (_, i): Write => {
    const key = `k${(first + i) % KEYS}`;
    return { key, value: random.float() < 0.25 ? undefined : `${serial}.${i}` };
  });
  return { writes, isAcknowledged: false };
}

function apply(state: State, operation: Operation): State {
  const contents = new Map(state.contents);
  let isChanged = false;
  for (const { key, value } of operation.writes) {
    if (value === undefined) isChanged = contents.delete(key) || isChanged;
    else {
      contents.set(key, value);
      isChanged = true;
    }
  }
  return { contents, revision: state.revision + (isChanged ? 1 : 0) };
}

function show(state: State): string {
  const pairs = [...state.contents].map(([key, value]) => `${key}=${value}`).sort();
  return `${state.revision}: ${pairs.join(" ")}`;
}

function start(fixture: MemberFixture, operation: Operation): void {
  const ops = operation.writes.map(({ key, value }): RequestOp =>
    value === undefined
      ? { kind: "deleteRange", deleteRange: DeleteRangeRequestCodec.create({ key: bytes(key) }) }
      : { kind: "put", put: PutRequestCodec.create({ key: bytes(key), value: bytes(value) }) },
  );
  const request = { compare: [], success: ops, failure: [] };
  promised((context, done) => fixture.server.txn(request, context, done)).then(
    () => {
      operation.isAcknowledged = true;
    },
    () => undefined,
  );
}

/** Writes until the power goes; gives the operations in the order they were proposed. */
async function liveUntilCrash(
  fixture: MemberFixture,
  random: Random,
  serial: { next: number },
): Promise<Operation[]> {
  const operations: Operation[] = [];
  fixture.disk.powerOffAfter(randomBelow(random, 160));
  for (let burst = 0; burst < 400 && fixture.fatal === undefined; burst++) {
    for (let i = randomBelow(random, 12); i >= 0; i--) {
      const operation = drawOperation(random, serial.next++);
      operations.push(operation);
      start(fixture, operation);
    }
    await fixture.clock.advanceSettled(randomBelow(random, 3) === 0 ? randomBelow(random, 150) : 1);
  }
  await fixture.crash(random);
  return operations;
}

async function readState(fixture: MemberFixture): Promise<State> {
  const pairs = (await fixture.contents()).map((pair) => pair.split("=") as [string, string]);
  return {
    contents: new Map(pairs),
    revision: fixture.server.facts().currentRevision,
  };
}

/** Starts the member; one time in three the power goes again while it does. */
async function startUnderFire(fixture: MemberFixture, random: Random): Promise<void> {
  while (random.float() < 0.33) {
    fixture.disk.powerOffAfter(randomBelow(random, 60));
    const start = await fixture.start().then(
      () => "up",
      () => "down",
    );
    if (start === "up") await fixture.crash(random);
    else fixture.disk.crash(random);
  }
  await fixture.start();
}

async function runSeed(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const fixture = new MemberFixture({
    seed,
    config: {
      snapshotCount: 40 + randomBelow(random, 100),
      snapshotCatchUpEntries: 10,
      walSegmentBytes: 8 * 1024,
      walFilesMax: 2,
    },
  });
  const serial = { next: 1 };
  await fixture.start();
  let state = await readState(fixture);
  for (let life = 0; life < LIVES; life++) {
    const operations = await liveUntilCrash(fixture, random, serial);
    await startUnderFire(fixture, random);
    const found = show(await readState(fixture));
    const lastAcknowledged = operations.findLastIndex((operation) => operation.isAcknowledged);
    const possible: State[] = [];
    operations.forEach((operation, i) => {
      if (i === lastAcknowledged + 1) possible.push(state);
      state = apply(state, operation);
      if (i >= lastAcknowledged) possible.push(state);
    });
    if (operations.length === 0) possible.push(state);
    const match = possible.find((candidate) => show(candidate) === found);
    const command = `seed ${seed}, life ${life}: after ${operations.length} operations, ${lastAcknowledged + 1} sure`;
    expect(match === undefined ? `${command}: lost or half-applied: ${found}` : "").toBe("");
    state = match!;
    const hash = await fixture.hashKV();
    await fixture.restart();
    expect(await fixture.hashKV(), command).toBe(hash);
  }
  await fixture.stop();
}

test("a crash at any point loses nothing acknowledged and leaves nothing half-applied", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) await runSeed(seed);
});
