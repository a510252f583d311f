/** What a candidate or pre-candidate does with a message of its term. */

import { hexFromID } from "@etcd-ts/base";
import { describeState } from "./describe.ts";
import { campaign, poll } from "./election.ts";
import { handleAppend, handleHeartbeat, handleSnapshot } from "./follower.ts";
import type { Raft } from "./raft.ts";
import type { Message } from "./raftpb/types.ts";
import { NONE } from "./raftpb/types.ts";
import type { StepResult } from "./ready.ts";
import { broadcastAppend } from "./replication.ts";

export function stepCandidate(raft: Raft, message: Message): StepResult {
  switch (message.type) {
    case "MsgProp":
      raft.logger.info(`${raft.name} no leader at term ${raft.term}; dropping proposal`);
      return "dropped";
    case "MsgApp":
      raft.becomeFollower(raft.term, message.from);
      handleAppend(raft, message);
      return "ok";
    case "MsgHeartbeat":
      raft.becomeFollower(raft.term, message.from);
      handleHeartbeat(raft, message);
      return "ok";
    case "MsgSnap":
      raft.becomeFollower(raft.term, message.from);
      handleSnapshot(raft, message);
      return "ok";
    case "MsgVoteResp":
      // An answer to the pre-vote may still come while the vote itself is on.
      if (raft.state === "candidate") countVote(raft, message);
      return "ok";
    case "MsgPreVoteResp":
      if (raft.state === "preCandidate") countVote(raft, message);
      return "ok";
    case "MsgTimeoutNow":
      raft.debug(
        () =>
          `${raft.name} [term ${raft.term} state ${describeState(raft.state)}] ` +
          `ignored MsgTimeoutNow from ${hexFromID(message.from)}`,
      );
      return "ok";
    default:
      return "ok";
  }
}

function countVote(raft: Raft, message: Message): void {
  switch (poll(raft, message)) {
    case "VoteWon":
      if (raft.state === "preCandidate") {
        campaign(raft, "election");
      } else {
        raft.becomeLeader();
        broadcastAppend(raft);
      }
      return;
    case "VoteLost":
      raft.becomeFollower(raft.term, NONE);
      return;
    case "VotePending":
      return;
  }
}
