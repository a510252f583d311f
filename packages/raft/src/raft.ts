/**
 * One member's part in the consensus: its role, its term, its vote, and how messages change them.
 *
 * Source: D. Ongaro, "Consensus: Bridging Theory and Practice" (the Raft thesis); sections 3.4
 * (elections), 3.10 (leadership transfer), 4 (membership), 6.4 (reads), 9.6 (pre-vote). What each
 * role does with a message of its own term stands in `follower.ts`, `candidate.ts`, `leader.ts`;
 * how a leader sends in `replication.ts`, elections in `election.ts`, configurations in
 * `membership.ts`.
 *
 * Invariants:
 * - `term` never falls, and `vote` changes at most once in a term.
 * - There is at most one leader in a term; only it makes entries of that term.
 * - Nothing that promises durability (votes, acknowledgements of entries) is sent before what it
 *   promises is on disk: such messages wait in `messagesAfterAppend`.
 * - Fields are for the files named above and `raw-node.ts`; nobody else sees this class.
 */

import type { Logger, Random } from "@etcd-ts/base";
import { hexFromID, invariant, randomBelow, unreachable } from "@etcd-ts/base";
import { stepCandidate } from "./candidate.ts";
import type { RaftConfig, ReadOnlyOption } from "./config.ts";
import { checkConfig } from "./config.ts";
import { answerVote, isInLease, isPromotable, maybeCampaign, rejectVote } from "./election.ts";
import { stepFollower } from "./follower.ts";
import { appendAsLeader, stepLeader } from "./leader.ts";
import { RaftLog } from "./log.ts";
import { restoredMembership, switchTo } from "./membership.ts";
import type { HardState, Message, MessageFields, Snapshot } from "./raftpb/types.ts";
import { isEmptyHardState, newMessage, NONE } from "./raftpb/types.ts";
import { ReadQueue } from "./read-only.ts";
import type { RaftState, ReadState, SoftState, StepResult } from "./ready.ts";
import { entriesSizeBytes } from "./storage.ts";
import { Progress } from "./tracker/progress.ts";
import { describeConfiguration, ProgressTracker } from "./tracker/tracker.ts";

export class Raft {
  readonly id: bigint;
  /** `id` as the log lines show it. */
  readonly name: string;
  readonly log: RaftLog;
  readonly tracker: ProgressTracker;
  readonly logger: Logger;
  readonly maxMessageBytes: number;
  readonly maxUncommittedBytes: number;
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly checkQuorum: boolean;
  readonly preVote: boolean;
  readonly readOnly: ReadOnlyOption;
  readonly disableProposalForwarding: boolean;
  readonly disableConfChangeValidation: boolean;
  readonly stepDownOnRemoval: boolean;
  readonly #random: Random;

  term = 0;
  vote = NONE;
  state: RaftState = "follower";
  /** The leader this member knows of. */
  leadID = NONE;
  isLearner = false;

  /** To be sent at once. */
  messages: Message[] = [];
  /** To be sent, or stepped by this member itself, once all that is unstable now is on disk. */
  messagesAfterAppend: Message[] = [];
  readStates: ReadState[] = [];

  /** Leader only: who is to take over. */
  leadTransferee = NONE;
  /** Leader only: no other configuration change is taken until this index has been applied. */
  pendingConfIndex = 0;
  /** Leader only: size of the proposals not yet applied, at most what it really is. */
  uncommittedBytes = 0;
  readQueue = new ReadQueue();
  /** Leader only: reads that came before the first commit of the term. */
  postponedReads: Message[] = [];

  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** In [electionTicks, 2 * electionTicks); drawn anew with each change of role. */
  randomizedElectionTicks = 0;

