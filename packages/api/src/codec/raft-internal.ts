/**
 * etcdserverpb.InternalRaftRequest: what a normal log entry carries, one request and who asked.
 *
 * On the wire every request has a field of its own; etcd sets one of them. Here that is a union, so
 * that a `switch` over it is exhaustive. Should an entry ever carry several, the lowest field
 * number counts.
 *
 * Invariant: fields are written in number order, the header (100) between the requests of keys and
 * leases and those of auth and membership (1000 and up).
 */

import { WIRE_VARINT } from "@etcd-ts/base";
import type { Codec, WireReader, WireWriter } from "@etcd-ts/base";

import { RequestSchema } from "../gen/etcdserverpb/etcdserver_pb.ts";
import type { Request } from "../gen/etcdserverpb/etcdserver_pb.ts";
import { InternalAuthenticateRequestSchema } from "../gen/etcdserverpb/raft_internal_pb.ts";
import type { InternalAuthenticateRequest } from "../gen/etcdserverpb/raft_internal_pb.ts";
import {
  AuthDisableRequestSchema,
  AuthEnableRequestSchema,
  AuthRoleAddRequestSchema,
  AuthRoleDeleteRequestSchema,
  AuthRoleGetRequestSchema,
  AuthRoleGrantPermissionRequestSchema,
  AuthRoleListRequestSchema,
  AuthRoleRevokePermissionRequestSchema,
  AuthStatusRequestSchema,
  AuthUserAddRequestSchema,
  AuthUserChangePasswordRequestSchema,
  AuthUserDeleteRequestSchema,
  AuthUserGetRequestSchema,
  AuthUserGrantRoleRequestSchema,
  AuthUserListRequestSchema,
  AuthUserRevokeRoleRequestSchema,
  DowngradeVersionTestRequestSchema,
} from "../gen/etcdserverpb/rpc_pb.ts";
import type {
  AuthDisableRequest,
  AuthEnableRequest,
  AuthRoleAddRequest,
  AuthRoleDeleteRequest,
  AuthRoleGetRequest,
  AuthRoleGrantPermissionRequest,
  AuthRoleListRequest,
  AuthRoleRevokePermissionRequest,
  AuthStatusRequest,
  AuthUserAddRequest,
  AuthUserChangePasswordRequest,
  AuthUserDeleteRequest,
  AuthUserGetRequest,
  AuthUserGrantRoleRequest,
  AuthUserListRequest,
  AuthUserRevokeRoleRequest,
  DowngradeVersionTestRequest,
} from "../gen/etcdserverpb/rpc_pb.ts";
import {
  ClusterMemberAttrSetRequestSchema,
  ClusterVersionSetRequestSchema,
  DowngradeInfoSetRequestSchema,
} from "../gen/membershippb/membership_pb.ts";
import type {
  ClusterMemberAttrSetRequest,
  ClusterVersionSetRequest,
  DowngradeInfoSetRequest,
} from "../gen/membershippb/membership_pb.ts";
import { AlarmRequestCodec } from "./alarm.ts";
import type { AlarmRequest } from "./alarm.ts";
import { MessageCodec, writeID, writeMessage, writeNumber, writeString } from "./fields.ts";
import { generatedCodec } from "./generated-codec.ts";
import {
  CompactionRequestCodec,
  DeleteRangeRequestCodec,
  PutRequestCodec,
  RangeRequestCodec,
} from "./kv.ts";
import type { CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest } from "./kv.ts";
import {
  LeaseCheckpointRequestCodec,
  LeaseGrantRequestCodec,
  LeaseRevokeRequestCodec,
} from "./lease.ts";
import type { LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest } from "./lease.ts";
import { TxnRequestCodec } from "./txn.ts";
import type { TxnRequest } from "./txn.ts";

/** etcdserverpb.RequestHeader. */
export interface RequestHeader {
  /** Finds the waiting caller on the member that proposed. */
  readonly id: bigint;
  /** Empty while authentication is off. */
  readonly username: string;
  /** Of the auth store when the caller was checked; 0 while authentication is off. */
  readonly authRevision: number;
}

export const RequestHeaderCodec = new MessageCodec<RequestHeader>({
  create: () => ({ id: 0n, username: "", authRevision: 0 }),
  encode(message, writer) {
    writeID(writer, 1, message.id);
    writeString(writer, 2, message.username);
    writeNumber(writer, 3, message.authRevision);
  },
  field(draft, reader) {
    switch (reader.field) {
      case 1:
        draft.id = reader.uint64();
        return true;
      case 2:
        draft.username = reader.string();
        return true;
      case 3:
        draft.authRevision = reader.uint64Number();
        return true;
      default:
        return false;
    }
  },
});

