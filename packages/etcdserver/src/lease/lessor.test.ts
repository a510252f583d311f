import {
  EMPTY_BYTES,
  MemoryDisk,
  MemoryMetrics,
  NULL_LOGGER,
  NULL_METRICS,
  VirtualClock,
  bytesFromLatin1,
} from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import { Backend, MvccStore, createBuckets, readLeases } from "@etcd-ts/storage";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LEASE_TTL_MAX_SECONDS, Lessor } from "./index.ts";
import type { LessorOptions } from "./index.ts";
import { spreadDelaysMs } from "./spread.ts";

interface Fixture {
  readonly clock: VirtualClock;
  readonly backend: Backend;
  readonly lessor: Lessor;
  readonly store: MvccStore;
  readonly metrics: MemoryMetrics;
}

async function openLessor(options: Partial<LessorOptions> = {}): Promise<Fixture> {
  const disk = new MemoryDisk();
  const clock = new VirtualClock();
  const metrics = new MemoryMetrics();
  await disk.makeDirectory("/data");
  const quiet = { clock, logger: NULL_LOGGER, metrics: NULL_METRICS };
  const backend = await Backend.open({ ...quiet, disk, path: "/data/db" });
  createBuckets(backend);
  const lessor = new Lessor({ ...quiet, metrics, backend, minTTLSeconds: 2, ...options });
  lessor.recover();
  const store = await MvccStore.open({ ...quiet, backend, leases: lessor });
  lessor.setWriter(() => store.write());
  return { clock, backend, lessor, store, metrics };
}

function put(store: MvccStore, key: string, leaseID: bigint): void {
  const txn = store.write();
  txn.put(bytesFromLatin1(key), bytesFromLatin1("v"), leaseID);
  txn.end();
}

function keyCount(store: MvccStore): number {
  const options = { revision: 0, limit: 0, countOnly: true };
  return store.range(Uint8Array.of(0), Uint8Array.of(0), options).count;
}

