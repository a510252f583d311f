/**
 * Messages, services, errors and versions of etcd.
 *
 * A message with a hand-written codec is exported by its plain interface and `…Codec`; its
 * generated twin is reachable only through `…Schema`. All others are exported as generated.
 */

export {
  AlarmAction,
  AlarmMemberCodec,
  AlarmRequestCodec,
  AlarmResponseCodec,
  AlarmType,
} from "./codec/alarm.ts";
export type { AlarmMember, AlarmRequest, AlarmResponse } from "./codec/alarm.ts";
export { generatedCodec } from "./codec/generated-codec.ts";
export { EventCodec, EventType, generatedKeyValue, KeyValueCodec } from "./codec/key-value.ts";
export type { Event, KeyValue } from "./codec/key-value.ts";
export {
  CompactionRequestCodec,
  CompactionResponseCodec,
  DeleteRangeRequestCodec,
  DeleteRangeResponseCodec,
  PutRequestCodec,
  PutResponseCodec,
  RangeRequestCodec,
  RangeResponseCodec,
  SortOrder,
  SortTarget,
  writeOnlyPair,
} from "./codec/kv.ts";
export type {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "./codec/kv.ts";
export { RangeChunks } from "./codec/range-chunks.ts";
export type { EncodedChunks } from "./codec/range-chunks.ts";
export { encodePairs, encodeTxnInChunks, isLongTxnResponse } from "./codec/txn-chunks.ts";
export type { Pause } from "./codec/txn-chunks.ts";
export {
  LeaseCheckpointCodec,
  LeaseCheckpointRequestCodec,
  LeaseGrantRequestCodec,
  LeaseGrantResponseCodec,
  LeaseKeepAliveRequestCodec,
  LeaseKeepAliveResponseCodec,
  LeaseRecordCodec,
  LeaseRevokeRequestCodec,
  LeaseRevokeResponseCodec,
} from "./codec/lease.ts";
export type {
  LeaseCheckpoint,
  LeaseCheckpointRequest,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseRecord,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
} from "./codec/lease.ts";
export {
  InternalRaftRequestCodec,
  RequestHeaderCodec,
  writeProposal,
} from "./codec/raft-internal.ts";
export type { InternalRaftRequest, RaftOperation, RequestHeader } from "./codec/raft-internal.ts";
export { generatedHeader, ResponseHeaderCodec } from "./codec/response-header.ts";
export type { ResponseHeader } from "./codec/response-header.ts";
export {
  CompareCodec,
  CompareResult,
  CompareTarget,
  MESSAGE_DEPTH_MAX,
  RequestOpCodec,
  ResponseOpCodec,
  TXN_DEPTH_MAX,
  TxnRequestCodec,
  TxnResponseCodec,
} from "./codec/txn.ts";
export type {
  Compare,
  CompareValue,
  RequestOp,
  ResponseOp,
  TxnRequest,
  TxnResponse,
} from "./codec/txn.ts";
export {
  FilterType,
  WatchCancelRequestCodec,
  WatchCreateRequestCodec,
  WatchRequestCodec,
  WatchResponseCodec,
} from "./codec/watch.ts";
export type {
  WatchCancelRequest,
  WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from "./codec/watch.ts";

export * from "./errors/grpc-codes.ts";
export * from "./errors/rpc-errors.ts";
export * from "./errors/server-errors.ts";
export {
  Auth,
  Cluster,
  Election,
  Health,
  KV,
  Lease,
  Lock,
  Maintenance,
  METHODS,
  Watch,
} from "./method.ts";
export type { MethodDescriptor, MethodKind } from "./method.ts";
export { higherVersion, minimalVersionOf } from "./minimal-version.ts";
export * from "./version.ts";

export * from "./gen/authpb/auth_pb.ts";
export {
  MetadataSchema as LogMetadataSchema,
  RequestSchema as V2RequestSchema,
} from "./gen/etcdserverpb/etcdserver_pb.ts";
export type {
  Metadata as LogMetadata,
  Request as V2Request,
} from "./gen/etcdserverpb/etcdserver_pb.ts";
export * from "./gen/etcdserverpb/raft_internal_pb.ts";
export * from "./gen/etcdserverpb/rpc_pb.ts";
export * from "./gen/grpc/health/v1/health_pb.ts";
export { StatusSchema as RpcStatusSchema } from "./gen/google/rpc/status_pb.ts";
export type { Status as RpcStatus } from "./gen/google/rpc/status_pb.ts";
export {
  LeaseInternalRequestSchema,
  LeaseInternalResponseSchema,
  LeaseSchema as LeaseRecordSchema,
} from "./gen/leasepb/lease_pb.ts";
export type { LeaseInternalRequest, LeaseInternalResponse } from "./gen/leasepb/lease_pb.ts";
export {
  AttributesSchema,
  ClusterMemberAttrSetRequestSchema,
  ClusterVersionSetRequestSchema,
  DowngradeInfoSetRequestSchema,
} from "./gen/membershippb/membership_pb.ts";
export type {
  Attributes,
  ClusterMemberAttrSetRequest,
  ClusterVersionSetRequest,
  DowngradeInfoSetRequest,
} from "./gen/membershippb/membership_pb.ts";
export { EventSchema, KeyValueSchema } from "./gen/mvccpb/kv_pb.ts";
export * from "./gen/v3electionpb/v3election_pb.ts";
export * from "./gen/v3lockpb/v3lock_pb.ts";
