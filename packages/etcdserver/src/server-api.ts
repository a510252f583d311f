/**
 * What the outside sees of one member: its configuration, the ports it runs on, the shapes its
 * operations take and give, and the facts it tells about itself.
 *
 * Rules that hold for every operation:
 * - `done` is called exactly once, never before the operation returned to its caller, always from
 *   the turn that settled it, and never with both arguments set.
 * - An error that reaches `done` is one of `SERVER_ERRORS` or `RPC_ERRORS` wherever etcd has one.
 * - A write is acknowledged only after its log entry is durable.
 * - Top-level responses carry a complete header (cluster, member, revision, term). The responses
 *   inside a `TxnResponse` carry a header with nothing but the revision.
 *
 * Over 500 lines because it is the whole surface of a member.
 */

import type { Clock, Disk, EtcdError, Logger, Metrics, Random, WireWriter } from "@etcd-ts/base";
import type {
  AlarmMember,
  AlarmRequest,
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  EncodedChunks,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  ResponseHeader,
  TxnRequest,
  TxnResponse,
} from "@etcd-ts/api";
import type { Message } from "@etcd-ts/raft";
import type { BackendSnapshot, HashKey, MvccStore } from "@etcd-ts/storage";

import type { AuthOperation, AuthResult } from "./auth/auth-store.ts";
import type { AuthPorts } from "./auth/ports.ts";

/** Tells the outcome of an operation: an error, or else the result. */
export type Completion<T> = (error: EtcdError | undefined, result: T | undefined) => void;

/** Who asks, and until when the answer matters. */
export interface RequestContext {
  readonly auth: AuthClaim | undefined;
  /** On `Clock.monotonicMs`; the transport ends the call itself, the server only stops early. */
  readonly deadlineMs: number | undefined;
}

/** Who a caller says it is, before that is looked into. */
export type AuthClaim =
  | { readonly kind: "token"; readonly token: string }
  /** The common name of a client certificate the transport has verified. */
  | { readonly kind: "certificate"; readonly commonName: string }
  /** The member itself, which may do what root may. */
  | { readonly kind: "member" };

/** Who a caller is, and the revision of the auth store that was true for. */
export interface AuthIdentity {
  readonly username: string;
  readonly authRevision: number;
}

/** The context of work the member starts itself. */
export const INTERNAL_CONTEXT: RequestContext = { auth: undefined, deadlineMs: undefined };

/** The same with the rights of root. */
export const ROOT_CONTEXT: RequestContext = { auth: { kind: "member" }, deadlineMs: undefined };

export interface ServerPorts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Undefined for a cluster of one: nothing is ever sent. */
  readonly transport?: PeerTransport | undefined;
  /** Undefined for a cluster of one: nobody is there to be asked. */
  readonly questions?: PeerQuestions | undefined;
  /** Where members of a new cluster find each other; undefined: the configuration names them. */
  readonly discovery?: Discovery | undefined;
  /** Secret of the hash table of keys; undefined: a fixed one, so that a simulation repeats. */
  readonly hashKey?: HashKey | undefined;
  /** Undefined: users have no passwords, and there are no tokens. */
  readonly auth?: AuthPorts | undefined;
}

/**
 * Enters a member of a new cluster in a registry, and waits until all of them are there.
 *
 * @param self - the member as `name=url,name=url`
 * @returns all members, in the same form
 */
export type Discovery = (memberID: bigint, self: string) => Promise<string>;

export type AutoCompaction =
  | { readonly mode: "off" }
  /** Keeps the revisions of the last `retentionMs`. */
  | { readonly mode: "periodic"; readonly retentionMs: number }
  /** Keeps the last `retentionRevisions`. */
  | { readonly mode: "revision"; readonly retentionRevisions: number };

