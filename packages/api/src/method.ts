/**
 * Every method of the client port: its path, its codecs, and where the JSON gateway binds it.
 *
 * Invariant: kinds and message types come from the service descriptors, and an entry whose path is
 * not its descriptor's fails, so the table cannot disagree with the proto files.
 */

import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { invariant, unreachable } from "@etcd-ts/base";
import type { Codec } from "@etcd-ts/base";

import { AlarmRequestCodec, AlarmResponseCodec } from "./codec/alarm.ts";
import { ClientTxnRequestCodec } from "./codec/client-txn.ts";
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
import { TxnResponseCodec } from "./codec/txn.ts";
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

/**
 * A method with the codecs given. Its generated descriptor is looked at when something of it is
 * asked for and not before: a program that makes one call does without most of them.
 */
class DescribedMethod<I, O> implements MethodDescriptor<I, O> {
  readonly service: string;
  readonly name: string;
  readonly path: string;
  readonly request: Codec<I>;
  readonly response: Codec<O>;
  readonly httpPaths: readonly string[];
  readonly #describe: () => DescMethod;
  #method: DescMethod | undefined;

  constructor(
    path: string,
    describe: () => DescMethod,
    request: Codec<I>,
    response: Codec<O>,
    httpPaths: readonly string[],
  ) {
    const slash = path.indexOf("/");
    this.service = path.slice(0, slash);
    this.name = path.slice(slash + 1);
    this.path = `/${path}`;
    this.request = request;
    this.response = response;
    this.httpPaths = httpPaths;
    this.#describe = describe;
  }

  /** @throws {InvariantError} if the table has it under another name than the proto file */
  get descriptor(): DescMethod {
    if (this.#method === undefined) {
      const method = this.#describe();
      const path = `/${method.parent.typeName}/${method.name}`;
      invariant(path === this.path, () => `METHODS: ${path} is filed as ${this.path}`);
      this.#method = method;
    }
    return this.#method;
  }

  get kind(): MethodKind {
    return kindOf(this.descriptor);
  }

  get requestSchema(): DescMessage {
    return this.descriptor.input;
  }

  get responseSchema(): DescMessage {
    return this.descriptor.output;
  }
}

/** A method whose messages have codecs by hand. */
function hot<I, O>(
  path: string,
  method: () => DescMethod,
  request: Codec<I>,
  response: Codec<O>,
  ...httpPaths: readonly string[]
): MethodDescriptor<I, O> {
  return new DescribedMethod(path, method, request, response, httpPaths);
}

/** A method whose messages are used as generated. */
function cold<I extends DescMessage, O extends DescMessage>(
  path: string,
  method: () => TypedMethod<I, O>,
  ...httpPaths: readonly string[]
): MethodDescriptor<MessageShape<I>, MessageShape<O>> {
  const request = generatedCodec(() => method().input);
  const response = generatedCodec(() => method().output);
  return new DescribedMethod(path, method, request, response, httpPaths);
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
  Range: hot(
    "etcdserverpb.KV/Range",
    () => KVService.method.range,
    RangeRequestCodec,
    RangeResponseCodec,
    "/v3/kv/range",
  ),
  Put: hot(
    "etcdserverpb.KV/Put",
    () => KVService.method.put,
    PutRequestCodec,
    PutResponseCodec,
    "/v3/kv/put",
  ),
  DeleteRange: hot(
    "etcdserverpb.KV/DeleteRange",
    () => KVService.method.deleteRange,
    DeleteRangeRequestCodec,
    DeleteRangeResponseCodec,
    "/v3/kv/deleterange",
  ),
  Txn: hot(
    "etcdserverpb.KV/Txn",
    () => KVService.method.txn,
    ClientTxnRequestCodec,
    TxnResponseCodec,
    "/v3/kv/txn",
  ),
  Compact: hot(
    "etcdserverpb.KV/Compact",
    () => KVService.method.compact,
    CompactionRequestCodec,
    CompactionResponseCodec,
    "/v3/kv/compaction",
  ),
} as const;

/** Changes as they happen. */
export const Watch = {
  Watch: hot(
    "etcdserverpb.Watch/Watch",
    () => WatchService.method.watch,
    WatchRequestCodec,
    WatchResponseCodec,
    "/v3/watch",
  ),
} as const;

