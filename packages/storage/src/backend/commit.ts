/** Moves one frozen buffer into a bbolt write transaction, in slices. */

import type { Clock } from "@etcd-ts/base";
import type { WriteTransaction } from "@etcd-ts/bbolt";
import { BUCKETS, KEY_BUCKET_FILL_PERCENT } from "./bucket.ts";
import { Slice } from "./slice.ts";
import type { WriteBuffer } from "./write-buffer.ts";

/** The buffer must not change meanwhile. */
export async function fillTransaction(
  transaction: WriteTransaction,
  buffer: WriteBuffer,
  clock: Clock,
): Promise<void> {
  const slice = new Slice(clock);
  const { records } = buffer;
  if (records !== undefined) {
    const bucket = transaction.createBucketIfNotExists(BUCKETS.get("key")!);
    bucket.fillPercent = KEY_BUCKET_FILL_PERCENT;
    bucket.append(records);
  }
  for (const [name, changes] of buffer.buckets()) {
    const bucket = transaction.createBucketIfNotExists(BUCKETS.get(name)!);
    if (name === "key") bucket.fillPercent = KEY_BUCKET_FILL_PERCENT;
    for (let i = 0; i < changes.size; i++) {
      const change = changes.at(i)!;
      if (change.value === undefined) bucket.delete(change.key);
      else bucket.put(change.key, change.value);
      if (slice.isOver()) await slice.pause();
    }
  }
}
