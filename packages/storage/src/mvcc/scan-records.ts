/** Walks the `key` bucket in revision order, in slices. */

import { CorruptionError } from "@etcd-ts/base";
import { Slice } from "../backend/slice.ts";
import { readUint64 } from "../schema/numbers.ts";
import type { MvccCore } from "./core.ts";
import { encodeRevision, REVISION_BYTES, TOMBSTONE_BYTES } from "./revision.ts";

/** One record; `key` is its revision, as stored. Bytes are good only during the visit. */
export type RecordVisit = (
  main: number,
  sub: number,
  isTombstone: boolean,
  key: Uint8Array,
  stored: Uint8Array,
) => void;

/**
 * Visits all records up to `revision`. Between two slices records may come and go: one that is
 * there from start to end is visited once.
 *
 * @param revision - Infinity for all there are
 * @throws {CorruptionError} if a key is no revision
 */
export async function scanRecords(
  core: MvccCore,
  revision: number,
  visit: RecordVisit,
): Promise<void> {
  const slice = new Slice(core.clock);
  const end = revision === Infinity ? undefined : encodeRevision(revision + 1, 0);
  let begin = encodeRevision(0, 0);
  for (;;) {
    const { backend } = core;
    let isDone = true;
    backend.scanPassing("key", begin, end, (key, stored) => {
      const isTombstone = key.length === TOMBSTONE_BYTES;
      const main = readUint64(key, 0);
      const sub = readUint64(key, REVISION_BYTES - 8);
      if (main === undefined || sub === undefined || key.length > TOMBSTONE_BYTES) {
        throw new CorruptionError("a key of the key bucket is no revision", backend.path, 0);
      }
      visit(main, sub, isTombstone, key, stored);
      if (!slice.isOver(1 + (stored.length >>> 10))) return true;
      begin = encodeRevision(main, sub + 1);
      isDone = false;
      return false;
    });
    if (isDone) return;
    await slice.pause();
  }
}
