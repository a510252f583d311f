/** One member, or a few wired together by hand: what each option and each odd message does. */

import { MemoryLogger, NULL_LOGGER, SeededRandom, utf8FromString } from "@etcd-ts/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RaftConfig } from "./config.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { decodeConfChange } from "./raftpb/conf-change.ts";
import type { ConfChangeType, Entry, Message } from "./raftpb/types.ts";
import {
  EMPTY_CONF_STATE,
  LOCAL_APPEND_THREAD,
  MESSAGE_TYPES,
  newMessage,
  NONE,
} from "./raftpb/types.ts";
import { RawNode } from "./raw-node.ts";
import type { Ready, ReadState } from "./ready.ts";

const EMPTY = new Uint8Array(0);

interface Member {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly applied: Entry[];
  readonly reads: ReadState[];
}

type Options = Partial<Omit<RaftConfig, "id" | "storage" | "random">>;

function newMember(id: bigint, voters: readonly bigint[], options: Options = {}): Member {
  const storage = new MemoryStorage();
  const confState = { ...EMPTY_CONF_STATE, voters };
  storage.applySnapshot({ data: EMPTY, metadata: { confState, index: 1, term: 1 } });
  const node = new RawNode({
    id,
    storage,
    applied: 1,
    electionTicks: 10,
    heartbeatTicks: 1,
    maxSizePerMessageBytes: Number.POSITIVE_INFINITY,
    maxInflightMessages: 256,
    random: new SeededRandom(id),
    logger: NULL_LOGGER,
    ...options,
  });
  return { node, storage, applied: [], reads: [] };
}

/** A new core on what a member has on disk. */
function restart({ node, storage }: Member, options: Options = {}): RawNode {
  return new RawNode({
    id: node.basicStatus().id,
    storage,
    applied: 1,
    electionTicks: 10,
    heartbeatTicks: 1,
    maxSizePerMessageBytes: 1 << 20,
    maxInflightMessages: 512,
    random: new SeededRandom(1),
    logger: NULL_LOGGER,
    ...options,
  });
}

/** Does one batch of a member's work and returns what it sends. */
function work(member: Member): readonly Message[] {
  const { node, storage } = member;
  const ready: Ready = node.ready();
  if (ready.hardState !== undefined) storage.setHardState(ready.hardState);
  if (ready.snapshot !== undefined) storage.applySnapshot(ready.snapshot);
  storage.append(ready.entries);
  for (const entry of ready.committedEntries) {
    const change = decodeConfChange(entry);
    if (change !== undefined) node.applyConfChange(change);
    member.applied.push(entry);
  }
  member.reads.push(...ready.readStates);
  node.advance(ready);
  return ready.messages;
}

class Group {
  readonly members: Map<bigint, Member>;
  /** Told of each message; false drops it. */
  passes: (message: Message) => boolean = () => true;

  constructor(count: number, options: Options = {}) {
    const ids = Array.from({ length: count }, (_, i) => BigInt(i + 1));
    this.members = new Map(ids.map((id) => [id, newMember(id, ids, options)]));
  }

  at(id: bigint): Member {
    return this.members.get(id)!;
  }

  /** Until nobody has anything left to do. */
  settle(): void {
    for (let isBusy = true; isBusy;) {
      isBusy = false;
      for (const member of this.members.values()) {
        while (member.node.hasReady()) {
          isBusy = true;
          this.#send(work(member));
        }
      }
    }
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (this.passes(message)) this.members.get(message.to)?.node.step(message);
    }
  }

  tick(id: bigint, count: number): void {
    for (let i = 0; i < count; i++) this.at(id).node.tick();
    this.settle();
  }

  elect(id: bigint): void {
    this.at(id).node.campaign();
    this.settle();
    expect(this.at(id).node.basicStatus().state).toBe("leader");
  }
}

function dataOf(member: Member): string[] {
  return member.applied
    .filter(({ type, data }) => type === "EntryNormal" && data.length > 0)
    .map(({ data }) => String.fromCharCode(...data));
}

