/** The machine under the commands: disk, clock, logs on stderr, progress, and Ctrl-C. */

import type { DataDirectoryContext } from "@etcd-ts/datadir";
import { NULL_METRICS } from "@etcd-ts/base";
import { JsonLogger, NodeClock, NodeDisk, streamSink } from "@etcd-ts/runtime";
import { onInterrupt } from "./interrupt.ts";
import { progressLine } from "./progress-line.ts";

export interface SessionOptions {
  /** Whether informative lines are written too, not just warnings. */
  readonly isVerbose: boolean;
}

/** Runs `work`; it stops with `InterruptedError` at a signal. */
export async function withSession<T>(
  options: SessionOptions,
  work: (context: DataDirectoryContext) => Promise<T>,
): Promise<T> {
  const progress = progressLine(process.stderr);
  const sink = streamSink(process.stderr);
  const logger = new JsonLogger({
    format: "console",
    level: options.isVerbose ? "info" : "warn",
    sinks: [
      {
        write(line) {
          progress.clear();
          sink.write(line);
        },
        close: () => sink.close(),
      },
    ],
  });
  const interrupt = onInterrupt();
  try {
    return await work({
      disk: new NodeDisk({ logger }),
      clock: new NodeClock(),
      logger,
      metrics: NULL_METRICS,
      onProgress(at) {
        interrupt.check();
        progress.onProgress(at);
      },
    });
  } finally {
    interrupt.release();
    progress.clear();
  }
}
