/**
 * Who is in the cluster, which version it runs at, and whether it is on its way to an older one.
 *
 * Membership changes only by entries of the log. Each method that applies one takes `persist`: true
 * for an entry the backend has not seen, false for one that is replayed after a start and that the
 * backend already holds.
 *
 * Invariants:
 * - `#replayed` reflects every entry since the last `.snap` file, whether persisted or not.
 * - `#members`, `#removed`, `#version` and `#downgrade` equal what the backend holds, once one is
 *   attached and an entry was persisted or the backend was read.
 * - An id that was removed never comes back.
 */

import { hexFromID, invariant } from "@etcd-ts/base";
import type { EtcdError, LogFields, Logger } from "@etcd-ts/base";
import { SERVER_VERSION, parseVersion } from "@etcd-ts/api";
import type { ConfChange } from "@etcd-ts/raft";
import {
  readClusterVersion,
  readDowngrade,
  readMembers,
  readRemovedMembers,
  removeMember,
  writeClusterVersion,
  writeDowngrade,
  writeMember,
} from "@etcd-ts/storage";
import type { Backend, DowngradeRecord } from "@etcd-ts/storage";
import {
  countVoters,
  isReadyToAddVoter,
  isReadyToPromote,
  isReadyToRemoveVoter,
  refusalOf,
} from "./conf-change-rules.ts";
import { MembershipError } from "./errors.ts";
import { clusterID, compareIDs, memberID } from "./member-id.ts";
import type { Member, MemberAttributes } from "./member.ts";
import { ReplayedMembership } from "./replayed-membership.ts";

/** Whether the cluster goes back to an older version; `targetVersion` is empty if not. */
export type DowngradeInfo = DowngradeRecord;

const NO_DOWNGRADE: DowngradeInfo = { targetVersion: "", enabled: false };

export class Cluster {
  readonly #logger: Logger;
  readonly #replayed = new ReplayedMembership();
  #members = new Map<bigint, Member>();
  #removed = new Set<bigint>();
  #version: string | undefined;
  #downgrade = NO_DOWNGRADE;
  #backend: Backend | undefined;
  #localID = 0n;
  #clusterID = 0n;

  private constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** A cluster of nobody, to be recovered. */
  static empty(logger: Logger): Cluster {
    return new Cluster(logger);
  }

  /**
   * The members a new cluster is to start with; ids follow from the URLs and the token.
   *
   * @param urls - the peer URLs of each name
   * @throws {MembershipError} `BAD_URLS` if two names have the same URLs
   */
  static fromInitial(
    token: string,
    urls: ReadonlyMap<string, readonly string[]>,
    logger: Logger,
  ): Cluster {
    const cluster = new Cluster(logger);
    for (const [name, list] of urls) {
      const peerURLs = [...list].sort();
      const id = memberID(peerURLs, token);
      if (id === 0n || cluster.#members.has(id)) {
        throw new MembershipError("BAD_URLS", `member exists with identical ID ${hexFromID(id)}`);
      }
      cluster.#members.set(id, { id, peerURLs, isLearner: false, name, clientURLs: [] });
    }
    cluster.#clusterID = clusterID([...cluster.#members.keys()]);
    return cluster;
  }

  /** A cluster that runs, as its members tell it. */
  static fromMembers(id: bigint, members: readonly Member[], logger: Logger): Cluster {
    const cluster = new Cluster(logger);
    for (const member of members) cluster.#members.set(member.id, member);
    cluster.#clusterID = id;
    return cluster;
  }

  get localID(): bigint {
    return this.#localID;
  }

  get clusterID(): bigint {
    return this.#clusterID;
  }

  setIDs(localID: bigint, id: bigint): void {
    this.#localID = localID;
    this.#clusterID = id;
  }

  /** Where persisted changes go; again after a snapshot replaced the backend. */
  attachBackend(backend: Backend): void {
    this.#backend = backend;
  }

  /**
   * Takes membership from the tree of a `.snap` file.
   *
   * @throws {MembershipError} if it is no such tree or holds more than membership
   */
  recoverFromV2Store(bytes: Uint8Array): void {
    this.#replayed.recover(bytes);
    this.#members = this.#replayed.members();
    this.#removed = this.#replayed.removed();
    this.#version = this.#replayed.version();
  }

