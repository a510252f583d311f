/** How far long work has come. */

export interface Progress {
  /** What is being done: `copy`, `pages`, `keys`, ... */
  readonly step: string;
  readonly done: number;
  /** 0 if it is not known. */
  readonly total: number;
}

/**
 * Told now and then, never often. An error it throws stops the work, which then takes back what it
 * began.
 */
export type OnProgress = (progress: Progress) => void;

/** Records between two reports. */
const RECORDS_PER_REPORT = 8192;

/** Counts records and lets others run, and the caller know, every few thousand. */
export class Steps {
  readonly #step: string;
  readonly #total: number;
  readonly #report: OnProgress | undefined;
  readonly #pause: () => Promise<void>;
  #done = 0;

  /** @param pause - lets a turn pass, so that a signal can stop the work */
  constructor(
    step: string,
    total: number,
    report: OnProgress | undefined,
    pause: () => Promise<void>,
  ) {
    this.#step = step;
    this.#total = total;
    this.#report = report;
    this.#pause = pause;
  }

  get done(): number {
    return this.#done;
  }

  /** Counts one; whether `pause` is due. */
  isDue(): boolean {
    this.#done++;
    return this.#done % RECORDS_PER_REPORT === 0;
  }

  async pause(): Promise<void> {
    this.#report?.({ step: this.#step, done: this.#done, total: this.#total });
    await this.#pause();
  }
}
