/**
 * What must hold between the members whatever happens, judged by the messages they send and by
 * what they say of themselves:
 * - election safety: one leader a term, one vote a member and term;
 * - log matching: entries of equal index and term are equal;
 * - leader completeness: what a leader committed keeps its place under every later leader.
 * State machine safety is judged by the revisions members tell (`RevisionLedger`).
 */

import { crc32c } from "@etcd-ts/base";
import type { ServerFacts } from "@etcd-ts/etcdserver";
import type { Message } from "@etcd-ts/raft";

import { ViolationError } from "../violation.ts";

interface Committed {
  readonly entryTerm: number;
  /** The term of the leader that was first seen to have committed it. */
  readonly leaderTerm: number;
}

export class RaftInvariants {
  readonly #leaders = new Map<number, bigint>();
  readonly #votes = new Map<string, bigint>();
  readonly #entries = new Map<string, number>();
  /** For the newest leader seen: the term of each entry it sent. */
  readonly #sent = new Map<number, { term: number; entryTerms: Map<number, number> }>();
  readonly #committed = new Map<number, Committed>();
  /** What is checked so far. */
  checked = 0;

  /** How many terms had a leader. */
  get elections(): number {
    return this.#leaders.size;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** A message as its sender made it. */
  sent(message: Message): void {
    this.checked++;
    switch (message.type) {
      case "MsgApp":
        this.#leads(message.from, message.term);
        this.#append(message);
        break;
      case "MsgHeartbeat":
      case "MsgSnap":
        this.#leads(message.from, message.term);
        break;
      case "MsgVoteResp":
        if (!message.reject) this.#votesFor(message);
        break;
      default:
        break;
    }
  }

  /** What a running member says of itself. */
  told({ memberID, appliedIndex, committedIndex }: ServerFacts): void {
    if (appliedIndex > committedIndex) {
      throw new ViolationError(
        "raft",
        `${hex(memberID)} applied ${appliedIndex}, committed ${committedIndex}`,
      );
    }
  }

  #leads(id: bigint, term: number): void {
    const leader = this.#leaders.get(term);
    if (leader === undefined) this.#leaders.set(term, id);
    else if (leader !== id) {
      throw new ViolationError("raft", `${hex(leader)} and ${hex(id)} both lead term ${term}`);
    }
  }

  #votesFor({ from, to, term }: Message): void {
    const ballot = `${from}:${term}`;
    const candidate = this.#votes.get(ballot);
    if (candidate === undefined) this.#votes.set(ballot, to);
    else if (candidate !== to) {
      throw new ViolationError(
        "raft",
        `${hex(from)} voted for ${hex(candidate)} and ${hex(to)} in term ${term}`,
      );
    }
  }

  #append(message: Message): void {
    const { term, commit } = message;
    let log = this.#sent.get(term);
    if (log === undefined) {
      log = { term, entryTerms: new Map() };
      this.#sent.set(term, log);
      // Terms long gone say nothing new.
      if (this.#sent.size > 8) this.#sent.delete(this.#sent.keys().next().value!);
    }
    for (const entry of message.entries) {
      const place = `${entry.index}:${entry.term}`;
      const sum = crc32c(0, entry.data);
      const known = this.#entries.get(place);
      if (known === undefined) this.#entries.set(place, sum);
      else if (known !== sum) {
        throw new ViolationError(
          "raft",
          `two entries at index ${entry.index} of term ${entry.term}`,
        );
      }
      log.entryTerms.set(entry.index, entry.term);
      const committed = this.#committed.get(entry.index);
      if (
        committed !== undefined &&
        committed.entryTerm !== entry.term &&
        term >= committed.leaderTerm
      ) {
        throw new ViolationError(
          "raft",
          `the leader of term ${term} has an entry of term ${entry.term} at ${entry.index}, committed was one of term ${committed.entryTerm}`,
        );
      }
    }
    this.#commit(log, commit);
  }

  #commit(log: { term: number; entryTerms: Map<number, number> }, commit: number): void {
    for (const [index, entryTerm] of log.entryTerms) {
      if (index > commit) continue;
      log.entryTerms.delete(index);
      const known = this.#committed.get(index);
      if (known === undefined) this.#committed.set(index, { entryTerm, leaderTerm: log.term });
      else if (known.entryTerm !== entryTerm) {
        throw new ViolationError(
          "raft",
          `entries of terms ${known.entryTerm} and ${entryTerm} committed at ${index}`,
        );
      }
    }
  }
}

function hex(id: bigint): string {
  return id.toString(16);
}