/** Leases. */
export const Lease = {
  LeaseGrant: hot(
    "etcdserverpb.Lease/LeaseGrant",
    () => LeaseService.method.leaseGrant,
    LeaseGrantRequestCodec,
    LeaseGrantResponseCodec,
    "/v3/lease/grant",
  ),
  LeaseRevoke: hot(
    "etcdserverpb.Lease/LeaseRevoke",
    () => LeaseService.method.leaseRevoke,
    LeaseRevokeRequestCodec,
    LeaseRevokeResponseCodec,
    "/v3/lease/revoke",
    "/v3/kv/lease/revoke",
  ),
  LeaseKeepAlive: hot(
    "etcdserverpb.Lease/LeaseKeepAlive",
    () => LeaseService.method.leaseKeepAlive,
    LeaseKeepAliveRequestCodec,
    LeaseKeepAliveResponseCodec,
    "/v3/lease/keepalive",
  ),
  LeaseTimeToLive: cold(
    "etcdserverpb.Lease/LeaseTimeToLive",
    () => LeaseService.method.leaseTimeToLive,
    "/v3/lease/timetolive",
    "/v3/kv/lease/timetolive",
  ),
  LeaseLeases: cold(
    "etcdserverpb.Lease/LeaseLeases",
    () => LeaseService.method.leaseLeases,
    "/v3/lease/leases",
    "/v3/kv/lease/leases",
  ),
} as const;

/** Members. */
export const Cluster = {
  MemberAdd: cold(
    "etcdserverpb.Cluster/MemberAdd",
    () => ClusterService.method.memberAdd,
    "/v3/cluster/member/add",
  ),
  MemberRemove: cold(
    "etcdserverpb.Cluster/MemberRemove",
    () => ClusterService.method.memberRemove,
    "/v3/cluster/member/remove",
  ),
  MemberUpdate: cold(
    "etcdserverpb.Cluster/MemberUpdate",
    () => ClusterService.method.memberUpdate,
    "/v3/cluster/member/update",
  ),
  MemberList: cold(
    "etcdserverpb.Cluster/MemberList",
    () => ClusterService.method.memberList,
    "/v3/cluster/member/list",
  ),
  MemberPromote: cold(
    "etcdserverpb.Cluster/MemberPromote",
    () => ClusterService.method.memberPromote,
    "/v3/cluster/member/promote",
  ),
} as const;

/** Alarms, status, hashes, snapshots. */
export const Maintenance = {
  Alarm: hot(
    "etcdserverpb.Maintenance/Alarm",
    () => MaintenanceService.method.alarm,
    AlarmRequestCodec,
    AlarmResponseCodec,
    "/v3/maintenance/alarm",
  ),
  Status: cold(
    "etcdserverpb.Maintenance/Status",
    () => MaintenanceService.method.status,
    "/v3/maintenance/status",
  ),
  Defragment: cold(
    "etcdserverpb.Maintenance/Defragment",
    () => MaintenanceService.method.defragment,
    "/v3/maintenance/defragment",
  ),
  Hash: cold(
    "etcdserverpb.Maintenance/Hash",
    () => MaintenanceService.method.hash,
    "/v3/maintenance/hash",
  ),
  HashKV: cold(
    "etcdserverpb.Maintenance/HashKV",
    () => MaintenanceService.method.hashKV,
    "/v3/maintenance/hashkv",
  ),
  Snapshot: cold(
    "etcdserverpb.Maintenance/Snapshot",
    () => MaintenanceService.method.snapshot,
    "/v3/maintenance/snapshot",
  ),
  MoveLeader: cold(
    "etcdserverpb.Maintenance/MoveLeader",
    () => MaintenanceService.method.moveLeader,
    "/v3/maintenance/transfer-leadership",
  ),
  Downgrade: cold(
    "etcdserverpb.Maintenance/Downgrade",
    () => MaintenanceService.method.downgrade,
    "/v3/maintenance/downgrade",
  ),
} as const;