describe("Lessor", () => {
  test("grant() keeps to the shortest and the longest time", async () => {
    const { lessor, metrics } = await openLessor();
    expect(lessor.grant(1n, 1)).toEqual({ id: 1n, ttlSeconds: 2 });
    expect(lessor.grant(2n, -5)).toEqual({ id: 2n, ttlSeconds: 2 });
    expect(lessor.grant(3n, LEASE_TTL_MAX_SECONDS).ttlSeconds).toBe(9_000_000_000);
    expect(() => lessor.grant(4n, LEASE_TTL_MAX_SECONDS + 1)).toThrow(
      SERVER_ERRORS.leaseTTLTooLarge,
    );
    expect(() => lessor.grant(1n, 5)).toThrow(SERVER_ERRORS.leaseExists);
    expect(() => lessor.grant(0n, 5)).toThrow(SERVER_ERRORS.leaseNotFound);
    expect(metrics.value("etcd_debugging_lease_granted_total")).toBe(3);
  });

  test("revoke() deletes the keys in order in one revision, and the lease", async () => {
    const { lessor, store, backend } = await openLessor();
    lessor.grant(7n, 60);
    for (const key of ["b", "a", "\u00ff", "c"]) put(store, key, 7n);
    put(store, "other", 0n);
    const before = store.currentRevision;
    lessor.revoke(7n);
    expect(store.currentRevision).toBe(before + 1);
    expect(keyCount(store)).toBe(1);
    expect(lessor.lookup(7n)).toBeUndefined();
    expect(readLeases(backend)).toEqual([]);
    expect(() => lessor.revoke(7n)).toThrow(SERVER_ERRORS.leaseNotFound);
    lessor.grant(8n, 60);
    lessor.revoke(8n);
    expect(store.currentRevision).toBe(before + 1);
  });

  test("a key belongs to the lease of its last put", async () => {
    const { lessor, store } = await openLessor();
    lessor.grant(1n, 60);
    lessor.grant(2n, 60);
    put(store, "k", 1n);
    put(store, "k", 2n);
    expect(lessor.leaseOf("k")).toBe(2n);
    expect(lessor.lookup(1n)?.sortedKeys()).toEqual([]);
    lessor.revoke(1n);
    expect(keyCount(store)).toBe(1);
    put(store, "k", 0n);
    expect(lessor.leaseOf("k")).toBe(0n);
    lessor.revoke(2n);
    expect(keyCount(store)).toBe(1);
    const txn = store.write();
    txn.deleteRange(bytesFromLatin1("k"), EMPTY_BYTES);
    txn.end();
    lessor.attach(99n, "k");
    expect(lessor.leaseOf("k")).toBe(0n);
  });

  test("only the primary counts down; renewal starts anew", async () => {
    const { lessor, clock } = await openLessor();
    lessor.grant(1n, 10);
    clock.advance(1_000_000);
    expect(lessor.expired()).toEqual([]);
    expect(() => lessor.renew(1n)).toThrow(SERVER_ERRORS.notPrimaryLessor);
    lessor.promote(1_000);
    clock.advance(10_999);
    expect(lessor.expired()).toEqual([]);
    expect(lessor.renew(1n)).toBe(10);
    clock.advance(9_999);
    expect(lessor.isExpired(1n)).toBe(false);
    clock.advance(1);
    expect(lessor.isExpired(1n)).toBe(true);
    expect(lessor.expired()).toEqual([1n]);
    expect(() => lessor.renew(2n)).toThrow(SERVER_ERRORS.leaseNotFound);
    lessor.demote();
    expect(lessor.isExpired(1n)).toBe(false);
    expect(lessor.nextExpiryMs()).toBeUndefined();
  });

  test("expired() takes as many as asked for and offers what stays again", async () => {
    const { lessor, clock } = await openLessor({ expiredRetryMs: 3_000 });
    lessor.promote(0);
    for (let id = 1n; id <= 10n; id++) lessor.grant(id, 5);
    clock.advance(5_000);
    const first = lessor.expired(4);
    const rest = lessor.expired();
    expect(first.length).toBe(4);
    expect([...first, ...rest].toSorted()).toEqual(
      [1n, 10n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n].toSorted(),
    );
    expect(lessor.expired()).toEqual([]);
    lessor.revoke(1n);
    clock.advance(3_000);
    expect(lessor.expired().length).toBe(9);
  });

  test("whenSettled() tells of revocation and of demotion, once", async () => {
    const { lessor } = await openLessor();
    lessor.promote(0);
    lessor.grant(1n, 5);
    lessor.grant(2n, 5);
    const told: string[] = [];
    lessor.whenSettled(1n, (outcome) => told.push(`1 ${outcome}`));
    lessor.whenSettled(2n, (outcome) => told.push(`2 ${outcome}`));
    lessor.whenSettled(2n, () => told.push("taken back"))();
    lessor.revoke(1n);
    expect(told).toEqual(["1 revoked"]);
    lessor.demote();
    lessor.demote();
    expect(told).toEqual(["1 revoked", "2 demoted"]);
  });

  test("leases() come in order of expiry", async () => {
    const { lessor, clock } = await openLessor();
    lessor.promote(0);
    lessor.grant(1n, 30);
    lessor.grant(2n, 10);
    lessor.grant(3n, 20);
    expect(lessor.leases().map(({ id }) => id)).toEqual([2n, 3n, 1n]);
    clock.advance(5_000);
    lessor.renew(2n);
    expect(lessor.lookup(3n)?.remainingSeconds(clock.monotonicMs())).toBe(15);
    lessor.demote();
    expect(lessor.leases().map(({ id }) => id)).toEqual([1n, 2n, 3n]);
  });

  test("a long lease is checkpointed and counts on from there under a new leader", async () => {
    const { lessor, clock, backend } = await openLessor({
      takesCheckpoints: true,
      persistsCheckpoints: () => true,
      checkpointIntervalMs: 300_000,
    });
    lessor.promote(0);
    lessor.grant(1n, 1_000);
    lessor.grant(2n, 300);
    clock.advance(299_999);
    expect(lessor.dueCheckpoints()).toEqual([]);
    clock.advance(1);
    const due = lessor.dueCheckpoints();
    expect(due).toEqual([{ id: 1n, remainingTTL: 700 }]);
    expect(lessor.dueCheckpoints()).toEqual([]);
    for (const { id, remainingTTL } of due) lessor.checkpoint(id, remainingTTL);
    expect(readLeases(backend)[0]).toEqual({ id: 1n, ttl: 1_000, remainingTTL: 700 });
    expect(lessor.mustClearCheckpoint(1n)).toBe(true);
    clock.advance(300_000);
    expect(lessor.dueCheckpoints()).toEqual([{ id: 1n, remainingTTL: 400 }]);
    const next = new Lessor({
      backend,
      clock,
      logger: NULL_LOGGER,
      metrics: NULL_METRICS,
      minTTLSeconds: 2,
    });
    next.recover();
    next.promote(1_000);
    expect(next.lookup(1n)?.remainingSeconds(clock.monotonicMs())).toBe(701);
    lessor.checkpoint(1n, 0);
    expect(lessor.mustClearCheckpoint(1n)).toBe(false);
    expect(lessor.renew(1n)).toBe(1_000);
    lessor.checkpoint(77n, 5);
  });

  test("a checkpoint is written only where it is to be", async () => {
    const { lessor, backend } = await openLessor({ takesCheckpoints: true });
    lessor.grant(1n, 1_000);
    lessor.checkpoint(1n, 700);
    expect(readLeases(backend)[0]).toMatchObject({ remainingTTL: 0 });
  });

  test("recover() brings back leases, and the store their keys", async () => {
    const operation = fc.record({
      kind: fc.constantFrom("grant", "revoke", "put", "delete"),
      id: fc.bigInt({ min: 1n, max: 5n }),
      key: fc.constantFrom("a", "b", "c", "d"),
    });
    const property = fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async (history) => {
      const { lessor, store, backend, clock } = await openLessor();
      for (const { kind, id, key } of history) {
        const isThere = lessor.lookup(id) !== undefined;
        if (kind === "grant" && !isThere) lessor.grant(id, 10 + Number(id));
        else if (kind === "revoke" && isThere) lessor.revoke(id);
        else if (kind === "put") put(store, key, isThere ? id : 0n);
        else if (kind === "delete") {
          const txn = store.write();
          txn.deleteRange(bytesFromLatin1(key), EMPTY_BYTES);
          txn.end();
        }
      }
      const quiet = { clock, logger: NULL_LOGGER, metrics: NULL_METRICS };
      const again = new Lessor({ ...quiet, backend, minTTLSeconds: 2 });
      again.recover();
      const restored = await clock.runUntil(MvccStore.open({ ...quiet, backend, leases: again }));
      expect(restored.currentRevision).toBe(store.currentRevision);
      const shape = (one: Lessor): unknown =>
        one.leases().map((lease) => [lease.id, lease.ttlSeconds, lease.sortedKeys()]);
      expect(shape(again)).toEqual(shape(lessor));
      for (const lease of again.leases()) {
        for (const key of lease.keys) expect(again.leaseOf(key)).toBe(lease.id);
      }
    });
    await fc.assert(property, { numRuns: 40 });
  });
});

describe("spreadDelaysMs()", () => {
  test("leaves few leases, and leases far apart, as they are", () => {
    expect(spreadDelaysMs(Array.from({ length: 999 }, () => 5))).toEqual(
      Array.from({ length: 999 }, () => 0),
    );
    const apart = Array.from({ length: 5_000 }, (_, i) => i * 2);
    expect(Math.max(...spreadDelaysMs(apart))).toBe(0);
  });

  test("lets no more than about 750 a second run out, and none earlier", () => {
    const times = fc.array(fc.integer({ min: 0, max: 3_000 }), {
      minLength: 1_000,
      maxLength: 6_000,
      size: "max",
    });
    const property = fc.property(times, (drawn) => {
      const remaining = drawn.toSorted((a, b) => a - b);
      const delays = spreadDelaysMs(remaining);
      expect(delays.every((delay) => delay >= 0)).toBe(true);
      const ends = remaining.map((time, i) => time + delays[i]!).toSorted((a, b) => a - b);
      for (let i = 0; i + 1_600 < ends.length; i += 100) {
        expect(ends[i + 1_600]! - ends[i]!).toBeGreaterThan(999);
      }
    });
    fc.assert(property, { numRuns: 20 });
  });
});
