/**
 * Drives the raft core: takes the work of each `Ready`, has it stored, sent and applied, and
 * advances.
 *
 * Everything that arrives in one turn of the event loop (proposals, messages, reads, a tick) is in
 * the next `Ready` together: one log write, one sync. While that sync is under way later turns go
 * on collecting. A cluster of one takes the same way as any other.
 *
 * Invariants:
 * - At most one `Ready` is being carried out; `advance` follows when it is stored. Applying goes on
 *   beside it, in log order, so that a long apply holds up no heartbeat; but a change of the
 *   configuration is applied before `advance`, because raft must know of it.
 * - Acknowledgements and votes leave only after what they promise is durable; all other messages
 *   leave at once, so that a leader and its followers write at the same time (Ongaro's thesis,
 *   10.2.1).
 * - Entries are applied only once they are durable here, even if a quorum has them: the backend
 *   must never be ahead of the log.
 * - A leader's snapshot is durable in the log before it takes the place of the state, and that
 *   happens while nothing is being applied.
 * - The first failure is final: nothing is stored, sent or applied afterwards.
 */

import { yieldTurn } from "@etcd-ts/base";
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
  Snapshot,
  SoftState,
  StepResult,
} from "@etcd-ts/raft";
import type { WriteAheadLog } from "@etcd-ts/wal";

import { LoopDelays } from "./loop-delays.ts";

/** What the member does with the work of the core. */
export interface RaftLoopHandlers {
  /** A turn's work is about to be taken: the last chance to add to it. */
  beforeReady(): void;
  softStateChanged(softState: SoftState): void;
  readStates(readStates: readonly ReadState[]): void;
  /** Whether nobody waits for anything but the one entry that is to be stored. */
  isAlone(): boolean;
  /** Returns a promise if it gives up the turn before all are applied. */
  apply(entries: readonly Entry[]): Promise<void> | undefined;
  /** Keeps a leader's snapshot and records it in the log; durable when it settles. */
  saveSnapshot(snapshot: Snapshot): Promise<void>;
  /** Has a snapshot that was saved take the place of the state; nothing is applied meanwhile. */
  installSnapshot(snapshot: Snapshot): Promise<void>;
  /** The core knows of everything that has been applied. */
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
/** A member that missed so many ticks cannot tell by its own clock that it leads still. */
const SILENT_TICKS = 3;

export class RaftLoop {
  readonly #parts: RaftLoopParts;
  #isStopped = false;
  #wantsElection = false;
  /** Whether there may be work that the loop has not looked at. */
  #isWoken = false;
  #turn: Timer | undefined;
  #ticker: Timer | undefined;
  #running: Promise<void> | undefined;
  /** What is being applied, or waits for it. */
  #applying: Promise<void> | undefined;
  /** Whether something was applied that `advanced` has not been told of. */
  #hasApplied = false;
  #latestTickMs: number;
  /** How often many ticks were missed, and up to which of these times others were asked since. */
  #silences = 0;
  #silencesAnswered = 0;
  /** Why its messages may be late. */
  readonly delays = new LoopDelays();
  /** When the log last had what a `Ready` told it to keep. */
  #storedMs = 0;

  constructor(parts: RaftLoopParts) {
    this.#parts = parts;
    this.#latestTickMs = parts.clock.monotonicMs();
  }

  /**
   * Whether time went on for the core without a long gap since others last confirmed what it
   * believes. While a process stands still its election clock does too: it takes itself for the
   * leader although others elected one meanwhile, until it hears from them.
   */
  get hasKeptTime(): boolean {
    return !this.#isSilent() && this.#silences === this.#silencesAnswered;
  }

  /** To be kept while others are asked, for `confirmed`. */
  get silences(): number {
    return this.#silences;
  }

  /** Others confirmed that this member leads, asked after so many `silences`. */
  confirmed(silences: number): void {
    this.#silencesAnswered = Math.max(this.#silencesAnswered, silences);
  }

  #isSilent(): boolean {
    const { clock, tickMs } = this.#parts;
    return clock.monotonicMs() - this.#latestTickMs >= SILENT_TICKS * tickMs;
  }

  start(): void {
    this.#armTicker(this.#parts.clock.monotonicMs() + this.#parts.tickMs);
    this.wake();
  }

  /** Ends after the `Ready` and the entries at hand; idempotent. */
  async stop(): Promise<void> {
    this.#halt();
    await this.#running;
    await this.#applying;
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

  /** A message that cannot be, as of a leader who knows of entries this log has lost, is fatal. */
  step(message: Message): StepResult | undefined {
    let result: StepResult | undefined;
    this.#guard(() => {
      result = this.#parts.node.step(message);
    });
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