/** Users and roles. */
export const Auth = {
  AuthEnable: cold(
    "etcdserverpb.Auth/AuthEnable",
    () => AuthService.method.authEnable,
    "/v3/auth/enable",
  ),
  AuthDisable: cold(
    "etcdserverpb.Auth/AuthDisable",
    () => AuthService.method.authDisable,
    "/v3/auth/disable",
  ),
  AuthStatus: cold(
    "etcdserverpb.Auth/AuthStatus",
    () => AuthService.method.authStatus,
    "/v3/auth/status",
  ),
  Authenticate: cold(
    "etcdserverpb.Auth/Authenticate",
    () => AuthService.method.authenticate,
    "/v3/auth/authenticate",
  ),
  UserAdd: cold("etcdserverpb.Auth/UserAdd", () => AuthService.method.userAdd, "/v3/auth/user/add"),
  UserGet: cold("etcdserverpb.Auth/UserGet", () => AuthService.method.userGet, "/v3/auth/user/get"),
  UserList: cold(
    "etcdserverpb.Auth/UserList",
    () => AuthService.method.userList,
    "/v3/auth/user/list",
  ),
  UserDelete: cold(
    "etcdserverpb.Auth/UserDelete",
    () => AuthService.method.userDelete,
    "/v3/auth/user/delete",
  ),
  UserChangePassword: cold(
    "etcdserverpb.Auth/UserChangePassword",
    () => AuthService.method.userChangePassword,
    "/v3/auth/user/changepw",
  ),
  UserGrantRole: cold(
    "etcdserverpb.Auth/UserGrantRole",
    () => AuthService.method.userGrantRole,
    "/v3/auth/user/grant",
  ),
  UserRevokeRole: cold(
    "etcdserverpb.Auth/UserRevokeRole",
    () => AuthService.method.userRevokeRole,
    "/v3/auth/user/revoke",
  ),
  RoleAdd: cold("etcdserverpb.Auth/RoleAdd", () => AuthService.method.roleAdd, "/v3/auth/role/add"),
  RoleGet: cold("etcdserverpb.Auth/RoleGet", () => AuthService.method.roleGet, "/v3/auth/role/get"),
  RoleList: cold(
    "etcdserverpb.Auth/RoleList",
    () => AuthService.method.roleList,
    "/v3/auth/role/list",
  ),
  RoleDelete: cold(
    "etcdserverpb.Auth/RoleDelete",
    () => AuthService.method.roleDelete,
    "/v3/auth/role/delete",
  ),
  RoleGrantPermission: cold(
    "etcdserverpb.Auth/RoleGrantPermission",
    () => AuthService.method.roleGrantPermission,
    "/v3/auth/role/grant",
  ),
  RoleRevokePermission: cold(
    "etcdserverpb.Auth/RoleRevokePermission",
    () => AuthService.method.roleRevokePermission,
    "/v3/auth/role/revoke",
  ),
} as const;

/** Leader election on keys. */
export const Election = {
  Campaign: cold(
    "v3electionpb.Election/Campaign",
    () => ElectionService.method.campaign,
    "/v3/election/campaign",
  ),
  Proclaim: cold(
    "v3electionpb.Election/Proclaim",
    () => ElectionService.method.proclaim,
    "/v3/election/proclaim",
  ),
  Leader: cold(
    "v3electionpb.Election/Leader",
    () => ElectionService.method.leader,
    "/v3/election/leader",
  ),
  Observe: cold(
    "v3electionpb.Election/Observe",
    () => ElectionService.method.observe,
    "/v3/election/observe",
  ),
  Resign: cold(
    "v3electionpb.Election/Resign",
    () => ElectionService.method.resign,
    "/v3/election/resign",
  ),
} as const;

/** Locks on keys. */
export const Lock = {
  Lock: cold("v3lockpb.Lock/Lock", () => LockService.method.lock, "/v3/lock/lock"),
  Unlock: cold("v3lockpb.Lock/Unlock", () => LockService.method.unlock, "/v3/lock/unlock"),
} as const;

/** The health service of gRPC; the gateway has no paths for it. */
export const Health = {
  Check: cold("grpc.health.v1.Health/Check", () => HealthService.method.check),
  List: cold("grpc.health.v1.Health/List", () => HealthService.method.list),
  Watch: cold("grpc.health.v1.Health/Watch", () => HealthService.method.watch),
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
