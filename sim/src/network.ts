/**
 * The links between members: each direction of each pair may be cut, and messages get lost, late,
 * overtaken and doubled. Members share no memory: what arrives was encoded.
 */

import { decodeMessage, encodeMessage } from "@etcd-ts/base";
import type { Random, VirtualClock } from "@etcd-ts/base";
import { MessageCodec } from "@etcd-ts/raft";
import type { Message } from "@etcd-ts/raft";

import type { SimOptions } from "./options.ts";
import { around } from "./options.ts";
import type { Trace } from "./trace.ts";

export class SimNetwork {
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #options: SimOptions;
  readonly #trace: Trace;
  readonly #cut = new Set<string>();
  /** The last message sent, and the latest that arrived, by link. */
  readonly #sent = new Map<string, number>();
  readonly #arrived = new Map<string, number>();
  /** Without faults every message arrives, in order. */
  isFaulty = true;

  constructor(clock: VirtualClock, random: Random, options: SimOptions, trace: Trace) {
    this.#clock = clock;
    this.#random = random;
    this.#options = options;
    this.#trace = trace;
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`);
  }

  mend(from: string, to: string): void {
    this.#cut.delete(`${from}>${to}`);
  }

  heal(): void {
    this.#cut.clear();
    this.isFaulty = false;
  }

  /** @param deliver - called once for each copy that arrives */
  send(from: string, to: string, message: Message, deliver: (message: Message) => void): void {
    if (this.isCut(from, to)) {
      this.#trace.count("messages cut off");
      return;
    }
    const bytes = encodeMessage(MessageCodec, message);
    const link = `${from}>${to}`;
    const serial = (this.#sent.get(link) ?? 0) + 1;
    this.#sent.set(link, serial);
    for (let copies = this.#copies(message); copies > 0; copies--) {
      this.#clock.setTimer(this.#delayMs(), () => {
        if (this.isCut(from, to)) {
          this.#trace.count("messages cut off");
          return;
        }
        this.#arrives(link, serial);
        deliver(decodeMessage(MessageCodec, bytes));
      });
    }
  }

  #arrives(link: string, serial: number): void {
    this.#trace.count("messages");
    const latest = this.#arrived.get(link) ?? 0;
    if (serial < latest) this.#trace.count("messages overtaken");
    else this.#arrived.set(link, serial);
  }

  /**
   * A forwarded proposal is never doubled: streams between peers do not, and raft has no way to
   * know a proposal again, so a second copy would be a second write.
   */
  #copies(message: Message): number {
    if (!this.isFaulty) return 1;
    const { lossPercent, duplicatePercent } = this.#options;
    if (this.#random.float() * 100 < lossPercent) {
      this.#trace.count("messages lost");
      return 0;
    }
    const isDoubled = this.#random.float() * 100 < duplicatePercent;
    if (!isDoubled || message.type === "MsgProp") return 1;
    this.#trace.count("messages doubled");
    return 2;
  }

  #delayMs(): number {
    const { latencyMs, latePercent } = this.#options;
    if (!this.isFaulty) return latencyMs;
    if (this.#random.float() * 100 >= latePercent) return around(this.#random, latencyMs);
    this.#trace.count("messages late");
    return around(this.#random, latencyMs) * 50 * this.#random.float();
  }
}
