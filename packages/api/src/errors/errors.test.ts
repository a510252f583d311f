import { InvariantError } from "@etcd-ts/base";
import { expect, test } from "vitest";

import { GRPC_CODES, grpcCodeFrom, grpcCodeName, httpStatusOf } from "./grpc-codes.ts";
import { RPC_ERRORS, RpcError, rpcErrorText } from "./rpc-errors.ts";
import { rpcErrorFrom, SERVER_ERRORS, ServerError } from "./server-errors.ts";

test("RPC_ERRORS has etcd's 63 entries, no two alike", () => {
  const entries = Object.values(RPC_ERRORS);
  expect(entries).toHaveLength(63);
  expect(new Set(entries.map((error) => error.message)).size).toBe(63);
  expect(new Set(entries.map((error) => error.code)).size).toBe(63);
  for (const error of entries) expect(error.message).toMatch(/^etcdserver: /);
});

test("entries of both tables cannot be changed", () => {
  for (const error of [...Object.values(RPC_ERRORS), ...Object.values(SERVER_ERRORS)]) {
    expect(Object.isFrozen(error)).toBe(true);
    expect(() => {
      (error as { message: string }).message = "changed";
    }).toThrow(TypeError);
  }
});

test("rpcErrorFrom() maps internal errors to the client's text and code", () => {
  const { noSpace, leaseNotFound, userNotFound, memberIDRemoved, compacted } = SERVER_ERRORS;
  expect(rpcErrorFrom(noSpace)).toBe(RPC_ERRORS.noSpace);
  expect(rpcErrorFrom(leaseNotFound)).toBe(RPC_ERRORS.leaseNotFound);
  expect(rpcErrorFrom(userNotFound)).toBe(RPC_ERRORS.userNotFound);
  expect(rpcErrorFrom(memberIDRemoved)).toBe(RPC_ERRORS.memberNotFound);
  expect(rpcErrorFrom(compacted)).toBe(RPC_ERRORS.compacted);
});

test("rpcErrorFrom() answers Unknown with the text for what etcd does not map", () => {
  const unmapped = [
    SERVER_ERRORS.notEnoughStartedMembers,
    SERVER_ERRORS.tooManyRequests,
    SERVER_ERRORS.canceled,
    SERVER_ERRORS.timeoutLeaderTransfer,
    SERVER_ERRORS.notPrimaryLessor,
    new ServerError("ELSEWHERE", "read failed"),
  ];
  for (const error of unmapped) {
    expect(rpcErrorFrom(error).grpcCode).toBe(GRPC_CODES.UNKNOWN);
    expect(rpcErrorFrom(error).message).toBe(error.message);
  }
});

test("rpcErrorFrom() keeps the text of an ended context", () => {
  const canceled = rpcErrorFrom(SERVER_ERRORS.contextCanceled);
  expect([canceled.grpcCode, canceled.message]).toEqual([1, "context canceled"]);
  const expired = rpcErrorFrom(SERVER_ERRORS.contextDeadlineExceeded);
  expect([expired.grpcCode, expired.message]).toEqual([4, "context deadline exceeded"]);
});

test("rpcErrorFrom() makes nothing new for entries of the tables", () => {
  for (const error of Object.values(SERVER_ERRORS)) {
    expect(rpcErrorFrom(error)).toBe(rpcErrorFrom(error));
  }
  for (const error of Object.values(RPC_ERRORS)) expect(rpcErrorFrom(error)).toBe(error);
});

test("rpcErrorFrom() does not answer for our own faults", () => {
  const fault = new InvariantError("broken");
  expect(() => rpcErrorFrom(fault)).toThrow(fault);
});

test("rpcErrorText() prints a status as etcd does", () => {
  expect(rpcErrorText(RPC_ERRORS.permissionDenied)).toBe(
    "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
  );
  expect(rpcErrorText(new RpcError("CANCELED", GRPC_CODES.CANCELED, "gone"))).toBe(
    "rpc error: code = Canceled desc = gone",
  );
});

test("httpStatusOf() follows the gateway's map", () => {
  const statuses = Object.values(GRPC_CODES).map((code) => [
    grpcCodeName(code),
    httpStatusOf(code),
  ]);
  expect(Object.fromEntries(statuses)).toEqual({
    OK: 200,
    Canceled: 499,
    Unknown: 500,
    InvalidArgument: 400,
    DeadlineExceeded: 504,
    NotFound: 404,
    AlreadyExists: 409,
    PermissionDenied: 403,
    ResourceExhausted: 429,
    FailedPrecondition: 400,
    Aborted: 409,
    OutOfRange: 400,
    Unimplemented: 501,
    Internal: 500,
    Unavailable: 503,
    DataLoss: 500,
    Unauthenticated: 401,
  });
});

test("grpcCodeFrom() takes numbers outside the table for Unknown", () => {
  expect([0, 16, 17, -1, 1.5].map(grpcCodeFrom)).toEqual([0, 16, 2, 2, 2]);
});