/** Every setting of a member; `defaultServerConfig` fills in etcd's defaults. */
export interface ServerConfig {
  readonly name: string;
  readonly dataDirectory: string;
  /** Undefined: `<dataDirectory>/member/wal`. */
  readonly walDirectory: string | undefined;
  /** Members of a new cluster by name, this one included. */
  readonly initialCluster: ReadonlyMap<string, readonly string[]>;
  readonly initialClusterToken: string;
  readonly initialClusterState: "new" | "existing";
  readonly forceNewCluster: boolean;
  readonly advertiseClientURLs: readonly string[];
  readonly advertisePeerURLs: readonly string[];
  readonly heartbeatIntervalMs: number;
  readonly electionTimeoutMs: number;
  readonly initialElectionTickAdvance: boolean;
  readonly preVote: boolean;
  readonly snapshotCount: number;
  readonly snapshotCatchUpEntries: number;
  /** 0 keeps all. */
  readonly snapshotFilesMax: number;
  readonly walFilesMax: number;
  readonly quotaBackendBytes: number;
  readonly maxTxnOps: number;
  readonly maxRequestBytes: number;
  readonly maxLearners: number;
  readonly strictReconfigCheck: boolean;
  readonly autoCompaction: AutoCompaction;
  readonly compactionBatchLimit: number;
  readonly compactionSleepMs: number;
  readonly backendBatchIntervalMs: number;
  readonly backendBatchLimit: number;
  readonly backendCacheBytesMax: number;
  readonly backendPageBytes: number | undefined;
  /** Defragments at boot when at least this much is free; 0 never does. */
  readonly bootstrapDefragThresholdBytes: number;
  readonly unsafeNoFsync: boolean;
  readonly warningApplyDurationMs: number;
  readonly leaseCheckpoint: boolean;
  readonly leaseCheckpointPersist: boolean;
  readonly leaseCheckpointIntervalMs: number;
  readonly downgradeCheckMs: number;
  /** Compares data with other members before a member that has data takes part. */
  readonly initialCorruptCheck: boolean;
  /** 0 never compares. */
  readonly corruptCheckMs: number;
  /** 0 never compares. */
  readonly compactHashCheckMs: number;
  readonly walSegmentBytes: number | undefined;
}

/** etcd's defaults for all but the identity of the member. */
export function defaultServerConfig(
  own: Pick<ServerConfig, "name" | "dataDirectory"> & Partial<ServerConfig>,
): ServerConfig {
  const peerURLs = own.advertisePeerURLs ?? ["http://localhost:2380"];
  return {
    walDirectory: undefined,
    initialCluster: new Map([[own.name, peerURLs]]),
    initialClusterToken: "etcd-cluster",
    initialClusterState: "new",
    forceNewCluster: false,
    advertiseClientURLs: ["http://localhost:2379"],
    advertisePeerURLs: peerURLs,
    heartbeatIntervalMs: 100,
    electionTimeoutMs: 1000,
    initialElectionTickAdvance: true,
    preVote: true,
    snapshotCount: 10_000,
    snapshotCatchUpEntries: 5_000,
    snapshotFilesMax: 5,
    walFilesMax: 5,
    quotaBackendBytes: 0,
    maxTxnOps: 128,
    maxRequestBytes: 1.5 * 1024 * 1024,
    maxLearners: 1,
    strictReconfigCheck: true,
    autoCompaction: { mode: "off" },
    compactionBatchLimit: 1000,
    compactionSleepMs: 10,
    backendBatchIntervalMs: 100,
    backendBatchLimit: 10_000,
    backendCacheBytesMax: 64 * 1024 * 1024,
    backendPageBytes: undefined,
    bootstrapDefragThresholdBytes: 0,
    unsafeNoFsync: false,
    warningApplyDurationMs: 100,
    leaseCheckpoint: false,
    leaseCheckpointPersist: false,
    leaseCheckpointIntervalMs: 5 * 60_000,
    downgradeCheckMs: 5_000,
    initialCorruptCheck: false,
    corruptCheckMs: 0,
    compactHashCheckMs: 0,
    walSegmentBytes: undefined,
    ...own,
  };
}

/** How long a proposal may take: 5 s for the disk and the queue, and two elections. */
export function requestTimeoutMs(config: Pick<ServerConfig, "electionTimeoutMs">): number {
  return 5_000 + 2 * config.electionTimeoutMs;
}

