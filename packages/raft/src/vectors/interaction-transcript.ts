/**
 * Transcripts of whole groups: commands drive members by hand and deliver what lies in the
 * network, and every Ready, message and log line is shown.
 *
 * Invariants:
 * - Messages between two members keep their order; those of a member to itself are never dropped.
 */

import { EtcdError, utf8FromString } from "@etcd-ts/base";
import { describeEntries, describeMessage, describeReady, describeState } from "../describe.ts";
import { hasVoter } from "../quorum/joint.ts";
import type { Message, MessageType } from "../raftpb/types.ts";
import { isEmptyHardState, isLocalTarget, MESSAGE_TYPES, newMessage } from "../raftpb/types.ts";
import type { ProposeResult } from "../ready.ts";
import { stepResultText } from "../ready.ts";
import { describeProgressMap } from "../tracker/progress.ts";
import type { Argument, Block } from "./datadriven.ts";
import { parseID, parseNumber, TranscriptError } from "./datadriven.ts";
import { parseConfChange, parseMemberArguments } from "./interaction-arguments.ts";
import { TranscriptMember } from "./transcript-member.ts";
import { TranscriptOutput } from "./transcript-output.ts";

interface Recipient {
  readonly id: bigint;
  readonly drop: boolean;
}

export class InteractionTranscript {
  readonly #members: TranscriptMember[] = [];
  readonly #output = new TranscriptOutput();
  /** What has been sent and neither delivered nor dropped. */
  #network: Message[] = [];

