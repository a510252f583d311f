/** Waiting that ends at a deadline (of `performance.now`) or at a signal. */

import type { RpcError } from "@etcd-ts/api";

import { aborted, deadlineExceeded } from "./errors.ts";

const TIMER_MS_MAX = 2 ** 31 - 1;

/** Waits; what waited for fails with, if the deadline or the signal comes first, has a cause. */
export async function pause(
  durationMs: number,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  last: RpcError | undefined,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const sleep = new Promise<void>((resolve) => {
    const leftMs = Math.max(0, deadlineMs - performance.now());
    timer = setTimeout(resolve, Math.min(durationMs, leftMs));
  });
  try {
    await within(sleep, deadlineMs, signal, () => last);
  } finally {
    clearTimeout(timer);
  }
  if (performance.now() >= deadlineMs) throw deadlineExceeded(last);
}

/**
 * The promise, unless the deadline or the signal comes first.
 *
 * @throws {RpcError} DEADLINE_EXCEEDED or CANCELED; also what the promise fails with
 */
export async function within<T>(
  promise: Promise<T>,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  last: () => RpcError | undefined,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  const limit = new Promise<never>((_, reject) => {
    if (Number.isFinite(deadlineMs)) {
      const leftMs = Math.min(deadlineMs - performance.now(), TIMER_MS_MAX);
      timer = setTimeout(() => reject(deadlineExceeded(last())), Math.max(0, leftMs));
    }
    if (signal === undefined) return;
    onAbort = () => reject(aborted(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal?.removeEventListener("abort", onAbort);
  }
}

/** Ends early, without an error, when the signal comes. */
export function sleep(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal?.addEventListener("abort", done);
  });
}

/** What is left of a call's time for its next part. @throws {RpcError} if nothing is */
export function remaining(deadlineMs: number, last?: RpcError): { readonly timeoutMs?: number } {
  if (!Number.isFinite(deadlineMs)) return { timeoutMs: Number.POSITIVE_INFINITY };
  const timeoutMs = deadlineMs - performance.now();
  if (timeoutMs <= 0) throw deadlineExceeded(last);
  return { timeoutMs };
}