/**
 * The way to other members. Sending never blocks and never fails: what cannot be sent is dropped,
 * and raft sends again.
 */
export interface PeerTransport {
  start(inbound: PeerInbound): void;
  send(messages: readonly Message[]): void;
  /**
   * Sends a `MsgSnap` with the database it belongs to; the outcome is reported to raft, and the
   * image is closed, whatever becomes of it.
   */
  sendSnapshot(message: Message, image: SnapshotImage): void;
  /** Somebody who may send messages although raft does not know of it yet. */
  addRemote(id: bigint, peerURLs: readonly string[]): void;
  addPeer(id: bigint, peerURLs: readonly string[]): void;
  updatePeer(id: bigint, peerURLs: readonly string[]): void;
  removePeer(id: bigint): void;
  /** When the connection to `id` was last made, on `Clock.monotonicMs`; undefined: it is down. */
  activeSinceMs(id: bigint): number | undefined;
  /**
   * Whether what is sent to `id` now may arrive: false only if nothing can be connected there.
   * Left out where that is not known.
   */
  isReachable?(id: bigint): boolean;
  /** The server version a member tells, and the cluster version it believes in. */
  versionOf(id: bigint): Promise<{ server: string; cluster: string } | undefined>;
  stop(): Promise<void>;
}

/** A database that is read once. `BackendSnapshot` is one. */
export interface SnapshotImage {
  readonly sizeBytes: number;
  /** Exactly `sizeBytes`, in chunks that belong to the caller. */
  chunks(): AsyncIterable<Uint8Array>;
  close(): void;
}

/** A cluster as one of its members tells it. */
export interface RemoteClusterInfo {
  readonly clusterID: bigint;
  readonly members: readonly MemberInfo[];
}

/**
 * What a member asks of others beside raft, at their peer URLs. Usable before the transport is
 * started. What etcd has an error for is thrown as that error, anything else as an `EtcdError`.
 */
export interface PeerQuestions {
  /**
   * The cluster as the first of `peerURLs` that answers knows it.
   *
   * @param isQuiet - URLs that do not answer are nothing to tell the log
   */
  clusterOf(
    peerURLs: readonly string[],
    options: { readonly timeoutMs: number; readonly isQuiet: boolean },
  ): Promise<RemoteClusterInfo>;
  /** Undefined if none of the URLs gives an answer. */
  versionAt(
    memberID: bigint,
    peerURLs: readonly string[],
    timeoutMs: number,
  ): Promise<{ readonly server: string; readonly cluster: string } | undefined>;
  /** Undefined if none of the URLs gives an answer. */
  downgradeEnabledAt(
    memberID: bigint,
    peerURLs: readonly string[],
    timeoutMs: number,
  ): Promise<boolean | undefined>;
  /** @returns the granted TTL in seconds */
  renewLease(peerURL: string, id: bigint, timeoutMs: number): Promise<number>;
  leaseTimeToLive(
    peerURL: string,
    request: { readonly id: bigint; readonly withKeys: boolean },
    timeoutMs: number,
  ): Promise<LeaseTimeToLiveResult>;
  /** @returns the members after it */
  promoteMember(
    peerURL: string,
    request: { readonly id: bigint; readonly token: string | undefined },
    timeoutMs: number,
  ): Promise<readonly MemberInfo[]>;
  hashKV(
    peerURL: string,
    request: { readonly clusterID: bigint; readonly revision: number },
    timeoutMs: number,
  ): Promise<HashKVResult>;
}

/** What a transport hands to the member. */
export interface PeerInbound {
  /** A message from a peer; refused if it comes from a removed member. */
  step(message: Message): void;
  isIDRemoved(id: bigint): boolean;
  reportUnreachable(id: bigint): void;
  reportSnapshot(id: bigint, status: "finish" | "failure"): void;
}

/** A member as clients see it. */
export interface MemberInfo {
  readonly id: bigint;
  readonly name: string;
  readonly peerURLs: readonly string[];
  readonly clientURLs: readonly string[];
  readonly isLearner: boolean;
}

export interface MemberListResult {
  readonly members: readonly MemberInfo[];
}