describe("a group of one", () => {
  test("bootstrap() founds a group that elects itself and applies its founding", () => {
    const storage = new MemoryStorage();
    const node = new RawNode({
      id: 0xabcn,
      storage,
      electionTicks: 10,
      heartbeatTicks: 1,
      maxSizePerMessageBytes: 1 << 20,
      maxInflightMessages: 512,
      random: new SeededRandom(1),
      logger: NULL_LOGGER,
    });
    const member: Member = { node, storage, applied: [], reads: [] };
    node.bootstrap([{ id: 0xabcn, context: utf8FromString("m") }]);
    const first = node.ready();
    expect(first.hardState).toEqual({ term: 1, vote: NONE, commit: 1 });
    expect(first.mustSync).toBe(true);
    expect(first.entries.length).toBe(1);
    expect(first.committedEntries[0]!.type).toBe("EntryConfChange");
    storage.setHardState(first.hardState!);
    storage.append(first.entries);
    node.applyConfChange(decodeConfChange(first.committedEntries[0]!)!);
    node.advance(first);
    node.campaign();
    while (node.hasReady()) work(member);
    expect(node.propose(utf8FromString("x"))).toBe("ok");
    while (node.hasReady()) work(member);
    expect(dataOf(member)).toEqual(["x"]);
    expect(node.basicStatus()).toEqual({
      id: 0xabcn,
      term: 2,
      vote: 0xabcn,
      commit: 3,
      leadID: 0xabcn,
      state: "leader",
      applied: 3,
      leadTransferee: NONE,
    });
    expect(() => node.bootstrap([{ id: 1n, context: EMPTY }])).toThrow("nonempty Storage");
  });

  test("readIndex() waits for the first commit of the term", () => {
    const member = newMember(1n, [1n]);
    member.storage.append([
      { type: "EntryNormal", term: 1, index: 2, data: utf8FromString("acknowledged") },
    ]);
    // A restart: the entry was committed, but the hard state on disk does not say so.
    member.storage.setHardState({ term: 1, vote: 1n, commit: 1 });
    const node = restart(member);
    const restarted: Member = { ...member, node };
    node.campaign();
    while (node.basicStatus().state !== "leader") work(restarted);
    node.readIndex(utf8FromString("r"));
    expect(node.basicStatus().commit).toBe(1);
    while (node.hasReady()) work(restarted);
    expect(restarted.reads.map(({ index }) => index)).toEqual([3]);
  });

  test("the constructor refuses what cannot run", () => {
    const build =
      (options: Options): (() => Member) =>
      () =>
        newMember(1n, [1n], options);
    expect(() => newMember(0n, [])).toThrow("cannot use none as id");
    expect(() => newMember(LOCAL_APPEND_THREAD, [])).toThrow("cannot use local target as id");
    expect(build({ heartbeatTicks: 0 })).toThrow("heartbeat tick must be greater than 0");
    expect(build({ electionTicks: 1 })).toThrow("greater than heartbeat tick");
    expect(build({ maxInflightMessages: 0 })).toThrow("max inflight messages");
    expect(build({ maxInflightBytes: 5, maxSizePerMessageBytes: 6 })).toThrow("max inflight bytes");
    expect(build({ readOnly: "leaseBased" })).toThrow("CheckQuorum must be enabled");
  });
});

