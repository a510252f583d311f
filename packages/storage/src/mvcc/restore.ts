/** Rebuilds the index from the `key` bucket: at boot, and after a snapshot replaced the file. */

import { Slice } from "../backend/slice.ts";
import { readFinishedCompact, readScheduledCompact } from "../schema/compaction.ts";
import { NEVER_COMPACTED } from "./core.ts";
import type { MvccCore } from "./core.ts";
import { KeyIndexBuilder } from "./key-index-builder.ts";
import { scanRecords } from "./scan-records.ts";
import { StoredFields } from "./stored-key-value.ts";

/** Revision of a store nothing was ever written to. */
const FIRST_REVISION = 1;

/**
 * Sets index, revisions and lease attachments of `core` from its backend.
 *
 * @returns the revision of a compaction that was begun and not finished; undefined if there is none
 * @throws {CorruptionError} if a record cannot be read
 */
export async function restoreCore(core: MvccCore): Promise<number | undefined> {
  const { backend, clock, logger } = core;
  const finished = readFinishedCompact(backend) ?? NEVER_COMPACTED;
  const scheduled = readScheduledCompact(backend) ?? NEVER_COMPACTED;
  core.compactRevision = finished;

  const leaseByKey = new Map<string, bigint>();
  const builder = new KeyIndexBuilder();
  const lastRevision = await readRecords(core, builder, leaseByKey);
  core.index = await builder.build(clock);
  // What compaction deleted may have been the newest: revisions never go back.
  core.currentRevision = Math.max(lastRevision, finished, scheduled, FIRST_REVISION);

  const slice = new Slice(clock);
  for (const [key, leaseID] of leaseByKey) {
    core.leases.attach(leaseID, key);
    if (slice.isOver()) await slice.pause();
  }
  logger.info("kvstore restored", { "current-rev": core.currentRevision });
  return scheduled > finished ? scheduled : undefined;
}

/** @returns the newest revision found, 0 if there is none */
async function readRecords(
  core: MvccCore,
  builder: KeyIndexBuilder,
  leaseByKey: Map<string, bigint>,
): Promise<number> {
  const { backend } = core;
  const fields = new StoredFields();
  let newest = 0;
  await scanRecords(core, Infinity, (main, sub, isTombstone, _key, stored) => {
    newest = main;
    // A restore that bumps the revision leaves a record without a KeyValue.
    if (stored.length === 0) return;
    fields.read(stored, backend.path);
    const { name, lease } = fields;
    if (isTombstone) builder.add(name, main, sub, 0, 0);
    else builder.add(name, main, sub, fields.createRevision, fields.version);
    if (!isTombstone && lease !== 0n) leaseByKey.set(name, lease);
    else if (leaseByKey.size > 0) leaseByKey.delete(name);
  });
  return newest;
}
