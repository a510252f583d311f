/**
 * Whole groups under random faults: lost, late, doubled and reordered messages, crashes that lose
 * what was not synced, compaction, changes of membership, transfers, reads. After each step:
 *
 * - election safety: at most one leader in a term;
 * - log matching: two logs that share an entry share all before it;
 * - leader completeness: a leader has all that was ever committed;
 * - state-machine safety: nobody applies another entry at an index than anybody before;
 * - reads: an index a read gets is not below what was committed when it was asked for.
 *
 * At the end the network heals, and the group must get on. A failure prints its seed; with
 * ETCD_TS_SOAK=1 many more are tried.
 */

import {
  concatBytes,
  hexFromBytes,
  invariant,
  NULL_LOGGER,
  randomBelow,
  SeededRandom,
  utf8FromString,
} from "@etcd-ts/base";
import { describe, expect, test } from "vitest";
import { MemoryStorage } from "./memory-storage.ts";
import { decodeConfChange } from "./raftpb/conf-change.ts";
import type { ConfChangeType, ConfState, Entry, HardState, Message } from "./raftpb/types.ts";
import { CONF_CHANGE_TYPES, EMPTY_CONF_STATE } from "./raftpb/types.ts";
import { RawNode } from "./raw-node.ts";
import { describeStatus } from "./status.ts";
import { describeProgressMap } from "./tracker/progress.ts";
import { describeConfiguration } from "./tracker/tracker.ts";

const EMPTY = new Uint8Array(0);
const IDS = [1n, 2n, 3n, 4n, 5n] as const;
const FOUNDERS = [1n, 2n, 3n] as const;
/** Messages the network holds at most; more are lost. */
const NETWORK_MAX = 200;

interface Options {
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly asyncStorageWrites: boolean;
  readonly hasMembershipChanges: boolean;
}

interface Faults {
  readonly lossPercent: number;
  readonly doublePercent: number;
  readonly crashPercent: number;
}

/** A member: what survives a crash, and what does not. */
class Member {
  readonly id: bigint;
  storage = new MemoryStorage();
  confState: ConfState = EMPTY_CONF_STATE;
  applied = 0;
  /** Digest of all that was applied: the state machine. */
  state: Uint8Array = EMPTY;
  /** What a crash brings back, if the newest was never synced. */
  syncedHardState: HardState = { term: 0, vote: 0n, commit: 0 };
  node!: RawNode;
  appendWork: Message[] = [];
  applyWork: Message[] = [];
  /** By context, what was committed when the read was asked for. */
  readonly reads = new Map<string, number>();

  constructor(id: bigint) {
    this.id = id;
  }
}

class Cluster {
  readonly random: SeededRandom;
  readonly options: Options;
  readonly members = new Map<bigint, Member>();
  #network: Message[] = [];
  #cut = new Set<string>();
  readonly leaders = new Map<number, bigint>();
  /** What was applied at each index, by whoever was first. */
  readonly history: Entry[] = [];
  #proposals = 0;
  #reads = 0;
  readonly counts = { applied: 0, reads: 0, crashes: 0, snapshots: 0, changes: 0 };

  constructor(seed: number, options: Options) {
    this.random = new SeededRandom(seed);
    this.options = options;
    for (const id of IDS) {
      const member = new Member(id);
      if (FOUNDERS.some((founder) => founder === id)) this.#found(member);
      this.members.set(id, member);
      this.#start(member);
    }
  }