describe("proposals", () => {
  test("reach every member in order, from whichever member they come", () => {
    const group = new Group(3);
    group.elect(1n);
    expect(group.at(2n).node.propose(utf8FromString("a"))).toBe("ok");
    group.settle();
    group.at(1n).node.proposeBatch([utf8FromString("b"), utf8FromString("c")]);
    group.settle();
    for (const member of group.members.values()) expect(dataOf(member)).toEqual(["a", "b", "c"]);
  });

  test("are dropped without a leader, and by followers told not to forward", () => {
    const group = new Group(3, { disableProposalForwarding: true });
    expect(group.at(1n).node.propose(EMPTY)).toBe("dropped");
    group.elect(1n);
    expect(group.at(2n).node.propose(EMPTY)).toBe("dropped");
    expect(group.at(1n).node.propose(EMPTY)).toBe("ok");
  });

  test("are dropped above maxUncommittedEntriesBytes, until some are applied", () => {
    const group = new Group(3, { maxUncommittedEntriesBytes: 10 });
    group.elect(1n);
    const { node } = group.at(1n);
    group.passes = () => false;
    // One of any size is taken while nothing else waits.
    expect(node.propose(new Uint8Array(64))).toBe("ok");
    expect(node.propose(new Uint8Array(1))).toBe("dropped");
    expect(node.propose(EMPTY)).toBe("ok");
    group.settle();
    group.passes = () => true;
    // The lost messages are found missing by the answers to heartbeats.
    group.tick(1n, 2);
    expect(node.propose(new Uint8Array(1))).toBe("ok");
  });

  test("are dropped while the leadership is handed over", () => {
    const group = new Group(3);
    group.elect(1n);
    group.passes = ({ type }) => type !== "MsgTimeoutNow";
    group.at(1n).node.transferLeader(2n);
    group.settle();
    expect(group.at(1n).node.basicStatus().leadTransferee).toBe(2n);
    expect(group.at(1n).node.propose(EMPTY)).toBe("dropped");
    group.tick(1n, 10);
    expect(group.at(1n).node.propose(EMPTY)).toBe("ok");
  });

  test("committed entries come in pages of maxCommittedSizePerReadyBytes", () => {
    const group = new Group(1, { maxCommittedSizePerReadyBytes: 40 });
    group.elect(1n);
    const member = group.at(1n);
    for (let i = 0; i < 5; i++) member.node.propose(new Uint8Array(20));
    const pages: number[] = [];
    while (member.node.hasReady()) {
      const before = member.applied.length;
      work(member);
      if (member.applied.length > before) pages.push(member.applied.length - before);
    }
    expect(pages).toEqual([1, 1, 1, 1, 1]);
  });
});

describe("commitment", () => {
  const old: Entry = { type: "EntryNormal", term: 1, index: 2, data: utf8FromString("old") };

  test("a leader counts replicas only for entries of its own term", () => {
    const member = newMember(1n, [1n, 2n, 3n]);
    member.storage.append([old]);
    member.storage.setHardState({ term: 1, vote: NONE, commit: 1 });
    const restarted = { ...member, node: restart(member) };
    restarted.node.campaign();
    work(restarted);
    restarted.node.step(newMessage({ type: "MsgVoteResp", from: 2n, to: 1n, term: 2 }));
    expect(restarted.node.basicStatus().state).toBe("leader");
    work(restarted);
    const ack = { type: "MsgAppResp", from: 2n, to: 1n, term: 2 } as const;
    restarted.node.step(newMessage({ ...ack, index: 2 }));
    expect(restarted.node.basicStatus().commit).toBe(1);
    restarted.node.step(newMessage({ ...ack, index: 3 }));
    expect(restarted.node.basicStatus().commit).toBe(3);
  });

  test("a follower commits no further than where its log is known to be the leader's", () => {
    const member = newMember(2n, [1n, 2n, 3n]);
    member.storage.append([old]);
    const node = restart(member);
    const app = { type: "MsgApp", from: 1n, to: 2n, term: 3, logTerm: 1, index: 1 } as const;
    expect(node.step(newMessage({ ...app, commit: 2 }))).toBe("ok");
    expect(node.basicStatus().commit).toBe(1);
    const entries = [{ ...old, term: 3 }];
    expect(node.step(newMessage({ ...app, commit: 2, entries }))).toBe("ok");
    expect(node.basicStatus().commit).toBe(2);
  });
});

