/**
 * How large the backend may grow.
 *
 * A write costs what it is estimated to add. Whether it fits is judged on the file's size, which
 * shrinks only by defragmentation: freed pages are not credited.
 */

import type { Logger, Metrics } from "@etcd-ts/base";
import type { PutRequest, RequestOp, TxnRequest } from "@etcd-ts/api";

/** The quota when none is given. */
export const QUOTA_DEFAULT_BYTES = 2 * 1024 * 1024 * 1024;
/** Above this etcd warns. */
export const QUOTA_SUGGESTED_BYTES_MAX = 8 * 1024 * 1024 * 1024;

/** What a lease is estimated to take. */
export const LEASE_COST_BYTES = 64;
/** What a key takes besides its bytes and those of its value. */
const KEY_OVERHEAD_BYTES = 256;

export function putCost(request: PutRequest): number {
  return KEY_OVERHEAD_BYTES + request.key.length + request.value.length;
}

/** The dearer of the two branches, transactions inside included; 0 if nothing is put. */
export function txnCost(request: TxnRequest): number {
  return Math.max(operationsCost(request.success), operationsCost(request.failure));
}

function operationsCost(ops: readonly RequestOp[]): number {
  let cost = 0;
  for (const op of ops) {
    if (op.kind === "put") cost += putCost(op.put);
    else if (op.kind === "txn") cost += txnCost(op.txn);
  }
  return cost;
}

export class BackendQuota {
  readonly #sizeBytes: () => number;
  /** Infinite if there is no quota. */
  readonly limitBytes: number;

  /** @param configuredBytes - negative for none, 0 for the default */
  constructor(
    configuredBytes: number,
    sizeBytes: () => number,
    sinks: { readonly logger: Logger; readonly metrics: Metrics },
  ) {
    this.#sizeBytes = sizeBytes;
    this.limitBytes =
      configuredBytes < 0
        ? Infinity
        : configuredBytes === 0
          ? QUOTA_DEFAULT_BYTES
          : configuredBytes;
    this.#announce(configuredBytes, sinks.logger);
    sinks.metrics
      .gauge({
        name: "etcd_server_quota_backend_bytes",
        help: "Current backend storage quota size in bytes.",
      })
      .set(configuredBytes === 0 ? QUOTA_DEFAULT_BYTES : configuredBytes);
  }

  /** Whether a write of this cost still fits; what costs nothing always does. */
  isAvailable(costBytes: number): boolean {
    return costBytes === 0 || this.#sizeBytes() + costBytes < this.limitBytes;
  }

  #announce(configuredBytes: number, logger: Logger): void {
    const fields = { "quota-name": "v3-applier", "quota-size-bytes": configuredBytes };
    if (configuredBytes < 0) {
      logger.info("disabled backend quota", fields);
      return;
    }
    if (configuredBytes === 0) {
      logger.info("enabled backend quota with default value", {
        "quota-name": "v3-applier",
        "quota-size-bytes": QUOTA_DEFAULT_BYTES,
        "quota-size": "2.1 GB",
      });
      return;
    }
    if (configuredBytes > QUOTA_SUGGESTED_BYTES_MAX) {
      logger.warn("quota exceeds the maximum value", {
        ...fields,
        "quota-maximum-size-bytes": QUOTA_SUGGESTED_BYTES_MAX,
        "quota-maximum-size": "8.6 GB",
      });
    }
    logger.info("enabled backend quota", fields);
  }
}