  constructor(config: RaftConfig) {
    checkConfig(config);
    this.id = config.id;
    this.name = hexFromID(config.id);
    this.logger = config.logger;
    this.#random = config.random;
    this.maxMessageBytes = config.maxSizePerMessageBytes;
    this.maxUncommittedBytes = config.maxUncommittedEntriesBytes || Number.POSITIVE_INFINITY;
    this.electionTicks = config.electionTicks;
    this.heartbeatTicks = config.heartbeatTicks;
    this.checkQuorum = config.checkQuorum ?? false;
    this.preVote = config.preVote ?? false;
    this.readOnly = config.readOnly ?? "safe";
    this.disableProposalForwarding = config.disableProposalForwarding ?? false;
    this.disableConfChangeValidation = config.disableConfChangeValidation ?? false;
    this.stepDownOnRemoval = config.stepDownOnRemoval ?? false;
    this.tracker = new ProgressTracker(
      config.maxInflightMessages,
      config.maxInflightBytes || Number.POSITIVE_INFINITY,
    );
    this.log = new RaftLog(
      config.storage,
      config.logger,
      config.maxCommittedSizePerReadyBytes || config.maxSizePerMessageBytes,
    );
    this.#start(config);
  }

  #start(config: RaftConfig): void {
    const { hardState, confState } = config.storage.initialState();
    const last = this.log.lastEntryID();
    const membership = restoredMembership(this, confState, last.index);
    switchTo(this, membership);
    if (!isEmptyHardState(hardState)) {
      this.log.loadCommitted(hardState.commit, this.name);
      this.term = hardState.term;
      this.vote = hardState.vote;
    }
    if (config.applied !== undefined && config.applied > 0) this.log.appliedTo(config.applied, 0);
    this.becomeFollower(this.term, NONE);
    const peers = this.tracker.voterIDs().map(hexFromID).join(",");
    this.logger.info(
      `newRaft ${this.name} [peers: [${peers}], term: ${this.term}, ` +
        `commit: ${this.log.committed}, applied: ${this.log.applied}, ` +
        `lastindex: ${last.index}, lastterm: ${last.term}]`,
    );
  }

  softState(): SoftState {
    return { leadID: this.leadID, state: this.state };
  }

  hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  /** Builds the text only if it is written. */
  debug(message: () => string): void {
    if (this.logger.isEnabled("debug")) this.logger.debug(message());
  }

  // --- sending

  /**
   * Queues a message from this member at its term.
   *
   * The term is given only for votes, which may be for another term than the present one.
   * Proposals and reads on their way to the leader belong to no term.
   */
  send(fields: MessageFields): void {
    const { type } = fields;
    const isVote =
      type === "MsgVote" ||
      type === "MsgVoteResp" ||
      type === "MsgPreVote" ||
      type === "MsgPreVoteResp";
    invariant(
      isVote === (fields.term !== undefined && fields.term !== 0),
      () => `send: term ${fields.term ?? 0} of a ${type}`,
    );
    const withoutTerm = type === "MsgProp" || type === "MsgReadIndex";
    const term = isVote ? fields.term! : withoutTerm ? 0 : this.term;
    const from = fields.from === undefined || fields.from === NONE ? this.id : fields.from;
    const message = newMessage(fields, from, term);
    if (type === "MsgAppResp" || type === "MsgVoteResp" || type === "MsgPreVoteResp") {
      this.messagesAfterAppend.push(message);
      return;
    }
    invariant(
      message.to !== this.id,
      () => `message should not be self-addressed when sending ${type}`,
    );
    this.messages.push(message);
  }

  // --- time

  tick(): void {
    if (this.state === "leader") this.#tickLeader();
    else this.#tickElection();
  }

  #tickElection(): void {
    this.electionElapsed++;
    if (!isPromotable(this) || this.electionElapsed < this.randomizedElectionTicks) return;
    this.electionElapsed = 0;
    this.step(newMessage({ type: "MsgHup", from: this.id }));
  }

  #tickLeader(): void {
    this.heartbeatElapsed++;
    this.electionElapsed++;
    if (this.electionElapsed >= this.electionTicks) {
      this.electionElapsed = 0;
      if (this.checkQuorum) this.step(newMessage({ type: "MsgCheckQuorum", from: this.id }));
      // A transfer that took this long has failed; the leader goes on leading.
      if (this.state === "leader") this.leadTransferee = NONE;
    }
    if (this.state !== "leader" || this.heartbeatElapsed < this.heartbeatTicks) return;
    this.heartbeatElapsed = 0;
    this.step(newMessage({ type: "MsgBeat", from: this.id }));
  }

  // --- roles

  #reset(term: number): void {
    if (this.term !== term) {
      invariant(term > this.term, () => `reset: term ${term} is below ${this.term}`);
      this.term = term;
      this.vote = NONE;
    }
    this.leadID = NONE;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.randomizedElectionTicks =
      this.electionTicks + randomBelow(this.#random, this.electionTicks);
    this.leadTransferee = NONE;
    this.tracker.resetVotes();
    const lastIndex = this.log.lastIndex();
    this.tracker.resetProgress(
      (id, old) =>
        new Progress({
          match: id === this.id ? lastIndex : 0,
          next: lastIndex + 1,
          isLearner: old.isLearner,
          recentActive: false,
          inflights: this.tracker.newInflights(),
        }),
    );
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.readQueue = new ReadQueue();
    this.postponedReads = [];
  }

  becomeFollower(term: number, leadID: bigint): void {
    this.#reset(term);
    this.leadID = leadID;
    this.state = "follower";
    this.logger.info(`${this.name} became follower at term ${this.term}`);
  }

  becomeCandidate(): void {
    invariant(this.state !== "leader", () => "invalid transition [leader -> candidate]");
    this.#reset(this.term + 1);
    this.vote = this.id;
    this.state = "candidate";
    this.logger.info(`${this.name} became candidate at term ${this.term}`);
  }

  /** Changes the role alone: neither the term nor the vote. */
  becomePreCandidate(): void {
    invariant(this.state !== "leader", () => "invalid transition [leader -> pre-candidate]");
    this.tracker.resetVotes();
    this.leadID = NONE;
    this.state = "preCandidate";
    this.logger.info(`${this.name} became pre-candidate at term ${this.term}`);
  }

  becomeLeader(): void {
    invariant(this.state !== "follower", () => "invalid transition [follower -> leader]");
    this.#reset(this.term);
    this.leadID = this.id;
    this.state = "leader";
    const own = this.tracker.progress.get(this.id);
    invariant(own !== undefined, () => `becomeLeader: ${this.name} is no member`);
    own.becomeReplicate();
    own.recentActive = true;
    // There may be a configuration change among the entries not yet applied; waiting for all of
    // them is cheaper than looking.
    this.pendingConfIndex = this.log.lastIndex();
    const accepted = appendAsLeader(this, [{ type: "EntryNormal", data: new Uint8Array(0) }]);
    invariant(accepted, () => "empty entry was dropped");
    this.logger.info(`${this.name} became leader at term ${this.term}`);
  }

  // --- messages

  step(message: Message): StepResult {
    if (message.term !== 0) {
      if (message.term > this.term && !this.#acceptHigherTerm(message)) return "ok";
      if (message.term < this.term) {
        this.#answerLowerTerm(message);
        return "ok";
      }
    }
    switch (message.type) {
      case "MsgHup":
        maybeCampaign(this, this.preVote ? "preElection" : "election");
        return "ok";
      case "MsgStorageAppendResp":
        if (message.index !== 0) {
          this.log.stableTo({ term: message.logTerm, index: message.index });
        }
        if (message.snapshot !== undefined) this.#appliedSnapshot(message.snapshot);
        return "ok";
      case "MsgStorageApplyResp":
        this.#appliedEntries(message);
        return "ok";
      case "MsgVote":
      case "MsgPreVote":
        answerVote(this, message);
        return "ok";
      default:
        return this.#stepByRole(message);
    }
  }

  #stepByRole(message: Message): StepResult {
    switch (this.state) {
      case "leader":
        return stepLeader(this, message);
      case "follower":
        return stepFollower(this, message);
      case "candidate":
      case "preCandidate":
        return stepCandidate(this, message);
      default:
        return unreachable(this.state, "stepByRole");
    }
  }

  /** Follows a message of a higher term; false if it is to be ignored. */
  #acceptHigherTerm(message: Message): boolean {
    const { type } = message;
    if ((type === "MsgVote" || type === "MsgPreVote") && isInLease(this, message)) {
      const last = this.log.lastEntryID();
      this.logger.info(
        `${this.name} [logterm: ${last.term}, index: ${last.index}, vote: ` +
          `${hexFromID(this.vote)}] ignored ${type} from ${hexFromID(message.from)} ` +
          `[logterm: ${message.logTerm}, index: ${message.index}] at term ${this.term}: ` +
          `lease is not expired (remaining ticks: ${this.electionTicks - this.electionElapsed})`,
      );
      return false;
    }
    // A pre-vote asks about a term nobody is in yet, and so does its granting answer.
    if (type === "MsgPreVote" || (type === "MsgPreVoteResp" && !message.reject)) return true;
    this.logger.info(
      `${this.name} [term: ${this.term}] received a ${type} message with higher term from ` +
        `${hexFromID(message.from)} [term: ${message.term}]`,
    );
    const fromLeader = type === "MsgApp" || type === "MsgHeartbeat" || type === "MsgSnap";
    this.becomeFollower(message.term, fromLeader ? message.from : NONE);
    return true;
  }

  #answerLowerTerm(message: Message): void {
    const { type, from } = message;
    if ((this.checkQuorum || this.preVote) && (type === "MsgHeartbeat" || type === "MsgApp")) {
      // Tells a leader left behind of the present term; without this, neither could ever reach
      // the other: it ignores our votes while its lease lasts, and we ignore its messages.
      this.send({ type: "MsgAppResp", to: from });
    } else if (type === "MsgPreVote") {
      // A candidate left behind must learn the present term, or it may ask for ever.
      rejectVote(this, message);
    } else if (type === "MsgStorageAppendResp") {
      if (message.index !== 0) {
        // The entries may have been replaced in a later term; a later write will tell of them.
        this.logger.info(
          `${this.name} [term: ${this.term}] ignored entry appends from a ${type} message ` +
            `with lower term [term: ${message.term}]`,
        );
      }
      // A snapshot holds what is committed, in whatever term it was installed.
      if (message.snapshot !== undefined) this.#appliedSnapshot(message.snapshot);
    } else {
      this.logger.info(
        `${this.name} [term: ${this.term}] ignored a ${type} message with lower term from ` +
          `${hexFromID(from)} [term: ${message.term}]`,
      );
    }
  }

  // --- what has been applied

  #appliedEntries(message: Message): void {
    const last = message.entries.at(-1);
    if (last === undefined) return;
    this.#appliedTo(last.index, entriesSizeBytes(message.entries));
    let bytes = 0;
    for (const entry of message.entries) bytes += entry.data.length;
    this.uncommittedBytes = Math.max(0, this.uncommittedBytes - bytes);
  }

  #appliedSnapshot(snapshot: Snapshot): void {
    this.log.stableSnapshotTo(snapshot.metadata.index);
    this.#appliedTo(snapshot.metadata.index, 0);
  }

  #appliedTo(index: number, bytes: number): void {
    const applied = Math.max(index, this.log.applied);
    this.log.appliedTo(applied, bytes);
    const { configuration } = this.tracker;
    if (!configuration.autoLeave || this.state !== "leader" || applied < this.pendingConfIndex) {
      return;
    }
    // Data-less, so that no bound on proposals can refuse it. A transfer under way can; then the
    // next entry applied, or the next leader, tries again.
    const entry = {
      type: "EntryConfChangeV2",
      term: 0,
      index: 0,
      data: new Uint8Array(0),
    } as const;
    const result = this.step(newMessage({ type: "MsgProp", entries: [entry] }));
    const text = describeConfiguration(configuration);
    if (result === "ok") {
      this.logger.info(`initiating automatic transition out of joint configuration ${text}`);
    } else {
      this.debug(
        () =>
          `not initiating automatic transition out of joint configuration ${text}: ` +
          "raft proposal dropped",
      );
    }
  }

  /** Commits what a quorum has on disk; only a leader may. True if there was anything new. */
  maybeCommit(): boolean {
    return this.log.maybeCommit({ term: this.term, index: this.tracker.committedIndex() });
  }

  /** Whether the leader has committed an entry of its own term, and so knows all that is. */
  hasCommittedInTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }
}
