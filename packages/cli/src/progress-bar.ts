/** `20 / 60 [------->______] 33.33% 1 p/s` on a terminal; nothing where stderr is none. */

import { err } from "./output.ts";

const REDRAW_MS = 200;
const BAR_CELLS = 40;

export class ProgressBar {
  readonly #total: number;
  readonly #startMs = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;
  #done = 0;

  /** @param total - of what `add` counts */
  constructor(total: number) {
    this.#total = total;
    if (!process.stderr.isTTY) return;
    this.#draw();
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
  }

  add(count: number): void {
    this.#done += count;
  }

  /** Draws it a last time. */
  finish(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#draw();
    err("\n");
  }

  #draw(): void {
    const seconds = (performance.now() - this.#startMs) / 1000;
    err(`\r\u001b[K${progressText(this.#done, this.#total, seconds)}`);
  }
}

/** The bar as it is after some seconds. */
export function progressText(done: number, total: number, seconds: number): string {
  const part = Math.min(1, total === 0 ? 1 : done / total);
  const cells = Math.floor(part * BAR_CELLS);
  const head = cells < BAR_CELLS ? ">" : "-";
  const bar = cells === 0 ? "" : "-".repeat(cells - 1) + head;
  const rate = seconds === 0 ? 0 : Math.round(done / seconds);
  return `${done} / ${total} [${bar.padEnd(BAR_CELLS, "_")}] ${(part * 100).toFixed(2)}% ${rate} p/s`;
}