  #found(member: Member): void {
    const confState = { ...EMPTY_CONF_STATE, voters: FOUNDERS };
    member.confState = confState;
    member.applied = 1;
    member.storage.applySnapshot({ data: EMPTY, metadata: { confState, index: 1, term: 1 } });
    member.syncedHardState = { term: 1, vote: 0n, commit: 1 };
    member.storage.setHardState(member.syncedHardState);
  }

  #start(member: Member): void {
    const { metadata, data } = member.storage.snapshot();
    member.applied = metadata.index;
    member.state = data;
    member.confState = metadata.confState;
    member.appendWork = [];
    member.applyWork = [];
    member.reads.clear();
    member.node = new RawNode({
      id: member.id,
      storage: member.storage,
      applied: metadata.index,
      electionTicks: 6,
      heartbeatTicks: 1,
      maxSizePerMessageBytes: 100,
      maxInflightMessages: 4,
      maxCommittedSizePerReadyBytes: 200,
      maxUncommittedEntriesBytes: 400,
      stepDownOnRemoval: true,
      preVote: this.options.preVote,
      checkQuorum: this.options.checkQuorum,
      asyncStorageWrites: this.options.asyncStorageWrites,
      random: this.random,
      logger: NULL_LOGGER,
    });
  }

  chance(percent: number): boolean {
    return randomBelow(this.random, 100) < percent;
  }

  pick<T>(items: readonly T[]): T {
    return items[randomBelow(this.random, items.length)]!;
  }

  /** The highest index known to be committed by anybody. */
  get committed(): number {
    return this.history.length - 1;
  }

  // --- faults

  crash(member: Member): void {
    this.counts.crashes++;
    member.storage.setHardState(member.syncedHardState);
    this.#start(member);
  }

  partition(): void {
    this.#cut.clear();
    for (const from of IDS) {
      for (const to of IDS) if (this.chance(30)) this.#cut.add(`${from}>${to}`);
    }
  }

  heal(): void {
    this.#cut.clear();
  }

  // --- work

  /** Does what a member has to do; with a crash in the middle if `faults` say so. */
  work(member: Member, faults: Faults): void {
    if (!member.node.hasReady()) return;
    const ready = member.node.ready();
    for (const { context, index } of ready.readStates) this.#checkRead(member, context, index);
    if (this.options.asyncStorageWrites) {
      for (const message of ready.messages) {
        if (message.type === "MsgStorageAppend") member.appendWork.push(message);
        else if (message.type === "MsgStorageApply") member.applyWork.push(message);
        else this.#send(message);
      }
      return;
    }
    if (this.chance(faults.crashPercent)) return this.crash(member);
    const isSynced = ready.mustSync || ready.snapshot !== undefined || this.chance(50);
    this.#save(member, ready.hardState, ready.entries, ready.snapshot, isSynced);
    if (this.chance(faults.crashPercent)) return this.crash(member);
    for (const message of ready.messages) this.#send(message);
    this.#apply(member, ready.committedEntries);
    member.node.advance(ready);
  }

  workStorage(member: Member, faults: Faults): void {
    const append = member.appendWork[0];
    if (append !== undefined && this.chance(60)) {
      if (this.chance(faults.crashPercent)) return this.crash(member);
      member.appendWork.shift();
      const { term, vote, commit } = append;
      const hardState = term + commit > 0 || vote > 0n ? { term, vote, commit } : undefined;
      this.#save(member, hardState, append.entries, append.snapshot, true);
      for (const response of append.responses) this.#respond(member, response);
    }
    const apply = member.applyWork[0];
    if (apply !== undefined && this.chance(60)) {
      member.applyWork.shift();
      this.#apply(member, apply.entries);
      for (const response of apply.responses) this.#respond(member, response);
    }
  }

  #respond(member: Member, message: Message): void {
    if (message.to === member.id) member.node.step(message);
    else this.#send(message);
  }

  #save(
    member: Member,
    hardState: HardState | undefined,
    entries: readonly Entry[],
    snapshot: Message["snapshot"],
    isSynced: boolean,
  ): void {
    if (hardState !== undefined) {
      member.storage.setHardState(hardState);
      if (isSynced) member.syncedHardState = hardState;
    }
    if (snapshot !== undefined) {
      this.counts.snapshots++;
      member.storage.applySnapshot(snapshot);
      member.applied = snapshot.metadata.index;
      member.state = snapshot.data;
      member.confState = snapshot.metadata.confState;
      // A snapshot is at least as new as what is committed: the commit index goes with it.
      const { term, vote, commit } = member.syncedHardState;
      const index = Math.max(commit, snapshot.metadata.index);
      member.syncedHardState = { term, vote, commit: index };
    }
    member.storage.append(entries);
  }

  #apply(member: Member, entries: readonly Entry[]): void {
    for (const entry of entries) {
      // A snapshot may have overtaken entries that were waiting to be applied.
      if (this.options.asyncStorageWrites && entry.index <= member.applied) continue;
      invariant(
        entry.index === member.applied + 1,
        () => `${member.id} applies ${entry.index} after ${member.applied}`,
      );
      this.#checkApplied(entry);
      member.applied = entry.index;
      const digest = utf8FromString(hexFromBytes(entry.data).slice(0, 4));
      member.state = concatBytes([member.state, digest]).slice(-64);
      const change = decodeConfChange(entry);
      if (change !== undefined) {
        this.counts.changes++;
        member.confState = member.node.applyConfChange(change);
      }
    }
  }

  compact(member: Member): void {
    const { storage, applied, confState, state } = member;
    if (applied <= storage.snapshot().metadata.index || applied > storage.lastIndex()) return;
    storage.createSnapshot(applied, confState, state);
    const to = applied - randomBelow(this.random, 4);
    if (to >= storage.firstIndex()) storage.compact(to);
    // What the snapshot holds is committed; a restart must know.
    const { term, vote, commit } = member.syncedHardState;
    member.syncedHardState = { term, vote, commit: Math.max(commit, applied) };
  }

  // --- the network

  #send(message: Message): void {
    if (this.#network.length < NETWORK_MAX) this.#network.push(message);
    else if (message.type === "MsgSnap") {
      this.members.get(message.from)!.node.reportSnapshot(message.to, "failure");
    }
  }

  deliver(faults: Faults): void {
    if (this.#network.length === 0) return;
    const isOrdered = this.chance(80);
    const position = isOrdered ? 0 : randomBelow(this.random, this.#network.length);
    const message = this.#network[position]!;
    if (!this.chance(faults.doublePercent)) this.#network.splice(position, 1);
    const to = this.members.get(message.to);
    const isLost =
      this.#cut.has(`${message.from}>${message.to}`) || this.chance(faults.lossPercent);
    const isSnapshot = message.type === "MsgSnap";
    if (to !== undefined && !isLost) to.node.step(message);
    if (isSnapshot) {
      const outcome = isLost ? "failure" : "finish";
      this.members.get(message.from)!.node.reportSnapshot(message.to, outcome);
    } else if (isLost && this.chance(30)) {
      this.members.get(message.from)!.node.reportUnreachable(message.to);
    }
  }

  deliverAll(faults: Faults): void {
    for (let i = this.#network.length; i > 0; i--) this.deliver(faults);
  }

  // --- load

  propose(member: Member): void {
    const data = utf8FromString(`${this.#proposals++}:${"x".repeat(this.pick([0, 5, 60]))}`);
    member.node.propose(data);
  }

  read(member: Member): void {
    const context = utf8FromString(`${member.id}/${this.#reads++}`);
    member.reads.set(hexFromBytes(context), this.committed);
    member.node.readIndex(context);
  }

  changeMembership(member: Member): void {
    const single = (): { type: ConfChangeType; nodeID: bigint } => ({
      type: this.pick(CONF_CHANGE_TYPES),
      nodeID: this.pick(IDS),
    });
    // A change that would leave no voters is the application's to refuse.
    const keeps = { type: "ConfChangeAddNode", nodeID: this.pick(FOUNDERS) } as const;
    const { voters, votersOutgoing } = member.confState;
    if (votersOutgoing.length > 0) {
      const transition = "ConfChangeTransitionAuto";
      member.node.proposeConfChange({ transition, changes: [], context: EMPTY });
    } else if (this.chance(50)) {
      const change = single();
      const isLast = voters.length < 2 && voters.includes(change.nodeID);
      if (isLast) return;
      member.node.proposeConfChange({ id: 0n, ...change, context: EMPTY });
    } else {
      const transition = this.pick([
        "ConfChangeTransitionJointImplicit",
        "ConfChangeTransitionJointExplicit",
      ] as const);
      const changes = [single(), single(), keeps];
      member.node.proposeConfChange({ transition, changes, context: EMPTY });
    }
  }

  // --- rules

  #checkApplied(entry: Entry): void {
    const known = this.history[entry.index];
    if (known !== undefined) {
      expect(entry, `another entry applied at ${entry.index}`).toEqual(known);
      return;
    }
    this.history[entry.index] = entry;
    this.counts.applied++;
  }

  #checkRead(member: Member, context: Uint8Array, index: number): void {
    const asked = member.reads.get(hexFromBytes(context));
    if (asked === undefined) return;
    this.counts.reads++;
    expect(index, `stale read on ${member.id}`).toBeGreaterThanOrEqual(asked);
  }

  checkLeaders(): void {
    for (const { id, node, storage } of this.members.values()) {
      const { state, term } = node.basicStatus();
      if (state !== "leader") continue;
      const other = this.leaders.get(term);
      expect(other ?? id, `two leaders in term ${term}`).toBe(id);
      if (other !== undefined) continue;
      this.leaders.set(term, id);
      const lastIndex = node.status().progress.get(id)!.next - 1;
      expect(lastIndex, `leader ${id} lacks what is committed`).toBeGreaterThanOrEqual(
        this.committed,
      );
      // The stored log lags behind what the leader has in hand, but never by what is committed.
      for (let index = storage.firstIndex(); index < this.history.length; index++) {
        const entry = this.history[index];
        if (entry === undefined || index > storage.lastIndex()) continue;
        expect(storage.term(index), `leader ${id} lacks entry ${index}`).toBe(entry.term);
      }
    }
  }

  checkLogs(): void {
    const logs = [...this.members.values()].map(({ storage }) => storage);
    for (const a of logs) {
      for (const b of logs) {
        if (a === b) continue;
        const first = Math.max(a.firstIndex(), b.firstIndex()) - 1;
        let isShared = false;
        for (let index = Math.min(a.lastIndex(), b.lastIndex()); index >= first; index--) {
          const isSame = a.term(index) === b.term(index);
          expect(isSame || !isShared, `logs part below ${index + 1}`).toBe(true);
          isShared = isSame;
        }
      }
    }
  }
}

