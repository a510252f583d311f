/**
 * One member in one piece: what bootstrap put together, the raft loop that drives it, and the two
 * ways in, the log for writes and ReadIndex for reads.
 *
 * Invariants:
 * - All state changes on the one thread, in the loop's turns; nothing here runs in parallel.
 * - `stop` and the first failure each end the member once: whatever still waits is told, nothing
 *   is acknowledged afterwards, and after a failure nothing more reaches the backend.
 */

import { WireWriter, yieldTurn } from "@etcd-ts/base";
import type { EtcdError, Timer } from "@etcd-ts/base";
import {
  AlarmAction,
  AlarmType,
  InternalRaftRequestCodec,
  SERVER_ERRORS,
  ServerError,
  compareVersions,
  parseVersion,
  versionOf,
} from "@etcd-ts/api";
import type { InternalRaftRequest, RaftOperation, ResponseHeader } from "@etcd-ts/api";
import type { ConfChange, Entry, Message, SoftState } from "@etcd-ts/raft";
import { EMPTY_CONF_STATE, PROPOSAL_DROPPED_TEXT } from "@etcd-ts/raft";
import { MvccStore } from "@etcd-ts/storage";
import type { Backend } from "@etcd-ts/storage";

import { AlarmStore } from "./alarm/alarm-store.ts";
import { ApplyMeter } from "./apply/apply-metrics.ts";
import { ConsistentIndex } from "./apply/consistent-index.ts";
import { EntryApplier } from "./apply/entry-applier.ts";
import { RequestApplier } from "./apply/request-applier.ts";
import type { ApplyResult } from "./apply/request-applier.ts";
import { UnavailableAuthStore } from "./auth/auth-store.ts";
import type { AuthStore } from "./auth/auth-store.ts";
import type { Bootstrapped } from "./bootstrap.ts";
import { Lessor } from "./lease/index.ts";
import type { Cluster } from "./membership/index.ts";
import { PendingRequests } from "./pending-requests.ts";
import { BackendQuota } from "./quota/quota.ts";
import { ProposalQueue } from "./proposal-queue.ts";
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

/** More entries than this between commit and apply, and new requests are turned away. */
const APPLY_BACKLOG_MAX = 5000;
/** How long one slice of apply may hold the turn. */
const APPLY_SLICE_MS = 5;
/** Entries applied between two looks at the clock. */
const APPLY_SLICE_ENTRIES = 16;
/** Writes that may wait for a leader; more are turned away. */
const LEADERLESS_PROPOSALS_MAX = 5000;
/** An encoder that grew beyond this is not kept. */
const PROPOSAL_BUFFER_BYTES = 64 * 1024;
/** How long `waitApplied` waits. */
const WAIT_APPLIED_MS = 1000;

/** Raft would not take a proposal; the text is etcd's. */
export const PROPOSAL_DROPPED = Object.freeze(
  new ServerError("PROPOSAL_DROPPED", PROPOSAL_DROPPED_TEXT),
);

/** What background work listens to. */
export interface MemberEvents {
  /** The first entry of a term has been applied. */
  termBegan(): void;
  clusterVersionChanged(): void;
  /** Some entries have been applied, and raft knows. */
  advanced(): void;
  forceSnapshot(): void;
  removedSelf(): void;
  failed(error: Error): void;
}

interface Waiter {
  readonly index: number;
  readonly deadlineMs: number;
  readonly done: Completion<void>;
}

