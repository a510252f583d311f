/**
 * The errors clients know by their text.
 *
 * Invariant: every entry is one frozen object, made once. Failing a request with it costs no stack
 * trace, and `===` tells entries apart.
 */

import { EtcdError } from "@etcd-ts/base";

import { GRPC_CODES, grpcCodeName } from "./grpc-codes.ts";
import type { GrpcCode } from "./grpc-codes.ts";

/** A failure as a client sees it: a gRPC status. */
export class RpcError extends EtcdError {
  /** Upper snake; for statuses outside `RPC_ERRORS` the name of the gRPC code. */
  readonly code: string;
  readonly grpcCode: GrpcCode;

  constructor(code: string, grpcCode: GrpcCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.grpcCode = grpcCode;
  }
}

/** The text etcd puts where a status has to fit into a string, such as a watch's cancel reason. */
export function rpcErrorText(error: RpcError): string {
  return `rpc error: code = ${grpcCodeName(error.grpcCode)} desc = ${error.message}`;
}

function shared(code: string, grpcCode: GrpcCode, message: string): RpcError {
  return Object.freeze(new RpcError(code, grpcCode, message));
}

const {
  CANCELED,
  DATA_LOSS,
  DEADLINE_EXCEEDED,
  FAILED_PRECONDITION,
  INVALID_ARGUMENT,
  NOT_FOUND,
  OUT_OF_RANGE,
  PERMISSION_DENIED,
  RESOURCE_EXHAUSTED,
  UNAUTHENTICATED,
  UNAVAILABLE,
} = GRPC_CODES;

