/** Databases as a member leaves them, on a disk in memory, for the tests of this package. */

import { MemoryDisk, MemoryLogger, NULL_METRICS, Sha256, VirtualClock } from "@etcd-ts/base";
import { utf8FromString } from "@etcd-ts/base";
import {
  Backend,
  MvccStore,
  createBuckets,
  writeClusterVersion,
  writeConsistentIndex,
  writeLease,
  writeMember,
  writeStorageVersion,
} from "@etcd-ts/storage";
import type { DataDirectoryContext } from "./context.ts";
import type { Progress } from "./progress.ts";

const NO_LEASES = {
  isEmpty: true,
  attach: () => undefined,
  detach: () => undefined,
  leaseOf: () => 0n,
};

export type Change =
  | readonly ["put", key: string, value: string]
  | readonly ["delete", key: string];

export interface DatabaseContents {
  /** Each inner list is one transaction. */
  readonly transactions?: readonly (readonly Change[])[];
  /** Compacted at the end; 0: not. */
  readonly compactAt?: number;
}

export class Fixture {
  readonly clock = new VirtualClock();
  readonly disk = new MemoryDisk({ clock: this.clock });
  readonly logger = new MemoryLogger("info");
  readonly progress: Progress[] = [];
  /** Thrown by the next report of this step. */
  interruptAt: string | undefined;

  get context(): DataDirectoryContext {
    return {
      disk: this.disk,
      clock: this.clock,
      logger: this.logger,
      metrics: NULL_METRICS,
      onProgress: (progress) => {
        this.progress.push(progress);
        if (progress.step === this.interruptAt) throw new Error("interrupted");
      },
    };
  }

  run<T>(promise: Promise<T>): Promise<T> {
    return this.clock.runUntil(promise);
  }

  /** Makes a database with members, a lease, a version, and these changes. */
  async database(path: string, contents: DatabaseContents = {}): Promise<void> {
    const { disk, clock, logger } = this;
    const directory = path.slice(0, Math.max(1, path.lastIndexOf("/")));
    await this.run(disk.makeDirectory(directory));
    const backend = await this.run(
      Backend.open({ disk, clock, logger, metrics: NULL_METRICS, path }),
    );
    createBuckets(backend);
    writeConsistentIndex(backend, 42, 3);
    writeStorageVersion(backend, "3.6.0");
    writeClusterVersion(backend, "3.6.0");
    writeLease(backend, { id: 77n, ttl: 60, remainingTTL: 0 });
    const old = {
      id: 9n,
      peerURLs: ["http://old:1"],
      isLearner: false,
      name: "old",
      clientURLs: [],
    };
    writeMember(backend, old);
    const store = await this.run(
      MvccStore.open({ backend, leases: NO_LEASES, clock, logger, metrics: NULL_METRICS }),
    );
    for (const changes of contents.transactions ?? []) {
      const writer = store.write();
      for (const [kind, key, value] of changes) {
        if (kind === "put") writer.put(utf8FromString(key), utf8FromString(value), 0n);
        else writer.deleteRange(utf8FromString(key), new Uint8Array(0));
      }
      writer.end();
    }
    if (contents.compactAt !== undefined && contents.compactAt > 0) {
      await this.run(store.compact(contents.compactAt).finished);
    }
    await this.run(backend.commit());
    await this.run(store.close());
    await this.run(backend.close());
  }

  /** The database followed by its checksum, as `snapshot save` writes it. */
  async snapshot(path: string, contents: DatabaseContents = {}): Promise<void> {
    await this.database("/made/db", contents);
    const image = this.disk.fileBytes("/made/db");
    const whole = image.subarray(0, image.length - (image.length % 4096));
    await this.writeFile(path, [whole, new Sha256().update(whole).digest()]);
    await this.run(this.disk.removeTree("/made"));
  }

  async writeFile(path: string, chunks: readonly Uint8Array[]): Promise<void> {
    const file = await this.run(this.disk.open(path, { mode: "truncate" }));
    await this.run(file.write(chunks, 0));
    await this.run(file.close());
  }

  /** Everything below a directory, with the sizes of files. */
  async tree(path: string): Promise<string[]> {
    const stat = await this.run(this.disk.stat(path));
    if (stat === undefined) return [];
    if (stat.kind === "file") return [path];
    const names = await this.run(this.disk.list(path));
    const below = [];
    for (const name of names) below.push(...(await this.tree(`${path}/${name}`)));
    return [`${path}/`, ...below];
  }
}

/** Puts, overwrites and deletions over several revisions. */
export const SOME_CHANGES: readonly (readonly Change[])[] = [
  [
    ["put", "a", "1"],
    ["put", "b", "1"],
  ],
  [["put", "a", "2"]],
  [["delete", "b"]],
  [["put", "b", "again"]],
  [["put", "c", "x".repeat(5000)]],
  [["delete", "a"]],
];
/** Revision after them. */
export const SOME_REVISION = 7;