export class MemberCore {
  readonly config: ServerConfig;
  readonly ports: ServerPorts;
  readonly boot: Bootstrapped;
  readonly memberID: bigint;
  readonly cluster: Cluster;
  readonly backend: Backend;
  readonly store: MvccStore;
  readonly lessor: Lessor;
  readonly alarms: AlarmStore;
  readonly quota: BackendQuota;
  readonly auth: AuthStore;
  readonly meter: ApplyMeter;
  readonly metrics: ServerMetrics;
  readonly consistentIndex: ConsistentIndex;
  readonly applier: EntryApplier;
  readonly loop: RaftLoop;
  readonly requestIDs: RequestIDs;
  readonly timeoutMs: number;
  readonly #readIndex: ReadIndex;
  readonly #pending: PendingRequests<ApplyResult>;
  readonly #pendingChanges: PendingRequests<EtcdError | undefined>;
  readonly #events: MemberEvents;
  readonly #proposals: ProposalQueue;
  /** Encodes proposals; reused, so that each costs one copy of its size. */
  #writer = new WireWriter(PROPOSAL_BUFFER_BYTES);
  #leaderWaiters: { readonly deadlineMs: number; readonly done: Completion<void> }[] = [];
  #applyWaiters: Waiter[] = [];
  #committedIndex: number;
  #leaderID = 0n;
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
    const auth = new UnavailableAuthStore(backend);
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
    const store = await MvccStore.open({
      backend,
      leases: lessor,
      clock: ports.clock,
      logger: ports.logger,
      metrics: ports.metrics,
      compactionBatchLimit: config.compactionBatchLimit,
      compactionSleepMs: config.compactionSleepMs,
    });
    lessor.setWriter(() => store.write());
    return new MemberCore(config, ports, boot, { auth, lessor, store }, events);
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
    this.backend = boot.backend;
    this.store = state.store;
    this.lessor = state.lessor;
    this.auth = state.auth;
    this.#events = events;
    this.timeoutMs = requestTimeoutMs(config);
    this.requestIDs = new RequestIDs(boot.memberID, ports.clock.wallMs());
    this.metrics = declareServerMetrics(ports.metrics, boot.memberID);
    this.meter = new ApplyMeter({ ...ports, warningMs: config.warningApplyDurationMs });
    this.alarms = new AlarmStore(boot.backend);
    this.quota = new BackendQuota(config.quotaBackendBytes, () => boot.backend.sizeBytes(), ports);
    this.consistentIndex = new ConsistentIndex(boot.backend);
    this.#pending = new PendingRequests(this.timeoutMs);
    this.#pendingChanges = new PendingRequests(this.timeoutMs);
    this.applier = this.#createApplier();
    this.#committedIndex = this.applier.appliedIndex;
    this.#readIndex = this.#createReadIndex();
    this.#reportLearner();
    this.loop = this.#createLoop();
    this.#proposals = new ProposalQueue(
      this.loop,
      (id) => this.#pending.has(id) || this.#pendingChanges.has(id),
      (id) => this.#drop(id, PROPOSAL_DROPPED),
    );
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
    return {
      memberID: this.memberID,
      clusterID: this.cluster.clusterID,
      leaderID: this.#leaderID,
      isLeader: this.isLeader,
      isLearner: this.cluster.isLocalLearner(),
      raftTerm: this.applier.appliedTerm,
      committedIndex: this.#committedIndex,
      appliedIndex: this.applier.appliedIndex,
      currentRevision: this.store.currentRevision,
      clusterVersion: this.cluster.version(),
    };
  }

  header(revision: number): ResponseHeader {
    return {
      clusterID: this.cluster.clusterID,
      memberID: this.memberID,
      revision,
      raftTerm: this.applier.appliedTerm,
    };
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
    const id = this.requestIDs.next();
    const header = {
      id,
      username: context.auth?.username ?? "",
      authRevision: context.auth?.authRevision ?? 0,
    };
    const data = this.#encode({ header, id: 0n, operation });
    if (data.length > this.config.maxRequestBytes) {
      this.failLater(done, SERVER_ERRORS.requestTooLarge);
      return;
    }
    this.#pending.add(id, this.ports.clock.monotonicMs(), (failure, result) => {
      this.metrics.pending.set(this.#pending.size);
      if (failure !== undefined) this.metrics.failed.inc();
      const error = failure ?? result?.error;
      done(error, error === undefined ? result : undefined);
    });
    this.metrics.pending.set(this.#pending.size);
    this.#enqueue(id, data);
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
    const id = this.requestIDs.next();
    this.#pendingChanges.add(id, this.ports.clock.monotonicMs(), (failure, refusal) => {
      if (failure === undefined) {
        this.ports.logger.info("applied a configuration change through raft", {
          "local-member-id": this.memberID.toString(16),
          "raft-conf-change": change.type,
          "raft-conf-change-node-id": change.nodeID.toString(16),
        });
      }
      done(failure ?? refusal, undefined);
    });
    this.#enqueue(id, { ...change, id });
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
    const index = this.#committedIndex;
    if (this.applier.appliedIndex >= index) {
      this.ports.clock.nextTurn(() => done(this.#end, undefined));
      return;
    }
    const deadlineMs = this.ports.clock.monotonicMs() + WAIT_APPLIED_MS;
    this.#applyWaiters.push({ index, deadlineMs, done });
  }

  /** Whether this member leads still: by its own clock if that ran, or else by asking the others. */
  ensureLeadership(done: (isLeader: boolean) => void): void {
    const { clock } = this.ports;
    const silentMs = clock.monotonicMs() - this.loop.latestTickMs;
    if (silentMs < 3 * this.config.heartbeatIntervalMs) {
      clock.nextTurn(() => done(this.isLeader));
      return;
    }
    this.linearizableRead((error) => done(error === undefined && this.isLeader));
  }

  /** Settles once there is a leader; `SERVER_ERRORS.noLeader` if none appears in time. */
  whenLeader(done: Completion<void>): void {
    if (this.#leaderID !== 0n || this.#end !== undefined) {
      this.ports.clock.nextTurn(() => done(this.#end, undefined));
      return;
    }
    const deadlineMs = this.ports.clock.monotonicMs() + this.timeoutMs;
    this.#leaderWaiters.push({ deadlineMs, done });
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
    this.#proposals.clear();
    this.#pending.failAll(this.#end);
    this.#pendingChanges.failAll(this.#end);
    this.#readIndex.stop(this.#end);
    const waiters = [...this.#applyWaiters, ...this.#leaderWaiters];
    this.#applyWaiters = [];
    this.#leaderWaiters = [];
    for (const { done } of waiters) done(this.#end, undefined);
    // Renewals of expired leases wait for their revocation, which will not come any more.
    this.lessor.demote();
  }

  #proposalRefusal(context: RequestContext): EtcdError | undefined {
    if (this.#committedIndex > this.applier.appliedIndex + APPLY_BACKLOG_MAX) {
      return SERVER_ERRORS.tooManyRequests;
    }
    const { deadlineMs } = context;
    if (deadlineMs !== undefined && this.ports.clock.monotonicMs() >= deadlineMs) {
      return SERVER_ERRORS.timeout;
    }
    return this.auth.checkIdentity(context.auth);
  }

  #enqueue(id: bigint, entry: Uint8Array | ConfChange): void {
    if (this.#leaderID === 0n && this.#proposals.size >= LEADERLESS_PROPOSALS_MAX) {
      this.#drop(id, SERVER_ERRORS.tooManyRequests);
      return;
    }
    this.#proposals.add(id, entry);
    this.loop.wake();
  }

  #beforeReady(): void {
    if (this.#leaderID === 0n) this.#proposals.wait();
    else this.#proposals.flush();
    this.#readIndex.beforeReady();
  }

  #encode(request: InternalRaftRequest): Uint8Array {
    if (this.#writer.length > PROPOSAL_BUFFER_BYTES) {
      this.#writer = new WireWriter(PROPOSAL_BUFFER_BYTES);
    } else this.#writer.reset();
    InternalRaftRequestCodec.encode(request, this.#writer);
    return this.#writer.finish();
  }

  #drop(id: bigint, error: EtcdError): void {
    this.ports.clock.nextTurn(() => {
      this.#pending.fail(id, error);
      this.#pendingChanges.fail(id, error);
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
        pending: this.#pending,
        pendingChanges: this.#pendingChanges,
        hasNoSpaceAlarm: () => this.alarms.has(AlarmType.NOSPACE),
        transport: this.ports.transport,
        meter: this.meter,
        logger: this.ports.logger,
        hooks: {
          termBegan: () => this.#termBegan(),
          applyConfChange: (change) => {
            this.ports.clock.nextTurn(() => this.#reportLearner());
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
        beforeReady: () => this.#beforeReady(),
        softStateChanged: (softState) => this.#softStateChanged(softState),
        readStates: (readStates) => this.#readIndex.answered(readStates),
        apply: (entries) => this.#apply(entries),
        advanced: () => {
          this.applier.advanced();
          this.#events.advanced();
        },
        send: (messages) => this.#send(messages),
        tick: () => this.#tick(),
        failed: (error) => this.fail(error),
      },
    });
  }

  #reportLearner(): void {
    this.metrics.isLearner.set(this.cluster.isLocalLearner() ? 1 : 0);
  }

  #send(messages: readonly Message[]): void {
    if (messages.length > 0) this.ports.transport?.send(messages);
  }

  #softStateChanged({ leadID }: SoftState): void {
    const isNewLeader = leadID !== 0n && leadID !== this.#leaderID;
    if (isNewLeader) this.metrics.leaderChanges.inc();
    this.#leaderID = leadID;
    this.metrics.hasLeader.set(leadID === 0n ? 0 : 1);
    this.metrics.isLeader.set(this.isLeader ? 1 : 0);
    if (!this.isLeader) this.lessor.demote();
    else if (isNewLeader) this.#leaderElectedMs = this.ports.clock.monotonicMs();
    if (!isNewLeader) return;
    this.#readIndex.leaderChanged();
    const waiters = this.#leaderWaiters;
    this.#leaderWaiters = [];
    for (const { done } of waiters) done(undefined, undefined);
  }

  #termBegan(): void {
    this.#readIndex.firstCommitInTerm();
    // Everything of earlier terms is applied, so the leases are as the last leader left them.
    if (this.isLeader) this.lessor.promote(this.config.electionTimeoutMs);
    this.#events.termBegan();
  }

  /** Applies in slices; returns a promise only if one slice was not enough. */
  #apply(entries: readonly Entry[]): Promise<void> | undefined {
    this.#committedIndex = Math.max(this.#committedIndex, entries.at(-1)!.index);
    this.metrics.committed.set(this.#committedIndex);
    // Entries a snapshot already covers come again after a restart in the middle of one.
    const first = entries.findIndex((entry) => entry.index > this.applier.appliedIndex);
    if (first === -1) return undefined;
    const next = this.#applySlice(entries, first);
    return next === entries.length ? undefined : this.#applyRest(entries, next);
  }

  async #applyRest(entries: readonly Entry[], from: number): Promise<void> {
    for (let next = from; next < entries.length;) {
      if (this.backend.isOverloaded) await this.backend.whenDrained();
      else await yieldTurn(this.ports.clock);
      if (this.#end !== undefined) return;
      next = this.#applySlice(entries, next);
    }
  }

  #applySlice(entries: readonly Entry[], from: number): number {
    const { clock } = this.ports;
    const untilMs = clock.monotonicMs() + APPLY_SLICE_MS;
    let next = from;
    while (next < entries.length) {
      this.applier.apply(entries[next]!);
      next++;
      if (next % APPLY_SLICE_ENTRIES !== 0) continue;
      if (this.backend.isOverloaded || clock.monotonicMs() >= untilMs) break;
    }
    const { appliedIndex } = this.applier;
    this.metrics.applied.set(appliedIndex);
    this.#readIndex.applied(appliedIndex);
    this.#wakeAppliedWaiters(appliedIndex);
    return next;
  }

  #wakeAppliedWaiters(appliedIndex: number): void {
    if (this.#applyWaiters.length === 0) return;
    const ready = this.#applyWaiters.filter((waiter) => waiter.index <= appliedIndex);
    this.#applyWaiters = this.#applyWaiters.filter((waiter) => waiter.index > appliedIndex);
    for (const { done } of ready) done(undefined, undefined);
  }

  #tick(): void {
    const nowMs = this.ports.clock.monotonicMs();
    this.#readIndex.tick(nowMs);
    const failureFor = (startMs: number): EtcdError => this.#timeoutError(startMs);
    this.#pending.expire(nowMs, failureFor);
    this.#pendingChanges.expire(nowMs, failureFor);
    for (const waiter of this.#applyWaiters.filter(({ deadlineMs }) => deadlineMs <= nowMs)) {
      this.#applyWaiters = this.#applyWaiters.filter((other) => other !== waiter);
      waiter.done(SERVER_ERRORS.timeoutWaitAppliedIndex, undefined);
    }
    for (const waiter of this.#leaderWaiters.filter(({ deadlineMs }) => deadlineMs <= nowMs)) {
      this.#leaderWaiters = this.#leaderWaiters.filter((other) => other !== waiter);
      waiter.done(SERVER_ERRORS.noLeader, undefined);
    }
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
      ? this.#isConnectedToQuorumSince(startMs)
      : this.#isConnectedSince(this.#leaderID, startMs);
    return isConnected ? SERVER_ERRORS.timeout : SERVER_ERRORS.timeoutDueToConnectionLost;
  }

  #isConnectedSince(id: bigint, sinceMs: number): boolean {
    const activeMs = this.ports.transport?.activeSinceMs(id);
    return activeMs !== undefined && activeMs < sinceMs;
  }

  #isConnectedToQuorumSince(sinceMs: number): boolean {
    const voters = this.cluster.votingMembers();
    const connected = voters.filter(
      ({ id }) => id === this.memberID || this.#isConnectedSince(id, sinceMs),
    );
    return connected.length >= Math.floor(voters.length / 2) + 1;
  }

  /** The others may still need this member's vote for the change; it leaves a little later. */
  #removedSelf(): void {
    this.#removal = this.ports.clock.setTimer(this.config.electionTimeoutMs, () => {
      this.ports.logger.warn("server error", {
        error: "the member has been permanently removed from the cluster",
      });
      this.ports.logger.warn("data-dir used by this member must be removed");
      this.#events.removedSelf();
    });
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