/** etcd's table; names and texts are the contract. */
export const RPC_ERRORS = {
  emptyKey: shared("EMPTY_KEY", INVALID_ARGUMENT, "etcdserver: key is not provided"),
  keyNotFound: shared("KEY_NOT_FOUND", INVALID_ARGUMENT, "etcdserver: key not found"),
  valueProvided: shared("VALUE_PROVIDED", INVALID_ARGUMENT, "etcdserver: value is provided"),
  leaseProvided: shared("LEASE_PROVIDED", INVALID_ARGUMENT, "etcdserver: lease is provided"),
  tooManyOps: shared(
    "TOO_MANY_OPS",
    INVALID_ARGUMENT,
    "etcdserver: too many operations in txn request",
  ),
  duplicateKey: shared(
    "DUPLICATE_KEY",
    INVALID_ARGUMENT,
    "etcdserver: duplicate key given in txn request",
  ),
  invalidClientAPIVersion: shared(
    "INVALID_CLIENT_API_VERSION",
    INVALID_ARGUMENT,
    "etcdserver: invalid client api version",
  ),
  invalidSortOption: shared(
    "INVALID_SORT_OPTION",
    INVALID_ARGUMENT,
    "etcdserver: invalid sort option",
  ),
  compacted: shared(
    "COMPACTED",
    OUT_OF_RANGE,
    "etcdserver: mvcc: required revision has been compacted",
  ),
  futureRevision: shared(
    "FUTURE_REVISION",
    OUT_OF_RANGE,
    "etcdserver: mvcc: required revision is a future revision",
  ),
  noSpace: shared("NO_SPACE", RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
  leaseNotFound: shared("LEASE_NOT_FOUND", NOT_FOUND, "etcdserver: requested lease not found"),
  leaseExist: shared("LEASE_EXIST", FAILED_PRECONDITION, "etcdserver: lease already exists"),
  leaseTTLTooLarge: shared("LEASE_TTL_TOO_LARGE", OUT_OF_RANGE, "etcdserver: too large lease TTL"),
  watchCanceled: shared("WATCH_CANCELED", CANCELED, "etcdserver: watch canceled"),
  memberExist: shared("MEMBER_EXIST", FAILED_PRECONDITION, "etcdserver: member ID already exist"),
  peerURLExist: shared(
    "PEER_URL_EXIST",
    FAILED_PRECONDITION,
    "etcdserver: Peer URLs already exists",
  ),
  memberNotEnoughStarted: shared(
    "MEMBER_NOT_ENOUGH_STARTED",
    FAILED_PRECONDITION,
    "etcdserver: re-configuration failed due to not enough started members",
  ),
  memberBadURLs: shared(
    "MEMBER_BAD_URLS",
    INVALID_ARGUMENT,
    "etcdserver: given member URLs are invalid",
  ),
  memberNotFound: shared("MEMBER_NOT_FOUND", NOT_FOUND, "etcdserver: member not found"),
  memberNotLearner: shared(
    "MEMBER_NOT_LEARNER",
    FAILED_PRECONDITION,
    "etcdserver: can only promote a learner member",
  ),
  learnerNotReady: shared(
    "LEARNER_NOT_READY",
    FAILED_PRECONDITION,
    "etcdserver: can only promote a learner member which is in sync with leader",
  ),
  tooManyLearners: shared(
    "TOO_MANY_LEARNERS",
    FAILED_PRECONDITION,
    "etcdserver: too many learner members in cluster",
  ),
  clusterIDMismatch: shared(
    "CLUSTER_ID_MISMATCH",
    FAILED_PRECONDITION,
    "etcdserver: cluster ID mismatch",
  ),
  requestTooLarge: shared(
    "REQUEST_TOO_LARGE",
    INVALID_ARGUMENT,
    "etcdserver: request is too large",
  ),
  requestTooManyRequests: shared(
    "REQUEST_TOO_MANY_REQUESTS",
    RESOURCE_EXHAUSTED,
    "etcdserver: too many requests",
  ),
  rootUserNotExist: shared(
    "ROOT_USER_NOT_EXIST",
    FAILED_PRECONDITION,
    "etcdserver: root user does not exist",
  ),
  rootRoleNotExist: shared(
    "ROOT_ROLE_NOT_EXIST",
    FAILED_PRECONDITION,
    "etcdserver: root user does not have root role",
  ),
  userAlreadyExist: shared(
    "USER_ALREADY_EXIST",
    FAILED_PRECONDITION,
    "etcdserver: user name already exists",
  ),
  userEmpty: shared("USER_EMPTY", INVALID_ARGUMENT, "etcdserver: user name is empty"),
  userNotFound: shared("USER_NOT_FOUND", FAILED_PRECONDITION, "etcdserver: user name not found"),
  roleAlreadyExist: shared(
    "ROLE_ALREADY_EXIST",
    FAILED_PRECONDITION,
    "etcdserver: role name already exists",
  ),
  roleNotFound: shared("ROLE_NOT_FOUND", FAILED_PRECONDITION, "etcdserver: role name not found"),
  roleEmpty: shared("ROLE_EMPTY", INVALID_ARGUMENT, "etcdserver: role name is empty"),
  authFailed: shared(
    "AUTH_FAILED",
    INVALID_ARGUMENT,
    "etcdserver: authentication failed, invalid user ID or password",
  ),
  permissionNotGiven: shared(
    "PERMISSION_NOT_GIVEN",
    INVALID_ARGUMENT,
    "etcdserver: permission not given",
  ),
  permissionDenied: shared("PERMISSION_DENIED", PERMISSION_DENIED, "etcdserver: permission denied"),
  roleNotGranted: shared(
    "ROLE_NOT_GRANTED",
    FAILED_PRECONDITION,
    "etcdserver: role is not granted to the user",
  ),
  permissionNotGranted: shared(
    "PERMISSION_NOT_GRANTED",
    FAILED_PRECONDITION,
    "etcdserver: permission is not granted to the role",
  ),
  authNotEnabled: shared(
    "AUTH_NOT_ENABLED",
    FAILED_PRECONDITION,
    "etcdserver: authentication is not enabled",
  ),
  invalidAuthToken: shared("INVALID_AUTH_TOKEN", UNAUTHENTICATED, "etcdserver: invalid auth token"),
  invalidAuthMgmt: shared(
    "INVALID_AUTH_MGMT",
    INVALID_ARGUMENT,
    "etcdserver: invalid auth management",
  ),
  authOldRevision: shared(
    "AUTH_OLD_REVISION",
    INVALID_ARGUMENT,
    "etcdserver: revision of auth store is old",
  ),
  noLeader: shared("NO_LEADER", UNAVAILABLE, "etcdserver: no leader"),
  notLeader: shared("NOT_LEADER", FAILED_PRECONDITION, "etcdserver: not leader"),
  leaderChanged: shared("LEADER_CHANGED", UNAVAILABLE, "etcdserver: leader changed"),
  notCapable: shared("NOT_CAPABLE", FAILED_PRECONDITION, "etcdserver: not capable"),
  stopped: shared("STOPPED", UNAVAILABLE, "etcdserver: server stopped"),
  timeout: shared("TIMEOUT", UNAVAILABLE, "etcdserver: request timed out"),
  timeoutDueToLeaderFail: shared(
    "TIMEOUT_DUE_TO_LEADER_FAIL",
    UNAVAILABLE,
    "etcdserver: request timed out, possibly due to previous leader failure",
  ),
  timeoutDueToConnectionLost: shared(
    "TIMEOUT_DUE_TO_CONNECTION_LOST",
    UNAVAILABLE,
    "etcdserver: request timed out, possibly due to connection lost",
  ),
  timeoutWaitAppliedIndex: shared(
    "TIMEOUT_WAIT_APPLIED_INDEX",
    UNAVAILABLE,
    "etcdserver: request timed out, waiting for the applied index took too long",
  ),
  unhealthy: shared("UNHEALTHY", UNAVAILABLE, "etcdserver: unhealthy cluster"),
  corrupt: shared("CORRUPT", DATA_LOSS, "etcdserver: corrupt cluster"),
  notSupportedForLearner: shared(
    "NOT_SUPPORTED_FOR_LEARNER",
    FAILED_PRECONDITION,
    "etcdserver: rpc not supported for learner",
  ),
  badLeaderTransferee: shared(
    "BAD_LEADER_TRANSFEREE",
    FAILED_PRECONDITION,
    "etcdserver: bad leader transferee",
  ),
  wrongDowngradeVersionFormat: shared(
    "WRONG_DOWNGRADE_VERSION_FORMAT",
    INVALID_ARGUMENT,
    "etcdserver: wrong downgrade target version format",
  ),
  invalidDowngradeTargetVersion: shared(
    "INVALID_DOWNGRADE_TARGET_VERSION",
    INVALID_ARGUMENT,
    "etcdserver: invalid downgrade target version",
  ),
  clusterVersionUnavailable: shared(
    "CLUSTER_VERSION_UNAVAILABLE",
    FAILED_PRECONDITION,
    "etcdserver: cluster version not found during downgrade",
  ),
  downgradeInProcess: shared(
    "DOWNGRADE_IN_PROCESS",
    FAILED_PRECONDITION,
    "etcdserver: cluster has a downgrade job in progress",
  ),
  noInflightDowngrade: shared(
    "NO_INFLIGHT_DOWNGRADE",
    FAILED_PRECONDITION,
    "etcdserver: no inflight downgrade job",
  ),
  canceled: shared("CANCELED", CANCELED, "etcdserver: request canceled"),
  deadlineExceeded: shared(
    "DEADLINE_EXCEEDED",
    DEADLINE_EXCEEDED,
    "etcdserver: context deadline exceeded",
  ),
} as const;
