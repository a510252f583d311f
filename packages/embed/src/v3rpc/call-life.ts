/**
 * How long work done for a call may go on: until the call ends, whoever ended it.
 *
 * Work that waits, waits through here, and fails with the reason as soon as the call has ended.
 */

import type { RpcError } from "@etcd-ts/api";
import type { StreamCall } from "@etcd-ts/rpc";

import type { EndableCall, OpenCalls } from "./open-calls.ts";

export class CallLife {
  readonly #call: EndableCall;
  readonly #openCalls: OpenCalls;
  readonly #waiting = new Set<(reason: RpcError) => void>();
  #reason: RpcError | undefined;

  constructor(call: EndableCall, openCalls: OpenCalls) {
    this.#call = call;
    this.#openCalls = openCalls;
    openCalls.add(call, (reason) => this.#end(reason));
  }

  get hasEnded(): boolean {
    return this.#reason !== undefined;
  }

  /** @throws {RpcError} why the call has ended, if it has */
  throwIfEnded(): void {
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** The work is done: the call is the caller's to end. */
  close(): void {
    this.#openCalls.remove(this.#call);
  }

  /**
   * A promise that `start` settles, and that fails when the call ends first.
   *
   * @param start - is given what to call when the wait is over, and returns how to give it up,
   *   which is called once in either case
   */
  wait<T>(
    start: (resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#reason !== undefined) {
        reject(this.#reason);
        return;
      }
      let giveUp = (): void => undefined;
      let isOver = false;
      const settle = (run: () => void): void => {
        if (isOver) return;
        isOver = true;
        this.#waiting.delete(onEnd);
        giveUp();
        run();
      };
      const onEnd = (reason: RpcError): void => settle(() => reject(reason));
      this.#waiting.add(onEnd);
      giveUp = start(
        (value) => settle(() => resolve(value)),
        (error) => settle(() => reject(error)),
      );
      if (isOver) giveUp();
    });
  }

  /** Until what was sent on the call has been taken. @throws {RpcError} if the call ends first */
  untilDrained<I, O>(call: StreamCall<I, O>): Promise<void> {
    return this.wait<void>((resolve) => {
      call.onDrain(() => resolve());
      return () => call.onDrain(() => undefined);
    });
  }

  #end(reason: RpcError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    for (const onEnd of Array.from(this.#waiting)) onEnd(reason);
  }
}
