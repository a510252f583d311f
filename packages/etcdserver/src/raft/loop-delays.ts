/** What kept the raft loop from its work: why a heartbeat was late. */

/** In the words operators find in the manual. */
export type DelayCause = "busy process" | "slow disk" | "slow apply";

export interface Delay {
  readonly cause: DelayCause;
  readonly tookMs: number;
}

export class LoopDelays {
  #longest = new Map<DelayCause, number>();

  /** Only the longest of a cause counts. */
  note(cause: DelayCause, tookMs: number): void {
    if (tookMs > (this.#longest.get(cause) ?? 0)) this.#longest.set(cause, tookMs);
  }

  /** The longest since the last call; undefined if nothing took time. */
  take(): Delay | undefined {
    let longest: Delay | undefined;
    for (const [cause, tookMs] of this.#longest) {
      if (tookMs > (longest?.tookMs ?? 0)) longest = { cause, tookMs };
    }
    this.#longest = new Map();
    return longest;
  }
}
