/**
 * One direction of a connection in memory.
 *
 * Invariants: bytes arrive in the order they were written, none twice, none lost, unless the
 * connection is dropped; the end of the stream arrives after all bytes; nothing arrives in the
 * turn it was written.
 */

import type { Clock, Timer } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";
import { randomBelow } from "../ports/random.ts";

type Parcel = { readonly bytes: Uint8Array | undefined; readonly dueMs: number };

export interface PipeRules {
  readonly clock: Clock;
  /** Splits what arrives at arbitrary places. */
  readonly random: Random | undefined;
  readonly highWaterBytes: number;
  latencyMs(): number;
  /** While true nothing arrives. */
  isCut(): boolean;
}

export interface PipeEnds {
  onData(bytes: Uint8Array): void;
  onEnd(): void;
  /** The queue fell to the low-water mark after `write` returned false. */
  onDrain(): void;
}

export class MemoryPipe {
  readonly #rules: PipeRules;
  readonly #ends: PipeEnds;
  readonly #queue: Parcel[] = [];
  #queuedBytes = 0;
  #needsDrain = false;
  #isPaused = false;
  #isDropped = false;
  #lastDueMs = 0;
  #timer: Timer | undefined = undefined;

  constructor(rules: PipeRules, ends: PipeEnds) {
    this.#rules = rules;
    this.#ends = ends;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isDropped) return false;
    if (bytes.length > 0) {
      this.#queuedBytes += bytes.length;
      this.#add(bytes.slice());
    }
    if (this.#queuedBytes >= this.#rules.highWaterBytes) this.#needsDrain = true;
    return !this.#needsDrain;
  }

  end(): void {
    if (!this.#isDropped) this.#add(undefined);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.wake();
  }

  /** Forgets what is queued; nothing arrives any more. */
  drop(): void {
    this.#isDropped = true;
    this.#queue.length = 0;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Looks again whether something can arrive: after a cut was healed. */
  wake(): void {
    const first = this.#queue[0];
    if (this.#timer !== undefined || first === undefined) return;
    if (this.#isPaused || this.#isDropped || this.#rules.isCut()) return;
    const delayMs = first.dueMs - this.#rules.clock.monotonicMs();
    const run = (): void => this.#deliver();
    this.#timer =
      delayMs > 0 ? this.#rules.clock.setTimer(delayMs, run) : this.#rules.clock.nextTurn(run);
  }

  #add(bytes: Uint8Array | undefined): void {
    const dueMs = this.#rules.clock.monotonicMs() + this.#rules.latencyMs();
    this.#lastDueMs = Math.max(this.#lastDueMs, dueMs);
    this.#queue.push({ bytes, dueMs: this.#lastDueMs });
    this.wake();
  }

  #deliver(): void {
    this.#timer = undefined;
    const nowMs = this.#rules.clock.monotonicMs();
    while (!this.#isPaused && !this.#isDropped && !this.#rules.isCut()) {
      const first = this.#queue[0];
      if (first === undefined || first.dueMs > nowMs) break;
      this.#queue.shift();
      if (first.bytes === undefined) this.#ends.onEnd();
      else this.#hand(first.bytes, first.dueMs);
    }
    this.wake();
    if (this.#needsDrain && this.#queuedBytes <= this.#rules.highWaterBytes / 2) {
      this.#needsDrain = false;
      if (!this.#isDropped) this.#ends.onDrain();
    }
  }

  #hand(bytes: Uint8Array, dueMs: number): void {
    const { random } = this.#rules;
    const isSplit = random !== undefined && bytes.length > 1 && random.float() < 0.25;
    const length = isSplit ? 1 + randomBelow(random, bytes.length - 1) : bytes.length;
    if (length < bytes.length) this.#queue.unshift({ bytes: bytes.subarray(length), dueMs });
    this.#queuedBytes -= length;
    this.#ends.onData(bytes.subarray(0, length));
  }
}
