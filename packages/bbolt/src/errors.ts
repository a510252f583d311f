/** Failures of the database, with bbolt's texts. Damaged pages are `CorruptionError`. */

import { CorruptionError, EtcdError } from "@etcd-ts/base";

const TEXTS = {
  DATABASE_NOT_OPEN: "database not open",
  DATABASE_READ_ONLY: "database is in read-only mode",
  TX_CLOSED: "tx closed",
  TX_NOT_WRITABLE: "tx not writable",
  BUCKET_NOT_FOUND: "bucket not found",
  BUCKET_EXISTS: "bucket already exists",
  BUCKET_NAME_REQUIRED: "bucket name required",
  KEY_REQUIRED: "key required",
  KEY_TOO_LARGE: "key too large",
  VALUE_TOO_LARGE: "value too large",
  INCOMPATIBLE_VALUE: "incompatible value",
  WRITES_STOPPED: "database takes no more writes after a failed sync",
} as const;

export type DatabaseErrorCode = keyof typeof TEXTS;

/** A call the database refuses; nothing was changed. */
export class DatabaseError extends EtcdError {
  readonly code: DatabaseErrorCode;

  constructor(code: DatabaseErrorCode, options?: ErrorOptions) {
    super(TEXTS[code], options);
    this.code = code;
  }
}

export type InvalidDatabaseCode =
  | "INVALID_DATABASE"
  | "VERSION_MISMATCH"
  | "CHECKSUM_ERROR"
  | "FILE_SIZE_TOO_SMALL";

/** A file without a usable meta page. */
export class InvalidDatabaseError extends CorruptionError {
  override readonly code: InvalidDatabaseCode;

  constructor(code: InvalidDatabaseCode, message: string, path: string, offsetBytes: number) {
    super(message, path, offsetBytes);
    this.code = code;
  }
}
