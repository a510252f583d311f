/**
 * Whether all members hold the same data: at a start, now and then by the leader, and by the hashes
 * that compactions leave. What differs gets the CORRUPT alarm, which stops the cluster from touching
 * keys.
 *
 * Hashes are compared only at the same revision and the same compact revision: anything else says
 * that a member is behind, not that it is wrong.
 */

import { EtcdError, yieldTurn } from "@etcd-ts/base";
import type { LogFields } from "@etcd-ts/base";
import { AlarmAction, AlarmType, RPC_ERRORS, SERVER_ERRORS } from "@etcd-ts/api";

import type { MemberCore } from "./member-core.ts";
import type { HashKVResult } from "./server-api.ts";

/** A member that came back with other data than its peers. */
export class DataInconsistencyError extends EtcdError {
  readonly code = "DATA_INCONSISTENCY";
}

type Hash = Pick<HashKVResult, "hash" | "hashRevision" | "compactRevision">;

interface PeerHash {
  readonly id: bigint;
  /** Undefined if the peer gave none. */
  readonly result: HashKVResult | undefined;
  readonly error: EtcdError | undefined;
}

export class CorruptionChecks {
  readonly #core: MemberCore;
  #latestRevisionChecked = 0;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  /**
   * Compares with whoever answers, before this member takes part.
   *
   * @throws {DataInconsistencyError}
   */
  async initial(): Promise<void> {
    const { ports, memberID, timeoutMs } = this.#core;
    const local = { "local-member-id": hex(memberID) };
    ports.logger.info("starting initial corruption check", { ...local, timeout: `${timeoutMs}ms` });
    const own = await this.#core.store.hashByRevision(0);
    let mismatches = 0;
    for (const peer of await this.#peerHashes(own.hashRevision)) {
      const fields = { ...local, ...describe("local-member", own), "remote-peer-id": hex(peer.id) };
      if (peer.result === undefined) {
        const reason = INITIAL_FAILURES.get(peer.error);
        if (reason !== undefined) ports.logger.warn(reason, fields);
        continue;
      }
      if (peer.result.hash === own.hash) continue;
      const isMismatch = peer.result.compactRevision === own.compactRevision;
      if (isMismatch) mismatches++;
      ports.logger.warn(
        isMismatch
          ? "found different hash values from remote peer"
          : "found different compact revision values from remote peer",
        { ...fields, ...describe("remote-peer", peer.result) },
      );
    }
    if (mismatches > 0) {
      throw new DataInconsistencyError(`${hex(memberID)} found data inconsistency with peers`);
    }
    ports.logger.info("initial corruption checking passed; no corruption", local);
  }

  /** By the leader, every `--corrupt-check-time`: at most one alarm. */
  async periodic(): Promise<void> {
    const { store, ports, memberID } = this.#core;
    if (!this.#core.isLeader) return;
    const before = await store.hashByRevision(0);
    const peers = await this.#peerHashes(before.hashRevision);
    const failure = await this.#linearizableRead();
    if (failure !== undefined) {
      ports.logger.warn("failed to check hash KV", { error: failure.message });
      return;
    }
    const after = await store.hashByRevision(0);
    const corrupt = this.#selfCorrupt(before, after)
      ? memberID
      : peers.find((peer) => this.#isPeerCorrupt(peer, before, after))?.id;
    if (corrupt !== undefined) this.#raise(corrupt);
    ports.logger.info("finished peer corruption check", {
      "number-of-peers-checked": peers.filter(({ result }) => result !== undefined).length,
    });
  }

  #selfCorrupt(before: Hash, after: Hash): boolean {
    const isSameState =
      before.hashRevision === after.hashRevision &&
      before.compactRevision === after.compactRevision;
    if (!isSameState || before.hash === after.hash) return false;
    this.#warn("found hash mismatch", { "hash-1": before.hash, "hash-2": after.hash });
    return true;
  }

  #isPeerCorrupt({ id, result }: PeerHash, before: Hash, after: HashKVResult): boolean {
    if (result === undefined) return false;
    const fields = { ...describe("leader", after), "follower-peer-id": hex(id) };
    if (result.currentRevision > after.currentRevision) {
      this.#warn("revision from follower must be less than or equal to leader's", fields);
      return true;
    }
    if (result.compactRevision > after.compactRevision) {
      this.#warn("compact revision from follower must be less than or equal to leader's", fields);
      return true;
    }
    if (result.compactRevision !== before.compactRevision || result.hash === before.hash) {
      return false;
    }
    this.#warn("same compact revision then hashes must match", fields);
    return true;
  }

