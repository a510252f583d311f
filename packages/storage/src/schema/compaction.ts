/** How far compaction was asked for, and how far it got. */

import { utf8FromString } from "@etcd-ts/base";
import type { Backend } from "../backend/backend.ts";
import { encodeRevision, mustDecodeRevision } from "../mvcc/revision.ts";

const SCHEDULED = utf8FromString("scheduledCompactRev");
const FINISHED = utf8FromString("finishedCompactRev");

/** Undefined if nothing was ever compacted. */
export function readScheduledCompact(backend: Backend): number | undefined {
  const value = backend.get("meta", SCHEDULED);
  return value === undefined ? undefined : mustDecodeRevision(value, backend.path).main;
}

export function writeScheduledCompact(backend: Backend, revision: number): void {
  backend.put("meta", SCHEDULED, encodeRevision(revision, 0));
}

/** Undefined if no compaction was ever finished. */
export function readFinishedCompact(backend: Backend): number | undefined {
  const value = backend.get("meta", FINISHED);
  return value === undefined ? undefined : mustDecodeRevision(value, backend.path).main;
}

export function writeFinishedCompact(backend: Backend, revision: number): void {
  backend.put("meta", FINISHED, encodeRevision(revision, 0));
}
