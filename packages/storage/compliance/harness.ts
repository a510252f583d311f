/**
 * A store on a simulated disk and clock, for tests of this package.
 *
 * Time passes a little with every look at the clock, so work in slices does pause; it is the same
 * in every run.
 */

import {
  bytesFromLatin1,
  latin1FromBytes,
  MemoryDisk,
  MemoryMetrics,
  NULL_LOGGER,
  VirtualClock,
} from "@etcd-ts/base";
import type { Clock, Disk, Timer } from "@etcd-ts/base";
import { Backend, MvccStore } from "../src/index.ts";
import type { BackendOptions, LeaseBook, MvccStoreOptions } from "../src/index.ts";

export const DB_PATH = "/member/snap/db";

/** Moves `lookMs` ahead at each look, so that slices end. */
export class TickingClock implements Clock {
  readonly virtual = new VirtualClock({
    settle: () => new Promise((resolve) => setImmediate(resolve)),
  });
  readonly #lookMs: number;
  #aheadMs = 0;

  constructor(lookMs = 0.5) {
    this.#lookMs = lookMs;
  }

  wallMs(): number {
    return this.virtual.wallMs();
  }

  monotonicMs(): number {
    this.#aheadMs += this.#lookMs;
    return this.virtual.monotonicMs() + this.#aheadMs;
  }

  setTimer(delayMs: number, run: () => void): Timer {
    return this.virtual.setTimer(delayMs, run);
  }

  nextTurn(run: () => void): Timer {
    return this.virtual.nextTurn(run);
  }

  /** Runs timers until `promise` settles. */
  until<T>(promise: Promise<T>): Promise<T> {
    return this.virtual.runUntil(promise);
  }
}

/** Attachments in a map; knows every lease. */
export class MapLeaseBook implements LeaseBook {
  readonly #leases = new Map<string, bigint>();

  attach(leaseID: bigint, key: string): void {
    this.#leases.set(key, leaseID);
  }

  detach(leaseID: bigint, key: string): void {
    if (this.#leases.get(key) === leaseID) this.#leases.delete(key);
  }

  get isEmpty(): boolean {
    return this.#leases.size === 0;
  }

  leaseOf(key: string): bigint {
    return this.#leases.get(key) ?? 0n;
  }

  entries(): [string, bigint][] {
    return [...this.#leases].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}

export interface World {
  readonly clock: TickingClock;
  readonly disk: MemoryDisk;
}

/** @param latencyMs - of each disk operation; undefined: it is done in the turn it is asked for */
export function newWorld(latencyMs?: number): World {
  const clock = new TickingClock();
  if (latencyMs === undefined) return { clock, disk: new MemoryDisk() };
  return { clock, disk: new MemoryDisk({ clock: clock.virtual, latencyMs: () => latencyMs }) };
}

export function openBackend(
  world: { clock: TickingClock; disk: Disk },
  options: Partial<BackendOptions> = {},
): Promise<Backend> {
  const { clock, disk } = world;
  return clock.until(
    (async () => {
      await disk.makeDirectory("/member/snap");
      for (const made of ["/", "/member"]) await disk.syncDirectory(made);
      const metrics = new MemoryMetrics();
      return Backend.open({ disk, clock, path: DB_PATH, logger: NULL_LOGGER, metrics, ...options });
    })(),
  );
}

export function openStore(
  world: World,
  backend: Backend,
  options: Partial<MvccStoreOptions> = {},
): Promise<MvccStore> {
  const { clock } = world;
  return clock.until(
    MvccStore.open({
      backend,
      clock,
      leases: new MapLeaseBook(),
      logger: NULL_LOGGER,
      metrics: new MemoryMetrics(),
      ...options,
    }),
  );
}

/** One byte a character. */
export function bytes(latin1: string): Uint8Array {
  return bytesFromLatin1(latin1);
}

export function text(value: Uint8Array): string {
  return latin1FromBytes(value);
}