export interface MemberChangeResult extends MemberListResult {
  /** The one added, promoted or updated; undefined after a removal. */
  readonly member: MemberInfo | undefined;
}

export interface LeaseTimeToLiveResult {
  readonly id: bigint;
  /** -1 if there is no such lease. */
  readonly ttlSeconds: number;
  readonly grantedTTLSeconds: number;
  /** In byte order; empty unless asked for. */
  readonly keys: readonly Uint8Array[];
}

export interface DowngradeOperation {
  /** 0 validate, 1 enable, 2 cancel; anything else is refused as an unknown method. */
  readonly action: number;
  readonly version: string;
}

export interface HashKVResult {
  readonly hash: number;
  readonly hashRevision: number;
  readonly compactRevision: number;
  readonly currentRevision: number;
}

/** `Maintenance.Status`, without the header. */
export interface StatusResult {
  readonly version: string;
  readonly storageVersion: string;
  readonly dbSizeBytes: number;
  readonly dbSizeInUseBytes: number;
  /** The effective quota, 2 GiB by default. */
  readonly dbSizeQuotaBytes: number;
  readonly leaderID: bigint;
  readonly raftIndex: number;
  readonly raftTerm: number;
  readonly raftAppliedIndex: number;
  readonly isLearner: boolean;
  readonly errors: readonly string[];
  readonly downgrade: { readonly enabled: boolean; readonly targetVersion: string };
}

/** What a member knows about itself now; cheap to ask. */
export interface ServerFacts {
  readonly memberID: bigint;
  readonly clusterID: bigint;
  /** 0n: none. */
  readonly leaderID: bigint;
  readonly isLeader: boolean;
  readonly isLearner: boolean;
  readonly raftTerm: number;
  readonly committedIndex: number;
  readonly appliedIndex: number;
  readonly currentRevision: number;
  /** "3.6.0"; undefined until the first leader decided it. */
  readonly clusterVersion: string | undefined;
}

/** What ends a member for good. */
export interface ServerEvents {
  /** The log or the backend failed, or an entry could not be applied: nothing more is answered. */
  readonly onFatal: (error: Error) => void;
  /** The member applied its own removal and stopped. */
  readonly onRemoved: () => void;
}

/** A RangeResponse that was encoded as it was read, header and all. */
export interface EncodedRangeResponse {
  readonly message: EncodedChunks;
  /** Its `count`. */
  readonly count: number;
}

/** Everything a member can be asked. `EtcdServer` is the implementation. */
/** Reads of single keys at the newest revision of local state, in the turn of the caller. */
export interface KeyReads {
  /** Whether any caller may read any key now; if not, reads go through `range`. */
  readonly isOpenToAll: boolean;
  /** Begins a row of reads. @returns the time on the server's clock */
  begin(): number;
  /**
   * Appends the RangeResponse for the key `bytes[start, end)`.
   *
   * @returns the time on the server's clock when it was done
   */
  read(writer: WireWriter, bytes: Uint8Array, start: number, end: number): number;
}

export interface ServerOperations {
  /** Complete as of now, with the given revision; 0 is left out on the wire. */
  responseHeader(revision: number): ResponseHeader;
  facts(): ServerFacts;

  range(request: RangeRequest, context: RequestContext, done: Completion<RangeResponse>): void;
  /** The same, ready to be sent: for ranges that may hold many pairs. */
  rangeEncoded(
    request: RangeRequest,
    context: RequestContext,
    done: Completion<EncodedRangeResponse>,
  ): void;
  put(request: PutRequest, context: RequestContext, done: Completion<PutResponse>): void;
  deleteRange(
    request: DeleteRangeRequest,
    context: RequestContext,
    done: Completion<DeleteRangeResponse>,
  ): void;
  txn(request: TxnRequest, context: RequestContext, done: Completion<TxnResponse>): void;
  compact(
    request: CompactionRequest,
    context: RequestContext,
    done: Completion<CompactionResponse>,
  ): void;
  /** Reads of single keys, many in a row. */
  readonly keyReads: KeyReads;
  /** Settles once a read of local state would be linearizable. */
  linearizableRead(context: RequestContext, done: Completion<void>): void;
  /** For watch streams. */
  readonly store: MvccStore;