  /**
   * Takes membership from the backend; what it does not hold stays as the `.snap` file gave it.
   *
   * @throws {MembershipError} `VERSION_TOO_LOW` if the cluster runs at a newer version than this
   */
  recoverFromBackend(): void {
    const backend = this.#mustBackend();
    const members = readMembers(backend);
    const removed = readRemovedMembers(backend);
    if (members.length > 0 || removed.length > 0) {
      this.#members = new Map(members.map((member) => [member.id, member]));
      this.#removed = new Set(removed);
    }
    this.#version = readClusterVersion(backend) ?? this.#version;
    this.#downgrade = readDowngrade(backend) ?? NO_DOWNGRADE;
    if (this.#version !== undefined) mustRunAt(this.#version);
    for (const member of this.members()) {
      this.#log("recovered/added member from store", {
        "recovered-remote-peer-id": hexFromID(member.id),
        "recovered-remote-peer-urls": member.peerURLs,
        "recovered-remote-peer-is-learner": member.isLearner,
      });
    }
    if (this.#version !== undefined) {
      this.#logger.info("set cluster version from store", {
        "cluster-version": shortVersion(this.#version),
      });
    }
  }

  /** The tree for the next `.snap` file. */
  encodeV2Store(): Uint8Array {
    return this.#replayed.encode();
  }

  /** By ascending id. */
  members(): Member[] {
    return [...this.#members.values()].sort((a, b) => compareIDs(a.id, b.id));
  }

  /** Members that are no learners, by ascending id. */
  votingMembers(): Member[] {
    return this.members().filter((member) => !member.isLearner);
  }

  member(id: bigint): Member | undefined {
    return this.#members.get(id);
  }

  memberByName(name: string): Member | undefined {
    return this.members().find((member) => member.name === name);
  }

  isIDRemoved(id: bigint): boolean {
    return this.#removed.has(id);
  }

  /** Members that were, whose ids are spent. */
  removedIDs(): ReadonlySet<bigint> {
    return this.#removed;
  }

  isLocalLearner(): boolean {
    return this.#members.get(this.#localID)?.isLearner ?? false;
  }

  learners(): Member[] {
    return this.members().filter((member) => member.isLearner);
  }

  /** Client URLs of all members, sorted. */
  clientURLs(): string[] {
    return this.members()
      .flatMap((member) => member.clientURLs)
      .sort();
  }

  /** Peer URLs of all members, sorted. */
  peerURLs(): string[] {
    return this.members()
      .flatMap((member) => member.peerURLs)
      .sort();
  }

  /** `X.Y.0`; undefined before the members have agreed on one. */
  version(): string | undefined {
    return this.#version;
  }

  downgradeInfo(): DowngradeInfo {
    return this.#downgrade;
  }

  isReadyToAddVotingMember(): boolean {
    return isReadyToAddVoter(countVoters(this.#members.values()));
  }

  isReadyToRemoveVotingMember(id: bigint): boolean {
    const staying = this.members().filter((member) => member.id !== id);
    return isReadyToRemoveVoter(countVoters(staying));
  }

  /** @param _id - the learner; it does not matter which */
  isReadyToPromoteMember(_id: bigint): boolean {
    return isReadyToPromote(countVoters(this.#members.values()));
  }

  /**
   * Whether a committed change may be applied, judged by membership as it was at that entry.
   *
   * @returns why not; undefined if it may
   */
  validateConfigurationChange(
    change: ConfChange,
    options: { readonly persist: boolean; readonly learnersMax: number },
  ): EtcdError | undefined {
    if (!options.persist) {
      const members = this.#replayed.members();
      return refusalOf(change, members, this.#replayed.removed(), options.learnersMax);
    }
    const backend = this.#mustBackend();
    const members = new Map(readMembers(backend).map((member) => [member.id, member]));
    return refusalOf(change, members, new Set(readRemovedMembers(backend)), options.learnersMax);
  }

  addMember(member: Member, persist: boolean): void {
    this.#replayed.setRaftAttributes(member);
    const fields = {
      "added-peer-id": hexFromID(member.id),
      "added-peer-peer-urls": member.peerURLs,
      "added-peer-is-learner": member.isLearner,
    };
    if (!persist) {
      this.#log("ignore already added member", fields);
      return;
    }
    this.#put(member);
    this.#log("added member", fields);
  }

  /** Its id is spent from now on. */
  removeMember(id: bigint, persist: boolean): void {
    this.#replayed.remove(id);
    if (!persist) {
      this.#log("ignore already removed member", { "removed-remote-peer-id": hexFromID(id) });
      return;
    }
    const peerURLs = this.#members.get(id)?.peerURLs;
    this.#members.delete(id);
    this.#removed.add(id);
    removeMember(this.#mustBackend(), id);
    this.#log("removed member", {
      "removed-remote-peer-id": hexFromID(id),
      "removed-remote-peer-urls": peerURLs,
    });
  }

  /** Makes a learner a voter. */
  promoteMember(id: bigint, persist: boolean): void {
    const replayed = this.#replayed.members().get(id);
    if (replayed !== undefined) {
      this.#replayed.setRaftAttributes({ ...replayed, isLearner: false });
    }
    if (!persist) {
      this.#log("ignore already promoted member", { "promoted-member-id": hexFromID(id) });
      return;
    }
    this.#put({ ...this.#mustMember(id), isLearner: false });
    this.#log("promote member", { "promoted-member-id": hexFromID(id) });
  }

  updateRaftAttributes(id: bigint, peerURLs: readonly string[], persist: boolean): void {
    const replayed = this.#replayed.members().get(id);
    if (replayed !== undefined) this.#replayed.setRaftAttributes({ ...replayed, peerURLs });
    const fields = {
      "updated-remote-peer-id": hexFromID(id),
      "updated-remote-peer-urls": peerURLs,
    };
    if (!persist) {
      this.#log("ignored already updated member", fields);
      return;
    }
    this.#put({ ...this.#mustMember(id), peerURLs });
    this.#log("updated member", fields);
  }

  /** What a member published of itself. One that was removed meanwhile is passed over. */
  updateAttributes(id: bigint, attributes: MemberAttributes, persist: boolean): void {
    if (this.#replayed.members().has(id)) this.#replayed.setAttributes(id, attributes);
    if (!persist) return;
    const member = this.#members.get(id);
    if (member === undefined) {
      invariant(this.#removed.has(id), () => `updateAttributes: member ${hexFromID(id)} unknown`);
      this.#logger.warn("skipped attributes update of removed member", {
        ...this.#ids(),
        "updated-peer-id": hexFromID(id),
      });
      return;
    }
    const { name, clientURLs } = attributes;
    this.#put({ ...member, name, clientURLs });
  }

  /** @throws {MembershipError} `VERSION_TOO_LOW` if `version` is newer than this member */
  setVersion(version: string, persist: boolean): void {
    this.#replayed.setVersion(version);
    if (!persist) return;
    mustRunAt(version);
    const before = this.#version;
    this.#version = version;
    writeClusterVersion(this.#mustBackend(), version);
    if (before === undefined) {
      this.#log("set initial cluster version", { "cluster-version": shortVersion(version) });
    } else {
      this.#log("updated cluster version", {
        from: shortVersion(before),
        to: shortVersion(version),
      });
    }
  }

  setDowngradeInfo(info: DowngradeInfo, persist: boolean): void {
    if (!persist) return;
    this.#downgrade = info;
    writeDowngrade(this.#mustBackend(), info);
    if (info.enabled) {
      this.#logger.info("The server is ready to downgrade", {
        "target-version": info.targetVersion,
        "server-version": SERVER_VERSION,
      });
    }
  }

  /**
   * Makes voters in the backend of those the log made voters: 3.5 could lose a promotion there. To be
   * called once all entries are replayed.
   */
  syncLearnerPromotions(): void {
    const replayed = this.#replayed.members();
    for (const member of this.members()) {
      if (!member.isLearner || replayed.get(member.id)?.isLearner !== false) continue;
      this.#logger.warn("Syncing member in v3store", { member: hexFromID(member.id) });
      this.#put({ ...member, isLearner: false });
    }
  }

  #put(member: Member): void {
    this.#members.set(member.id, member);
    writeMember(this.#mustBackend(), member);
  }

  #mustMember(id: bigint): Member {
    const member = this.#members.get(id);
    invariant(member !== undefined, () => `Cluster: member ${hexFromID(id)} unknown`);
    return member;
  }

  #mustBackend(): Backend {
    invariant(this.#backend !== undefined, () => "Cluster: no backend is attached");
    return this.#backend;
  }

  #ids(): LogFields {
    return {
      "cluster-id": hexFromID(this.#clusterID),
      "local-member-id": hexFromID(this.#localID),
    };
  }

  #log(message: string, fields: LogFields): void {
    this.#logger.info(message, { ...this.#ids(), ...fields });
  }
}

/** A cluster that runs at a newer version than this member does things it does not know. */
function mustRunAt(version: string): void {
  const wanted = parseVersion(version);
  const own = parseVersion(SERVER_VERSION)!;
  if (wanted === undefined) {
    throw new MembershipError("VERSION_TOO_LOW", `cluster version "${version}" is no version`);
  }
  if (own.major > wanted.major) return;
  if (own.major === wanted.major && own.minor >= wanted.minor) return;
  throw new MembershipError(
    "VERSION_TOO_LOW",
    `invalid downgrade; server version is lower than determined cluster version (server ${SERVER_VERSION}, cluster ${version})`,
  );
}

function shortVersion(version: string): string {
  return version.replace(/\.\d+$/, "");
}