  /** Brings the election nearer, as if time had passed. */
  advanceTicks(ticks: number): void {
    this.#guard(() => {
      for (let i = 0; i < ticks; i++) this.#parts.node.tick();
    });
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

  /**
   * Ticks keep their beat: one that comes late delays none of the others, or else a busy member
   * would find out later than others that there is no leader. What was missed is not made up for.
   */
  #armTicker(dueMs: number): void {
    const { clock, tickMs, node, handlers } = this.#parts;
    this.#ticker = clock.setTimer(Math.max(0, dueMs - clock.monotonicMs()), () => {
      if (this.#isSilent()) this.#silences++;
      this.#latestTickMs = clock.monotonicMs();
      const lateMs = Math.max(0, this.#latestTickMs - dueMs);
      this.delays.note("busy process", lateMs);
      this.#armTicker(dueMs + tickMs * (1 + Math.floor(lateMs / tickMs)));
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
        if (this.#hasApplied) {
          this.#hasApplied = false;
          handlers.advanced();
        }
        handlers.beforeReady();
        if (!node.hasReady()) {
          if (!this.#wantsElection) return;
          this.#wantsElection = false;
          node.campaign();
          continue;
        }
        const ready = node.ready();
        const work = this.#carryOut(ready);
        if (work !== undefined) await this.#timed(work);
        if (this.#isStopped) return;
        node.advance(ready);
        handlers.advanced();
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Whatever is not the disk is a change of the configuration or a snapshot being applied. */
  async #timed(work: Promise<void>): Promise<void> {
    const { clock } = this.#parts;
    const startMs = clock.monotonicMs();
    this.#storedMs = startMs;
    await work;
    const nowMs = clock.monotonicMs();
    this.delays.note("slow disk", this.#storedMs - startMs);
    this.delays.note("slow apply", nowMs - this.#storedMs);
  }

  #carryOut(ready: Ready): Promise<void> | undefined {
    const { handlers } = this.#parts;
    if (ready.softState !== undefined) handlers.softStateChanged(ready.softState);
    if (ready.readStates.length > 0) handlers.readStates(ready.readStates);
    handlers.send(ready.messages.filter((message) => !isPromise(message)));
    const promises = ready.messages.filter(isPromise);
    if (ready.snapshot !== undefined) return this.#takeOver(ready, ready.snapshot, promises);
    const entries = ready.committedEntries;
    const storing = this.#store(ready);
    const lastCommitted = entries.at(-1)?.index ?? 0;
    const firstUnstable = ready.entries[0]?.index ?? Infinity;
    if (storing === undefined) {
      this.#send(promises);
      return this.#apply(entries);
    }
    if (lastCommitted >= firstUnstable) {
      return storing.then(() => {
        this.#send(promises);
        return this.#apply(entries);
      });
    }
    const applying = this.#apply(entries);
    const stored = storing.then(() => this.#send(promises));
    return applying === undefined ? stored : stored.then(() => applying);
  }

  /** Goes on from a leader's snapshot instead of the log and state there are. */
  async #takeOver(ready: Ready, snapshot: Snapshot, promises: readonly Message[]): Promise<void> {
    const { storage, wal, handlers } = this.#parts;
    await handlers.saveSnapshot(snapshot);
    // The record above counts only from a hard state on that says so much is committed.
    await this.#store({ hardState: ready.hardState, entries: [] });
    await wal.sync();
    storage.applySnapshot(snapshot);
    await this.#store({ hardState: undefined, entries: ready.entries });
    this.#send(promises);
    await this.#applying;
    if (this.#isStopped) return;
    await handlers.installSnapshot(snapshot);
    await this.#apply(ready.committedEntries);
  }

  /** Undefined if there is nothing to wait for. */
  #store({ hardState, entries }: Pick<Ready, "hardState" | "entries">): Promise<void> | undefined {
    if (hardState === undefined && entries.length === 0) return undefined;
    const { storage, wal, clock, handlers } = this.#parts;
    const mayBlock = entries.length === 1 && handlers.isAlone();
    // The log waits by itself where it must; if only the commit index moved, it need not.
    const saving = wal.save(hardState, entries, mayBlock);
    if (hardState !== undefined) storage.setHardState(hardState);
    return saving.then(() => {
      this.#storedMs = clock.monotonicMs();
      if (entries.length > 0) storage.append(entries);
    });
  }

  /**
   * Applies after everything that is being applied; undefined if the loop need not wait for it.
   */
  #apply(entries: readonly Entry[]): Promise<void> | undefined {
    if (entries.length === 0) return undefined;
    const { handlers } = this.#parts;
    const before = this.#applying;
    const work =
      before === undefined
        ? handlers.apply(entries)
        : before.then(() => (this.#isStopped ? undefined : handlers.apply(entries)));
    if (work === undefined) return undefined;
    const tracked = this.#track(work);
    return entries.some(({ type }) => type !== "EntryNormal") ? tracked : undefined;
  }

  #track(work: Promise<void>): Promise<void> {
    const tracked: Promise<void> = work.then(
      () => this.#applied(tracked),
      (error: unknown) => {
        this.#applied(tracked);
        this.#fail(error);
      },
    );
    this.#applying = tracked;
    return tracked;
  }

  #applied(work: Promise<void>): void {
    if (this.#applying === work) this.#applying = undefined;
    this.#hasApplied = true;
    this.wake();
  }

  /** Runs `work` between two entries; nothing is applied until it settles. */
  betweenEntries<T>(work: () => Promise<T>): Promise<T> {
    const result = (this.#applying ?? Promise.resolve()).then(work);
    void this.#track(result.then(ignore, ignore));
    return result;
  }

  #send(messages: readonly Message[]): void {
    if (messages.length > 0 && !this.#isStopped) this.#parts.handlers.send(messages);
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

/** Whether a message says that something is durable here. */
function isPromise({ type }: Message): boolean {
  return type === "MsgAppResp" || type === "MsgVoteResp" || type === "MsgPreVoteResp";
}

function ignore(): void {
  // The outcome is somebody else's.
}