  leaseGrant(
    request: LeaseGrantRequest,
    context: RequestContext,
    done: Completion<LeaseGrantResponse>,
  ): void;
  leaseRevoke(
    request: LeaseRevokeRequest,
    context: RequestContext,
    done: Completion<LeaseRevokeResponse>,
  ): void;
  /** The granted TTL in seconds; `SERVER_ERRORS.leaseNotFound` becomes TTL 0 in the RPC. */
  leaseRenew(id: bigint, context: RequestContext, done: Completion<number>): void;
  leaseTimeToLive(
    id: bigint,
    withKeys: boolean,
    context: RequestContext,
    done: Completion<LeaseTimeToLiveResult>,
  ): void;
  /** Ids in order of expiry. */
  leaseLeases(context: RequestContext, done: Completion<readonly bigint[]>): void;

  memberList(
    linearizable: boolean,
    context: RequestContext,
    done: Completion<MemberListResult>,
  ): void;
  memberAdd(
    peerURLs: readonly string[],
    isLearner: boolean,
    context: RequestContext,
    done: Completion<MemberChangeResult>,
  ): void;
  memberRemove(id: bigint, context: RequestContext, done: Completion<MemberChangeResult>): void;
  memberUpdate(
    id: bigint,
    peerURLs: readonly string[],
    context: RequestContext,
    done: Completion<MemberChangeResult>,
  ): void;
  memberPromote(id: bigint, context: RequestContext, done: Completion<MemberChangeResult>): void;

  alarm(
    request: AlarmRequest,
    context: RequestContext,
    done: Completion<readonly AlarmMember[]>,
  ): void;
  status(context: RequestContext, done: Completion<StatusResult>): void;
  /** The same for the member's own use. */
  currentStatus(): StatusResult;
  /** The alarms this member knows of, without asking others. */
  activeAlarms(): readonly AlarmMember[];
  /** CRC-32C over the whole backend. */
  hash(context: RequestContext, done: Completion<number>): void;
  hashKV(revision: number, context: RequestContext, done: Completion<HashKVResult>): void;
  /** @param begin - called before it starts, if the caller may */
  defragment(context: RequestContext, begin: () => void, done: Completion<void>): void;
  /** Storage version as text ("" if unknown), and the image of the backend. */
  snapshot(context: RequestContext): Promise<{ version: string; image: BackendSnapshot }>;
  moveLeader(targetID: bigint, context: RequestContext, done: Completion<void>): void;
  /** The cluster version as `X.Y`, for the response. */
  downgrade(
    request: DowngradeOperation,
    context: RequestContext,
    done: Completion<{ readonly version: string }>,
  ): void;

  readonly isAuthEnabled: boolean;
  /** A call of the Auth service; passwords in it are hashed before they go anywhere. */
  authCall(
    operation: AuthCallOperation,
    context: RequestContext,
    done: Completion<AuthResponse>,
  ): void;
  /** A token for a user who knows the password. */
  authenticate(
    credentials: { readonly name: string; readonly password: string },
    done: Completion<AuthTokenResponse>,
  ): void;
  /** Asks on behalf of a watch; maybe settles before it returns, so that requests keep order. */
  watchPermit(
    range: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array },
    context: RequestContext,
    done: Completion<WatchPermit>,
  ): void;
}

/** What the Auth service asks for, but for Authenticate. */
export type AuthCallOperation = Exclude<AuthOperation, { readonly kind: "authenticate" }>;

export interface AuthResponse {
  /** Of the store when the operation was applied, and nothing else. */
  readonly header: ResponseHeader;
  readonly result: AuthResult;
}

export interface AuthTokenResponse {
  readonly header: ResponseHeader;
  readonly token: string;
}

/** The permission to watch a range; it may be lost while the watch goes on. */
export interface WatchPermit {
  /** Undefined while the watch may go on; cheap as long as no user or role changes. */
  refusal(): EtcdError | undefined;
}
