/** What all parts of one transport share. */

import { hexFromID } from "@etcd-ts/base";
import type { Clock, Logger } from "@etcd-ts/base";
import type { PeerInbound } from "@etcd-ts/etcdserver";
import type { Message } from "@etcd-ts/raft";
import type { PeerIdentity } from "./headers.ts";
import type { PeerHttpClient } from "./http-client.ts";
import type { TransportMetrics } from "./metrics.ts";

/** Intervals that tests shorten; the defaults are in `limits.ts`. */
export interface TransportTimings {
  readonly connectionTimeoutMs: number;
  readonly dialRetryMs: number;
  readonly pipelineTimeoutMs: number;
  readonly snapshotStallTimeoutMs: number;
  readonly probeIntervalMs: number;
  /** Between two looks at the probes of a peer that is not healthy; the first is one of them. */
  readonly probeReportMs: number;
  /** For questions such as `/version`. */
  readonly requestTimeoutMs: number;
}

export interface PeerContext {
  readonly identity: PeerIdentity;
  readonly inbound: PeerInbound;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: TransportMetrics;
  readonly timings: TransportTimings;
  /** Long-lived answers, and one of the two probes. */
  readonly streamClient: PeerHttpClient;
  /** Posts, snapshots, questions, and the other probe. */
  readonly pipelineClient: PeerHttpClient;
  /** The cluster says that this member was removed from it. */
  readonly memberRemoved: () => void;
}

/** Text of the error that ends a removed member. */
export const MEMBER_REMOVED_TEXT = "the member has been permanently removed from the cluster";

/** Why a message was not handed to raft; etcd's texts for a post of it. */
export type ProcessRefusal =
  | "cannot process message from removed member"
  | "cannot process message to mismatch member";

/** Messages a member sends to itself; from outside they mean nothing. */
const LOCAL_TYPES: ReadonlySet<Message["type"]> = new Set([
  "MsgHup",
  "MsgBeat",
  "MsgUnreachable",
  "MsgSnapStatus",
  "MsgCheckQuorum",
  "MsgStorageAppend",
  "MsgStorageAppendResp",
  "MsgStorageApply",
  "MsgStorageApplyResp",
]);

/** Hands a message to raft, unless its sender was removed or it is for somebody else. */
export function processMessage(context: PeerContext, message: Message): ProcessRefusal | undefined {
  const refusal = refusalOfMessage(context, message);
  if (refusal === undefined && !LOCAL_TYPES.has(message.type)) context.inbound.step(message);
  return refusal;
}

export function refusalOfMessage(
  { identity, inbound, logger }: PeerContext,
  message: Message,
): ProcessRefusal | undefined {
  if (inbound.isIDRemoved(message.from)) {
    logger.warn("rejected Raft message from removed member", {
      "local-member-id": hexFromID(identity.memberID),
      "removed-member-id": hexFromID(message.from),
    });
    return "cannot process message from removed member";
  }
  if (message.to !== identity.memberID) {
    logger.warn("rejected Raft message to mismatch member", {
      "local-member-id": hexFromID(identity.memberID),
      "mismatch-member-id": hexFromID(message.to),
    });
    return "cannot process message to mismatch member";
  }
  return undefined;
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
