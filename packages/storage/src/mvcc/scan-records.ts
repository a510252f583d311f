/** Walks the `key` bucket in revision order, in slices. */

import { CorruptionError, EMPTY_BYTES } from "@etcd-ts/base";
import { Slice } from "../backend/slice.ts";
import { readUint64 } from "../schema/numbers.ts";
import type { MvccCore } from "./core.ts";
import { encodeRevision, REVISION_BYTES, TOMBSTONE_BYTES } from "./revision.ts";

/** The record at hand, and where its bytes are. All of it is good only during the visit. */
export class ScannedRecord {
  main = 0;
  sub = 0;
  isTombstone = false;
  /** Its revision, as stored. */
  key: Uint8Array = EMPTY_BYTES;
  keyStart = 0;
  keyEnd = 0;
  stored: Uint8Array = EMPTY_BYTES;
  start = 0;
  end = 0;

  keyBytes(): Uint8Array {
    return this.key.subarray(this.keyStart, this.keyEnd);
  }

  storedBytes(): Uint8Array {
    return this.stored.subarray(this.start, this.end);
  }

  /** Takes in a record. @returns false if `key` is no revision */
  set(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    stored: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const bytes = keyEnd - keyStart;
    const main = readUint64(key, keyStart);
    const sub = readUint64(key, keyStart + REVISION_BYTES - 8);
    if (main === undefined || sub === undefined) return false;
    this.main = main;
    this.sub = sub;
    this.isTombstone = bytes === TOMBSTONE_BYTES;
    this.key = key;
    this.keyStart = keyStart;
    this.keyEnd = keyEnd;
    this.stored = stored;
    this.start = start;
    this.end = end;
    return bytes === REVISION_BYTES || this.isTombstone;
  }
}

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
  visit: (record: ScannedRecord) => void,
): Promise<void> {
  const slice = new Slice(core.clock);
  const record = new ScannedRecord();
  const end = revision === Infinity ? undefined : encodeRevision(revision + 1, 0);
  let begin = encodeRevision(0, 0);
  for (;;) {
    const { backend } = core;
    let isDone = true;
    backend.scanPassing("key", begin, end, (key, keyStart, keyEnd, stored, from, to) => {
      if (!record.set(key, keyStart, keyEnd, stored, from, to)) {
        throw new CorruptionError("a key of the key bucket is no revision", backend.path, 0);
      }
      visit(record);
      if (!slice.isOver(1 + ((to - from) >>> 10))) return true;
      begin = encodeRevision(record.main, record.sub + 1);
      isDone = false;
      return false;
    });
    if (isDone) return;
    await slice.pause();
  }
}