  answer(block: Block): string {
    this.#output.reset();
    try {
      this.#run(block);
    } catch (error) {
      // What the world may do is part of the transcript; a broken invariant is not.
      if (!(error instanceof EtcdError)) throw error;
      if (this.#output.isQuiet()) return error.message;
      this.#output.write(error.message);
    }
    return this.#output.text === "" ? "ok" : this.#output.text;
  }

  #run(block: Block): void {
    const { command } = block;
    switch (command) {
      case "_breakpoint":
        return;
      case "add-nodes":
        return this.#addNodes(block);
      case "campaign":
        return this.#first(block).node.campaign();
      case "compact":
        return this.#compact(block);
      case "deliver-msgs":
        return this.#deliver(block);
      case "process-ready":
        return this.#forEach(block, "handling Ready", (member) => this.#processReady(member));
      case "process-append-thread":
        return this.#forEach(block, "processing append thread", (member) =>
          this.#processAppend(member),
        );
      case "process-apply-thread":
        return this.#forEach(block, "processing apply thread", (member) =>
          this.#processApply(member),
        );
      case "log-level":
        return this.#output.setLevelByName(argumentAt(block, 0).key);
      case "raft-log":
        return this.#showLog(this.#first(block));
      case "raft-state":
        return this.#showState();
      case "set-randomized-election-timeout":
        return this.#first(block).node.setRandomizedElectionTicks(
          parseNumber(namedValue(block, "timeout")),
        );
      case "stabilize":
        return this.#stabilizeCommand(block);
      case "status":
        return this.#output.write(describeProgressMap(this.#first(block).node.status().progress));
      case "tick-election":
        return this.#tick(this.#first(block), "electionTicks");
      case "tick-heartbeat":
        return this.#tick(this.#first(block), "heartbeatTicks");
      case "transfer-leadership":
        return this.#transferLeadership(block);
      case "forget-leader":
        return this.#first(block).node.forgetLeader();
      case "send-snapshot":
        return this.#sendSnapshot(block);
      case "propose":
        return this.#propose(block);
      case "propose-conf-change":
        return this.#proposeConfChange(block);
      case "report-unreachable":
        return this.#reportUnreachable(block);
      default:
        throw new TranscriptError("unknown command");
    }
  }

  // --- members

  #memberAt(position: number): TranscriptMember {
    const member = this.#members[position];
    if (member === undefined) throw new Error(`there is no member ${position + 1}`);
    return member;
  }

  #first(block: Block): TranscriptMember {
    return this.#memberAt(parseNumber(argumentAt(block, 0).key) - 1);
  }

  /** The members named by plain arguments. */
  #named(block: Block): TranscriptMember[] {
    return block.arguments
      .filter(({ values }) => values.length === 0)
      .map(({ key }) => this.#memberAt(parseNumber(key) - 1));
  }

  /** One member's output stands as it is; that of several gets headings. */
  #forEach(block: Block, heading: string, action: (member: TranscriptMember) => void): void {
    const members = this.#named(block);
    for (const member of members) {
      if (members.length === 1) action(member);
      else this.#underHeading(member, heading, () => action(member));
    }
  }

  #underHeading(member: TranscriptMember, heading: string, action: () => void): void {
    this.#output.write(`> ${member.id} ${heading}\n`);
    this.#output.withIndent(action);
  }

  #addNodes(block: Block): void {
    const count = parseNumber(argumentAt(block, 0).key);
    const { options, snapshot } = parseMemberArguments(block.arguments.slice(1));
    const { confState, index } = snapshot.metadata;
    const isBootstrapped =
      index !== 0 ||
      snapshot.data.length > 0 ||
      confState.voters.length > 0 ||
      confState.learners.length > 0;
    for (let i = 0; i < count; i++) {
      if (isBootstrapped && index <= 1) {
        throw new TranscriptError("index must be specified as > 1 due to bootstrap");
      }
      const term = isBootstrapped ? 1 : 0;
      const initial = { ...snapshot, metadata: { ...snapshot.metadata, term } };
      const id = BigInt(this.#members.length + 1);
      this.#members.push(new TranscriptMember(id, options, initial, isBootstrapped, this.#output));
    }
  }

  // --- time, proposals, reports

  #tick(member: TranscriptMember, interval: "electionTicks" | "heartbeatTicks"): void {
    for (let i = 0; i < member.options[interval]; i++) member.node.tick();
  }

  #propose(block: Block): void {
    const data = argumentAt(block, 1);
    if (block.arguments.length !== 2 || data.values.length > 0) {
      throw new Error("expected exactly one key with no vals");
    }
    requireTaken(this.#first(block).node.propose(utf8FromString(data.key)));
  }

  #proposeConfChange(block: Block): void {
    requireTaken(this.#first(block).node.proposeConfChange(parseConfChange(block)));
  }

  #transferLeadership(block: Block): void {
    const from = parseNumber(namedValue(block, "from"));
    const to = parseNumber(namedValue(block, "to"));
    this.#memberAt(from - 1).node.transferLeader(this.#memberAt(to - 1).id);
  }

  #reportUnreachable(block: Block): void {
    const [reporter, reported, ...others] = this.#named(block);
    if (reporter === undefined || reported === undefined || others.length > 0) {
      throw new TranscriptError(
        "must specify exactly two node indexes: node on which to report, and reported node",
      );
    }
    reporter.node.reportUnreachable(reported.id);
  }

  // --- logs and states

  #compact(block: Block): void {
    const member = this.#first(block);
    member.storage.compact(parseNumber(argumentAt(block, 1).key));
    this.#showLog(member);
  }

  #showLog({ storage }: TranscriptMember): void {
    const first = storage.firstIndex();
    const last = storage.lastIndex();
    if (last < first) {
      this.#output.write(`log is empty: first index=${first}, last index=${last}`);
      return;
    }
    const entries = storage.entries(first, last + 1, Number.POSITIVE_INFINITY);
    this.#output.write(describeEntries(entries));
  }

  #showState(): void {
    for (const { node } of this.#members) {
      const { id, state, term, leadID, configuration } = node.status();
      const role = hasVoter(configuration.voters, id) ? "(Voter)" : "(Non-Voter)";
      this.#output.write(`${id}: ${describeState(state)} ${role} Term:${term} Lead:${leadID}\n`);
    }
  }

  #sendSnapshot(block: Block): void {
    const [from, to, ...others] = this.#named(block);
    if (from === undefined || to === undefined || others.length > 0) {
      throw new Error("send-snapshot takes two members");
    }
    const message = newMessage({
      type: "MsgSnap",
      term: from.node.basicStatus().term,
      from: from.id,
      to: to.id,
      snapshot: from.storage.snapshot(),
    });
    this.#network.push(message);
    this.#output.write(describeMessage(message));
  }

  // --- the network

  #deliver(block: Block): void {
    const recipients: Recipient[] = [];
    let type: MessageType | undefined;
    for (const { key, values } of block.arguments) {
      if (values.length === 0) recipients.push({ id: parseID(key), drop: false });
      for (const value of values) {
        if (key === "drop") {
          const id = parseID(value);
          if (recipients.some((recipient) => recipient.id === id)) {
            throw new Error(`can't both deliver and drop msgs to ${id}`);
          }
          recipients.push({ id, drop: true });
        } else if (key === "type") {
          type = MESSAGE_TYPES.find((one) => one === value);
          if (type === undefined) throw new Error(`unknown message type ${value}`);
        }
      }
    }
    let count = 0;
    for (const recipient of recipients) count += this.#deliverTo(recipient, type);
    if (count === 0) this.#output.write("no messages\n");
  }

  #deliverTo(recipient: Recipient, type: MessageType | undefined): number {
    const isMeant = (message: Message): boolean =>
      message.to === recipient.id &&
      !(recipient.drop && isReliable(message)) &&
      (type === undefined || message.type === type);
    const messages = this.#network.filter(isMeant);
    this.#network = this.#network.filter((message) => !isMeant(message));
    for (const message of messages) {
      const prefix = recipient.drop ? "dropped: " : "";
      this.#output.write(`${prefix}${describeMessage(message)}\n`);
      if (recipient.drop) continue;
      const result = this.#memberAt(Number(message.to) - 1).node.step(message);
      if (result !== "ok") this.#output.write(`${stepResultText(result)}\n`);
    }
    return messages.length;
  }

  // --- work

  #processReady(member: TranscriptMember): void {
    const ready = member.node.ready();
    this.#output.write(describeReady(ready));
    const isAsync = member.options.asyncStorageWrites ?? false;
    if (!isAsync) {
      member.append(ready.hardState, ready.entries, ready.snapshot);
      member.apply(ready.committedEntries);
    }
    for (const message of ready.messages) {
      if (message.type === "MsgStorageAppend") member.appendWork.push(message);
      else if (message.type === "MsgStorageApply") member.applyWork.push(message);
      else this.#network.push(message);
    }
    if (!isAsync) member.node.advance(ready);
  }

  #processAppend(member: TranscriptMember): void {
    const message = member.appendWork.shift();
    if (message === undefined) {
      this.#output.write("no append work to perform");
      return;
    }
    const { term, vote, commit, entries, snapshot, responses } = message;
    this.#showProcessing(message);
    const state = { term, vote, commit };
    member.append(isEmptyHardState(state) ? undefined : state, entries, snapshot);
    this.#respond(responses);
  }

  #processApply(member: TranscriptMember): void {
    const message = member.applyWork.shift();
    if (message === undefined) {
      this.#output.write("no apply work to perform");
      return;
    }
    this.#showProcessing(message);
    member.apply(message.entries);
    this.#respond(message.responses);
  }

  #showProcessing(message: Message): void {
    const text = describeMessage({ ...message, responses: [] });
    this.#output.write(`Processing:\n${text}\n`);
  }

  #respond(responses: readonly Message[]): void {
    const texts = responses.map((response) => `${describeMessage(response)}\n`);
    this.#output.write(`Responses:\n${texts.join("")}`);
    this.#network.push(...responses);
  }

  // --- until nothing is left to do

  #stabilizeCommand(block: Block): void {
    const level = this.#output.level;
    try {
      for (const { key, values } of block.arguments) {
        if (key === "log-level") for (const value of values) this.#output.setLevelByName(value);
      }
      const named = this.#named(block);
      this.#stabilize(named.length > 0 ? named : [...this.#members]);
    } finally {
      this.#output.level = level;
    }
  }

  #stabilize(members: readonly TranscriptMember[]): void {
    for (let isDone = false; !isDone;) {
      isDone = true;
      for (const member of members) {
        if (!member.node.hasReady()) continue;
        this.#underHeading(member, "handling Ready", () => this.#processReady(member));
        isDone = false;
      }
      for (const member of members) {
        if (!this.#network.some(({ to }) => to === member.id)) continue;
        this.#underHeading(member, "receiving messages", () =>
          this.#deliverTo({ id: member.id, drop: false }, undefined),
        );
        isDone = false;
      }
      for (const member of members) {
        if (this.#drain(member, member.appendWork, "processing append thread")) isDone = false;
      }
      for (const member of members) {
        if (this.#drain(member, member.applyWork, "processing apply thread")) isDone = false;
      }
    }
  }

  /** All the storage work of a member under one heading; false if there was none. */
  #drain(member: TranscriptMember, work: readonly Message[], heading: string): boolean {
    if (work.length === 0) return false;
    this.#output.write(`> ${member.id} ${heading}\n`);
    while (work.length > 0) {
      this.#output.withIndent(() =>
        work === member.appendWork ? this.#processAppend(member) : this.#processApply(member),
      );
    }
    return true;
  }
}

/** A member's messages to itself stand for its own storage and are not lost. */
function isReliable({ from, to }: Message): boolean {
  return from === to || isLocalTarget(from) || isLocalTarget(to);
}

function argumentAt(block: Block, position: number): Argument {
  const argument = block.arguments[position];
  if (argument === undefined) throw new Error(`line ${block.line}: an argument is missing`);
  return argument;
}

function namedValue(block: Block, name: string): string {
  const value = block.arguments.find(({ key }) => key === name)?.values[0];
  if (value === undefined) throw new Error(`line ${block.line}: ${name}= is missing`);
  return value;
}

function requireTaken(result: ProposeResult): void {
  if (result === "dropped") throw new TranscriptError(stepResultText(result));
}
