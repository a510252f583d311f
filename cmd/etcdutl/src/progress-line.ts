/** One line on a terminal that says how far the work is; nothing where stderr is no terminal. */

import type { OnProgress, Progress } from "@etcd-ts/datadir";

const REDRAW_MS = 200;
/** Short work shows nothing. */
const QUIET_MS = 1000;

export interface ProgressLine {
  readonly onProgress: OnProgress;
  /** Takes the line away. */
  clear(): void;
}

export function progressLine(stream: NodeJS.WriteStream): ProgressLine {
  const startMs = performance.now();
  let drawnMs = startMs + QUIET_MS - REDRAW_MS;
  let isDrawn = false;
  return {
    onProgress(progress) {
      const nowMs = performance.now();
      if (!stream.isTTY || nowMs - drawnMs < REDRAW_MS) return;
      drawnMs = nowMs;
      isDrawn = true;
      stream.write(`\r\u001b[K${describe(progress)}`);
    },
    clear() {
      if (isDrawn) stream.write("\r\u001b[K");
      isDrawn = false;
    },
  };
}

function describe({ step, done, total }: Progress): string {
  if (total > 0 && done > 0) return `${step} ${Math.min(100, Math.floor((100 * done) / total))} %`;
  return done > 0 ? `${step} ${done}` : `${step} ...`;
}
