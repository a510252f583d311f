/**
 * Compaction: forgets what no read at or above a revision can see.
 *
 * It takes effect for readers at once and is recorded (`scheduledCompactRev`), so that a member
 * that crashes goes on with it. Then, in slices and in the order of request, readers below are
 * waited for, the index and the records are thinned, and `finishedCompactRev` is recorded.
 *
 * Invariant: `finishedCompactRev <= scheduledCompactRev == core.compactRevision` once anything was
 * compacted, and no record was deleted before its compaction was recorded.
 */

import { EMPTY_BYTES, EtcdError, invariant, sleep, yieldTurn } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import { BackendFailedError } from "../backend/backend.ts";
import type { KeyValuePair } from "../backend/backend.ts";
import { Slice } from "../backend/slice.ts";
import {
  readFinishedCompact,
  readScheduledCompact,
  writeFinishedCompact,
  writeScheduledCompact,
} from "../schema/compaction.ts";
import type { MvccCore } from "./core.ts";
import { CompactionHashes, keepTest, keepTestUnlessEmpty, KeyValueHasher } from "./hash.ts";
import { encodeRevision, mustDecodeRevision } from "./revision.ts";
import type { Compaction, KeyValueHash } from "./types.ts";

/** etcd's `--compaction-batch-limit` when it is not set. */
export const COMPACTION_BATCH_LIMIT = 1000;
/** etcd's `--compaction-sleep-interval` when it is not set. */
export const COMPACTION_SLEEP_MS = 10;

/** A batch also ends here, so that large values are not all read in one go. */
const COMPACTION_BATCH_BYTES_MAX = 4 * 1024 * 1024;

/** Index blocks thinned between two looks at the clock. */
const INDEX_BLOCKS_PER_STEP = 4;

/** The store was closed or replaced while a compaction ran; it goes on at the next start. */
export class CompactionInterruptedError extends EtcdError {
  readonly code = "COMPACTION_INTERRUPTED";
}

interface Job {
  readonly revision: number;
  readonly previousRevision: number;
  /** Whether the compaction before had finished when this one was asked for. */
  readonly isPreviousFinished: boolean;
  readonly recorded: Promise<void>;
}

export class Compactor {
  readonly hashes = new CompactionHashes();
  readonly #core: MvccCore;
  readonly #batchLimit: number;
  readonly #sleepMs: number;
  #jobs: Promise<unknown> = Promise.resolve();
  /** Raised to make running jobs stop; a job belongs to the epoch it was asked for in. */
  #epoch = 0;

  constructor(core: MvccCore, batchLimit: number, sleepMs: number) {
    invariant(batchLimit > 0, () => `Compactor: batchLimit ${batchLimit}`);
    this.#core = core;
    this.#batchLimit = batchLimit;
    this.#sleepMs = sleepMs;
  }

