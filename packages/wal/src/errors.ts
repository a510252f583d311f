/** Failures of the log that are neither damaged bytes (`CorruptionError`) nor the disk's. */

import { EtcdError } from "@etcd-ts/base";

export type WalErrorCode =
  | "WAL_FILE_NOT_FOUND"
  | "WAL_EXISTS"
  | "WAL_SNAPSHOT_MISMATCH"
  | "WAL_SNAPSHOT_NOT_FOUND"
  | "WAL_FAILED"
  | "WAL_CLOSED";

export class WalError extends EtcdError {
  readonly code: WalErrorCode;

  constructor(code: WalErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