/** What each kind of operation carries; the names are those of the fields. */
interface OperationRequests {
  v2: Request;
  range: RangeRequest;
  put: PutRequest;
  deleteRange: DeleteRangeRequest;
  txn: TxnRequest;
  compaction: CompactionRequest;
  leaseGrant: LeaseGrantRequest;
  leaseRevoke: LeaseRevokeRequest;
  alarm: AlarmRequest;
  leaseCheckpoint: LeaseCheckpointRequest;
  authEnable: AuthEnableRequest;
  authDisable: AuthDisableRequest;
  authenticate: InternalAuthenticateRequest;
  authStatus: AuthStatusRequest;
  authUserAdd: AuthUserAddRequest;
  authUserDelete: AuthUserDeleteRequest;
  authUserGet: AuthUserGetRequest;
  authUserChangePassword: AuthUserChangePasswordRequest;
  authUserGrantRole: AuthUserGrantRoleRequest;
  authUserRevokeRole: AuthUserRevokeRoleRequest;
  authUserList: AuthUserListRequest;
  authRoleList: AuthRoleListRequest;
  authRoleAdd: AuthRoleAddRequest;
  authRoleDelete: AuthRoleDeleteRequest;
  authRoleGet: AuthRoleGetRequest;
  authRoleGrantPermission: AuthRoleGrantPermissionRequest;
  authRoleRevokePermission: AuthRoleRevokePermissionRequest;
  clusterVersionSet: ClusterVersionSetRequest;
  clusterMemberAttrSet: ClusterMemberAttrSetRequest;
  downgradeInfoSet: DowngradeInfoSetRequest;
  downgradeVersionTest: DowngradeVersionTestRequest;
}

type OperationKind = keyof OperationRequests;

/** `{ kind: "put", request: PutRequest }` and so on; `{ kind: "none" }` if nothing is set. */
export type RaftOperation =
  | {
      [K in OperationKind]: { readonly kind: K; readonly request: OperationRequests[K] };
    }[OperationKind]
  | { readonly kind: "none"; readonly request: undefined };

/** etcdserverpb.InternalRaftRequest. */
export interface InternalRaftRequest {
  readonly header: RequestHeader | undefined;
  /** Of requests without a header, as 3.0 wrote them; otherwise 0n. */
  readonly id: bigint;
  readonly operation: RaftOperation;
}

interface FieldCodec<T> extends Codec<T> {
  decodeField(previous: T | undefined, reader: WireReader): T;
}

const HEADER_FIELD = 100;

const OPERATIONS: {
  readonly [K in OperationKind]: {
    readonly field: number;
    readonly codec: FieldCodec<OperationRequests[K]>;
  };
} = {
  v2: { field: 2, codec: generatedCodec(RequestSchema) },
  range: { field: 3, codec: RangeRequestCodec },
  put: { field: 4, codec: PutRequestCodec },
  deleteRange: { field: 5, codec: DeleteRangeRequestCodec },
  txn: { field: 6, codec: TxnRequestCodec },
  compaction: { field: 7, codec: CompactionRequestCodec },
  leaseGrant: { field: 8, codec: LeaseGrantRequestCodec },
  leaseRevoke: { field: 9, codec: LeaseRevokeRequestCodec },
  alarm: { field: 10, codec: AlarmRequestCodec },
  leaseCheckpoint: { field: 11, codec: LeaseCheckpointRequestCodec },
  authEnable: { field: 1000, codec: generatedCodec(AuthEnableRequestSchema) },
  authDisable: { field: 1011, codec: generatedCodec(AuthDisableRequestSchema) },
  authenticate: { field: 1012, codec: generatedCodec(InternalAuthenticateRequestSchema) },
  authStatus: { field: 1013, codec: generatedCodec(AuthStatusRequestSchema) },
  authUserAdd: { field: 1100, codec: generatedCodec(AuthUserAddRequestSchema) },
  authUserDelete: { field: 1101, codec: generatedCodec(AuthUserDeleteRequestSchema) },
  authUserGet: { field: 1102, codec: generatedCodec(AuthUserGetRequestSchema) },
  authUserChangePassword: {
    field: 1103,
    codec: generatedCodec(AuthUserChangePasswordRequestSchema),
  },
  authUserGrantRole: { field: 1104, codec: generatedCodec(AuthUserGrantRoleRequestSchema) },
  authUserRevokeRole: { field: 1105, codec: generatedCodec(AuthUserRevokeRoleRequestSchema) },
  authUserList: { field: 1106, codec: generatedCodec(AuthUserListRequestSchema) },
  authRoleList: { field: 1107, codec: generatedCodec(AuthRoleListRequestSchema) },
  authRoleAdd: { field: 1200, codec: generatedCodec(AuthRoleAddRequestSchema) },
  authRoleDelete: { field: 1201, codec: generatedCodec(AuthRoleDeleteRequestSchema) },
  authRoleGet: { field: 1202, codec: generatedCodec(AuthRoleGetRequestSchema) },
  authRoleGrantPermission: {
    field: 1203,
    codec: generatedCodec(AuthRoleGrantPermissionRequestSchema),
  },
  authRoleRevokePermission: {
    field: 1204,
    codec: generatedCodec(AuthRoleRevokePermissionRequestSchema),
  },
  clusterVersionSet: { field: 1300, codec: generatedCodec(ClusterVersionSetRequestSchema) },
  clusterMemberAttrSet: { field: 1301, codec: generatedCodec(ClusterMemberAttrSetRequestSchema) },
  downgradeInfoSet: { field: 1302, codec: generatedCodec(DowngradeInfoSetRequestSchema) },
  downgradeVersionTest: { field: 9900, codec: generatedCodec(DowngradeVersionTestRequestSchema) },
};