describe("flow control", () => {
  test("a leader has at most maxInflightMessages on the way, of maxSizePerMessageBytes", () => {
    const group = new Group(3, { maxInflightMessages: 2, maxSizePerMessageBytes: 30 });
    group.elect(1n);
    const sent: Message[] = [];
    group.passes = (message) => {
      const isTo2 = message.type === "MsgApp" && message.to === 2n && message.entries.length > 0;
      if (isTo2) sent.push(message);
      return message.to !== 2n;
    };
    for (let i = 0; i < 10; i++) group.at(1n).node.propose(new Uint8Array(20));
    group.settle();
    expect(sent.map(({ entries }) => entries.length)).toEqual([1, 1]);
    group.passes = () => true;
    group.tick(1n, 3);
    expect(group.at(2n).storage.lastIndex()).toBe(group.at(1n).storage.lastIndex());
  });

  test("maxInflightBytes bounds what is on the way", () => {
    const group = new Group(2, { maxInflightBytes: 50, maxSizePerMessageBytes: 25 });
    group.elect(1n);
    let bytes = 0;
    group.passes = ({ to, entries }) => {
      for (const entry of entries) bytes += entry.data.length;
      return to !== 2n;
    };
    for (let i = 0; i < 10; i++) group.at(1n).node.propose(new Uint8Array(20));
    group.settle();
    expect(bytes).toBe(60);
  });
});

describe("elections", () => {
  test("a leader cut off steps down by checkQuorum, and the others elect another", () => {
    const group = new Group(3, { checkQuorum: true, preVote: true });
    group.elect(1n);
    group.passes = ({ from, to }) => from !== 1n && to !== 1n;
    group.tick(1n, 20);
    expect(group.at(1n).node.basicStatus().state).toBe("follower");
    for (let i = 0; i < 40; i++) for (const id of [2n, 3n]) group.tick(id, 1);
    const states = [2n, 3n].map((id) => group.at(id).node.basicStatus().state);
    expect(states.filter((state) => state === "leader").length).toBe(1);
  });

  test("with preVote, a member cut off does not raise the term", () => {
    const group = new Group(3, { checkQuorum: true, preVote: true });
    group.elect(1n);
    const { term } = group.at(1n).node.basicStatus();
    group.passes = ({ from, to }) => from !== 3n && to !== 3n;
    group.tick(3n, 100);
    group.passes = () => true;
    group.tick(1n, 2);
    expect(group.at(1n).node.basicStatus()).toMatchObject({ state: "leader", term });
    expect(group.at(3n).node.basicStatus()).toMatchObject({ leadID: 1n, term });
  });

  test("transferLeader() hands over at once, lease and pre-vote notwithstanding", () => {
    const group = new Group(3, { checkQuorum: true, preVote: true });
    group.elect(1n);
    group.at(1n).node.propose(utf8FromString("a"));
    group.at(3n).node.transferLeader(3n);
    group.settle();
    expect(group.at(3n).node.basicStatus().state).toBe("leader");
    expect(group.at(1n).node.basicStatus().leadID).toBe(3n);
    expect(dataOf(group.at(2n))).toEqual(["a"]);
  });

  test("forgetLeader() lets a follower vote within the lease", () => {
    const group = new Group(3, { checkQuorum: true });
    group.elect(1n);
    group.passes = ({ from, to }) => from !== 1n && to !== 1n;
    group.at(2n).node.campaign();
    group.settle();
    expect(group.at(2n).node.basicStatus().state).toBe("candidate");
    group.at(3n).node.forgetLeader();
    group.elect(2n);
  });
});

