export type { RaftConfig, ReadOnlyOption } from "./config.ts";
export { RaftConfigError } from "./config.ts";
export { ConfChangeError } from "./confchange/changer.ts";
export type { EntryFormatter } from "./describe.ts";
export {
  describeConfChange,
  describeConfState,
  describeEntries,
  describeEntry,
  describeHardState,
  describeMessage,
  describeReady,
  describeReadState,
  describeSnapshot,
  describeSoftState,
  describeState,
  quoteBytes,
} from "./describe.ts";
export { MemoryStorage } from "./memory-storage.ts";
export type { JointVoters } from "./quorum/joint.ts";
export { allVoters, hasVoter, isJoint } from "./quorum/joint.ts";
export type { VoterSet } from "./quorum/majority.ts";
export {
  ConfChangeCodec,
  ConfChangeSingleCodec,
  ConfChangeV2Codec,
  ConfStateCodec,
  EntryCodec,
  writeEntryHead,
  entrySizeBytes,
  HardStateCodec,
  MessageCodec,
  SnapshotCodec,
  SnapshotMetadataCodec,
} from "./raftpb/codec.ts";
export {
  asConfChangeV2,
  confChangesFromString,
  confChangesToString,
  decodeConfChange,
  encodeConfChange,
} from "./raftpb/conf-change.ts";
export * from "./raftpb/types.ts";
export type { Peer } from "./raw-node.ts";
export { RawNode } from "./raw-node.ts";
export type { ProposeResult, RaftState, ReadState, Ready, SoftState, StepResult } from "./ready.ts";
export { PROPOSAL_DROPPED_TEXT, stepResultText } from "./ready.ts";
export type { BasicStatus, Status } from "./status.ts";
export { describeStatus } from "./status.ts";
export type { Storage } from "./storage.ts";
export {
  CompactedError,
  entriesSizeBytes,
  limitEntries,
  SnapshotOutOfDateError,
  SnapshotTemporarilyUnavailableError,
  UnavailableError,
} from "./storage.ts";
export type { Progress, ProgressState } from "./tracker/progress.ts";
export type { Configuration } from "./tracker/tracker.ts";
export { describeConfiguration } from "./tracker/tracker.ts";
