export { Backend, BackendFailedError } from "./backend/backend.ts";
export type { BackendOptions, KeyValuePair } from "./backend/backend.ts";
export type { BucketName } from "./backend/bucket.ts";
export type { HashSkip } from "./backend/hash.ts";
export { BackendSnapshot, SNAPSHOT_CHUNK_BYTES } from "./backend/snapshot.ts";
export * from "./schema/alarm.ts";
export * from "./schema/auth.ts";
export * from "./schema/compaction.ts";
export * from "./schema/lease.ts";
export * from "./schema/members.ts";
export * from "./schema/meta.ts";
export { CompactionInterruptedError } from "./mvcc/compaction.ts";
export type { HashKey } from "./mvcc/key-hash.ts";
export { isUnbounded } from "./mvcc/key-range.ts";
export { applyRangeOptions, storeRangeOptions } from "./mvcc/range-options.ts";
export type { RangeAnswer, RangeRequestOptions } from "./mvcc/range-options.ts";
export { decodeRevision, encodeRevision } from "./mvcc/revision.ts";
export type { Revision, RevisionKey } from "./mvcc/revision.ts";
export { MvccStore } from "./mvcc/store.ts";
export type { MvccStoreOptions } from "./mvcc/store.ts";
export { keyValueFromStored, withoutValue } from "./mvcc/stored-key-value.ts";
export * from "./mvcc/types.ts";
export {
  DUPLICATE_WATCH_ID,
  EMPTY_WATCHER_RANGE,
  STREAM_BATCHES_MAX,
  WatchRefusedError,
  WatchStream,
} from "./watch/watch-stream.ts";