const KIND_OF_FIELD: ReadonlyMap<number, OperationKind> = new Map(
  (Object.keys(OPERATIONS) as OperationKind[]).map((kind) => [OPERATIONS[kind].field, kind]),
);

const NOTHING: RaftOperation = { kind: "none", request: undefined };

export const InternalRaftRequestCodec = new MessageCodec<InternalRaftRequest>({
  create: () => ({ header: undefined, id: 0n, operation: NOTHING }),
  encode(message, writer) {
    const field = fieldOf(message.operation);
    writeID(writer, 1, message.id);
    if (field < HEADER_FIELD) writeOperation(message.operation, writer);
    writeMessage(writer, HEADER_FIELD, RequestHeaderCodec, message.header);
    if (field > HEADER_FIELD) writeOperation(message.operation, writer);
  },
  field(draft, reader) {
    if (reader.field === 1) {
      draft.id = reader.uint64();
      return true;
    }
    if (reader.field === HEADER_FIELD) {
      draft.header = RequestHeaderCodec.decodeField(draft.header, reader);
      return true;
    }
    const kind = KIND_OF_FIELD.get(reader.field);
    if (kind === undefined) return false;
    draft.operation = readOperation(kind, draft.operation, reader);
    return true;
  },
});

/**
 * Writes what `InternalRaftRequestCodec` does for a request with a header, which every write has.
 *
 * @param idHigh - the id of the header in two halves of 32 bits; not 0
 */
export function writeProposal(
  writer: WireWriter,
  idHigh: number,
  idLow: number,
  username: string,
  authRevision: number,
  operation: RaftOperation,
): void {
  const field = fieldOf(operation);
  if (field < HEADER_FIELD) writeOperation(operation, writer);
  const mark = writer.beginMessage(HEADER_FIELD);
  writer.tag(1, WIRE_VARINT);
  writer.varintHalves(idHigh, idLow);
  writeString(writer, 2, username);
  writeNumber(writer, 3, authRevision);
  writer.endMessage(mark);
  if (field > HEADER_FIELD) writeOperation(operation, writer);
}

/** 0 for none. */
function fieldOf(operation: RaftOperation): number {
  return operation.kind === "none" ? 0 : OPERATIONS[operation.kind].field;
}

function writeOperation(operation: RaftOperation, writer: WireWriter): void {
  if (operation.kind === "none") return;
  const codec: Codec<unknown> = OPERATIONS[operation.kind].codec;
  writeMessage(writer, OPERATIONS[operation.kind].field, codec, operation.request);
}

function readOperation(
  kind: OperationKind,
  previous: RaftOperation,
  reader: WireReader,
): RaftOperation {
  const field = reader.field;
  const codec: FieldCodec<unknown> = OPERATIONS[kind].codec;
  const request = codec.decodeField(previous.kind === kind ? previous.request : undefined, reader);
  if (previous.kind !== "none" && fieldOf(previous) < field) return previous;
  // `OPERATIONS` pairs the kind with the codec that made `request`.
  return { kind, request } as RaftOperation;
}
