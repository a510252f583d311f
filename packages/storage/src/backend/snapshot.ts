/**
 * A consistent image of the backend file, streamed while the store goes on.
 *
 * The image is the bbolt file of one committed transaction; the RPC layer adds the SHA-256 that a
 * saved snapshot ends with.
 */

import { invariant } from "@etcd-ts/base";
import type { Clock, Logger, Timer } from "@etcd-ts/base";
import type { ReadTransaction } from "@etcd-ts/bbolt";
import { Slice } from "./slice.ts";

/** Bytes of one chunk, as etcd sends them. */
export const SNAPSHOT_CHUNK_BYTES = 32 * 1024;

/** A transfer is expected to move this much a second; the log warns when it takes longer. */
const EXPECTED_BYTES_PER_SECOND = 100 * 1024 * 1024;
const WARNING_INTERVAL_MIN_MS = 30_000;

export interface SnapshotOwner {
  observeSeconds(seconds: number): void;
  release(): void;
}

export class BackendSnapshot {
  readonly sizeBytes: number;
  readonly #transaction: ReadTransaction;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #owner: SnapshotOwner;
  readonly #startMs: number;
  #warning: Timer | undefined;
  #isClosed = false;

  constructor(transaction: ReadTransaction, clock: Clock, logger: Logger, owner: SnapshotOwner) {
    this.#transaction = transaction;
    this.#clock = clock;
    this.#logger = logger;
    this.#owner = owner;
    this.sizeBytes = transaction.imageBytes;
    this.#startMs = clock.monotonicMs();
    this.#armWarning();
  }

  /**
   * The image from front to back, `sizeBytes` in all, in chunks of `SNAPSHOT_CHUNK_BYTES` (the last
   * may be shorter) that belong to the caller. A reader that stops early still closes the snapshot.
   */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    invariant(!this.#isClosed, () => "BackendSnapshot.chunks: closed");
    const slice = new Slice(this.#clock);
    let chunk = new Uint8Array(SNAPSHOT_CHUNK_BYTES);
    let filled = 0;
    for (const pages of this.#transaction.copyPages(SNAPSHOT_CHUNK_BYTES)) {
      for (let taken = 0; taken < pages.length;) {
        const part = pages.subarray(taken, taken + chunk.length - filled);
        chunk.set(part, filled);
        taken += part.length;
        filled += part.length;
        if (filled < chunk.length) continue;
        yield chunk;
        chunk = new Uint8Array(SNAPSHOT_CHUNK_BYTES);
        filled = 0;
        if (slice.isOver(32)) await slice.pause();
        invariant(!this.#isClosed, () => "BackendSnapshot.chunks: closed while read");
      }
    }
    if (filled > 0) yield chunk.subarray(0, filled);
  }

  /** Lets the pages of the image be reused; idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#warning?.cancel();
    this.#owner.observeSeconds((this.#clock.monotonicMs() - this.#startMs) / 1000);
    this.#owner.release();
  }

  #armWarning(): void {
    const expectedMs = (this.sizeBytes / EXPECTED_BYTES_PER_SECOND) * 1000;
    this.#warning = this.#clock.setTimer(Math.max(expectedMs, WARNING_INTERVAL_MIN_MS), () => {
      const tookSeconds = (this.#clock.monotonicMs() - this.#startMs) / 1000;
      this.#logger.warn("snapshotting taking too long to transfer", {
        taking: `${tookSeconds.toFixed(1)}s`,
        bytes: this.sizeBytes,
      });
      this.#armWarning();
    });
  }
}
