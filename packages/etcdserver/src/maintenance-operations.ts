/** What an operator asks of one member: state, hashes, images, and orders to the cluster. */

import { EtcdError } from "@etcd-ts/base";
import {
  AlarmType,
  SERVER_ERRORS,
  SERVER_VERSION,
  formatVersion,
  parseVersion,
  versionOf,
} from "@etcd-ts/api";
import type { AlarmMember, AlarmRequest, Version } from "@etcd-ts/api";
import type { BackendSnapshot } from "@etcd-ts/storage";

import { alarmName } from "./alarm/alarm-store.ts";
import type { MemberCore } from "./member-core.ts";
import { QUOTA_DEFAULT_BYTES } from "./quota/quota.ts";
import type {
  Completion,
  DowngradeOperation,
  HashKVResult,
  RequestContext,
  StatusResult,
} from "./server-api.ts";
import { shortVersion } from "./version-monitor.ts";
import type { VersionMonitor } from "./version-monitor.ts";

/** `DowngradeRequest.DowngradeAction`. */
const DOWNGRADE = { VALIDATE: 0, ENABLE: 1, CANCEL: 2 } as const;

export class MaintenanceOperations {
  readonly #core: MemberCore;
  readonly #versions: VersionMonitor;

  constructor(core: MemberCore, versions: VersionMonitor) {
    this.#core = core;
    this.#versions = versions;
  }

  alarm(
    request: AlarmRequest,
    context: RequestContext,
    done: Completion<readonly AlarmMember[]>,
  ): void {
    this.#core.propose({ kind: "alarm", request }, context, (error, result) => {
      if (error !== undefined) done(error, undefined);
      else done(undefined, (result?.response as readonly AlarmMember[] | undefined) ?? []);
    });
  }

  status(): StatusResult {
    const { backend, cluster, alarms, config } = this.#core;
    const facts = this.#core.facts();
    const errors = facts.leaderID === 0n ? [SERVER_ERRORS.noLeader.message] : [];
    for (const alarm of alarms.get(AlarmType.NONE)) errors.push(alarmText(alarm));
    return {
      version: SERVER_VERSION,
      storageVersion: this.#versions.storageVersion() ?? "",
      dbSizeBytes: backend.sizeBytes(),
      dbSizeInUseBytes: backend.sizeInUseBytes(),
      dbSizeQuotaBytes:
        config.quotaBackendBytes === 0 ? QUOTA_DEFAULT_BYTES : config.quotaBackendBytes,
      leaderID: facts.leaderID,
      raftIndex: facts.committedIndex,
      raftTerm: facts.raftTerm,
      raftAppliedIndex: facts.appliedIndex,
      isLearner: facts.isLearner,
      errors,
      downgrade: cluster.downgradeInfo(),
    };
  }

  hash(done: Completion<number>): void {
    this.#settle(this.#core.backend.hash(), done);
  }

  hashKV(revision: number, done: Completion<HashKVResult>): void {
    this.#core.whenInstalled(() => this.#hashKV(revision, done));
  }

  #hashKV(revision: number, done: Completion<HashKVResult>): void {
    const hashing = this.#core.store.hashByRevision(revision).then((result) => ({
      ...result,
      // What etcd says of a store that was never compacted.
      compactRevision: result.compactRevision === 0 ? -1 : result.compactRevision,
    }));
    this.#settle(hashing, done);
  }

  defragment(done: Completion<void>): void {
    this.#settle(this.#core.backend.defragment(), done);
  }

  async snapshot(): Promise<{ version: string; image: BackendSnapshot }> {
    if (this.#core.end !== undefined) throw this.#core.end;
    const version = this.#versions.storageVersion() ?? "";
    return { version, image: await this.#core.backend.snapshot() };
  }

  downgrade(request: DowngradeOperation, done: Completion<{ readonly version: string }>): void {
    switch (request.action) {
      case DOWNGRADE.VALIDATE:
        this.#validateDowngrade(request.version, (error) => this.#answerDowngrade(error, done));
        return;
      case DOWNGRADE.ENABLE:
        this.#validateDowngrade(request.version, (error, target) => {
          if (error !== undefined) done(error, undefined);
          else this.#setDowngrade(true, target!, (failure) => this.#answerDowngrade(failure, done));
        });
        return;
      case DOWNGRADE.CANCEL:
        this.#cancelDowngrade((error) => {
          // Clients are told of success in any case: etcd's rule.
          if (error !== undefined) {
            this.#core.ports.logger.warn("failed to cancel downgrade", { error: error.message });
          }
          this.#answerDowngrade(undefined, done);
        });
        return;
      default:
        this.#core.failLater(done, SERVER_ERRORS.unknownMethod);
    }
  }

  /** Gives the target as `X.Y.0`. */
  #validateDowngrade(text: string, done: Completion<string>): void {
    const target = downgradeTarget(text);
    if (target === undefined) {
      this.#core.failLater(done, SERVER_ERRORS.wrongDowngradeVersionFormat);
      return;
    }
    this.#core.linearizableRead((error) => {
      const refusal = error ?? this.#downgradeRefusal(target);
      if (refusal !== undefined) done(refusal, undefined);
      else done(undefined, formatVersion(target));
    });
  }

  #downgradeRefusal(target: Version): EtcdError | undefined {
    const { cluster } = this.#core;
    const current = parseVersion(cluster.version() ?? "");
    if (current === undefined) return SERVER_ERRORS.clusterVersionUnavailable;
    if (target.major !== current.major || target.minor !== current.minor - 1) {
      return SERVER_ERRORS.invalidDowngradeTargetVersion;
    }
    return cluster.downgradeInfo().enabled ? SERVER_ERRORS.downgradeInProcess : undefined;
  }

  #cancelDowngrade(done: (error: EtcdError | undefined) => void): void {
    this.#core.linearizableRead((error) => {
      if (error !== undefined) done(error);
      else if (this.#core.cluster.downgradeInfo().enabled) this.#setDowngrade(false, "", done);
      else done(SERVER_ERRORS.noInflightDowngrade);
    });
  }

  #setDowngrade(enabled: boolean, ver: string, done: (error: EtcdError | undefined) => void): void {
    const request = { $typeName: "membershippb.DowngradeInfoSetRequest", enabled, ver } as const;
    this.#core.proposeInternal({ kind: "downgradeInfoSet", request }, (error) => done(error));
  }

  #answerDowngrade(
    error: EtcdError | undefined,
    done: Completion<{ readonly version: string }>,
  ): void {
    if (error !== undefined) done(error, undefined);
    else done(undefined, { version: shortVersion(this.#core.cluster.version() ?? "") });
  }

  /** Hands the outcome of background work to `done`; what is no failure of the world is fatal. */
  #settle<T>(work: Promise<T>, done: Completion<T>): void {
    work.then(
      (result) => done(undefined, result),
      (error: unknown) => {
        if (error instanceof EtcdError) done(error, undefined);
        else {
          this.#core.fail(error);
          done(SERVER_ERRORS.stopped, undefined);
        }
      },
    );
  }
}

/** `X.Y` or `X.Y.Z` as `X.Y.0`. */
function downgradeTarget(text: string): Version | undefined {
  const version = parseVersion(text) ?? parseVersion(`${text}.0`);
  return version === undefined ? undefined : versionOf(version.major, version.minor);
}

/** As protobuf prints an AlarmMember on one line; the space at the end is part of it. */
function alarmText({ memberID, alarm }: AlarmMember): string {
  return `memberID:${memberID} alarm:${alarmName(alarm)} `;
}
