/**
 * The calls that last: streams, and unary calls that wait. They end together when the member
 * stops, and those that require a leader end when there has been none for three elections.
 *
 * Invariants:
 * - A call is held until its finish, whichever side ended it; what its handler holds is freed once,
 *   before the call fails.
 * - The monitor's timer runs only while a stream that requires a leader is open.
 */

import { RPC_ERRORS } from "@etcd-ts/api";
import type { RpcError } from "@etcd-ts/api";
import type { Clock, Timer } from "@etcd-ts/base";
import type { CallContext, CallInterceptor, StreamCall } from "@etcd-ts/rpc";

/** Checks without a leader, an election timeout apart, after which streams end. */
const NO_LEADER_CHECKS_MAX = 3;

/** Whether the caller wants no answer from a member that knows no leader. */
export function requiresLeader(call: Pick<CallContext, "metadata">): boolean {
  return call.metadata.get("hasleader") === "true";
}

/** A call that can be ended from here. */
export interface EndableCall extends CallContext {
  fail(error: RpcError): void;
}

/** Frees what a handler holds for a call that is over, for the reason given. */
export type FreeCall = (reason: RpcError) => void;

export class OpenCalls implements CallInterceptor {
  readonly #hasLeader: () => boolean;
  readonly #clock: Clock;
  readonly #electionTimeoutMs: number;
  readonly #calls = new Map<EndableCall, FreeCall>();
  /** The streams among them that require a leader. */
  readonly #leaderBound = new Set<EndableCall>();
  #monitor: Timer | undefined;
  #missedChecks = 0;
  #isClosed = false;

  constructor(hasLeader: () => boolean, clock: Clock, electionTimeoutMs: number) {
    this.#hasLeader = hasLeader;
    this.#clock = clock;
    this.#electionTimeoutMs = electionTimeoutMs;
  }

  /** Calls held now. */
  get size(): number {
    return this.#calls.size;
  }

  onStart(call: CallContext): RpcError | undefined {
    if (this.#isClosed) return RPC_ERRORS.stopped;
    if (call.method.kind === "unary") return undefined;
    // What interceptors are given is the call itself.
    const stream = call as StreamCall<unknown, unknown>;
    this.#calls.set(stream, () => undefined);
    if (requiresLeader(stream)) {
      this.#leaderBound.add(stream);
      this.#watchLeader();
    }
    return undefined;
  }

  mayBatch(): boolean {
    return !this.#isClosed;
  }

  onFinish(call: CallContext): void {
    if (this.#calls.size > 0) this.#release(call, call.cancelReason ?? RPC_ERRORS.canceled);
  }

  /** Holds a call whose handler has something to free. `free` is called once unless `remove` is. */
  add(call: EndableCall, free: FreeCall): void {
    this.#calls.set(call, free);
    call.onCancel(() => this.#release(call, call.cancelReason ?? RPC_ERRORS.canceled));
    if (this.#isClosed) this.#end(call, RPC_ERRORS.stopped);
  }

  /** The handler has freed what it held, and is about to end the call. */
  remove(call: CallContext): void {
    this.#calls.delete(call as EndableCall);
    if (!this.#leaderBound.delete(call as EndableCall) || this.#leaderBound.size > 0) return;
    this.#monitor?.cancel();
    this.#monitor = undefined;
  }

  /** Ends all calls because the member stops, and refuses new ones; idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#monitor?.cancel();
    this.#monitor = undefined;
    for (const call of Array.from(this.#calls.keys())) this.#end(call, RPC_ERRORS.stopped);
  }

  #end(call: EndableCall, error: RpcError): void {
    this.#release(call, error);
    call.fail(error);
  }

  #release(call: CallContext, reason: RpcError): void {
    const free = this.#calls.get(call as EndableCall);
    if (free === undefined) return;
    this.remove(call);
    free(reason);
  }

  #watchLeader(): void {
    if (this.#monitor !== undefined) return;
    this.#missedChecks = 0;
    this.#armMonitor();
  }

  #armMonitor(): void {
    this.#monitor = this.#clock.setTimer(this.#electionTimeoutMs, () => {
      this.#monitor = undefined;
      this.#checkLeader();
      if (this.#leaderBound.size > 0) this.#armMonitor();
    });
  }

  #checkLeader(): void {
    this.#missedChecks = this.#hasLeader() ? 0 : this.#missedChecks + 1;
    if (this.#missedChecks < NO_LEADER_CHECKS_MAX) return;
    for (const call of Array.from(this.#leaderBound)) this.#end(call, RPC_ERRORS.noLeader);
  }
}
