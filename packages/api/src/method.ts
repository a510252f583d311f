/**
 * Every method of the client port: its path, its codecs, and where the JSON gateway binds it.
 *
 * Invariant: kinds and message types come from the service descriptors, so a table entry cannot
 * disagree with the proto files.
 */

import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { unreachable } from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";

import { AlarmRequestCodec, AlarmResponseCodec } from "./codec/alarm.ts";
import { generatedCodec } from "./codec/generated-codec.ts";
import {
  CompactionRequestCodec,
  CompactionResponseCodec,
  DeleteRangeRequestCodec,
  DeleteRangeResponseCodec,
  PutRequestCodec,
  PutResponseCodec,
  RangeRequestCodec,
  RangeResponseCodec,
} from "./codec/kv.ts";
import {
  LeaseGrantRequestCodec,
  LeaseGrantResponseCodec,
  LeaseKeepAliveRequestCodec,
  LeaseKeepAliveResponseCodec,
  LeaseRevokeRequestCodec,
  LeaseRevokeResponseCodec,
} from "./codec/lease.ts";
import { TxnRequestCodec, TxnResponseCodec } from "./codec/txn.ts";
import { WatchRequestCodec, WatchResponseCodec } from "./codec/watch.ts";
import {
  Auth as AuthService,
  Cluster as ClusterService,
  KV as KVService,
  Lease as LeaseService,
  Maintenance as MaintenanceService,
  Watch as WatchService,
} from "./gen/etcdserverpb/rpc_pb.ts";
import { Health as HealthService } from "./gen/grpc/health/v1/health_pb.ts";
import { Election as ElectionService } from "./gen/v3electionpb/v3election_pb.ts";
import { Lock as LockService } from "./gen/v3lockpb/v3lock_pb.ts";

export type MethodKind = "unary" | "serverStream" | "clientStream" | "bidi";

/** One method. `I` and `O` are what handlers and callers see. */
export interface MethodDescriptor<I = unknown, O = unknown> {
  /** With its package: `etcdserverpb.KV`. */
  readonly service: string;
  readonly name: string;
  /** Of the gRPC request: `/etcdserverpb.KV/Range`. */
  readonly path: string;
  readonly kind: MethodKind;
  readonly request: Codec<I>;
  readonly response: Codec<O>;
  /** Generated descriptors of the same messages, for the JSON mapping. */
  readonly requestSchema: DescMessage;
  readonly responseSchema: DescMessage;
  /** Each bound to POST with a JSON body; empty if the gateway does not have the method. */
  readonly httpPaths: readonly string[];
}

type TypedMethod<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly input: I;
  readonly output: O;
};

/** A method whose messages have codecs by hand. */
function hot<I, O>(
  method: DescMethod,
  request: Codec<I>,
  response: Codec<O>,
  ...httpPaths: readonly string[]
): MethodDescriptor<I, O> {
  return {
    service: method.parent.typeName,
    name: method.name,
    path: `/${method.parent.typeName}/${method.name}`,
    kind: kindOf(method),
    request,
    response,
    requestSchema: method.input,
    responseSchema: method.output,
    httpPaths,
  };
}

/** A method whose messages are used as generated. */
function cold<I extends DescMessage, O extends DescMessage>(
  method: TypedMethod<I, O>,
  ...httpPaths: readonly string[]
): MethodDescriptor<MessageShape<I>, MessageShape<O>> {
  return hot(method, generatedCodec(method.input), generatedCodec(method.output), ...httpPaths);
}

function kindOf(method: DescMethod): MethodKind {
  const kind = method.methodKind;
  switch (kind) {
    case "unary":
      return "unary";
    case "server_streaming":
      return "serverStream";
    case "client_streaming":
      return "clientStream";
    case "bidi_streaming":
      return "bidi";
    default:
      return unreachable(kind, "kindOf");
  }
}

/** Keys and transactions. */
export const KV = {
  Range: hot(KVService.method.range, RangeRequestCodec, RangeResponseCodec, "/v3/kv/range"),
  Put: hot(KVService.method.put, PutRequestCodec, PutResponseCodec, "/v3/kv/put"),
  DeleteRange: hot(
    KVService.method.deleteRange,
    DeleteRangeRequestCodec,
    DeleteRangeResponseCodec,
    "/v3/kv/deleterange",
  ),
  Txn: hot(KVService.method.txn, TxnRequestCodec, TxnResponseCodec, "/v3/kv/txn"),
  Compact: hot(
    KVService.method.compact,
    CompactionRequestCodec,
    CompactionResponseCodec,
    "/v3/kv/compaction",
  ),
} as const;

/** Changes as they happen. */
export const Watch = {
  Watch: hot(WatchService.method.watch, WatchRequestCodec, WatchResponseCodec, "/v3/watch"),
} as const;