describe("membership", () => {
  function propose(group: Group, by: bigint, type: ConfChangeType, nodeID: bigint): void {
    group.at(by).node.proposeConfChange({ id: 0n, type, nodeID, context: EMPTY });
    group.settle();
  }

  test("a learner catches up by snapshot, does not vote, and is promoted", () => {
    const group = new Group(3);
    group.elect(1n);
    for (const text of ["a", "b"]) group.at(1n).node.propose(utf8FromString(text));
    group.settle();
    const leader = group.at(1n);
    group.members.set(4n, newMember(4n, []));
    group.passes = ({ to }) => to !== 4n;
    propose(group, 1n, "ConfChangeAddLearnerNode", 4n);
    const last = leader.storage.lastIndex();
    const confState = { ...EMPTY_CONF_STATE, voters: [1n, 2n, 3n], learners: [4n] };
    leader.storage.createSnapshot(last, confState, EMPTY);
    leader.storage.compact(last);
    group.passes = () => true;
    expect(leader.node.status().progress.get(4n)?.isLearner).toBe(true);
    group.tick(1n, 3);
    expect(group.at(4n).storage.lastIndex()).toBe(leader.storage.lastIndex());
    group.at(4n).node.campaign();
    group.settle();
    expect(group.at(4n).node.basicStatus().state).toBe("follower");
    propose(group, 1n, "ConfChangeAddNode", 4n);
    group.tick(1n, 2);
    group.elect(4n);
  });

  test("stepDownOnRemoval makes a removed leader a follower; else it drops proposals", () => {
    for (const stepDownOnRemoval of [true, false]) {
      const group = new Group(3, { stepDownOnRemoval });
      group.elect(1n);
      propose(group, 1n, "ConfChangeRemoveNode", 1n);
      const { state } = group.at(1n).node.basicStatus();
      expect(state).toBe(stepDownOnRemoval ? "follower" : "leader");
      expect(group.at(1n).node.propose(EMPTY)).toBe("dropped");
    }
  });

  test("a change that does not fit becomes an empty entry", () => {
    const logger = new MemoryLogger();
    const group = new Group(3, { logger });
    group.elect(1n);
    const before = group.at(1n).applied.length;
    const leave = { transition: "ConfChangeTransitionAuto", changes: [], context: EMPTY } as const;
    expect(group.at(1n).node.proposeConfChange(leave)).toBe("ok");
    group.settle();
    const added = group.at(1n).applied.slice(before);
    expect(added.map(({ type, data }) => [type, data.length])).toEqual([["EntryNormal", 0]]);
    const texts = logger.events.map(({ message }) => message);
    expect(texts).toContain(
      "1 ignoring conf change transition:ConfChangeTransitionAuto at config voters=(1 2 3): " +
        "not in joint state; refusing empty conf change",
    );
  });

  test("applyConfChange() of a change that breaks the rules stops the member", () => {
    const member = newMember(1n, [1n]);
    const change = { id: 0n, type: "ConfChangeRemoveNode", nodeID: 1n, context: EMPTY } as const;
    expect(() => member.node.applyConfChange(change)).toThrow("removed all voters");
  });
});

describe("readIndex()", () => {
  test("is answered by a quorum, to leader and follower alike", () => {
    const group = new Group(3);
    group.elect(1n);
    group.at(1n).node.propose(utf8FromString("a"));
    group.settle();
    const { commit } = group.at(1n).node.basicStatus();
    group.at(1n).node.readIndex(Uint8Array.of(1));
    group.at(2n).node.readIndex(Uint8Array.of(2));
    group.settle();
    expect(group.at(1n).reads).toEqual([{ index: commit, context: Uint8Array.of(1) }]);
    expect(group.at(2n).reads).toEqual([{ index: commit, context: Uint8Array.of(2) }]);
  });

  test("is not answered by a leader cut off", () => {
    const group = new Group(3);
    group.elect(1n);
    group.passes = () => false;
    group.at(1n).node.readIndex(Uint8Array.of(1));
    group.settle();
    expect(group.at(1n).reads).toEqual([]);
    // The same reads are confirmed by the heartbeats that come through again.
    group.passes = () => true;
    group.tick(1n, 1);
    expect(group.at(1n).reads.length).toBe(1);
  });

  test("is answered from the lease alone when told so", () => {
    const group = new Group(3, { checkQuorum: true, readOnly: "leaseBased" });
    group.elect(1n);
    group.passes = () => false;
    group.at(1n).node.readIndex(Uint8Array.of(1));
    group.settle();
    expect(group.at(1n).reads.length).toBe(1);
  });

  test("is dropped without a leader", () => {
    const group = new Group(3);
    group.at(2n).node.readIndex(Uint8Array.of(1));
    group.settle();
    expect(group.at(2n).reads).toEqual([]);
  });
});

