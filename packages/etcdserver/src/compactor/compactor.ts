/**
 * Compacts history without being asked, by age or by number of revisions.
 *
 * Runs on the leader only; a follower goes on sampling, so that it can take over in the middle of
 * a period.
 */

import { SERVER_ERRORS } from "@etcd-ts/api";
import type { Clock, EtcdError, Logger } from "@etcd-ts/base";

import type { AutoCompaction } from "../server-api.ts";

const HOUR_MS = 3_600_000;
/** Samples taken in one interval of the periodic mode. */
const SAMPLES_PER_INTERVAL = 10;
/** How often the revision mode looks. */
const REVISION_INTERVAL_MS = 300_000;

export interface CompactorPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly currentRevision: () => number;
  readonly isLeader: () => boolean;
  /** Asks for a compaction through the log. */
  readonly compact: (revision: number, done: (error: EtcdError | undefined) => void) => void;
  /** Runs a task again and again until the member stops. */
  readonly every: (intervalMs: number, task: () => void) => void;
}

export function startAutoCompaction(mode: AutoCompaction, ports: CompactorPorts): void {
  switch (mode.mode) {
    case "off":
      return;
    case "periodic": {
      if (mode.retentionMs <= 0) return;
      const compactor = new PeriodicCompactor(mode.retentionMs, ports);
      compactor.sample();
      ports.every(compactor.sampleMs, () => compactor.sample());
      return;
    }
    default: {
      if (mode.retentionRevisions <= 0) return;
      const compactor = new RevisionCompactor(mode.retentionRevisions, ports);
      ports.every(REVISION_INTERVAL_MS, () => compactor.run());
    }
  }
}

/**
 * Keeps the revisions of one period, and compacts to what was current when it began: for the first
 * time after one full period, then every interval, which is the period or an hour if that is less.
 */
export class PeriodicCompactor {
  readonly #periodMs: number;
  readonly #intervalMs: number;
  readonly #ports: CompactorPorts;
  readonly #samplesMax: number;
  #samples: number[] = [];
  #lastSuccessMs: number;
  #lastRevision = 0;

  constructor(periodMs: number, ports: CompactorPorts) {
    this.#periodMs = periodMs;
    this.#intervalMs = Math.min(periodMs, HOUR_MS);
    this.#ports = ports;
    this.#samplesMax = Math.floor(periodMs / this.sampleMs) + 1;
    // The first compaction is due one period from now, later ones an interval apart.
    this.#lastSuccessMs = ports.clock.monotonicMs() + periodMs - this.#intervalMs;
  }

  get sampleMs(): number {
    return this.#intervalMs / SAMPLES_PER_INTERVAL;
  }

  /** To be called every `sampleMs`. */
  sample(): void {
    const { clock, currentRevision, isLeader } = this.#ports;
    this.#samples.push(currentRevision());
    if (this.#samples.length > this.#samplesMax) this.#samples.shift();
    if (!isLeader()) return;
    if (this.#samples.length < this.#samplesMax) return;
    if (clock.monotonicMs() - this.#lastSuccessMs < this.#intervalMs) return;
    this.#compactTo(this.#samples[0]!);
  }

  #compactTo(revision: number): void {
    const { clock, logger, compact } = this.#ports;
    const startMs = clock.monotonicMs();
    const fields = { revision, "compact-period": `${this.#periodMs}ms` };
    if (revision === this.#lastRevision) return;
    logger.info("starting auto periodic compaction", fields);
    compact(revision, (error) => {
      if (error === undefined || error === SERVER_ERRORS.compacted) {
        this.#lastSuccessMs = startMs;
        this.#lastRevision = revision;
        logger.info("completed auto periodic compaction", fields);
      } else {
        logger.warn("failed auto periodic compaction", { ...fields, error: error.message });
      }
    });
  }
}

/** Keeps the newest revisions. */
export class RevisionCompactor {
  readonly #retention: number;
  readonly #ports: CompactorPorts;
  #lastRevision = 0;

  constructor(retention: number, ports: CompactorPorts) {
    this.#retention = retention;
    this.#ports = ports;
  }

  run(): void {
    const { logger, currentRevision, isLeader, compact } = this.#ports;
    if (!isLeader()) return;
    const revision = currentRevision() - this.#retention;
    if (revision <= 0 || revision === this.#lastRevision) return;
    const fields = { revision, "revision-compaction-retention": this.#retention };
    logger.info("starting auto revision compaction", fields);
    compact(revision, (error) => {
      if (error === undefined || error === SERVER_ERRORS.compacted) {
        this.#lastRevision = revision;
        logger.info("completed auto revision compaction", fields);
      } else {
        logger.warn("failed auto revision compaction", { ...fields, error: error.message });
      }
    });
  }
}
