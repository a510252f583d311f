/** Waits for all, then fails as the first that failed: none goes on behind the caller's back. */
export async function allDone(steps: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(steps)) {
    if (result.status === "rejected") throw result.reason;
  }
}
