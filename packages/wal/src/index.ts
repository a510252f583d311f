export { WalError } from "./errors.ts";
export type { WalErrorCode } from "./errors.ts";
export { SEGMENT_BYTES } from "./open.ts";
export type { WalContents } from "./replay.ts";
export { Snapshotter } from "./snapshotter.ts";
export type { SnapshotterOptions } from "./snapshotter.ts";
export type { WalSnapshot } from "./walpb.ts";
export { WriteAheadLog } from "./write-ahead-log.ts";
export type { WalOptions } from "./write-ahead-log.ts";
