/**
 * Bugs of a raft core, planted where the messages of members leave them and arrive: what a member
 * with such a bug says, and how one takes what it is told. Each breaks one promise of raft, in a
 * whole run, for tests that show which judge sees it.
 */

import type { Entry, Message } from "@etcd-ts/raft";
import { newMessage } from "@etcd-ts/raft";

import type { Plant } from "./options.ts";

/** Longer than any log. */
const LONG_LOG = { index: 1_000_000, logTerm: 1_000_000 } as const;

export class PlantedCore {
  readonly #plant: Plant;
  /** What the last entry held that was sent, or taken, over a link. */
  readonly #last = new Map<string, Uint8Array>();

  constructor(plant: Plant) {
    this.#plant = plant;
  }

  /** What a member says in the place of `message`; the judges hear it. */
  said(message: Message): Message {
    switch (this.#plant) {
      case "votes twice":
        return message.type === "MsgVoteResp" ? { ...message, reject: false } : message;
      case "sends other entries":
        return this.#withOtherEntries(message);
      default:
        return message;
    }
  }

  /** As what a member takes `message`; the judges do not know. */
  heard(message: Message): Message {
    switch (this.#plant) {
      case "counts refusals":
        return message.type === "MsgVoteResp" ? { ...message, reject: false } : message;
      case "elects the outdated":
        return message.type === "MsgVote" || message.type === "MsgPreVote"
          ? { ...message, ...LONG_LOG }
          : message;
      case "stores other entries":
        return this.#withOtherEntries(message);
      default:
        return message;
    }
  }

  /** The answer its sender takes as given where the message gets lost. */
  imagined(message: Message): Message | undefined {
    const last = message.entries.at(-1);
    if (this.#plant !== "commits alone" || message.type !== "MsgApp" || last === undefined) {
      return undefined;
    }
    const { from, to, term } = message;
    return newMessage({ type: "MsgAppResp", from: to, to: from, term, index: last.index });
  }

  /** Each entry holds what the one before it did: one is lost, one happens twice. */
  #withOtherEntries(message: Message): Message {
    if (message.type !== "MsgApp" || message.entries.length === 0) return message;
    const link = `${message.from}>${message.to}`;
    const entries = message.entries.map((entry): Entry => {
      if (entry.type !== "EntryNormal" || entry.data.length === 0) return entry;
      const data = this.#last.get(link) ?? entry.data;
      this.#last.set(link, entry.data);
      return { ...entry, data };
    });
    return { ...message, entries };
  }
}
