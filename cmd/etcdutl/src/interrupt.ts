/** Ctrl-C and SIGTERM: the work under way is told to stop and takes back what it began. */

import { EtcdError } from "@etcd-ts/base";

export class InterruptedError extends EtcdError {
  readonly code = "INTERRUPTED";
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

export interface Interrupt {
  /** @throws {InterruptedError} once a signal has come */
  check(): void;
  /** Signals end the process again. */
  release(): void;
}

/** The first signal stops the work at its next `check`; a second one ends the process. */
export function onInterrupt(): Interrupt {
  let isInterrupted = false;
  const release = (): void => {
    for (const signal of SIGNALS) process.off(signal, stop);
  };
  const stop = (): void => {
    isInterrupted = true;
    release();
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  return {
    check() {
      if (isInterrupted) throw new InterruptedError("interrupted");
    },
    release,
  };
}
