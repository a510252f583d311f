/**
 * Notices a peer that is gone without a word: a connection that is silent while calls wait on it
 * is asked for a sign of life, and given up without one.
 *
 * Servers of etcd end connections that ask too often, or without a call under way; so there is a
 * least interval, and an idle connection asks only if it is told to.
 */

import type { ClientHttp2Session } from "node:http2";

export interface KeepaliveOptions {
  readonly timeMs: number;
  readonly timeoutMs: number;
  readonly isWanted: () => boolean;
}

/** @returns ends it */
export function startKeepalive(session: ClientHttp2Session, options: KeepaliveOptions): () => void {
  let waiting: NodeJS.Timeout | undefined;
  const ask = (): void => {
    if (waiting !== undefined || session.destroyed || !options.isWanted()) return;
    waiting = setTimeout(() => session.destroy(new Error("keepalive timeout")), options.timeoutMs);
    waiting.unref();
    const isSent = session.ping(() => {
      clearTimeout(waiting);
      waiting = undefined;
    });
    if (!isSent) {
      clearTimeout(waiting);
      waiting = undefined;
    }
  };
  const timer = setInterval(ask, options.timeMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    clearTimeout(waiting);
  };
}
