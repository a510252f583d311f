/**
 * What a member's Raft core is built from, and the limits it keeps.
 *
 * "No limit" is `Number.POSITIVE_INFINITY`.
 */

import type { Logger, Random } from "@etcd-ts/base";
import { EtcdError } from "@etcd-ts/base";
import { isLocalTarget, NONE } from "./raftpb/types.ts";
import type { Storage } from "./storage.ts";

/**
 * How linearizable reads are confirmed: by a round of heartbeats to a quorum, or by trusting that
 * clocks do not drift while the leader's lease (`checkQuorum`) lasts.
 */
export type ReadOnlyOption = "safe" | "leaseBased";

export interface RaftConfig {
  /** This member; neither 0 nor one of the local storage threads. */
  readonly id: bigint;
  /** Ticks without a leader after which a follower may campaign; above `heartbeatTicks`. */
  readonly electionTicks: number;
  /** Ticks between two heartbeats of a leader. */
  readonly heartbeatTicks: number;
  readonly storage: Storage;
  /** Index of the last entry the application has applied; default 0. Set on a restart. */
  readonly applied?: number;
  /** Storage is written by messages and answers instead of `ready` and `advance`. */
  readonly asyncStorageWrites?: boolean;
  /** Bytes of entries in one MsgApp; 0 for one entry a message. */
  readonly maxSizePerMessageBytes: number;
  /** Bytes of entries being applied at a time; default `maxSizePerMessageBytes`. */
  readonly maxCommittedSizePerReadyBytes?: number;
  /** Bytes of proposals a leader takes before the first of them is committed; default no limit. */
  readonly maxUncommittedEntriesBytes?: number;
  /** MsgApp on the way to one follower at a time. */
  readonly maxInflightMessages: number;
  /** Bytes of proposals on the way to one follower at a time; default no limit. */
  readonly maxInflightBytes?: number;
  /** The leader steps down when it has not heard from a quorum for `electionTicks`. */
  readonly checkQuorum?: boolean;
  /** A candidate first asks whether it could win, so that one cut off does not raise the term. */
  readonly preVote?: boolean;
  /** Default "safe". "leaseBased" needs `checkQuorum`. */
  readonly readOnly?: ReadOnlyOption;
  /** Followers drop proposals instead of handing them to the leader. */
  readonly disableProposalForwarding?: boolean;
  /** A leader takes any configuration change, however it fits the present configuration. */
  readonly disableConfChangeValidation?: boolean;
  /** A leader that is removed or made a learner steps down at once. */
  readonly stepDownOnRemoval?: boolean;
  /** Spreads the election timeouts. */
  readonly random: Random;
  readonly logger: Logger;
}

/** A configuration no member can run with. */
export class RaftConfigError extends EtcdError {
  readonly code = "RAFT_CONFIG";
}

/** @throws {RaftConfigError} */
export function checkConfig(config: RaftConfig): void {
  const problem = configProblem(config);
  if (problem !== undefined) throw new RaftConfigError(problem);
}

function configProblem(config: RaftConfig): string | undefined {
  if (config.id === NONE) return "cannot use none as id";
  if (isLocalTarget(config.id)) return "cannot use local target as id";
  if (config.heartbeatTicks <= 0) return "heartbeat tick must be greater than 0";
  if (config.electionTicks <= config.heartbeatTicks) {
    return "election tick must be greater than heartbeat tick";
  }
  if (config.maxInflightMessages <= 0) return "max inflight messages must be greater than 0";
  const inflightBytes = config.maxInflightBytes ?? 0;
  if (inflightBytes !== 0 && inflightBytes < config.maxSizePerMessageBytes) {
    return "max inflight bytes must be >= max message size";
  }
  if (config.readOnly === "leaseBased" && config.checkQuorum !== true) {
    return "CheckQuorum must be enabled when ReadOnlyOption is ReadOnlyLeaseBased";
  }
  return undefined;
}
