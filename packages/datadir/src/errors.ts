/** Why files could not be worked on, in words that say what to do next. */

import { EtcdError } from "@etcd-ts/base";

export type DataDirectoryErrorCode =
  | "NOT_FOUND"
  | "IN_USE"
  | "INTEGRITY"
  | "CHECKSUM_MISSING"
  | "CHECKSUM_MISMATCH"
  | "NOT_EMPTY"
  | "CLUSTER"
  | "REVISION"
  | "MIGRATION";

export class DataDirectoryError extends EtcdError {
  readonly code: DataDirectoryErrorCode;

  constructor(code: DataDirectoryErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