function step(cluster: Cluster, faults: Faults): void {
  const member = cluster.pick([...cluster.members.values()]);
  const dice = randomBelow(cluster.random, 100);
  if (dice < 32) cluster.deliver(faults);
  else if (dice < 64) cluster.work(member, faults);
  else if (dice < 78) member.node.tick();
  else if (dice < 87) cluster.propose(member);
  else if (dice < 92) cluster.read(member);
  else if (dice < 94) cluster.compact(member);
  else if (dice < 95) member.node.transferLeader(cluster.pick(IDS));
  else if (dice < 96) cluster.partition();
  else if (dice < 97) cluster.heal();
  else if (dice < 98) member.node.campaign();
  else if (dice < 99) cluster.crash(member);
  else if (cluster.options.hasMembershipChanges) cluster.changeMembership(member);
  cluster.workStorage(member, faults);
  cluster.checkLeaders();
}

const NO_FAULTS: Faults = { lossPercent: 0, doublePercent: 0, crashPercent: 0 };

/** With the faults over, the group elects a leader and brings everybody up to date. */
function recover(cluster: Cluster): void {
  cluster.heal();
  const settle = (): void => {
    for (let i = 0; i < 12; i++) {
      for (const member of cluster.members.values()) {
        cluster.work(member, NO_FAULTS);
        for (let j = 0; j < 4; j++) cluster.workStorage(member, NO_FAULTS);
      }
      cluster.deliverAll(NO_FAULTS);
    }
    cluster.checkLeaders();
  };
  const target = cluster.committed + 1;
  for (let round = 0; round < 400; round++) {
    for (const { node } of cluster.members.values()) node.tick();
    settle();
    const leader = [...cluster.members.values()].find(
      ({ node }) => node.basicStatus().state === "leader",
    );
    if (leader === undefined) continue;
    if (round % 5 === 0) {
      cluster.propose(leader);
      // A member added since the last snapshot is not in it and cannot use it.
      cluster.compact(leader);
    }
    const { configuration } = leader.node.status();
    const everyone = [...configuration.voters.incoming, ...configuration.learners];
    const isDone = everyone.every((id) => cluster.members.get(id)!.applied > target);
    if (isDone && configuration.voters.outgoing.size === 0) return;
    if (configuration.voters.outgoing.size > 0) cluster.changeMembership(leader);
  }
  const states = [...cluster.members.values()].map(({ node, applied }) => {
    const status = node.status();
    return (
      `${describeStatus(status)} applied=${applied} ` +
      `${describeConfiguration(status.configuration)}\n${describeProgressMap(status.progress)}`
    );
  });
  throw new Error(`the group did not recover:\n${states.join("\n")}`);
}

