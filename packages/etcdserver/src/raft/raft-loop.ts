/**
 * Drives the raft core: takes the work of each `Ready`, has it stored, sent and applied, and
 * advances.
 *
 * Everything that arrives in one turn of the event loop (proposals, messages, reads, a tick) is in
 * the next `Ready` together: one log write, one sync. While that sync is under way later turns go
 * on collecting. A cluster of one takes the same way as any other.
 *
 * Invariants:
 * - At most one `Ready` is being carried out; `advance` follows when it is stored *and* applied.
 * - Messages of a leader may leave while its own disk is still writing (Ongaro's thesis, 10.2.1);
 *   all others leave only after what they promise is durable.
 * - Entries are applied only once they are durable here, even if a quorum has them: the backend
 *   must never be ahead of the log.
 * - The first failure is final: nothing is stored, sent or applied afterwards.
 */

import { invariant, yieldTurn } from "@etcd-ts/base";
import type { Clock, Timer } from "@etcd-ts/base";
import type {
  ConfChange,
  ConfState,
  Entry,
  MemoryStorage,
  Message,
  ProposeResult,
  RawNode,
  ReadState,
  Ready,
  SoftState,
  StepResult,
} from "@etcd-ts/raft";
import type { WriteAheadLog } from "@etcd-ts/wal";

/** What the member does with the work of the core. */
export interface RaftLoopHandlers {
  /** A turn's work is about to be taken: the last chance to add to it. */
  beforeReady(): void;
  softStateChanged(softState: SoftState): void;
  readStates(readStates: readonly ReadState[]): void;
  /** Returns a promise if it gives up the turn before all are applied. */
  apply(entries: readonly Entry[]): Promise<void> | undefined;
  /** The core knows that what was handed out is stored and applied. */
  advanced(): void;
  send(messages: readonly Message[]): void;
  tick(): void;
  failed(error: unknown): void;
}

export interface RaftLoopParts {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly wal: WriteAheadLog;
  readonly clock: Clock;
  readonly tickMs: number;
  readonly handlers: RaftLoopHandlers;
}

/** Rounds of the loop in one turn. */
const ROUNDS_PER_TURN = 16;

export class RaftLoop {
  readonly #parts: RaftLoopParts;
  #isLeader = false;
  #isStopped = false;
  #wantsElection = false;
  /** Whether there may be work that the loop has not looked at. */
  #isWoken = false;
  #turn: Timer | undefined;
  #ticker: Timer | undefined;
  #running: Promise<void> | undefined;
  #latestTickMs: number;

  constructor(parts: RaftLoopParts) {
    this.#parts = parts;
    this.#latestTickMs = parts.clock.monotonicMs();
  }

  /** When time last went on for the core; long ago if something blocks the loop. */
  get latestTickMs(): number {
    return this.#latestTickMs;
  }

  start(): void {
    this.#armTicker();
    this.wake();
  }

  /** Ends after the `Ready` at hand; idempotent. */
  async stop(): Promise<void> {
    this.#halt();
    await this.#running;
  }

  /** Has the core looked at in the next turn. */
  wake(): void {
    if (this.#isStopped) return;
    this.#isWoken = true;
    if (this.#running !== undefined) return;
    this.#turn ??= this.#parts.clock.nextTurn(() => {
      this.#turn = undefined;
      this.#start();
    });
  }

  /** Proposes entries together: all are taken, or none. */
  proposeBatch(batch: readonly Uint8Array[]): ProposeResult {
    const result = this.#parts.node.proposeBatch(batch);
    this.wake();
    return result;
  }

  proposeConfChange(change: ConfChange): ProposeResult {
    const result = this.#parts.node.proposeConfChange(change);
    this.wake();
    return result;
  }

  /** Tells the core that a change was applied; a node id of 0n was refused. */
  applyConfChange(change: ConfChange): ConfState {
    return this.#parts.node.applyConfChange(change);
  }

  step(message: Message): StepResult {
    const result = this.#parts.node.step(message);
    this.wake();
    return result;
  }

  readIndex(context: Uint8Array): void {
    this.#parts.node.readIndex(context);
  }

