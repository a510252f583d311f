/**
 * The calls that last: streams, and unary calls that wait. They end together when the member
 * stops, and those that require a leader end when there has been none for three elections.
 *
 * Invariants:
 * - A call is held from its start to its finish, whichever side ended it.
 * - The monitor's timer runs only while a stream that requires a leader is open.
 */

import { RPC_ERRORS } from "@etcd-ts/api";
import type { RpcError } from "@etcd-ts/api";
import type { Clock, Timer } from "@etcd-ts/base";
import type { ServerOperations } from "@etcd-ts/etcdserver";
import type { CallContext, CallInterceptor, StreamCall } from "@etcd-ts/rpc";

/** Checks without a leader, an election timeout apart, after which streams end. */
const NO_LEADER_CHECKS_MAX = 3;

/** Whether the caller wants no answer from a member that knows no leader. */
export function requiresLeader(call: CallContext): boolean {
  return call.metadata.get("hasleader") === "true";
}

/** Frees what a call holds and fails it. */
type EndCall = (error: RpcError) => void;

export class OpenCalls implements CallInterceptor {
  readonly #server: ServerOperations;
  readonly #clock: Clock;
  readonly #electionTimeoutMs: number;
  readonly #calls = new Map<CallContext, EndCall>();
  /** The streams among them that require a leader. */
  readonly #leaderBound = new Set<CallContext>();
  #monitor: Timer | undefined;
  #missedChecks = 0;
  #isClosed = false;

  constructor(server: ServerOperations, clock: Clock, electionTimeoutMs: number) {
    this.#server = server;
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
    // Interceptors of a stream are given the call itself.
    const stream = call as StreamCall<unknown, unknown>;
    this.#calls.set(call, (error) => stream.fail(error));
    if (requiresLeader(call)) {
      this.#leaderBound.add(call);
      this.#watchLeader();
    }
    return undefined;
  }

  onFinish(call: CallContext): void {
    if (this.#calls.size > 0) this.remove(call);
  }

  /** Holds a call whose handler has something to free; `remove` it when that is done. */
  add(call: CallContext, end: EndCall): void {
    if (this.#isClosed) end(RPC_ERRORS.stopped);
    else if (!call.isCancelled) this.#calls.set(call, end);
  }

  remove(call: CallContext): void {
    this.#calls.delete(call);
    if (!this.#leaderBound.delete(call) || this.#leaderBound.size > 0) return;
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

  #end(call: CallContext, error: RpcError): void {
    const end = this.#calls.get(call);
    this.remove(call);
    end?.(error);
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
    this.#missedChecks = this.#server.facts().leaderID === 0n ? this.#missedChecks + 1 : 0;
    if (this.#missedChecks < NO_LEADER_CHECKS_MAX) return;
    for (const call of Array.from(this.#leaderBound)) this.#end(call, RPC_ERRORS.noLeader);
  }
}