function run(seed: number): Cluster["counts"] {
  const bits = new SeededRandom(seed);
  const options: Options = {
    preVote: randomBelow(bits, 2) === 0,
    checkQuorum: randomBelow(bits, 2) === 0,
    asyncStorageWrites: randomBelow(bits, 3) === 0,
    hasMembershipChanges: randomBelow(bits, 2) === 0,
  };
  const cluster = new Cluster(seed, options);
  const faults: Faults = { lossPercent: 8, doublePercent: 8, crashPercent: 2 };
  for (let i = 0; i < 3000; i++) {
    step(cluster, faults);
    if (i % 200 === 0) cluster.checkLogs();
  }
  cluster.checkLogs();
  recover(cluster);
  cluster.checkLogs();
  return cluster.counts;
}

const environment = (globalThis as { process?: { env: Record<string, string | undefined> } })
  .process;
const seeds = environment?.env.ETCD_TS_SOAK === "1" ? 500 : 25;

describe("a group under faults", () => {
  test("keeps Raft's promises and recovers", () => {
    const total = { applied: 0, reads: 0, crashes: 0, snapshots: 0, changes: 0 };
    for (let seed = 1; seed <= seeds; seed++) {
      try {
        const counts = run(seed);
        for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += counts[key];
      } catch (error) {
        throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
      }
    }
    // Each fault and feature must have been met.
    for (const [name, count] of Object.entries(total)) {
      expect(count, name).toBeGreaterThan(seeds / 4);
    }
  }, 600_000);
});
