import { expect, test } from "vitest";
import { newMessage } from "@etcd-ts/raft";
import type { Entry, Message } from "@etcd-ts/raft";
import type { ServerFacts } from "@etcd-ts/etcdserver";

import { RaftInvariants } from "./raft-invariants.ts";

function entry(index: number, term: number, data = 1): Entry {
  return { type: "EntryNormal", term, index, data: Uint8Array.of(data) };
}

function append(from: bigint, term: number, entries: Entry[], commit = 0): Message {
  return newMessage({ type: "MsgApp", from, to: 9n, term, entries, commit });
}

function facts(memberID: bigint, appliedIndex: number): ServerFacts {
  return {
    memberID,
    clusterID: 1n,
    leaderID: 1n,
    isLeader: false,
    isLearner: false,
    raftTerm: 1,
    committedIndex: appliedIndex,
    appliedIndex,
    currentRevision: 1,
    clusterVersion: undefined,
  };
}

test("RaftInvariants accepts leaders that follow each other and keep what was committed", () => {
  const raft = new RaftInvariants();
  raft.sent(append(1n, 1, [entry(1, 1), entry(2, 1)]));
  raft.sent(append(1n, 1, [], 2));
  raft.sent(append(2n, 2, [entry(1, 1), entry(2, 1), entry(3, 2)], 3));
  raft.sent(newMessage({ type: "MsgVoteResp", from: 3n, to: 2n, term: 2 }));
  raft.sent(newMessage({ type: "MsgVoteResp", from: 3n, to: 2n, term: 2 }));
  raft.told(facts(1n, 3));
  raft.told(facts(2n, 3));
  expect(raft.elections).toBe(2);
});

test("RaftInvariants tells of two leaders in a term", () => {
  const raft = new RaftInvariants();
  raft.sent(append(1n, 4, []));
  expect(() => raft.sent(newMessage({ type: "MsgHeartbeat", from: 2n, to: 1n, term: 4 }))).toThrow(
    "both lead term 4",
  );
});

test("RaftInvariants tells of a member that votes twice in a term", () => {
  const raft = new RaftInvariants();
  raft.sent(newMessage({ type: "MsgVoteResp", from: 3n, to: 1n, term: 2 }));
  raft.sent(newMessage({ type: "MsgVoteResp", from: 3n, to: 2n, term: 2, reject: true }));
  expect(() => raft.sent(newMessage({ type: "MsgVoteResp", from: 3n, to: 2n, term: 2 }))).toThrow(
    "voted for",
  );
});

test("RaftInvariants tells of two entries at one index and term", () => {
  const raft = new RaftInvariants();
  raft.sent(append(1n, 1, [entry(1, 1, 1)]));
  expect(() => raft.sent(append(2n, 2, [entry(1, 1, 2)]))).toThrow("two entries at index 1");
});

test("RaftInvariants tells of a leader that lost a committed entry", () => {
  const raft = new RaftInvariants();
  raft.sent(append(1n, 1, [entry(1, 1), entry(2, 1)], 2));
  expect(() => raft.sent(append(2n, 3, [entry(2, 3)]))).toThrow("committed was one of term 1");
});

test("RaftInvariants tells of a member that applied what is not committed", () => {
  const raft = new RaftInvariants();
  raft.told(facts(2n, 8));
  expect(() => raft.told({ ...facts(2n, 8), committedIndex: 7 })).toThrow("applied 8");
});
