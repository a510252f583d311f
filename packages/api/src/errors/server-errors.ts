/**
 * What goes wrong inside a member, in etcd's words, and what a client is told.
 *
 * Invariant: like `RPC_ERRORS`, every entry is one frozen object, made once.
 */

import { EtcdError, InvariantError } from "@etcd-ts/base";

import { GRPC_CODES } from "./grpc-codes.ts";
import type { GrpcCode } from "./grpc-codes.ts";
import { RPC_ERRORS, RpcError } from "./rpc-errors.ts";

/** A failure between the modules of a member. */
export class ServerError extends EtcdError {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

function shared(code: string, message: string): ServerError {
  return Object.freeze(new ServerError(code, message));
}

/** The internal errors of etcd by module; the texts are the contract. */
export const SERVER_ERRORS = {
  memberIDRemoved: shared("MEMBER_ID_REMOVED", "membership: ID removed"),
  memberIDExists: shared("MEMBER_ID_EXISTS", "membership: ID exists"),
  memberIDNotFound: shared("MEMBER_ID_NOT_FOUND", "membership: ID not found"),
  peerURLExists: shared("PEER_URL_EXISTS", "membership: peerURL exists"),
  memberNotLearner: shared("MEMBER_NOT_LEARNER", "membership: can only promote a learner member"),
  tooManyLearners: shared("TOO_MANY_LEARNERS", "membership: too many learner members in cluster"),
  notEnoughStartedMembers: shared(
    "NOT_ENOUGH_STARTED_MEMBERS",
    "etcdserver: re-configuration failed due to not enough started members",
  ),
  learnerNotReady: shared(
    "LEARNER_NOT_READY",
    "etcdserver: can only promote a learner member which is in sync with leader",
  ),

  compacted: shared("COMPACTED", "mvcc: required revision has been compacted"),
  futureRevision: shared("FUTURE_REVISION", "mvcc: required revision is a future revision"),
  watcherNotExist: shared("WATCHER_NOT_EXIST", "mvcc: watcher does not exist"),
  watcherRangeEmpty: shared("WATCHER_RANGE_EMPTY", "mvcc: watcher range is empty"),
  watcherDuplicateID: shared(
    "WATCHER_DUPLICATE_ID",
    "mvcc: duplicate watch ID provided on the WatchStream",
  ),

  requestTooLarge: shared("REQUEST_TOO_LARGE", "etcdserver: request is too large"),
  noSpace: shared("NO_SPACE", "etcdserver: no space"),
  tooManyRequests: shared("TOO_MANY_REQUESTS", "etcdserver: too many requests"),
  noLeader: shared("NO_LEADER", "etcdserver: no leader"),
  notLeader: shared("NOT_LEADER", "etcdserver: not leader"),
  leaderChanged: shared("LEADER_CHANGED", "etcdserver: leader changed"),
  stopped: shared("STOPPED", "etcdserver: server stopped"),
  canceled: shared("CANCELED", "etcdserver: request cancelled"),
  timeout: shared("TIMEOUT", "etcdserver: request timed out"),
  timeoutDueToLeaderFail: shared(
    "TIMEOUT_DUE_TO_LEADER_FAIL",
    "etcdserver: request timed out, possibly due to previous leader failure",
  ),
  timeoutDueToConnectionLost: shared(
    "TIMEOUT_DUE_TO_CONNECTION_LOST",
    "etcdserver: request timed out, possibly due to connection lost",
  ),
  timeoutWaitAppliedIndex: shared(
    "TIMEOUT_WAIT_APPLIED_INDEX",
    "etcdserver: request timed out, waiting for the applied index took too long",
  ),
  timeoutLeaderTransfer: shared(
    "TIMEOUT_LEADER_TRANSFER",
    "etcdserver: request timed out, leader transfer took too long",
  ),
  unhealthy: shared("UNHEALTHY", "etcdserver: unhealthy cluster"),
  keyNotFound: shared("KEY_NOT_FOUND", "etcdserver: key not found"),
  corrupt: shared("CORRUPT", "etcdserver: corrupt cluster"),
  badLeaderTransferee: shared("BAD_LEADER_TRANSFEREE", "etcdserver: bad leader transferee"),
  unknownMethod: shared("UNKNOWN_METHOD", "etcdserver: unknown method"),

  clusterVersionUnavailable: shared(
    "CLUSTER_VERSION_UNAVAILABLE",
    "etcdserver: cluster version not found during downgrade",
  ),
  wrongDowngradeVersionFormat: shared(
    "WRONG_DOWNGRADE_VERSION_FORMAT",
    "etcdserver: wrong downgrade target version format",
  ),
  invalidDowngradeTargetVersion: shared(
    "INVALID_DOWNGRADE_TARGET_VERSION",
    "etcdserver: invalid downgrade target version",
  ),
  downgradeInProcess: shared(
    "DOWNGRADE_IN_PROCESS",
    "etcdserver: cluster has a downgrade job in progress",
  ),
  noInflightDowngrade: shared("NO_INFLIGHT_DOWNGRADE", "etcdserver: no inflight downgrade job"),

  leaseNotFound: shared("LEASE_NOT_FOUND", "lease not found"),
  leaseExists: shared("LEASE_EXISTS", "lease already exists"),
  leaseTTLTooLarge: shared("LEASE_TTL_TOO_LARGE", "too large lease TTL"),
  notPrimaryLessor: shared("NOT_PRIMARY_LESSOR", "not a primary lessor"),

  rootUserNotExist: shared("ROOT_USER_NOT_EXIST", "auth: root user does not exist"),
  rootRoleNotExist: shared("ROOT_ROLE_NOT_EXIST", "auth: root user does not have root role"),
  userAlreadyExist: shared("USER_ALREADY_EXIST", "auth: user already exists"),
  userEmpty: shared("USER_EMPTY", "auth: user name is empty"),
  userNotFound: shared("USER_NOT_FOUND", "auth: user not found"),
  roleAlreadyExist: shared("ROLE_ALREADY_EXIST", "auth: role already exists"),
  roleNotFound: shared("ROLE_NOT_FOUND", "auth: role not found"),
  roleEmpty: shared("ROLE_EMPTY", "auth: role name is empty"),
  authFailed: shared("AUTH_FAILED", "auth: authentication failed, invalid user ID or password"),
  noPasswordUser: shared(
    "NO_PASSWORD_USER",
    "auth: authentication failed, password was given for no password user",
  ),
  permissionNotGiven: shared("PERMISSION_NOT_GIVEN", "auth: permission not given"),
  permissionDenied: shared("PERMISSION_DENIED", "auth: permission denied"),
  roleNotGranted: shared("ROLE_NOT_GRANTED", "auth: role is not granted to the user"),
  permissionNotGranted: shared(
    "PERMISSION_NOT_GRANTED",
    "auth: permission is not granted to the role",
  ),
  authNotEnabled: shared("AUTH_NOT_ENABLED", "auth: authentication is not enabled"),
  authOldRevision: shared("AUTH_OLD_REVISION", "auth: revision in header is old"),
  invalidAuthToken: shared("INVALID_AUTH_TOKEN", "auth: invalid auth token"),
  invalidAuthOptions: shared("INVALID_AUTH_OPTIONS", "auth: invalid auth options"),
  invalidAuthManagement: shared("INVALID_AUTH_MANAGEMENT", "auth: invalid auth management"),
  invalidAuthMethod: shared("INVALID_AUTH_METHOD", "auth: invalid auth signature method"),
  authKeyMissing: shared("AUTH_KEY_MISSING", "auth: missing key data"),
  authKeyMismatch: shared("AUTH_KEY_MISMATCH", "auth: public and private keys don't match"),
  authVerifyOnly: shared("AUTH_VERIFY_ONLY", "auth: token signing attempted with verify-only key"),
  tokenNotAssigned: shared("TOKEN_NOT_ASSIGNED", "failed to assign"),

  leaderKeyMissing: shared("LEADER_KEY_MISSING", '"leader" field must be provided'),
  electionNotLeader: shared("ELECTION_NOT_LEADER", "election: not leader"),
  electionNoLeader: shared("ELECTION_NO_LEADER", "election: no leader"),
  sessionExpired: shared("SESSION_EXPIRED", "mutex: session is expired"),
  lostWatcher: shared("LOST_WATCHER", "lost watcher waiting for delete"),

  contextCanceled: shared("CONTEXT_CANCELED", "context canceled"),
  contextDeadlineExceeded: shared("CONTEXT_DEADLINE_EXCEEDED", "context deadline exceeded"),
} as const;

/**
 * What a client is told of an internal error, where the two differ by more than their class.
 *
 * Errors that are not listed reach clients as `Unknown` with their own text. Among them are two
 * which have a status in `RPC_ERRORS` that etcd does not use here: not enough started members, and
 * too many requests.
 */
const WIRE_ERRORS: ReadonlyMap<unknown, RpcError> = new Map([
  [SERVER_ERRORS.memberIDRemoved, RPC_ERRORS.memberNotFound],
  [SERVER_ERRORS.memberIDExists, RPC_ERRORS.memberExist],
  [SERVER_ERRORS.memberIDNotFound, RPC_ERRORS.memberNotFound],
  [SERVER_ERRORS.peerURLExists, RPC_ERRORS.peerURLExist],
  [SERVER_ERRORS.memberNotLearner, RPC_ERRORS.memberNotLearner],
  [SERVER_ERRORS.tooManyLearners, RPC_ERRORS.tooManyLearners],
  [SERVER_ERRORS.learnerNotReady, RPC_ERRORS.learnerNotReady],
  [SERVER_ERRORS.compacted, RPC_ERRORS.compacted],
  [SERVER_ERRORS.futureRevision, RPC_ERRORS.futureRevision],
  [SERVER_ERRORS.requestTooLarge, RPC_ERRORS.requestTooLarge],
  [SERVER_ERRORS.noSpace, RPC_ERRORS.noSpace],
  [SERVER_ERRORS.noLeader, RPC_ERRORS.noLeader],
  [SERVER_ERRORS.notLeader, RPC_ERRORS.notLeader],
  [SERVER_ERRORS.leaderChanged, RPC_ERRORS.leaderChanged],
  [SERVER_ERRORS.stopped, RPC_ERRORS.stopped],
  [SERVER_ERRORS.timeout, RPC_ERRORS.timeout],
  [SERVER_ERRORS.timeoutDueToLeaderFail, RPC_ERRORS.timeoutDueToLeaderFail],
  [SERVER_ERRORS.timeoutDueToConnectionLost, RPC_ERRORS.timeoutDueToConnectionLost],
  [SERVER_ERRORS.timeoutWaitAppliedIndex, RPC_ERRORS.timeoutWaitAppliedIndex],
  [SERVER_ERRORS.unhealthy, RPC_ERRORS.unhealthy],
  [SERVER_ERRORS.keyNotFound, RPC_ERRORS.keyNotFound],
  [SERVER_ERRORS.corrupt, RPC_ERRORS.corrupt],
  [SERVER_ERRORS.badLeaderTransferee, RPC_ERRORS.badLeaderTransferee],
  [SERVER_ERRORS.clusterVersionUnavailable, RPC_ERRORS.clusterVersionUnavailable],
  [SERVER_ERRORS.wrongDowngradeVersionFormat, RPC_ERRORS.wrongDowngradeVersionFormat],
  [SERVER_ERRORS.invalidDowngradeTargetVersion, RPC_ERRORS.invalidDowngradeTargetVersion],
  [SERVER_ERRORS.downgradeInProcess, RPC_ERRORS.downgradeInProcess],
  [SERVER_ERRORS.noInflightDowngrade, RPC_ERRORS.noInflightDowngrade],
  [SERVER_ERRORS.leaseNotFound, RPC_ERRORS.leaseNotFound],
  [SERVER_ERRORS.leaseExists, RPC_ERRORS.leaseExist],
  [SERVER_ERRORS.leaseTTLTooLarge, RPC_ERRORS.leaseTTLTooLarge],
  [SERVER_ERRORS.rootUserNotExist, RPC_ERRORS.rootUserNotExist],
  [SERVER_ERRORS.rootRoleNotExist, RPC_ERRORS.rootRoleNotExist],
  [SERVER_ERRORS.userAlreadyExist, RPC_ERRORS.userAlreadyExist],
  [SERVER_ERRORS.userEmpty, RPC_ERRORS.userEmpty],
  [SERVER_ERRORS.userNotFound, RPC_ERRORS.userNotFound],
  [SERVER_ERRORS.roleAlreadyExist, RPC_ERRORS.roleAlreadyExist],
  [SERVER_ERRORS.roleNotFound, RPC_ERRORS.roleNotFound],
  [SERVER_ERRORS.roleEmpty, RPC_ERRORS.roleEmpty],
  [SERVER_ERRORS.authFailed, RPC_ERRORS.authFailed],
  [SERVER_ERRORS.permissionNotGiven, RPC_ERRORS.permissionNotGiven],
  [SERVER_ERRORS.permissionDenied, RPC_ERRORS.permissionDenied],
  [SERVER_ERRORS.roleNotGranted, RPC_ERRORS.roleNotGranted],
  [SERVER_ERRORS.permissionNotGranted, RPC_ERRORS.permissionNotGranted],
  [SERVER_ERRORS.authNotEnabled, RPC_ERRORS.authNotEnabled],
  [SERVER_ERRORS.authOldRevision, RPC_ERRORS.authOldRevision],
  [SERVER_ERRORS.invalidAuthToken, RPC_ERRORS.invalidAuthToken],
  [SERVER_ERRORS.invalidAuthManagement, RPC_ERRORS.invalidAuthMgmt],
  [SERVER_ERRORS.contextCanceled, sameText(SERVER_ERRORS.contextCanceled, GRPC_CODES.CANCELED)],
  [
    SERVER_ERRORS.contextDeadlineExceeded,
    sameText(SERVER_ERRORS.contextDeadlineExceeded, GRPC_CODES.DEADLINE_EXCEEDED),
  ],
]);

/** `Unknown` with the text of each entry, made once like the rest. */
const UNKNOWN_ERRORS: ReadonlyMap<unknown, RpcError> = new Map(
  Object.values(SERVER_ERRORS)
    .filter((error) => !WIRE_ERRORS.has(error))
    .map((error) => [error, sameText(error, GRPC_CODES.UNKNOWN)]),
);

function sameText(error: ServerError, grpcCode: GrpcCode): RpcError {
  return Object.freeze(new RpcError(error.code, grpcCode, error.message));
}

/**
 * The status a client gets for `error`: itself if it is one, the mapped one for `SERVER_ERRORS`,
 * otherwise `Unknown` with the text.
 *
 * @throws {InvariantError} if that is what `error` is: our own faults are not answers
 */
export function rpcErrorFrom(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  const known = WIRE_ERRORS.get(error) ?? UNKNOWN_ERRORS.get(error);
  if (known !== undefined) return known;
  if (error instanceof InvariantError) throw error;
  const code = error instanceof EtcdError ? error.code : "UNKNOWN";
  const text = error instanceof Error ? error.message : String(error);
  return new RpcError(code, GRPC_CODES.UNKNOWN, text, { cause: error });
}
