/**
 * Linearizable reads: many wait, one asks.
 *
 * All reads of a turn share one ReadIndex round. It gives the commit index at a moment after they
 * were asked, confirmed by a quorum; once the member has applied that far, local state answers
 * them (Ongaro's thesis, 6.4).
 *
 * Invariants:
 * - A read joins the next round, never one that has been sent: the index of that might be older.
 * - At most one round is on its way; confirmed rounds wait for apply in order of their index.
 */

import { equalBytes, hexFromBytes } from "@etcd-ts/base";
import type { Clock, Counter, EtcdError, Logger, Metrics } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import type { ReadState } from "@etcd-ts/raft";

import type { Completion } from "../server-api.ts";

/** A round without an answer is asked again this often. */
const RETRY_MS = 500;

interface Round {
  /** Any of these may be answered. */
  readonly contexts: Uint8Array[];
  readonly readers: readonly Completion<void>[];
  readonly startMs: number;
  retryMs: number;
  index: number;
}

export interface ReadIndexPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly timeoutMs: number;
  /** A fresh request id in 8 bytes: the context of a round. */
  readonly nextContext: () => Uint8Array;
  readonly send: (context: Uint8Array) => void;
}

export class ReadIndex {
  readonly #ports: ReadIndexPorts;
  readonly #failed: Counter;
  readonly #slow: Counter;
  #waiting: Completion<void>[] = [];
  #sent: Round | undefined;
  #confirmed: Round[] = [];
  #appliedIndex = 0;

  constructor(ports: ReadIndexPorts) {
    this.#ports = ports;
    this.#failed = ports.metrics.counter({
      name: "etcd_server_read_indexes_failed_total",
      help: "The total number of failed read indexes seen.",
    });
    this.#slow = ports.metrics.counter({
      name: "etcd_server_slow_read_indexes_total",
      help: "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
    });
  }

  request(done: Completion<void>): void {
    this.#waiting.push(done);
  }

  /** Starts a round if reads wait and none is on its way. */
  beforeReady(): void {
    if (this.#sent !== undefined || this.#waiting.length === 0) return;
    const nowMs = this.#ports.clock.monotonicMs();
    const readers = this.#waiting;
    this.#waiting = [];
    this.#sent = { contexts: [], readers, startMs: nowMs, retryMs: nowMs, index: 0 };
    this.#ask(this.#sent);
  }

  answered(readStates: readonly ReadState[]): void {
    for (const { index, context } of readStates) {
      const round = this.#sent;
      if (round === undefined || !round.contexts.some((asked) => equalBytes(asked, context))) {
        this.#slow.inc();
        this.#ports.logger.warn(
          "ignored out-of-date read index response; local node read indexes queueing up and waiting to be in sync with leader",
        );
        continue;
      }
      this.#sent = undefined;
      round.index = index;
      this.#confirmed.push(round);
    }
    this.#release();
  }

  applied(index: number): void {
    this.#appliedIndex = index;
    if (this.#confirmed.length > 0) this.#release();
  }

  /** An answer of the old leader's term may never come. */
  leaderChanged(): void {
    const round = this.#sent;
    if (round === undefined) return;
    this.#sent = undefined;
    this.#failed.inc();
    settle(round.readers, SERVER_ERRORS.leaderChanged);
  }

  /** The leader could not answer before it had committed an entry of its term. */
  firstCommitInTerm(): void {
    if (this.#sent === undefined) return;
    this.#ports.logger.info("first commit in current term: resending ReadIndex request");
    this.#ask(this.#sent);
  }

  tick(nowMs: number): void {
    const round = this.#sent;
    if (round === undefined) return;
    const { timeoutMs, logger } = this.#ports;
    if (nowMs - round.startMs >= timeoutMs) {
      this.#sent = undefined;
      logger.warn(
        "timed out waiting for read index response (local node might have slow network)",
        {
          timeout: `${timeoutMs}ms`,
        },
      );
      this.#slow.inc();
      settle(round.readers, SERVER_ERRORS.timeout);
    } else if (nowMs - round.retryMs >= RETRY_MS) {
      logger.warn("waiting for ReadIndex response took too long, retrying", {
        "sent-request-id": hexFromBytes(round.contexts.at(-1)!),
        "retry-timeout": `${RETRY_MS}ms`,
      });
      this.#ask(round);
    }
  }

  stop(error: EtcdError): void {
    const rounds = [...this.#confirmed, ...(this.#sent === undefined ? [] : [this.#sent])];
    const waiting = this.#waiting;
    this.#confirmed = [];
    this.#sent = undefined;
    this.#waiting = [];
    for (const round of rounds) settle(round.readers, error);
    settle(waiting, error);
  }

  #ask(round: Round): void {
    const context = this.#ports.nextContext();
    round.contexts.push(context);
    round.retryMs = this.#ports.clock.monotonicMs();
    this.#ports.send(context);
  }

  #release(): void {
    let released = 0;
    for (const round of this.#confirmed) {
      if (round.index > this.#appliedIndex) break;
      released++;
      settle(round.readers, undefined);
    }
    if (released > 0) this.#confirmed.splice(0, released);
  }
}

function settle(readers: readonly Completion<void>[], error: EtcdError | undefined): void {
  for (const done of readers) done(error, undefined);
}
