/**
 * The checksum of a whole backend: Maintenance.Hash.
 *
 * CRC-32C over each bucket in byte order of its name: the name, then every key and value. Members
 * that applied the same entries agree on it, whatever the layout of their pages.
 */

import { crc32c, stringFromUtf8 } from "@etcd-ts/base";
import type { Clock } from "@etcd-ts/base";
import type { ReadTransaction } from "@etcd-ts/bbolt";
import { Slice } from "./slice.ts";

/** Whether a record stays out of the hash. */
export type HashSkip = (bucket: string, key: Uint8Array) => boolean;

/** Keys of `meta` that each member writes at its own pace. */
const MEMBER_OWN_META = new Set(["consistent_index", "term", "storageVersion"]);

export const skipMemberOwnMeta: HashSkip = (bucket, key) =>
  bucket === "meta" && MEMBER_OWN_META.has(stringFromUtf8(key));

/** @param transaction - stays open; the caller closes it */
export async function hashTransaction(
  transaction: ReadTransaction,
  clock: Clock,
  skip: HashSkip = skipMemberOwnMeta,
): Promise<number> {
  const slice = new Slice(clock);
  let crc = 0;
  for (const nameBytes of transaction.bucketNames()) {
    const name = stringFromUtf8(nameBytes);
    crc = crc32c(crc, nameBytes);
    const cursor = transaction.bucket(nameBytes)!.passingCursor();
    for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
      if (entry.value === undefined || skip(name, entry.key)) continue;
      crc = crc32c(crc, entry.key);
      crc = crc32c(crc, entry.value);
      if (!slice.isOver(1 + (entry.value.length >>> 10))) continue;
      const key = entry.key.slice();
      await slice.pause();
      // Others have read meanwhile, so the place is found anew.
      cursor.seek(key);
    }
  }
  return crc;
}
