/** How calls end that nobody answered. */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";

export const CALL_CANCELED = new RpcError("CANCELED", GRPC_CODES.CANCELED, "context canceled");
export const DEADLINE_EXCEEDED = new RpcError(
  "DEADLINE_EXCEEDED",
  GRPC_CODES.DEADLINE_EXCEEDED,
  "context deadline exceeded",
);
