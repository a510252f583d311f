/**
 * One member in one piece: what bootstrap put together, the raft loop that drives it, and the two
 * ways in, the log for writes and ReadIndex for reads.
 *
 * Invariants:
 * - All state changes on the one thread, in the loop's turns; nothing here runs in parallel.
 * - `stop` and the first failure each end the member once: whatever still waits is told, nothing
 *   is acknowledged afterwards, and after a failure nothing more reaches the backend.
 *
 * Longer than most files because it is where the parts are wired to each other; what they do is
 * theirs.
 */

import type { EtcdError, Timer } from "@etcd-ts/base";
import {
  AlarmAction,
  AlarmType,
  SERVER_ERRORS,
  compareVersions,
  parseVersion,
  versionOf,
} from "@etcd-ts/api";
import type { RaftOperation, ResponseHeader } from "@etcd-ts/api";
import type { ConfChange, Message, Snapshot, SoftState } from "@etcd-ts/raft";
import { EMPTY_CONF_STATE } from "@etcd-ts/raft";
import { MvccStore } from "@etcd-ts/storage";
import type { Backend } from "@etcd-ts/storage";

import { AlarmStore } from "./alarm/alarm-store.ts";
import { ApplyMeter } from "./apply/apply-metrics.ts";
import { ConsistentIndex } from "./apply/consistent-index.ts";
import { EntryApplier } from "./apply/entry-applier.ts";
import { RequestApplier } from "./apply/request-applier.ts";
import type { ApplyResult } from "./apply/request-applier.ts";
import { SlicedApply } from "./apply/sliced-apply.ts";
import { AuthGate } from "./auth/auth-gate.ts";
import { AuthStore } from "./auth/auth-store.ts";
import { RequestPermissions } from "./auth/request-permissions.ts";
import type { Bootstrapped } from "./bootstrap.ts";
import { Connectivity } from "./connectivity.ts";
import { Lessor } from "./lease/index.ts";
import type { Cluster } from "./membership/index.ts";
import { PeerMessages } from "./peer-messages.ts";
import { BackendQuota } from "./quota/quota.ts";
import { Proposals } from "./proposals.ts";
import { RaftLoop } from "./raft/raft-loop.ts";
import { ReadIndex } from "./raft/read-index.ts";
import { RequestIDs } from "./request-id.ts";
import { INTERNAL_CONTEXT, requestTimeoutMs } from "./server-api.ts";
import type {
  Completion,
  RequestContext,
  ServerConfig,
  ServerFacts,
  ServerPorts,
} from "./server-api.ts";
import { declareServerMetrics } from "./server-metrics.ts";
import type { ServerMetrics } from "./server-metrics.ts";
import { installSnapshot, saveLeaderSnapshot } from "./snapshot-install.ts";
import { Waiters } from "./waiters.ts";

/** More entries than this between commit and apply, and new requests are turned away. */
const APPLY_BACKLOG_MAX = 5000;
/** How long `waitApplied` waits. */
const WAIT_APPLIED_MS = 1000;

/** What background work listens to. */
export interface MemberEvents {
  /** The first entry of a term has been applied. */
  termBegan(): void;
  clusterVersionChanged(): void;
  /** Some entries have been applied, and raft knows. */
  advanced(): void;
  forceSnapshot(): void;
  /** Resolves when no snapshot of this member's own is being written. */
  settleSnapshots(): Promise<void>;
  snapshotInstalled(index: number): void;
  removedSelf(): void;
  failed(error: Error): void;
}

export class MemberCore {
  readonly config: ServerConfig;
  readonly ports: ServerPorts;
  readonly boot: Bootstrapped;
  readonly memberID: bigint;
  readonly cluster: Cluster;
  readonly store: MvccStore;
  readonly lessor: Lessor;
  readonly alarms: AlarmStore;
  readonly quota: BackendQuota;
  readonly auth: AuthStore;
  readonly gate: AuthGate;
  readonly permissions: RequestPermissions;
  readonly meter: ApplyMeter;
  readonly metrics: ServerMetrics;
  readonly consistentIndex: ConsistentIndex;
  readonly applier: EntryApplier;
  readonly loop: RaftLoop;
  readonly requestIDs: RequestIDs;
  readonly connectivity: Connectivity;
  readonly peerMessages: PeerMessages;
  readonly timeoutMs: number;
  #backend: Backend;
  /** Reads that wait for a snapshot to be installed; undefined while none is. */
  #installWaiters: (() => void)[] | undefined;
  readonly #readIndex: ReadIndex;
  readonly #events: MemberEvents;
  readonly #proposals: Proposals;
  readonly #apply: SlicedApply;
  readonly #leaderWaiters = new Waiters();
  readonly #applyWaiters = new Waiters();
  #leaderID = 0n;
  #hasLeft = false;
  /** What was told last; told again while it is true. */
  #facts: ServerFacts | undefined;
  #latestHeader: ResponseHeader | undefined;
  #leaderElectedMs = -Infinity;
  #end: EtcdError | undefined;
  #hasFailed = false;
  #removal: Timer | undefined;