  /** Stands for election once the changes of configuration known as committed are applied. */
  campaignWhenCaughtUp(): void {
    this.#wantsElection = true;
    this.wake();
  }

  transferLeader(id: bigint): void {
    this.#parts.node.transferLeader(id);
    this.wake();
  }

  reportUnreachable(id: bigint): void {
    this.#parts.node.reportUnreachable(id);
    this.wake();
  }

  reportSnapshot(id: bigint, status: "finish" | "failure"): void {
    this.#parts.node.reportSnapshot(id, status);
    this.wake();
  }

  #armTicker(): void {
    const { clock, tickMs, node, handlers } = this.#parts;
    this.#ticker = clock.setTimer(tickMs, () => {
      this.#latestTickMs = clock.monotonicMs();
      this.#armTicker();
      this.#guard(() => {
        node.tick();
        handlers.tick();
      });
      this.wake();
    });
  }

  #start(): void {
    if (this.#isStopped || this.#running !== undefined) return;
    const running = this.#run();
    this.#running = running;
    void running.then(() => {
      this.#running = undefined;
      // What came in after the last look and before this line must not wait for the next event.
      if (this.#isWoken) this.wake();
    });
  }

  async #run(): Promise<void> {
    const { node, handlers, clock } = this.#parts;
    try {
      for (let rounds = 1; ; rounds++) {
        // Callers that ask again as soon as they are answered must not keep the turn for ever.
        if (rounds % ROUNDS_PER_TURN === 0) await yieldTurn(clock);
        if (this.#isStopped) return;
        this.#isWoken = false;
        handlers.beforeReady();
        if (!node.hasReady()) {
          if (!this.#wantsElection) return;
          this.#wantsElection = false;
          node.campaign();
          continue;
        }
        const ready = node.ready();
        const work = this.#carryOut(ready);
        if (work !== undefined) await work;
        if (this.#isStopped) return;
        node.advance(ready);
        handlers.advanced();
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #carryOut(ready: Ready): Promise<void> | undefined {
    const { handlers } = this.#parts;
    invariant(ready.snapshot === undefined, () => "RaftLoop: snapshots of peers are not taken");
    if (ready.softState !== undefined) {
      this.#isLeader = ready.softState.state === "leader";
      handlers.softStateChanged(ready.softState);
    }
    if (ready.readStates.length > 0) handlers.readStates(ready.readStates);
    if (this.#isLeader) handlers.send(ready.messages);
    const storing = this.#store(ready);
    const lastCommitted = ready.committedEntries.at(-1)?.index ?? 0;
    const firstUnstable = ready.entries[0]?.index ?? Infinity;
    if (storing !== undefined && lastCommitted >= firstUnstable) {
      return storing.then(() => this.#apply(ready)).then(() => this.#sendAsFollower(ready));
    }
    const applying = this.#apply(ready);
    if (storing === undefined && applying === undefined) {
      this.#sendAsFollower(ready);
      return undefined;
    }
    return Promise.all([storing, applying]).then(() => this.#sendAsFollower(ready));
  }

  /** Undefined if there is nothing to wait for. */
  #store({ hardState, entries }: Ready): Promise<void> | undefined {
    if (hardState === undefined && entries.length === 0) return undefined;
    const { storage, wal } = this.#parts;
    const saving = wal.save(hardState, entries);
    if (hardState !== undefined) storage.setHardState(hardState);
    if (entries.length === 0) {
      // The log waits by itself where it must; if only the commit index moved, it need not.
      return saving;
    }
    return saving.then(() => storage.append(entries));
  }

  #apply({ committedEntries }: Ready): Promise<void> | undefined {
    if (committedEntries.length === 0) return undefined;
    return this.#parts.handlers.apply(committedEntries);
  }

  #sendAsFollower(ready: Ready): void {
    if (!this.#isLeader && !this.#isStopped) this.#parts.handlers.send(ready.messages);
  }

  #guard(run: () => void): void {
    if (this.#isStopped) return;
    try {
      run();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#isStopped) return;
    this.#halt();
    this.#parts.handlers.failed(error);
  }

  #halt(): void {
    this.#isStopped = true;
    this.#turn?.cancel();
    this.#turn = undefined;
    this.#ticker?.cancel();
    this.#ticker = undefined;
  }
}
