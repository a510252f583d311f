/** Rebuilds the index from the `key` bucket: at boot, and after a snapshot replaced the file. */

import { latin1FromBytes } from "@etcd-ts/base";
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

  const leaseBySlot = new Map<number, bigint>();
  const builder = new KeyIndexBuilder(core.hashKey);
  const lastRevision = await readRecords(core, builder, leaseBySlot);
  core.index = await builder.build(clock);
  // What compaction deleted may have been the newest: revisions never go back.
  core.currentRevision = Math.max(lastRevision, finished, scheduled, FIRST_REVISION);

  const slice = new Slice(clock);
  for (const [slot, leaseID] of leaseBySlot) {
    core.leases.attach(leaseID, latin1FromBytes(core.index.keyOf(slot)));
    if (slice.isOver()) await slice.pause();
  }
  logger.info("kvstore restored", { "current-rev": core.currentRevision });
  return scheduled > finished ? scheduled : undefined;
}

/** @returns the newest revision found, 0 if there is none */
async function readRecords(
  core: MvccCore,
  builder: KeyIndexBuilder,
  leaseBySlot: Map<number, bigint>,
): Promise<number> {
  const { backend } = core;
  const fields = new StoredFields();
  let newest = 0;
  await scanRecords(core, Infinity, ({ main, sub, isTombstone, stored, start, end }) => {
    newest = main;
    // A restore that bumps the revision leaves a record without a KeyValue.
    if (start === end) return;
    fields.read(stored, start, end, backend.path);
    const { keyStart, keyEnd, lease } = fields;
    const created = isTombstone ? 0 : fields.createRevision;
    const version = isTombstone ? 0 : fields.version;
    const slot = builder.add(stored, keyStart, keyEnd, main, sub, created, version);
    if (!isTombstone && lease !== 0n) leaseBySlot.set(slot, lease);
    else if (leaseBySlot.size > 0) leaseBySlot.delete(slot);
  });
  return newest;
}