describe("step()", () => {
  function leaderOfThree(): Group {
    const group = new Group(3);
    group.elect(1n);
    return group;
  }

  test("names what it does not take", () => {
    const { node } = leaderOfThree().at(1n);
    const step = (fields: Parameters<typeof newMessage>[0]): string =>
      node.step(newMessage(fields));
    expect(step({ type: "MsgHup", from: 2n })).toBe("localMessage");
    expect(step({ type: "MsgStorageAppendResp", from: LOCAL_APPEND_THREAD })).toBe("localMessage");
    expect(step({ type: "MsgAppResp", from: 9n, term: 2 })).toBe("peerNotFound");
    expect(step({ type: "MsgApp", term: 2 })).toBe("malformed");
    expect(step({ type: "MsgHeartbeat", from: 1n, term: 2 })).toBe("malformed");
    expect(step({ type: "MsgHeartbeat", from: 2n })).toBe("malformed");
    expect(step({ type: "MsgProp", from: 2n })).toBe("malformed");
    expect(step({ type: "MsgReadIndex", from: 2n })).toBe("malformed");
    const change = {
      type: "EntryConfChange",
      term: 0,
      index: 0,
      data: Uint8Array.of(0xff),
    } as const;
    expect(step({ type: "MsgProp", from: 2n, entries: [change] })).toBe("malformed");
  });

  test("takes a proposal that comes back from a leader which made way for this member", () => {
    const group = leaderOfThree();
    const entries: Entry[] = [
      { type: "EntryNormal", term: 0, index: 0, data: utf8FromString("a") },
    ];
    const { node } = group.at(1n);
    expect(node.step(newMessage({ type: "MsgProp", from: 1n, to: 1n, entries }))).toBe("ok");
    group.settle();
    expect(dataOf(group.at(2n))).toEqual(["a"]);
  });

  test("a snapshot sent at no term leaves the term alone", () => {
    const group = new Group(3);
    const { node } = group.at(2n);
    node.campaign();
    const snapshot = group.at(1n).storage.snapshot();
    expect(node.step(newMessage({ type: "MsgSnap", from: 1n, to: 2n, snapshot }))).toBe("ok");
    expect(node.basicStatus().term).toBe(1);
  });

  test("refuses entries no leader can have", () => {
    const entry = (index: number, term: number): Entry => ({
      type: "EntryNormal",
      term,
      index,
      data: EMPTY,
    });
    const { node } = leaderOfThree().at(2n);
    const app = { type: "MsgApp", from: 1n, to: 2n, term: 5, index: 2, logTerm: 2 } as const;
    for (const entries of [
      [entry(4, 2)],
      [entry(3, 2), entry(5, 2)],
      [entry(3, 1)],
      [entry(3, 3), entry(4, 2)],
      [entry(3, 6)],
    ]) {
      expect(node.step(newMessage({ ...app, entries }))).toBe("malformed");
    }
    expect(node.step(newMessage({ ...app, entries: [entry(3, 2), entry(4, 5)] }))).toBe("ok");
  });

  test("ignores acknowledgements beyond the leader's log", () => {
    const group = leaderOfThree();
    const { node } = group.at(1n);
    const { term, commit } = node.basicStatus();
    for (const from of [2n, 3n]) {
      node.step(newMessage({ type: "MsgAppResp", from, to: 1n, term, index: commit + 100 }));
    }
    expect(node.propose(utf8FromString("a"))).toBe("ok");
    group.settle();
    expect(dataOf(group.at(3n))).toEqual(["a"]);
  });

  test("ignores a snapshot whose configuration makes no sense", () => {
    const { node, storage } = newMember(2n, [1n, 2n, 3n]);
    const confState = { ...EMPTY_CONF_STATE, voters: [2n], learners: [2n] };
    const snapshot = { data: EMPTY, metadata: { confState, index: 50, term: 3 } };
    expect(node.step(newMessage({ type: "MsgSnap", from: 1n, to: 2n, term: 4, snapshot }))).toBe(
      "ok",
    );
    const ready = node.ready();
    expect(ready.snapshot).toBeUndefined();
    expect(ready.messages.map(({ type, index }) => [type, index])).toEqual([["MsgAppResp", 1]]);
    expect(storage.lastIndex()).toBe(1);
  });

  test("no message from the network stops a member, but one that proves data lost", () => {
    const small = fc.nat(6);
    const memberID = fc.bigInt({ min: 0n, max: 4n });
    const anyEntry = fc.record({
      type: fc.constantFrom("EntryNormal" as const, "EntryConfChange" as const),
      term: small,
      index: small,
      data: fc.uint8Array({ maxLength: 4 }),
    });
    const anyConfState = fc.record({
      voters: fc.array(memberID, { maxLength: 3 }),
      learners: fc.array(memberID, { maxLength: 2 }),
      votersOutgoing: fc.array(memberID, { maxLength: 2 }),
      learnersNext: fc.array(memberID, { maxLength: 2 }),
      autoLeave: fc.boolean(),
    });
    const anyMessage = fc
      .record({
        type: fc.constantFrom(...MESSAGE_TYPES),
        from: memberID,
        to: memberID,
        term: small,
        logTerm: small,
        index: small,
        commit: small,
        entries: fc.array(anyEntry, { maxLength: 3 }),
        snapshot: fc.option(
          fc.record({
            data: fc.constant(EMPTY),
            metadata: fc.record({ confState: anyConfState, index: small, term: small }),
          }),
          { nil: undefined },
        ),
        reject: fc.boolean(),
        rejectHint: small,
        context: fc.uint8Array({ maxLength: 9 }),
      })
      .map((fields) => newMessage(fields));
    fc.assert(
      fc.property(
        fc.constantFrom(1n, 2n),
        fc.array(anyMessage, { maxLength: 12 }),
        fc.boolean(),
        fc.boolean(),
        (id, messages, checkQuorum, isCandidate) => {
          const group = new Group(3, { checkQuorum, preVote: checkQuorum });
          if (!isCandidate) group.elect(1n);
          const member = group.at(id);
          if (isCandidate) member.node.campaign();
          try {
            for (const message of messages) {
              member.node.step(message);
              while (member.node.hasReady()) work(member);
              member.node.tick();
            }
          } catch (error) {
            // A leader that commits what this member does not have, or replaces what is
            // committed, shows that somebody's disk lied.
            expect(String(error)).toMatch(/Was the raft log corrupted|conflict with committed/);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test("a pre-vote that is refused before the first term gets no answer", () => {
    const group = new Group(3, { checkQuorum: true, preVote: true });
    const member = group.at(1n);
    member.node.campaign();
    while (member.node.hasReady()) work(member);
    expect(() =>
      member.node.step(newMessage({ type: "MsgPreVote", from: 2n, term: 1 })),
    ).not.toThrow();
  });
});

describe("ready()", () => {
  test("must be reported before the next one", () => {
    const { node } = newMember(1n, [1n]);
    node.campaign();
    const ready = node.ready();
    expect(() => node.ready()).toThrow("without call to Advance");
    node.advance(ready);
  });

  test("does not ask for a sync when only the commit index moved", () => {
    const group = new Group(3);
    group.elect(1n);
    group.at(1n).node.propose(utf8FromString("a"));
    const syncs: boolean[] = [];
    const { node, storage } = group.at(2n);
    group.passes = ({ to }) => to !== 2n;
    group.settle();
    group.passes = () => true;
    const { term, commit } = group.at(1n).node.basicStatus();
    const last = group.at(1n).storage.entries(commit, commit + 1, 1);
    const app = {
      type: "MsgApp",
      from: 1n,
      to: 2n,
      term,
      logTerm: term,
      index: commit - 1,
    } as const;
    for (const entries of [last, []]) {
      const index = entries.length > 0 ? commit - 1 : commit;
      node.step(newMessage({ ...app, index, entries, commit: entries.length > 0 ? 0 : commit }));
      const ready = node.ready();
      storage.append(ready.entries);
      syncs.push(ready.mustSync);
      node.advance(ready);
    }
    expect(syncs).toEqual([true, false]);
  });
});
