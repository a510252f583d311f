/**
 * What calls of the client fail with: an `RpcError` whose `code` is etcd's (`COMPACTED`,
 * `LEASE_NOT_FOUND`, ...) where the server's text is one of etcd's, else the name of the gRPC code.
 */

import { GRPC_CODES, RPC_ERRORS, RpcError, rpcErrorText } from "@etcd-ts/api";

const BY_TEXT: ReadonlyMap<string, RpcError> = new Map(
  Object.values(RPC_ERRORS).map((error) => [error.message, error]),
);

/**
 * Gives an error of the wire the code etcd knows its text by. The text decides: servers send some
 * of etcd's errors with the gRPC code Unknown.
 */
export function typedError(error: unknown): RpcError {
  if (!(error instanceof RpcError)) {
    const text = error instanceof Error ? error.message : String(error);
    return new RpcError("UNKNOWN", GRPC_CODES.UNKNOWN, text, { cause: error });
  }
  const known = BY_TEXT.get(error.message);
  if (known === undefined || known.code === error.code) return error;
  return new RpcError(known.code, error.grpcCode, known.message, { cause: error });
}

/** Whether the text is one of etcd's own errors. */
export function isEtcdError(error: RpcError): boolean {
  return BY_TEXT.has(error.message);
}

/** Whether a stream that ended like this may go on at another member. */
export function mayWorkElsewhere({ grpcCode }: RpcError): boolean {
  const { CANCELED, INTERNAL, UNAVAILABLE } = GRPC_CODES;
  return grpcCode === CANCELED || grpcCode === INTERNAL || grpcCode === UNAVAILABLE;
}

/** The text etcd's own client prints for an error. */
export function errorText(error: unknown): string {
  if (!(error instanceof RpcError)) return error instanceof Error ? error.message : String(error);
  if (isEtcdError(error) || error.code === "TLS_MATERIAL") return error.message;
  if (error.code === "DEADLINE_EXCEEDED" && error.message.startsWith("context deadline exceeded")) {
    return "context deadline exceeded";
  }
  if (error.code === "CANCELED" && error.message === "context canceled") return "context canceled";
  return rpcErrorText(error);
}

export function deadlineExceeded(lastError: RpcError | undefined): RpcError {
  return new RpcError(
    "DEADLINE_EXCEEDED",
    GRPC_CODES.DEADLINE_EXCEEDED,
    "context deadline exceeded",
    lastError === undefined ? undefined : { cause: lastError },
  );
}

export function canceled(): RpcError {
  return new RpcError("CANCELED", GRPC_CODES.CANCELED, "context canceled");
}

/** What a call fails with whose signal has come; `AbortSignal.timeout` is a deadline. */
export function aborted(signal: AbortSignal): RpcError {
  const { reason } = signal;
  return reason instanceof DOMException && reason.name === "TimeoutError"
    ? deadlineExceeded(undefined)
    : canceled();
}