  /** @throws {ServerError} at or below the compact revision, or above the current one */
  compact(revision: number): Compaction {
    const core = this.#core;
    if (revision <= core.compactRevision) throw SERVER_ERRORS.compacted;
    if (revision > core.currentRevision) throw SERVER_ERRORS.futureRevision;
    const { backend } = core;
    const isPreviousFinished = readScheduledCompact(backend) === readFinishedCompact(backend);
    const previousRevision = core.compactRevision;
    core.compactRevision = revision;
    writeScheduledCompact(backend, revision);
    const recorded = backend.commit();
    const epoch = this.#epoch;
    const finished = this.#jobs.then(() =>
      this.#run({ revision, previousRevision, isPreviousFinished, recorded }, epoch),
    );
    this.#jobs = finished.catch((error: Error) => {
      const isExpected =
        error instanceof CompactionInterruptedError || error instanceof BackendFailedError;
      if (!isExpected) core.onFatal(error);
    });
    return { finished };
  }

  /** Makes jobs stop at their next pause; resolves when none runs. */
  async interrupt(): Promise<void> {
    this.#epoch++;
    this.#core.pins.wakeAll();
    await this.#jobs;
  }

  async #run(job: Job, epoch: number): Promise<void> {
    const core = this.#core;
    const startMs = core.clock.monotonicMs();
    await job.recorded;
    this.#check(epoch);
    await core.pins.whenNoneBelow(job.revision);
    this.#check(epoch);
    await this.#compactIndex(job.revision, epoch);
    const hash = await this.#compactRecords(job, epoch);
    if (job.isPreviousFinished) this.hashes.store(hash);
    const tookMs = core.clock.monotonicMs() - startMs;
    core.metrics.compactionTotalMs.observe(tookMs);
    core.metrics.compactionLast.set(core.clock.wallMs() / 1000);
    core.logger.info("finished scheduled compaction", {
      "compact-revision": job.revision,
      took: `${(tookMs / 1000).toFixed(3)}s`,
      hash: hash.hash,
      "current-db-size-bytes": core.backend.sizeBytes(),
      "current-db-size-in-use-bytes": core.backend.sizeInUseBytes(),
    });
  }

  async #compactIndex(revision: number, epoch: number): Promise<void> {
    const { index, clock, metrics } = this.#core;
    let begin: Uint8Array | undefined = EMPTY_BYTES;
    let startMs = clock.monotonicMs();
    const slice = new Slice(clock);
    while (begin !== undefined) {
      begin = index.compactSome(begin, revision, INDEX_BLOCKS_PER_STEP);
      if (begin === undefined || !slice.isOver(64)) continue;
      metrics.indexCompactionPauseMs.observe(clock.monotonicMs() - startMs);
      await slice.pause();
      this.#check(epoch);
      startMs = clock.monotonicMs();
    }
    metrics.indexCompactionPauseMs.observe(clock.monotonicMs() - startMs);
  }

  async #compactRecords(job: Job, epoch: number): Promise<KeyValueHash> {
    const core = this.#core;
    const { clock, metrics } = core;
    const isKept = keepTest(core, job.revision, true);
    const isHashed = await keepTestUnlessEmpty(core, job.revision, true);
    const hasher = new KeyValueHasher(job.previousRevision, job.revision, isHashed);
    const slice = new Slice(clock);
    const end = encodeRevision(job.revision + 1, 0);
    let begin = encodeRevision(0, 0);
    for (;;) {
      const { backend } = core;
      const startMs = clock.monotonicMs();
      const { pairs, isLast } = this.#nextBatch(begin, end);
      let deleted = 0;
      for (const { key, value } of pairs) {
        const { main, sub, isTombstone } = mustDecodeRevision(key, backend.path);
        hasher.add(main, sub, isTombstone, key, value);
        if (!isKept(main, sub, value)) {
          backend.delete("key", key);
          deleted++;
        }
        if (slice.isOver(1 + (value.length >>> 10))) {
          await slice.pause();
          this.#check(epoch);
        }
      }
      if (deleted > 0) metrics.compactionKeysTotal.inc(deleted);
      metrics.compactionPauseMs.observe(clock.monotonicMs() - startMs);
      const last = pairs[pairs.length - 1];
      if (last === undefined || isLast) {
        writeFinishedCompact(backend, job.revision);
        return hasher.result();
      }
      const { main, sub } = mustDecodeRevision(last.key, backend.path);
      begin = encodeRevision(main, sub + 1);
      if (deleted > 0) await backend.commit();
      await (this.#sleepMs > 0 ? sleep(clock, this.#sleepMs) : yieldTurn(clock));
      this.#check(epoch);
    }
  }

  /** The next records, bounded in number and bytes. */
  #nextBatch(begin: Uint8Array, end: Uint8Array): { pairs: KeyValuePair[]; isLast: boolean } {
    const pairs: KeyValuePair[] = [];
    let bytes = 0;
    let isLast = true;
    this.#core.backend.scan("key", begin, end, (key, value) => {
      pairs.push({ key, value });
      bytes += value.length;
      isLast = pairs.length < this.#batchLimit && bytes < COMPACTION_BATCH_BYTES_MAX;
      return isLast;
    });
    return { pairs, isLast };
  }

  #check(epoch: number): void {
    if (epoch === this.#epoch) return;
    throw new CompactionInterruptedError("compaction interrupted due to stop signal");
  }
}