/** Leases. */
export const Lease = {
  LeaseGrant: hot(
    LeaseService.method.leaseGrant,
    LeaseGrantRequestCodec,
    LeaseGrantResponseCodec,
    "/v3/lease/grant",
  ),
  LeaseRevoke: hot(
    LeaseService.method.leaseRevoke,
    LeaseRevokeRequestCodec,
    LeaseRevokeResponseCodec,
    "/v3/lease/revoke",
    "/v3/kv/lease/revoke",
  ),
  LeaseKeepAlive: hot(
    LeaseService.method.leaseKeepAlive,
    LeaseKeepAliveRequestCodec,
    LeaseKeepAliveResponseCodec,
    "/v3/lease/keepalive",
  ),
  LeaseTimeToLive: cold(
    LeaseService.method.leaseTimeToLive,
    "/v3/lease/timetolive",
    "/v3/kv/lease/timetolive",
  ),
  LeaseLeases: cold(LeaseService.method.leaseLeases, "/v3/lease/leases", "/v3/kv/lease/leases"),
} as const;

/** Members. */
export const Cluster = {
  MemberAdd: cold(ClusterService.method.memberAdd, "/v3/cluster/member/add"),
  MemberRemove: cold(ClusterService.method.memberRemove, "/v3/cluster/member/remove"),
  MemberUpdate: cold(ClusterService.method.memberUpdate, "/v3/cluster/member/update"),
  MemberList: cold(ClusterService.method.memberList, "/v3/cluster/member/list"),
  MemberPromote: cold(ClusterService.method.memberPromote, "/v3/cluster/member/promote"),
} as const;

/** Alarms, status, hashes, snapshots. */
export const Maintenance = {
  Alarm: hot(
    MaintenanceService.method.alarm,
    AlarmRequestCodec,
    AlarmResponseCodec,
    "/v3/maintenance/alarm",
  ),
  Status: cold(MaintenanceService.method.status, "/v3/maintenance/status"),
  Defragment: cold(MaintenanceService.method.defragment, "/v3/maintenance/defragment"),
  Hash: cold(MaintenanceService.method.hash, "/v3/maintenance/hash"),
  HashKV: cold(MaintenanceService.method.hashKV, "/v3/maintenance/hashkv"),
  Snapshot: cold(MaintenanceService.method.snapshot, "/v3/maintenance/snapshot"),
  MoveLeader: cold(MaintenanceService.method.moveLeader, "/v3/maintenance/transfer-leadership"),
  Downgrade: cold(MaintenanceService.method.downgrade, "/v3/maintenance/downgrade"),
} as const;

/** Users and roles. */
export const Auth = {
  AuthEnable: cold(AuthService.method.authEnable, "/v3/auth/enable"),
  AuthDisable: cold(AuthService.method.authDisable, "/v3/auth/disable"),
  AuthStatus: cold(AuthService.method.authStatus, "/v3/auth/status"),
  Authenticate: cold(AuthService.method.authenticate, "/v3/auth/authenticate"),
  UserAdd: cold(AuthService.method.userAdd, "/v3/auth/user/add"),
  UserGet: cold(AuthService.method.userGet, "/v3/auth/user/get"),
  UserList: cold(AuthService.method.userList, "/v3/auth/user/list"),
  UserDelete: cold(AuthService.method.userDelete, "/v3/auth/user/delete"),
  UserChangePassword: cold(AuthService.method.userChangePassword, "/v3/auth/user/changepw"),
  UserGrantRole: cold(AuthService.method.userGrantRole, "/v3/auth/user/grant"),
  UserRevokeRole: cold(AuthService.method.userRevokeRole, "/v3/auth/user/revoke"),
  RoleAdd: cold(AuthService.method.roleAdd, "/v3/auth/role/add"),
  RoleGet: cold(AuthService.method.roleGet, "/v3/auth/role/get"),
  RoleList: cold(AuthService.method.roleList, "/v3/auth/role/list"),
  RoleDelete: cold(AuthService.method.roleDelete, "/v3/auth/role/delete"),
  RoleGrantPermission: cold(AuthService.method.roleGrantPermission, "/v3/auth/role/grant"),
  RoleRevokePermission: cold(AuthService.method.roleRevokePermission, "/v3/auth/role/revoke"),
} as const;

/** Leader election on keys. */
export const Election = {
  Campaign: cold(ElectionService.method.campaign, "/v3/election/campaign"),
  Proclaim: cold(ElectionService.method.proclaim, "/v3/election/proclaim"),
  Leader: cold(ElectionService.method.leader, "/v3/election/leader"),
  Observe: cold(ElectionService.method.observe, "/v3/election/observe"),
  Resign: cold(ElectionService.method.resign, "/v3/election/resign"),
} as const;

/** Locks on keys. */
export const Lock = {
  Lock: cold(LockService.method.lock, "/v3/lock/lock"),
  Unlock: cold(LockService.method.unlock, "/v3/lock/unlock"),
} as const;

/** The health service of gRPC; the gateway has no paths for it. */
export const Health = {
  Check: cold(HealthService.method.check),
  List: cold(HealthService.method.list),
  Watch: cold(HealthService.method.watch),
} as const;

/** All of them. */
export const METHODS: readonly MethodDescriptor[] = [
  ...Object.values(KV),
  ...Object.values(Watch),
  ...Object.values(Lease),
  ...Object.values(Cluster),
  ...Object.values(Maintenance),
  ...Object.values(Auth),
  ...Object.values(Election),
  ...Object.values(Lock),
  ...Object.values(Health),
];
