/**
 * How a new leader keeps leases that would run out together from being revoked all at once.
 *
 * A member revokes about 1,000 leases a second. With 1,000 leases or more, those that run out within
 * the same second are spread so that about 750 a second do, which leaves room for other work.
 */

import { invariant } from "@etcd-ts/base";

const LEASES_WITHOUT_SPREAD = 1000;
const EXPIRIES_PER_SECOND = 750;
const SECOND_MS = 1000;

/**
 * What each lease gets on top of its time.
 *
 * A window starts at a lease and takes in all that run out within a second, or within the time it
 * already reaches into by delaying. The first 750 of a window stay as they are; the n-th behind them
 * runs out n / 750 seconds after the window began.
 *
 * @param remainingMs - of each lease, ascending
 */
export function spreadDelaysMs(remainingMs: readonly number[]): number[] {
  const delays = Array.from<number>({ length: remainingMs.length }).fill(0);
  if (remainingMs.length < LEASES_WITHOUT_SPREAD) return delays;
  let windowStart = remainingMs[0]!;
  let windowEnd = windowStart + SECOND_MS;
  let inWindow = 0;
  remainingMs.forEach((remaining, i) => {
    invariant(i === 0 || remaining >= remainingMs[i - 1]!, () => "spreadDelaysMs: not ascending");
    if (remaining > windowEnd) {
      windowStart = remaining;
      windowEnd = windowStart + SECOND_MS;
      inWindow = 0;
    }
    inWindow++;
    if (inWindow <= EXPIRIES_PER_SECOND) return;
    const slot = windowStart + (SECOND_MS * inWindow) / EXPIRIES_PER_SECOND;
    delays[i] = Math.max(0, slot - remaining);
    windowEnd = Math.max(windowEnd, slot);
  });
  return delays;
}
