/**
 * The versions a cluster agrees on.
 *
 * The leader raises the cluster version to the lowest server version among all members, once it
 * knows every one of them, and lowers it during a downgrade. Each member brings the version of its
 * own storage in line with it; that one is not replicated.
 */

import { yieldTurn } from "@etcd-ts/base";
import {
  CLUSTER_VERSION_MIN,
  SERVER_ERRORS,
  SERVER_VERSION,
  compareVersions,
  formatVersion,
  higherVersion,
  majorMinor,
  minimalVersionOf,
  parseVersion,
  versionOf,
} from "@etcd-ts/api";
import type { Version } from "@etcd-ts/api";
import { writeStorageVersion } from "@etcd-ts/storage";

import { detectStorageVersion } from "./bootstrap.ts";
import type { MemberCore } from "./member-core.ts";

/** How often the leader looks, besides at the start of its term. */
export const VERSION_INTERVAL_MS = 4000;

/** Entries whose version is computed before others get their turn. */
const ENTRIES_PER_SLICE = 100;

export class VersionMonitor {
  readonly #core: MemberCore;
  readonly #diskSnapshotIndex: () => number;
  #isUpdating = false;
  #reportedVersion: string | undefined;

  /** @param diskSnapshotIndex - where a start would begin to read the log */
  constructor(core: MemberCore, diskSnapshotIndex: () => number) {
    this.#core = core;
    this.#diskSnapshotIndex = diskSnapshotIndex;
    this.reportClusterVersion();
  }