  /** Brings leases and keys back to memory. */
  static async open(
    config: ServerConfig,
    ports: ServerPorts,
    boot: Bootstrapped,
    events: MemberEvents,
  ): Promise<MemberCore> {
    const { backend } = boot;
    const authPorts = ports.auth ?? { passwords: undefined, tokens: { kind: "none" } };
    const auth = new AuthStore({ ...ports, backend, ports: authPorts });
    const minTTLMs = Math.floor((3 * config.electionTimeoutMs) / 2);
    // Leases before keys: a key is attached to its lease as it is read.
    const lessor = new Lessor({
      backend,
      clock: ports.clock,
      logger: ports.logger,
      metrics: ports.metrics,
      minTTLSeconds: Math.ceil(minTTLMs / 1000),
      checkpointIntervalMs: config.leaseCheckpointIntervalMs,
      takesCheckpoints: config.leaseCheckpoint,
      persistsCheckpoints: () =>
        config.leaseCheckpointPersist || isAtLeast36(boot.cluster.version()),
      expiredRetryMs: requestTimeoutMs(config),
    });
    lessor.recover();
    let core: MemberCore | undefined = undefined as MemberCore | undefined;
    const store = await MvccStore.open({
      // Background work that meets a damaged record ends the member, not the process.
      onFatal: (error) => {
        if (core === undefined) throw error;
        core.fail(error);
      },
      backend,
      leases: lessor,
      hashKey: ports.hashKey,
      clock: ports.clock,
      logger: ports.logger,
      metrics: ports.metrics,
      compactionBatchLimit: config.compactionBatchLimit,
      compactionSleepMs: config.compactionSleepMs,
    });
    lessor.setWriter(() => store.write());
    core = new MemberCore(config, ports, boot, { auth, lessor, store }, events);
    return core;
  }

