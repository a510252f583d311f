/**
 * Checksums of the `key` bucket, comparable between members: HashKV.
 *
 * CRC-32C over the bucket's name and then every record up to a revision, raw key and raw value.
 * Members compact at their own pace, so records that a compaction is about to delete, or leaves
 * behind as a tombstone at its revision, stay out.
 */

import { crc32c, EMPTY_BYTES, utf8FromString } from "@etcd-ts/base";
import { Slice } from "../backend/slice.ts";
import type { MvccCore } from "./core.ts";
import { keyAfter } from "./key-range.ts";
import { NO_SLOT } from "./key-table.ts";
import { scanRecords } from "./scan-records.ts";
import { keyOfStored } from "./stored-key-value.ts";
import type { KeyValueHash, KeyValueHashResult } from "./types.ts";

/** Compaction hashes kept to be asked for. */
export const COMPACTION_HASHES_MAX = 10;

const BUCKET_NAME = utf8FromString("key");

/** Decides whether the record a key had at a revision is that very record. */
export type KeepTest = (main: number, sub: number, stored: Uint8Array) => boolean;

/** Takes records in revision order. */
export class KeyValueHasher {
  readonly #compactRevision: number;
  readonly #revision: number;
  readonly #isKept: KeepTest | undefined;
  #crc: number;

  /**
   * @param compactRevision - records up to here count only if `isKept`
   * @param isKept - undefined keeps all, which etcd does when not one key exists
   */
  constructor(compactRevision: number, revision: number, isKept: KeepTest | undefined) {
    this.#compactRevision = compactRevision;
    this.#revision = revision;
    this.#isKept = isKept;
    this.#crc = crc32c(0, BUCKET_NAME);
  }

  add(main: number, sub: number, isTombstone: boolean, key: Uint8Array, stored: Uint8Array): void {
    if (main > this.#revision) return;
    const isOld = main <= this.#compactRevision;
    if (isOld && this.#isKept !== undefined && !this.#isKept(main, sub, stored)) return;
    if (isTombstone && main === this.#compactRevision) return;
    this.#crc = crc32c(this.#crc, key);
    this.#crc = crc32c(this.#crc, stored);
  }

  result(): KeyValueHash {
    return {
      hash: this.#crc,
      hashRevision: this.#revision,
      compactRevision: this.#compactRevision,
    };
  }
}

/** The hashes of the last compactions, which members compare without hashing again. */
export class CompactionHashes {
  #hashes: KeyValueHash[] = [];

  /** In order of revision. */
  get all(): readonly KeyValueHash[] {
    return this.#hashes;
  }

  find(revision: number): KeyValueHash | undefined {
    return this.#hashes.find((hash) => hash.hashRevision === revision);
  }

  store(hash: KeyValueHash): void {
    this.#hashes.push(hash);
    this.#hashes.sort((a, b) => a.hashRevision - b.hashRevision);
    this.#hashes = this.#hashes.slice(-COMPACTION_HASHES_MAX);
  }
}

/**
 * Whether a record is the state of its key at `revision`.
 *
 * @param isTombstoneKept - whether a deletion at exactly `revision` counts, as it does for what
 *   compaction deletes but not for what is hashed
 */
export function keepTest(core: MvccCore, revision: number, isTombstoneKept: boolean): KeepTest {
  return (main, sub, stored) => {
    const { index, backend } = core;
    const { start, end } = keyOfStored(stored, backend.path);
    const slot = index.find(stored, start, end);
    if (slot === NO_SLOT) return false;
    const found = core.locate(slot, revision);
    if (found === undefined || found.main !== main || found.sub !== sub) return false;
    return !found.isTombstone || (isTombstoneKept && found.main === revision);
  };
}

/** `keepTest`, or undefined if it would keep nothing at all. */
export async function keepTestUnlessEmpty(
  core: MvccCore,
  revision: number,
  isTombstoneKept: boolean,
): Promise<KeepTest | undefined> {
  const slice = new Slice(core.clock);
  let begin: Uint8Array | undefined = EMPTY_BYTES;
  while (begin !== undefined) {
    let next: Uint8Array | undefined;
    let isAnyKept = false;
    core.index.visit(begin, undefined, (slot) => {
      const found = core.locate(slot, revision);
      isAnyKept =
        found !== undefined && (!found.isTombstone || (isTombstoneKept && found.main === revision));
      if (isAnyKept) return false;
      if (!slice.isOver()) return true;
      next = keyAfter(core.index.keyOf(slot));
      return false;
    });
    if (isAnyKept) return keepTest(core, revision, isTombstoneKept);
    begin = next;
    if (begin !== undefined) await slice.pause();
  }
  return undefined;
}

/**
 * Hashes up to `requested`; 0 for the current revision. The revision is pinned meanwhile.
 *
 * @throws {ServerError} below the compact revision or above the current one
 */
export async function hashByRevision(
  core: MvccCore,
  requested: number,
): Promise<KeyValueHashResult> {
  const { currentRevision, compactRevision } = core;
  const startMs = core.clock.monotonicMs();
  const revision = core.readRevision(requested, currentRevision);
  core.pins.pin(revision);
  try {
    const isKept = await keepTestUnlessEmpty(core, revision, false);
    const hasher = new KeyValueHasher(compactRevision, revision, isKept);
    await scanRecords(core, revision, (record) => {
      const { main, sub, isTombstone } = record;
      hasher.add(main, sub, isTombstone, record.keyBytes(), record.storedBytes());
    });
    core.metrics.hashRevisionSeconds.observe((core.clock.monotonicMs() - startMs) / 1000);
    return { ...hasher.result(), currentRevision };
  } finally {
    core.pins.unpin(revision);
  }
}
