/**
 * The member as clients of this package hold it: opened on a data directory, started, asked,
 * stopped.
 *
 * Life: `open` reads or lays out the data and brings state to memory; `start` lets raft run, which
 * replays what the backend lacks and elects a leader; `whenReady` resolves once the member has
 * published itself through the log. `stop` and the first failure end it for good.
 *
 * Longer than most files because it is the whole surface of a member, one short method a call.
 */

import { EtcdError, invariant } from "@etcd-ts/base";
import { AlarmAction, AlarmType, RPC_ERRORS, SERVER_ERRORS, SERVER_VERSION } from "@etcd-ts/api";
import type {
  AlarmMember,
  AlarmRequest,
  ClusterMemberAttrSetRequest,
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  PutRequest,
  PutResponse,
  RaftOperation,
  RangeRequest,
  RangeResponse,
  ResponseHeader,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";
import type { BackendSnapshot, MvccStore } from "@etcd-ts/storage";

import type { ApplyResponse, ApplyResult } from "./apply/request-applier.ts";
import { AuthOperations } from "./auth/auth-operations.ts";
import { bootstrap } from "./bootstrap.ts";
import { ClusterOperations } from "./cluster-operations.ts";
import { startAutoCompaction } from "./compactor/compactor.ts";
import { CorruptionChecks } from "./corruption-checks.ts";
import { DiskSnapshots } from "./disk-snapshots.ts";
import { LEASE_EXPIRY_INTERVAL_MS } from "./lease/index.ts";
import { LeaseExpiry } from "./lease-expiry.ts";
import { LeaseOperations } from "./lease-operations.ts";
import { Leadership } from "./leadership.ts";
import { MaintenanceOperations } from "./maintenance-operations.ts";
import { MemberCore } from "./member-core.ts";
import { PeriodicTasks } from "./periodic-tasks.ts";
import { LEASE_COST_BYTES, putCost, txnCost } from "./quota/quota.ts";
import { ReadOperations } from "./read-operations.ts";
import type {
  AuthCallOperation,
  AuthResponse,
  AuthTokenResponse,
  Completion,
  DowngradeOperation,
  EncodedRangeResponse,
  KeyReads,
  HashKVResult,
  LeaseTimeToLiveResult,
  MemberChangeResult,
  MemberListResult,
  RequestContext,
  ServerConfig,
  ServerEvents,
  ServerFacts,
  ServerOperations,
  ServerPorts,
  StatusResult,
  WatchPermit,
} from "./server-api.ts";
import { isReadOnlyTxn } from "./txn/execute.ts";
import { VERSION_INTERVAL_MS, VersionMonitor } from "./version-monitor.ts";

/** How often files that are no longer needed are removed. */
const PURGE_INTERVAL_MS = 30_000;

const NO_EVENTS: ServerEvents = { onFatal: () => undefined, onRemoved: () => undefined };

export class EtcdServer implements ServerOperations {
  readonly #core: MemberCore;
  readonly #tasks: PeriodicTasks;
  readonly #snapshots: DiskSnapshots;
  readonly #versions: VersionMonitor;
  readonly #expiry: LeaseExpiry;
  readonly #reads: ReadOperations;
  readonly #leases: LeaseOperations;
  readonly #auth: AuthOperations;
  readonly #cluster: ClusterOperations;
  readonly #maintenance: MaintenanceOperations;
  readonly #ready: Promise<void>;
  #settleReady: { readonly resolve: () => void; readonly reject: (error: EtcdError) => void } = {
    resolve: () => undefined,
    reject: () => undefined,
  };
  readonly #leadership: Leadership;
  readonly #checks: CorruptionChecks;
  #stopping: Promise<void> | undefined;

  /**
   * Opens a member on its data directory, making it if it is new.
   *
   * @throws {BootstrapError | CorruptionError | DiskError | WalError} naming the file that is wrong
   */
  static async open(
    config: ServerConfig,
    ports: ServerPorts,
    events: ServerEvents = NO_EVENTS,
  ): Promise<EtcdServer> {
    let server: EtcdServer | undefined;
    const self = (): EtcdServer => {
      invariant(server !== undefined, () => "EtcdServer: an event before it was opened");
      return server;
    };
    const boot = await bootstrap(config, ports, (error) => {
      // Before there is a member, opening it fails by itself; `start` looks for what was missed.
      if (server !== undefined) server.#core.fail(error);
    });
    try {
      const core = await MemberCore.open(config, ports, boot, {
        termBegan: () => self().#termBegan(),
        clusterVersionChanged: () => self().#clusterVersionChanged(),
        advanced: () => self().#snapshots.takeIfNeeded(),
        forceSnapshot: () => self().#snapshots.force(),
        settleSnapshots: () => self().#snapshots.finish(),
        snapshotInstalled: (index) => self().#snapshots.installed(index),
        removedSelf: () => self().#removed(events),
        failed: (error) => self().#failed(error, events),
      });
      server = new EtcdServer(core);
      if (config.initialCorruptCheck && boot.isRestart) await server.#checks.initial();
      return server;
    } catch (error) {
      await boot.wal.close();
      await boot.backend.close();
      throw error;
    }
  }

  private constructor(core: MemberCore) {
    this.#core = core;
    this.#tasks = new PeriodicTasks(core.ports.clock, (error) => core.fail(error));
    this.#snapshots = new DiskSnapshots(core);
    this.#versions = new VersionMonitor(core, () => this.#snapshots.savedIndex);
    this.#expiry = new LeaseExpiry(core);
    this.#reads = new ReadOperations(core);
    this.#leases = new LeaseOperations(core);
    this.#auth = new AuthOperations(core);
    this.#cluster = new ClusterOperations(core);
    this.#leadership = new Leadership(core);
    this.#checks = new CorruptionChecks(core);
    this.#maintenance = new MaintenanceOperations(core, this.#versions);
    this.#ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject };
    });
    // A member that is stopped before it was ready is no fault of anybody who did not ask.
    this.#ready.catch(() => undefined);
  }

  /** Keeps the database of a leader's snapshot at `index`, durably; gives its size. */
  saveSnapshotDatabase(chunks: AsyncIterable<Uint8Array>, index: number): Promise<number> {
    return this.#core.boot.snapshotter.saveDatabase(chunks, index);
  }

  /** To be called when others refuse this member as one that was removed. */
  removedByPeers(): void {
    this.#core.removedByPeers();
  }

  get store(): MvccStore {
    return this.#core.store;
  }

  /** Lets raft run; to be called once. */
  start(): void {
    this.#announce();
    const { failure } = this.#core.backend;
    if (failure !== undefined) this.#core.fail(failure);
    const { transport } = this.#core.ports;
    transport?.start({
      step: (message) => this.#core.step(message),
      isIDRemoved: (id) => this.#core.cluster.isIDRemoved(id),
      reportUnreachable: (id) => this.#core.loop.reportUnreachable(id),
      reportSnapshot: (id, status) => this.#core.loop.reportSnapshot(id, status),
    });
    for (const { id, peerURLs } of this.#core.boot.remotes) {
      if (id !== this.#core.memberID) transport?.addRemote(id, peerURLs);
    }
    for (const { id, peerURLs } of this.#core.cluster.members()) {
      if (id !== this.#core.memberID) transport?.addPeer(id, peerURLs);
    }
    this.#core.loop.start();
    this.#standForElection();
    this.#leadership.hastenElection(this.#tasks);
    this.#startTasks();
    this.#publish();
  }

  /** Rejects with `SERVER_ERRORS.stopped` if the member ends before it was ready. */
  whenReady(): Promise<void> {
    return this.#ready;
  }

  /** Ends the work at hand, tells everybody who waits, and makes everything durable; idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  responseHeader(revision: number): ResponseHeader {
    return this.#core.header(revision);
  }

  facts(): ServerFacts {
    return this.#core.facts();
  }

  range(request: RangeRequest, context: RequestContext, done: Completion<RangeResponse>): void {
    this.#reads.range(request, context, done);
  }

  rangeEncoded(
    request: RangeRequest,
    context: RequestContext,
    done: Completion<EncodedRangeResponse>,
  ): void {
    this.#reads.rangeEncoded(request, context, done);
  }

  put(request: PutRequest, context: RequestContext, done: Completion<PutResponse>): void {
    if (!this.#isWithinQuota(putCost(request), done)) return;
    this.#propose({ kind: "put", request }, context, done);
  }

  deleteRange(
    request: DeleteRangeRequest,
    context: RequestContext,
    done: Completion<DeleteRangeResponse>,
  ): void {
    this.#propose({ kind: "deleteRange", request }, context, done);
  }

  txn(request: TxnRequest, context: RequestContext, done: Completion<TxnResponse>): void {
    if (isReadOnlyTxn(request)) {
      this.#reads.txn(request, context, done);
      return;
    }
    if (!this.#isWithinQuota(txnCost(request), done)) return;
    this.#propose({ kind: "txn", request }, context, done);
  }

  compact(
    request: CompactionRequest,
    context: RequestContext,
    done: Completion<CompactionResponse>,
  ): void {
    this.#core.gate.whenAdmin(context, done, () =>
      this.#core.propose({ kind: "compaction", request }, context, (error, result) => {
        if (error !== undefined) {
          done(error, undefined);
          return;
        }
        const answer = (): void => {
          done(undefined, { header: this.#core.header(this.store.currentRevision) });
        };
        if (request.physical && result?.compaction !== undefined) {
          this.#whenGone(result.compaction.finished, answer, done);
        } else answer();
      }),
    );
  }

  get keyReads(): KeyReads {
    return this.#reads.keys;
  }

  linearizableRead(_context: RequestContext, done: Completion<void>): void {
    this.#core.linearizableRead(done);
  }

  leaseGrant(
    request: LeaseGrantRequest,
    context: RequestContext,
    done: Completion<LeaseGrantResponse>,
  ): void {
    if (!this.#isWithinQuota(LEASE_COST_BYTES, done)) return;
    const id = request.id === 0n ? this.#leases.chooseID() : request.id;
    this.#core.gate.whenUser(context, done, () =>
      this.#propose({ kind: "leaseGrant", request: { ...request, id } }, context, done),
    );
  }

  leaseRevoke(
    request: LeaseRevokeRequest,
    context: RequestContext,
    done: Completion<LeaseRevokeResponse>,
  ): void {
    this.#core.gate.whenUser(context, done, () =>
      this.#propose({ kind: "leaseRevoke", request }, context, done),
    );
  }

  leaseRenew(id: bigint, context: RequestContext, done: Completion<number>): void {
    this.#leases.renew(id, context, done);
  }

  leaseTimeToLive(
    id: bigint,
    withKeys: boolean,
    context: RequestContext,
    done: Completion<LeaseTimeToLiveResult>,
  ): void {
    this.#leases.timeToLive(id, withKeys, context, done);
  }

  leaseLeases(context: RequestContext, done: Completion<readonly bigint[]>): void {
    this.#leases.list(context, done);
  }

  memberList(
    linearizable: boolean,
    context: RequestContext,
    done: Completion<MemberListResult>,
  ): void {
    this.#cluster.list(linearizable, (error, result) => {
      if (error !== undefined) done(error, undefined);
      else this.#core.gate.whenUser(context, done, () => done(undefined, result));
    });
  }

  memberAdd(
    peerURLs: readonly string[],
    isLearner: boolean,
    context: RequestContext,
    done: Completion<MemberChangeResult>,
  ): void {
    this.#core.gate.whenAdmin(context, done, () => this.#cluster.add(peerURLs, isLearner, done));
  }

  memberRemove(id: bigint, context: RequestContext, done: Completion<MemberChangeResult>): void {
    this.#core.gate.whenAdmin(context, done, () => this.#cluster.remove(id, done));
  }

  memberUpdate(
    id: bigint,
    peerURLs: readonly string[],
    context: RequestContext,
    done: Completion<MemberChangeResult>,
  ): void {
    this.#core.gate.whenAdmin(context, done, () => this.#cluster.update(id, peerURLs, done));
  }

  memberPromote(id: bigint, context: RequestContext, done: Completion<MemberChangeResult>): void {
    this.#core.gate.whenAdmin(context, done, () => this.#cluster.promote(id, context, done));
  }

  alarm(
    request: AlarmRequest,
    context: RequestContext,
    done: Completion<readonly AlarmMember[]>,
  ): void {
    const run = (): void => this.#maintenance.alarm(request, context, done);
    if (request.action === AlarmAction.GET) this.#core.gate.whenUser(context, done, run);
    else this.#core.gate.whenAdmin(context, done, run);
  }

  activeAlarms(): readonly AlarmMember[] {
    return this.#core.alarms.get(AlarmType.NONE);
  }

  /** For the member's own use. */
  currentStatus(): StatusResult {
    return this.#maintenance.status();
  }

  status(context: RequestContext, done: Completion<StatusResult>): void {
    this.#core.gate.whenUser(context, done, () => done(undefined, this.currentStatus()));
  }

  hash(context: RequestContext, done: Completion<number>): void {
    this.#core.gate.whenAdmin(context, done, () => this.#maintenance.hash(done));
  }

  hashKV(revision: number, context: RequestContext, done: Completion<HashKVResult>): void {
    this.#core.gate.whenAdmin(context, done, () => this.#maintenance.hashKV(revision, done));
  }

  defragment(context: RequestContext, begin: () => void, done: Completion<void>): void {
    this.#core.gate.whenAdmin(context, done, () => {
      begin();
      this.#maintenance.defragment(done);
    });
  }

  snapshot(context: RequestContext): Promise<{ version: string; image: BackendSnapshot }> {
    return new Promise((resolve, reject) => {
      const refuse: Completion<void> = (error) => reject(error);
      this.#core.gate.whenAdmin(context, refuse, () => resolve(this.#maintenance.snapshot()));
    });
  }

  /** Whoever may not, is not told who leads either. */
  moveLeader(targetID: bigint, context: RequestContext, done: Completion<void>): void {
    this.#core.gate.whenAdmin(context, done, () => {
      if (!this.#core.isLeader) this.#core.failLater(done, SERVER_ERRORS.notLeader);
      else this.#leadership.move(targetID, context.deadlineMs, done);
    });
  }

  downgrade(
    request: DowngradeOperation,
    context: RequestContext,
    done: Completion<{ readonly version: string }>,
  ): void {
    this.#core.gate.whenAdmin(context, done, () => this.#maintenance.downgrade(request, done));
  }

  get isAuthEnabled(): boolean {
    return this.#core.auth.isEnabled;
  }

  authCall(
    operation: AuthCallOperation,
    context: RequestContext,
    done: Completion<AuthResponse>,
  ): void {
    this.#auth.hashed(operation, context, done, (ready) => this.#propose(ready, context, done));
  }

  authenticate(
    credentials: { readonly name: string; readonly password: string },
    done: Completion<AuthTokenResponse>,
  ): void {
    this.#auth.authenticate(credentials, done);
  }

  watchPermit(
    range: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array },
    context: RequestContext,
    done: Completion<WatchPermit>,
  ): void {
    this.#auth.watchPermit(range, context, done);
  }

  #propose<T extends ApplyResponse & { readonly header: ResponseHeader | undefined }>(
    operation: RaftOperation,
    context: RequestContext,
    done: Completion<T>,
  ): void {
    this.#core.propose(operation, context, (error, result) => {
      if (error !== undefined) done(error, undefined);
      else done(undefined, this.#completed<T>(result!));
    });
  }

  /** The response to the operation that was proposed, under a header of this member. */
  #completed<T extends { readonly header: ResponseHeader | undefined }>(result: ApplyResult): T {
    const response = result.response as unknown as T;
    if (response.header === undefined) return { ...response, header: this.#core.header(0) };
    // Made for this request alone, and not looked at by anybody before.
    this.#core.completeHeader(response.header);
    return response;
  }

  /** What would outgrow the quota is refused here, before it costs a log entry. */
  #isWithinQuota<T>(costBytes: number, done: Completion<T>): boolean {
    if (this.#core.end !== undefined || this.#core.quota.isAvailable(costBytes)) return true;
    // One entry in the log is enough to raise it.
    if (this.#core.hasRaisedNoSpace) this.#core.failLater(done, RPC_ERRORS.noSpace);
    else this.#core.raiseNoSpace(() => done(RPC_ERRORS.noSpace, undefined));
    return false;
  }

  /** Waits for a compaction to be through, and on disk, so that a crash does not bring it back. */
  #whenGone<T>(finished: Promise<void>, answer: () => void, done: Completion<T>): void {
    finished
      .then(() => this.#core.backend.commit())
      .then(answer, (error: unknown) => {
        if (!(error instanceof EtcdError)) this.#core.fail(error);
        done(SERVER_ERRORS.stopped, undefined);
      });
  }

  #announce(): void {
    const { ports, memberID, cluster } = this.#core;
    const version = cluster.version();
    ports.logger.info("starting etcd server", {
      "local-member-id": memberID.toString(16),
      "local-server-version": SERVER_VERSION,
      ...(version === undefined
        ? { "cluster-version": "to_be_decided" }
        : { "cluster-id": cluster.clusterID.toString(16), "cluster-version": version }),
    });
  }

  /** The only voter has nobody to wait for. */
  #standForElection(): void {
    const { cluster, memberID, ports, config, loop } = this.#core;
    const voters = cluster.votingMembers();
    const isAlone = voters.length === 1 && voters[0]!.id === memberID;
    if (!isAlone && !config.forceNewCluster) return;
    ports.logger.info("started as single-node; fast-forwarding election ticks", {
      "local-member-id": memberID.toString(16),
      "election-timeout": `${config.electionTimeoutMs}ms`,
    });
    loop.campaignWhenCaughtUp();
  }

  #startTasks(): void {
    const { config, ports, boot } = this.#core;
    const tasks = this.#tasks;
    tasks.every(LEASE_EXPIRY_INTERVAL_MS, () => this.#expiry.run());
    tasks.every(VERSION_INTERVAL_MS, () => this.#versions.updateClusterVersion());
    tasks.every(VERSION_INTERVAL_MS, () => this.#versions.updateStorageVersion());
    if (config.downgradeCheckMs > 0) {
      tasks.every(config.downgradeCheckMs, () => this.#versions.cancelDowngradeIfDone());
    }
    if (config.corruptCheckMs > 0) {
      tasks.every(config.corruptCheckMs, () => this.#checks.periodic());
    }
    if (config.compactHashCheckMs > 0) {
      tasks.every(config.compactHashCheckMs, () => this.#checks.compactHash());
    }
    tasks.every(PURGE_INTERVAL_MS, async () => {
      await boot.snapshotter.purge(config.snapshotFilesMax);
      await boot.wal.purge(config.walFilesMax);
    });
    startAutoCompaction(config.autoCompaction, {
      clock: ports.clock,
      logger: ports.logger,
      currentRevision: () => this.store.currentRevision,
      isLeader: () => this.#core.isLeader,
      compact: (revision, done) => {
        const request = { revision, physical: false };
        this.#core.proposeInternal({ kind: "compaction", request }, (error) => done(error));
      },
      every: (intervalMs, task) => tasks.every(intervalMs, task),
    });
  }

  #termBegan(): void {
    this.#tasks.after(0, () => this.#versions.updateClusterVersion());
  }

  #clusterVersionChanged(): void {
    this.#versions.reportClusterVersion();
    this.#tasks.after(0, () => this.#versions.updateStorageVersion());
  }

  /** Tells the cluster this member's name and client URLs, again and again until it is heard. */
  #publish(): void {
    const { memberID, config, ports, cluster, timeoutMs } = this.#core;
    const fields = {
      "local-member-id": memberID.toString(16),
      "local-member-attributes": `{Name:${config.name} ClientURLs:[${config.advertiseClientURLs.join(" ")}]}`,
      "publish-timeout": `${timeoutMs}ms`,
    };
    const request = {
      $typeName: "membershippb.ClusterMemberAttrSetRequest",
      memberID,
      memberAttributes: {
        $typeName: "membershippb.Attributes",
        name: config.name,
        clientUrls: [...config.advertiseClientURLs],
      },
    } satisfies ClusterMemberAttrSetRequest;
    this.#core.proposeInternal({ kind: "clusterMemberAttrSet", request }, (error) => {
      if (error === undefined) {
        ports.logger.info("published local member to cluster through raft", {
          ...fields,
          "cluster-id": cluster.clusterID.toString(16),
        });
        this.#settleReady.resolve();
      } else if (error === SERVER_ERRORS.stopped) {
        ports.logger.warn("stopped publish because server is stopping", fields);
        this.#settleReady.reject(error);
      } else {
        ports.logger.warn("failed to publish local member to cluster through raft", {
          ...fields,
          error: error.message,
        });
        this.#tasks.after(config.heartbeatIntervalMs, () => this.#publish());
      }
    });
  }

  async #stop(): Promise<void> {
    const { ports, boot, store } = this.#core;
    await this.#leadership.handOver();
    const tasks = this.#tasks.stop();
    await this.#core.stopLoop();
    // The next attempt to publish may have been a timer that is cancelled now.
    this.#settleReady.reject(SERVER_ERRORS.stopped);
    await tasks;
    await this.#snapshots.finish();
    await ports.transport?.stop();
    const { backend } = this.#core;
    const failures: unknown[] = [];
    for (const close of [() => store.close(), () => backend.close(), () => boot.wal.close()]) {
      // After a failure there is nothing left to save, only to let go.
      await close().catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0 && !this.#core.hasFailed) throw failures[0];
  }

  #removed(events: ServerEvents): void {
    void this.stop().then(
      () => events.onRemoved(),
      (error: Error) => events.onFatal(error),
    );
  }

  #failed(error: Error, events: ServerEvents): void {
    this.#settleReady.reject(SERVER_ERRORS.stopped);
    // What else fails at the stop follows from it.
    const tell = (): void => events.onFatal(error);
    void this.stop().then(tell, tell);
  }
}
