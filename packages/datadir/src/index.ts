/** Work on the files of a member that does not run. */

export { newPortableDigest } from "./checksum.ts";
export type { Digest, NewDigest } from "./checksum.ts";
export type { DataDirectoryContext } from "./context.ts";
export { defragment } from "./defragment.ts";
export type { DefragmentOptions, DefragmentResult } from "./defragment.ts";
export { DataDirectoryError } from "./errors.ts";
export type { DataDirectoryErrorCode } from "./errors.ts";
export { hashKV } from "./hash-kv.ts";
export type { HistoryHash } from "./hash-kv.ts";
export { MIGRATION_VERSION_MIN, migrate } from "./migrate.ts";
export type { MigrateOptions, MigrateResult } from "./migrate.ts";
export type { NewClusterOptions } from "./new-cluster.ts";
export type { OnProgress, Progress } from "./progress.ts";
export { restoreSnapshot } from "./restore.ts";
export type { RestoreOptions, RestoreResult } from "./restore.ts";
export { snapshotStatus } from "./status.ts";
export type { SnapshotStatus } from "./status.ts";
export { verify } from "./verify.ts";
export type { VerifyOptions } from "./verify.ts";
export type { CheckResult, CheckStatus, VerifyReport } from "./verify-report.ts";