  /** By the leader: the hashes of compactions, which all members make at the same revisions. */
  async compactHash(): Promise<void> {
    if (!this.#core.isLeader) return;
    const hashes = this.#core.store
      .compactionHashes()
      .filter(({ hashRevision }) => hashRevision > this.#latestRevisionChecked)
      .toSorted((a, b) => b.hashRevision - a.hashRevision);
    for (const own of hashes) {
      const peers = await this.#peerHashes(own.hashRevision);
      if (peers.length > 0) this.#compareCompaction(own, peers);
      await yieldTurn(this.#core.ports.clock);
    }
    this.#core.ports.logger.info("finished compaction hash check", {
      "number-of-hashes-checked": hashes.length,
    });
  }

  #compareCompaction(own: Hash, peers: readonly PeerHash[]): void {
    const { memberID, cluster, ports } = this.#core;
    const members = new Map<number, bigint[]>([[own.hash, [memberID]]]);
    let checked = 0;
    for (const { id, result } of peers) {
      if (result === undefined || result.compactRevision !== own.compactRevision) {
        this.#warn("Skipped peer's hash", {
          "peer-id": hex(id),
          reason:
            result === undefined
              ? "no response"
              : "the peer's CompactRevision doesn't match leader's",
        });
        continue;
      }
      checked++;
      members.set(result.hash, [...(members.get(result.hash) ?? []), id]);
    }
    if (members.size === 1) {
      if (checked < peers.length) return;
      ports.logger.info("successfully checked hash on whole cluster", {
        "number-of-peers-checked": checked,
        "compact-revision": own.compactRevision,
      });
      this.#latestRevisionChecked = Math.max(this.#latestRevisionChecked, own.hashRevision);
      return;
    }
    const quorum = Math.floor(cluster.members().length / 2) + 1;
    const right = [...members].find(([, ids]) => ids.length >= quorum);
    if (right === undefined) {
      ports.logger.error(
        "Detected compaction hash mismatch but cannot identify the corrupted members, so intentionally set the memberID as 0",
        describe("leader", own),
      );
      this.#raise(0n);
      return;
    }
    for (const [hash, ids] of members) {
      if (hash === right[0]) continue;
      for (const id of ids) {
        ports.logger.error("Detected compaction hash mismatch", {
          ...describe("leader", own),
          "corrupted-member-id": hex(id),
        });
        this.#raise(id);
      }
    }
  }

  #raise(memberID: bigint): void {
    const request = { action: AlarmAction.ACTIVATE, memberID, alarm: AlarmType.CORRUPT };
    this.#core.proposeInternal({ kind: "alarm", request }, (error) => {
      if (error !== undefined) this.#warn("failed to raise alarm", { error: error.message });
    });
  }

  #linearizableRead(): Promise<EtcdError | undefined> {
    return new Promise((resolve) => {
      this.#core.linearizableRead((error) => resolve(error));
    });
  }

  #peerHashes(revision: number): Promise<PeerHash[]> {
    const { cluster, memberID } = this.#core;
    const others = cluster.members().filter(({ id }) => id !== memberID);
    return Promise.all(others.map(({ id, peerURLs }) => this.#peerHash(id, peerURLs, revision)));
  }

  async #peerHash(id: bigint, peerURLs: readonly string[], revision: number): Promise<PeerHash> {
    const { ports, cluster, timeoutMs } = this.#core;
    let last: EtcdError | undefined;
    for (const url of peerURLs) {
      try {
        const request = { clusterID: cluster.clusterID, revision };
        const result = await ports.questions?.hashKV(url, request, timeoutMs);
        return { id, result, error: undefined };
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error;
        last = error;
        this.#warn("failed hash kv request", {
          "requested-revision": revision,
          "remote-peer-endpoint": url,
          error: error.message,
        });
      }
    }
    return { id, result: undefined, error: last };
  }

  #warn(message: string, fields: LogFields): void {
    this.#core.ports.logger.warn(message, fields);
  }
}

/** Why a peer that answered gave no hash. */
const INITIAL_FAILURES: ReadonlyMap<EtcdError | undefined, string> = new Map<EtcdError, string>([
  [RPC_ERRORS.futureRevision, "cannot fetch hash from slow remote peer"],
  [SERVER_ERRORS.futureRevision, "cannot fetch hash from slow remote peer"],
  [RPC_ERRORS.compacted, "cannot fetch hash from remote peer; local member is behind"],
  [SERVER_ERRORS.compacted, "cannot fetch hash from remote peer; local member is behind"],
  [RPC_ERRORS.clusterIDMismatch, "cluster ID mismatch"],
]);

function describe(whose: string, hash: Hash): LogFields {
  return {
    [`${whose}-revision`]: hash.hashRevision,
    [`${whose}-compact-revision`]: hash.compactRevision,
    [`${whose}-hash`]: hash.hash,
  };
}

function hex(id: bigint): string {
  return id.toString(16);
}