  /** To be called every `VERSION_INTERVAL_MS` and when a term begins. */
  async updateClusterVersion(): Promise<void> {
    if (!this.#core.isLeader || this.#isUpdating) return;
    this.#isUpdating = true;
    try {
      const next = await this.#decide();
      if (next !== undefined) await this.#setClusterVersion(next);
    } finally {
      this.#isUpdating = false;
    }
  }

  /** To be called every `VERSION_INTERVAL_MS` and when the cluster version changed. */
  async updateStorageVersion(): Promise<void> {
    const { cluster, backend, ports } = this.#core;
    const clusterVersion = cluster.version();
    if (clusterVersion === undefined || clusterVersion === CLUSTER_VERSION_MIN) return;
    const target = parseVersion(clusterVersion)!;
    const current = this.storageVersion();
    if (current === undefined) return;
    if (majorMinor(parseVersion(current)!) === majorMinor(target)) return;
    ports.logger.info("cluster version differs from storage version.", {
      "cluster-version": clusterVersion,
      "storage-version": current,
    });
    const newest =
      target.minor < parseVersion(current)!.minor ? await this.#newestEntryVersion() : undefined;
    if (newest !== undefined && compareVersions(target, newest) < 0) {
      ports.logger.error("failed to update storage version", {
        "cluster-version": clusterVersion,
        error: `cannot downgrade storage, WAL contains newer entries, as the target version (${clusterVersion}) is lower than the version (${formatVersion(newest)}) detected from WAL logs`,
      });
      return;
    }
    // 3.6 is the first version that says so itself.
    const stored =
      target.minor >= 6 ? formatVersion(versionOf(target.major, target.minor)) : undefined;
    writeStorageVersion(backend, stored);
    ports.logger.info("updated storage version", { "new-storage-version": clusterVersion });
    await backend.commit();
    const { enabled, targetVersion } = cluster.downgradeInfo();
    if (!enabled) return;
    ports.logger.info("The server is ready to downgrade", {
      "target-version": targetVersion,
      "server-version": SERVER_VERSION,
    });
  }

  /** To be called now and then: ends a downgrade that every member has gone through. */
  async cancelDowngradeIfDone(): Promise<void> {
    const { cluster, isLeader, ports } = this.#core;
    const { enabled, targetVersion } = cluster.downgradeInfo();
    if (!isLeader || !enabled) return;
    const target = parseVersion(targetVersion);
    for (const version of await this.#serverVersions()) {
      if (target === undefined || version === undefined) return;
      if (majorMinor(version) !== majorMinor(target)) return;
    }
    ports.logger.info("the cluster has been downgraded", { "cluster-version": targetVersion });
    const request = {
      $typeName: "membershippb.DowngradeInfoSetRequest",
      enabled: false,
      ver: "",
    } as const;
    this.#core.proposeInternal({ kind: "downgradeInfoSet", request }, (error) => {
      if (error === undefined) return;
      ports.logger.warn("failed to cancel downgrade", { error: error.message });
    });
  }

  /** The lowest version that understands every entry since the last snapshot on disk. */
  async #newestEntryVersion(): Promise<Version | undefined> {
    const { boot, ports } = this.#core;
    const { raftStorage } = boot;
    const first = Math.max(raftStorage.firstIndex(), this.#diskSnapshotIndex() + 1);
    if (first > raftStorage.lastIndex()) return undefined;
    const entries = raftStorage.entries(first, raftStorage.lastIndex() + 1, Infinity);
    let newest: Version | undefined;
    for (let i = 0; i < entries.length; i++) {
      newest = higherVersion(newest, minimalVersionOf(entries[i]!));
      if (i % ENTRIES_PER_SLICE === ENTRIES_PER_SLICE - 1) await yieldTurn(ports.clock);
    }
    return newest;
  }

  /** `X.Y.0`, or undefined before the first entry was applied. */
  storageVersion(): string | undefined {
    return detectStorageVersion(this.#core.backend, this.#core.consistentIndex.term);
  }

  /** Shows the cluster version in the metrics. */
  reportClusterVersion(): void {
    const version = this.#core.cluster.version();
    if (version === this.#reportedVersion) return;
    const { clusterVersion } = this.#core.metrics;
    if (this.#reportedVersion !== undefined) {
      clusterVersion.remove({ cluster_version: shortVersion(this.#reportedVersion) });
    }
    if (version !== undefined) {
      clusterVersion.labels({ cluster_version: shortVersion(version) }).set(1);
    }
    this.#reportedVersion = version;
  }

  async #decide(): Promise<Version | undefined> {
    const lowest = await this.#lowestServerVersion();
    const text = this.#core.cluster.version();
    if (text === undefined) return lowest ?? parseVersion(CLUSTER_VERSION_MIN)!;
    if (lowest === undefined) return undefined;
    const current = parseVersion(text)!;
    const { enabled, targetVersion } = this.#core.cluster.downgradeInfo();
    if (enabled) return this.#decideDowngrade(current, lowest, targetVersion);
    const isHigher = compareVersions(current, lowest) < 0 && current.major === lowest.major;
    return isHigher ? lowest : undefined;
  }

  #decideDowngrade(current: Version, lowest: Version, text: string): Version | undefined {
    const target = parseVersion(text);
    if (target === undefined || compareVersions(target, current) === 0) return undefined;
    for (const version of [current, lowest]) {
      if (version.major !== target.major || version.minor !== target.minor + 1) {
        this.#core.ports.logger.error("Failed to monitor cluster version", {
          error: "invalid downgrade target",
        });
        return undefined;
      }
    }
    return target;
  }

  /** Without the patch; undefined unless every member tells its version. */
  async #lowestServerVersion(): Promise<Version | undefined> {
    let lowest: Version | undefined;
    for (const version of await this.#serverVersions()) {
      if (version === undefined) return undefined;
      const release = versionOf(version.major, version.minor);
      if (lowest === undefined || compareVersions(release, lowest) < 0) lowest = release;
    }
    return lowest;
  }

  /** One a member; undefined for one that does not tell. */
  #serverVersions(): Promise<(Version | undefined)[]> {
    const { cluster, memberID, ports } = this.#core;
    return Promise.all(
      cluster.members().map(async ({ id }) => {
        if (id === memberID) return parseVersion(SERVER_VERSION);
        const told = await ports.transport?.versionOf(id);
        return told === undefined ? undefined : parseVersion(told.server);
      }),
    );
  }

  #setClusterVersion(next: Version): Promise<void> {
    const { cluster, ports } = this.#core;
    const ver = formatVersion(versionOf(next.major, next.minor));
    const before = cluster.version();
    if (before === undefined) {
      ports.logger.info("setting up initial cluster version using v3 API", {
        "cluster-version": shortVersion(ver),
      });
    } else {
      ports.logger.info("updating cluster version using v3 API", {
        from: shortVersion(before),
        to: shortVersion(ver),
      });
    }
    const request = { $typeName: "membershippb.ClusterVersionSetRequest", ver } as const;
    return new Promise((resolve) => {
      this.#core.proposeInternal({ kind: "clusterVersionSet", request }, (error) => {
        if (error === undefined) {
          ports.logger.info("cluster version is updated", { "cluster-version": shortVersion(ver) });
        } else if (error === SERVER_ERRORS.stopped) {
          ports.logger.warn("aborting cluster version update; server is stopped");
        } else {
          ports.logger.warn("failed to update cluster version", { error: error.message });
        }
        resolve();
      });
    });
  }
}

/** `X.Y`, as etcd shows a cluster version. */
export function shortVersion(text: string): string {
  const version = parseVersion(text);
  return version === undefined ? text : majorMinor(version);
}