  private constructor(
    config: ServerConfig,
    ports: ServerPorts,
    boot: Bootstrapped,
    state: { readonly auth: AuthStore; readonly lessor: Lessor; readonly store: MvccStore },
    events: MemberEvents,
  ) {
    this.config = config;
    this.ports = ports;
    this.boot = boot;
    this.memberID = boot.memberID;
    this.cluster = boot.cluster;
    this.#backend = boot.backend;
    this.store = state.store;
    this.lessor = state.lessor;
    this.auth = state.auth;
    this.#events = events;
    this.timeoutMs = requestTimeoutMs(config);
    this.permissions = new RequestPermissions(this.auth, (id) =>
      this.lessor.lookup(id)?.sortedKeys(),
    );
    this.gate = new AuthGate({
      auth: this.auth,
      clock: ports.clock,
      logger: ports.logger,
      timeoutMs: this.timeoutMs,
      appliedIndex: () => this.applier.appliedIndex,
      end: () => this.#end,
    });
    this.connectivity = new Connectivity(boot.memberID, boot.cluster, ports.transport);
    this.requestIDs = new RequestIDs(boot.memberID, ports.clock.wallMs());
    this.metrics = declareServerMetrics(ports.metrics, boot.memberID);
    this.meter = new ApplyMeter({ ...ports, warningMs: config.warningApplyDurationMs });
    this.alarms = new AlarmStore(boot.backend);
    this.quota = new BackendQuota(config.quotaBackendBytes, () => this.backend.sizeBytes(), ports);
    this.consistentIndex = new ConsistentIndex(boot.backend);
    this.#proposals = this.#createProposals();
    this.applier = this.#createApplier();
    this.#readIndex = this.#createReadIndex();
    this.#apply = new SlicedApply({
      applier: this.applier,
      backend: () => this.#backend,
      clock: ports.clock,
      metrics: this.metrics,
      meter: this.meter,
      hasEnded: () => this.#end !== undefined,
      applied: (index) => {
        this.#readIndex.applied(index);
        this.#applyWaiters.reached(index);
        this.gate.applied(index);
      },
    });
    this.#reportMembership();
    this.peerMessages = new PeerMessages(this);
    this.loop = this.#createLoop();
  }

  /** Another one after a leader's snapshot was installed: not to be kept. */
  get backend(): Backend {
    return this.#backend;
  }

  get isLeader(): boolean {
    return this.#leaderID === this.memberID;
  }

  get leaderID(): bigint {
    return this.#leaderID;
  }

  /** Whether the member ended by a failure. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Why nothing is answered any more. */
  get end(): EtcdError | undefined {
    return this.#end;
  }

  facts(): ServerFacts {
    const isLearner = this.cluster.isLocalLearner();
    const known = this.#facts;
    // Each call asks, and most find nothing changed.
    if (
      known !== undefined &&
      known.clusterID === this.cluster.clusterID &&
      known.leaderID === this.#leaderID &&
      known.isLeader === this.isLeader &&
      known.isLearner === isLearner &&
      known.raftTerm === this.applier.appliedTerm &&
      known.committedIndex === this.#apply.committedIndex &&
      known.appliedIndex === this.applier.appliedIndex &&
      known.currentRevision === this.store.currentRevision &&
      known.clusterVersion === this.cluster.version()
    ) {
      return known;
    }
    this.#facts = {
      memberID: this.memberID,
      clusterID: this.cluster.clusterID,
      leaderID: this.#leaderID,
      isLeader: this.isLeader,
      isLearner,
      raftTerm: this.applier.appliedTerm,
      committedIndex: this.#apply.committedIndex,
      appliedIndex: this.applier.appliedIndex,
      currentRevision: this.store.currentRevision,
      clusterVersion: this.cluster.version(),
    };
    return this.#facts;
  }

  header(revision: number): ResponseHeader {
    const raftTerm = this.applier.appliedTerm;
    const { clusterID } = this.cluster;
    const latest = this.#latestHeader;
    if (
      latest?.revision === revision &&
      latest.raftTerm === raftTerm &&
      latest.clusterID === clusterID
    ) {
      return latest;
    }
    this.#latestHeader = { clusterID, memberID: this.memberID, revision, raftTerm };
    return this.#latestHeader;
  }

  /** Fills in what a header with nothing but a revision lacks. */
  completeHeader(header: { -readonly [K in keyof ResponseHeader]: ResponseHeader[K] }): void {
    header.clusterID = this.cluster.clusterID;
    header.memberID = this.memberID;
    header.raftTerm = this.applier.appliedTerm;
  }

  /** Tells `done` in a later turn: an operation never completes before it returned. */
  failLater<T>(done: Completion<T>, error: EtcdError): void {
    this.ports.clock.nextTurn(() => done(error, undefined));
  }

  /**
   * Writes an operation to the log; settles when it has been applied here.
   *
   * The result's own error is handed on as an error.
   */
  propose(operation: RaftOperation, context: RequestContext, done: Completion<ApplyResult>): void {
    const refusal = this.#end ?? this.#proposalRefusal(context);
    if (refusal !== undefined) {
      this.failLater(done, refusal);
      return;
    }
    if (context.auth === undefined) {
      this.#proposals.propose(operation, undefined, done);
      return;
    }
    const identified = operation.kind === "authenticate" ? INTERNAL_CONTEXT : context;
    this.gate.whenIdentified(identified, done, (identity) => {
      if (this.#end === undefined) this.#proposals.propose(operation, identity, done);
      else this.failLater(done, this.#end);
    });
  }

  /** As `propose`, for what the member does of its own accord. */
  proposeInternal(operation: RaftOperation, done: Completion<ApplyResult>): void {
    this.propose(operation, INTERNAL_CONTEXT, done);
  }

  /** Writes a configuration change to the log; its id is set here. */
  proposeChange(change: Omit<ConfChange, "id">, done: Completion<void>): void {
    if (this.#end !== undefined) {
      this.failLater(done, this.#end);
      return;
    }
    this.#proposals.proposeChange(change, done);
  }

  /** Settles once local state holds everything that was acknowledged before the call. */
  linearizableRead(done: Completion<void>): void {
    if (this.#end !== undefined) {
      this.failLater(done, this.#end);
      return;
    }
    this.#readIndex.request(done);
    this.loop.wake();
  }

  /** Settles once everything now known as committed has been applied. */
  waitApplied(done: Completion<void>): void {
    const index = this.#apply.committedIndex;
    if (this.applier.appliedIndex >= index) {
      this.ports.clock.nextTurn(() => done(this.#end, undefined));
      return;
    }
    this.#applyWaiters.add(index, this.ports.clock.monotonicMs() + WAIT_APPLIED_MS, done);
  }

  /** Whether this member leads still: by its own clock if that ran, or else by asking the others. */
  ensureLeadership(done: (isLeader: boolean) => void): void {
    if (this.loop.hasKeptTime) {
      this.ports.clock.nextTurn(() => done(this.isLeader));
      return;
    }
    const { silences } = this.loop;
    this.linearizableRead((error) => {
      const isLeader = error === undefined && this.isLeader;
      if (isLeader) this.loop.confirmed(silences);
      done(isLeader);
    });
  }

  /** Settles once there is a leader; `SERVER_ERRORS.noLeader` if none appears in time. */
  whenLeader(done: Completion<void>): void {
    if (this.#leaderID !== 0n || this.#end !== undefined) {
      this.ports.clock.nextTurn(() => done(this.#end, undefined));
      return;
    }
    this.#leaderWaiters.add(0, this.ports.clock.monotonicMs() + this.timeoutMs, done);
  }

  /** Ends the member for good, without writing anything more. */
  fail(cause: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.consistentIndex.poison(error);
    this.ports.logger.error("server error", { error: error.message });
    this.#settleAll();
    void this.loop.stop();
    this.#events.failed(error);
  }

  /** Stops taking work, ends the loop and tells everybody who waits. */
  async stopLoop(): Promise<void> {
    this.#removal?.cancel();
    const ending = this.loop.stop();
    this.#settleAll();
    await ending;
  }

  #settleAll(): void {
    this.#end = SERVER_ERRORS.stopped;
    this.#proposals.failAll(this.#end);
    this.#readIndex.stop(this.#end);
    this.#releaseReads();
    this.#applyWaiters.failAll(this.#end);
    this.gate.stop(this.#end);
    this.#leaderWaiters.failAll(this.#end);
    // Renewals of expired leases wait for their revocation, which will not come any more.
    this.lessor.demote();
  }

  #proposalRefusal(context: RequestContext): EtcdError | undefined {
    if (this.#apply.committedIndex > this.applier.appliedIndex + APPLY_BACKLOG_MAX) {
      return SERVER_ERRORS.tooManyRequests;
    }
    const { deadlineMs } = context;
    if (deadlineMs !== undefined && this.ports.clock.monotonicMs() >= deadlineMs) {
      return SERVER_ERRORS.timeout;
    }
    return undefined;
  }

  #createProposals(): Proposals {
    return new Proposals({
      memberID: this.memberID,
      maxRequestBytes: this.config.maxRequestBytes,
      timeoutMs: this.timeoutMs,
      requestIDs: this.requestIDs,
      clock: this.ports.clock,
      logger: this.ports.logger,
      metrics: this.metrics,
      target: {
        proposeBatch: (batch) => this.loop.proposeBatch(batch),
        proposeConfChange: (change) => this.loop.proposeConfChange(change),
        wake: () => this.loop.wake(),
      },
    });
  }

  #createApplier(): EntryApplier {
    const { boot, config } = this;
    const requests = new RequestApplier({
      store: this.store,
      lessor: this.lessor,
      alarms: this.alarms,
      quota: this.quota,
      auth: this.auth,
      permissions: this.permissions,
      meter: this.meter,
      metrics: this.ports.metrics,
    });
    const start = boot.snapshot?.metadata ?? { index: 0, term: 0, confState: EMPTY_CONF_STATE };
    return new EntryApplier(
      {
        memberID: this.memberID,
        requests,
        cluster: this.cluster,
        maxLearners: config.maxLearners,
        consistentIndex: this.consistentIndex,
        pending: this.#proposals.pending,
        pendingChanges: this.#proposals.pendingChanges,
        hasNoSpaceAlarm: () => this.alarms.has(AlarmType.NOSPACE),
        transport: this.ports.transport,
        meter: this.meter,
        logger: this.ports.logger,
        hooks: {
          termBegan: () => this.#termBegan(),
          applyConfChange: (change) => {
            this.ports.clock.nextTurn(() => this.#reportMembership());
            return this.loop.applyConfChange(change);
          },
          raiseNoSpace: (next) => this.raiseNoSpace(next),
          clusterVersionChanged: () => this.#events.clusterVersionChanged(),
          forceSnapshot: () => this.#events.forceSnapshot(),
          removedSelf: () => this.#removedSelf(),
        },
      },
      start,
      boot.raftStorage.lastIndex(),
    );
  }

  get hasRaisedNoSpace(): boolean {
    return this.alarms.get(AlarmType.NOSPACE).some(({ memberID }) => memberID === this.memberID);
  }

  /** Takes a message of a peer. */
  step(message: Message): void {
    const fields = { "local-member-id": this.memberID.toString(16) };
    if (this.cluster.isIDRemoved(message.from)) {
      this.ports.logger.warn("rejected Raft message from removed member", {
        ...fields,
        "removed-member-id": message.from.toString(16),
      });
    } else if (message.to !== this.memberID) {
      this.ports.logger.warn("rejected Raft message to mismatch member", {
        ...fields,
        "mismatch-member-id": message.to.toString(16),
      });
    } else if (this.#end === undefined) this.loop.step(message);
  }

  /** Raises the alarm for this member through the log, and runs `next` whatever comes of it. */
  raiseNoSpace(next: () => void): void {
    const request = {
      action: AlarmAction.ACTIVATE,
      memberID: this.memberID,
      alarm: AlarmType.NOSPACE,
    };
    this.proposeInternal({ kind: "alarm", request }, () => next());
  }

  #createReadIndex(): ReadIndex {
    return new ReadIndex({
      clock: this.ports.clock,
      logger: this.ports.logger,
      metrics: this.ports.metrics,
      timeoutMs: this.timeoutMs,
      nextContext: () => bytesOf(this.requestIDs.next()),
      send: (context) => this.loop.readIndex(context),
    });
  }

  #createLoop(): RaftLoop {
    const { boot, config, ports } = this;
    return new RaftLoop({
      node: boot.node,
      storage: boot.raftStorage,
      wal: boot.wal,
      clock: ports.clock,
      tickMs: config.heartbeatIntervalMs,
      handlers: {
        beforeReady: () => {
          this.#proposals.beforeReady(this.#takesProposals());
          this.#readIndex.beforeReady();
        },
        saveSnapshot: async (snapshot) => {
          await this.#events.settleSnapshots();
          await saveLeaderSnapshot(this, snapshot);
        },
        installSnapshot: (snapshot) => this.#install(snapshot),
        // Other members must hear the leader's heart, whatever its disk does.
        isAlone: () => this.#proposals.pending.size <= 1 && this.cluster.members().length === 1,
        softStateChanged: (softState) => this.#softStateChanged(softState),
        readStates: (readStates) => this.#readIndex.answered(readStates),
        apply: (entries) => this.#apply.apply(entries),
        advanced: () => {
          this.applier.advanced();
          this.#events.advanced();
        },
        send: (messages) => this.peerMessages.send(messages),
        tick: () => this.#tick(),
        failed: (error) => this.fail(error),
      },
    });
  }

  /**
   * Whether there is a leader proposals can get to. What is sent to one that is gone is lost, and
   * nobody can tell whether it was: its callers would wait until their time is over. Kept here, it
   * goes to the next leader.
   */
  #takesProposals(): boolean {
    return this.#leaderID !== 0n && this.connectivity.isReachable(this.#leaderID);
  }

  #reportMembership(): void {
    const { cluster, metrics } = this;
    metrics.isLearner.set(cluster.isLocalLearner() ? 1 : 0);
    const Local = this.memberID.toString(16);
    for (const { id } of cluster.members()) {
      metrics.knownPeers.labels({ Local, Remote: id.toString(16) }).set(1);
    }
    for (const id of cluster.removedIDs()) {
      metrics.knownPeers.labels({ Local, Remote: id.toString(16) }).set(0);
    }
  }

  /** Whether a snapshot is being installed, so that the state cannot be read. */
  get isInstalling(): boolean {
    return this.#installWaiters !== undefined;
  }

  /** Runs `read` when the state can be read: at once, unless a snapshot is being installed. */
  whenInstalled(read: () => void): void {
    if (this.#installWaiters === undefined) read();
    else this.#installWaiters.push(read);
  }

  async #install(snapshot: Snapshot): Promise<void> {
    this.#installWaiters = [];
    const before = await installSnapshot(this, snapshot);
    this.#releaseReads();
    await before.close();
  }

  #releaseReads(): void {
    const waiters = this.#installWaiters ?? [];
    this.#installWaiters = undefined;
    for (const read of waiters) read();
  }

  /** Goes on with the state of a snapshot, which everything else has been read from. */
  adopt(backend: Backend, snapshot: Snapshot["metadata"]): void {
    this.#backend = backend;
    this.consistentIndex.attach(backend);
    this.applier.installed(snapshot);
    this.#apply.installed(snapshot.index);
    this.gate.applied(snapshot.index);
    this.#events.snapshotInstalled(snapshot.index);
    this.#events.clusterVersionChanged();
    this.#reportMembership();
  }

  #softStateChanged({ leadID }: SoftState): void {
    const isNewLeader = leadID !== 0n && leadID !== this.#leaderID;
    if (isNewLeader) this.metrics.leaderChanges.inc();
    this.#leaderID = leadID;
    this.metrics.hasLeader.set(leadID === 0n ? 0 : 1);
    this.metrics.isLeader.set(this.isLeader ? 1 : 0);
    if (!this.isLeader) this.lessor.demote();
    else if (isNewLeader) {
      this.peerMessages.leadershipBegan();
      this.#leaderElectedMs = this.ports.clock.monotonicMs();
    }
    if (!isNewLeader) return;
    this.#readIndex.leaderChanged();
    this.#leaderWaiters.reached(0);
  }

  #termBegan(): void {
    this.#readIndex.firstCommitInTerm();
    // Everything of earlier terms is applied, so the leases are as the last leader left them.
    if (this.isLeader) this.lessor.promote(this.config.electionTimeoutMs);
    this.#events.termBegan();
  }

  #tick(): void {
    const nowMs = this.ports.clock.monotonicMs();
    this.#readIndex.tick(nowMs);
    this.#proposals.expire(nowMs, (startMs) => this.#timeoutError(startMs));
    this.#applyWaiters.expire(nowMs, SERVER_ERRORS.timeoutWaitAppliedIndex);
    this.#leaderWaiters.expire(nowMs, SERVER_ERRORS.noLeader);
    this.gate.tick(nowMs);
  }

  /** Why a request that began at `startMs` may have got no answer. */
  #timeoutError(startMs: number): EtcdError {
    const electionMs = 2 * this.config.electionTimeoutMs;
    const electedMs = this.#leaderElectedMs;
    if (startMs > electedMs - electionMs && startMs < electedMs) {
      return SERVER_ERRORS.timeoutDueToLeaderFail;
    }
    if (this.#leaderID === 0n) return SERVER_ERRORS.timeout;
    const isConnected = this.isLeader
      ? this.connectivity.hasQuorumSince(startMs)
      : this.connectivity.isConnectedSince(this.#leaderID, startMs);
    return isConnected ? SERVER_ERRORS.timeout : SERVER_ERRORS.timeoutDueToConnectionLost;
  }

  /** Others no longer know this member: there is nothing left for it to do. */
  removedByPeers(): void {
    if (this.#end === undefined) this.#leave();
  }

  /** The others may still need this member's vote for the change; it leaves a little later. */
  #removedSelf(): void {
    this.#removal = this.ports.clock.setTimer(this.config.electionTimeoutMs, () => this.#leave());
  }

  #leave(): void {
    // Each of the others may say so, and the log too.
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.ports.logger.warn("server error", {
      error: "the member has been permanently removed from the cluster",
    });
    this.ports.logger.warn("data-dir used by this member must be removed");
    this.#events.removedSelf();
  }
}

/** From 3.6 on every member understands persisted checkpoints. */
function isAtLeast36(clusterVersion: string | undefined): boolean {
  const version = parseVersion(clusterVersion ?? "");
  return version !== undefined && compareVersions(version, versionOf(3, 6)) >= 0;
}

/** 8 bytes, big-endian. */
function bytesOf(id: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  let rest = id;
  for (let i = 7; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}
