/** The `lease` bucket: leasepb.Lease under its id. */

import { CorruptionError, decodeMessage, encodeMessage } from "@etcd-ts/base";
import { LeaseRecordCodec } from "@etcd-ts/api";
import type { LeaseRecord } from "@etcd-ts/api";
import type { Backend } from "../backend/backend.ts";
import { idBytes } from "./numbers.ts";

/** All leases, by id as unsigned bytes order them. @throws {CorruptionError} */
export function readLeases(backend: Backend): LeaseRecord[] {
  const leases: LeaseRecord[] = [];
  backend.forEach("lease", (_key, value) => {
    try {
      leases.push(decodeMessage(LeaseRecordCodec, value));
    } catch (cause) {
      throw new CorruptionError("a lease cannot be read", backend.path, 0, { cause });
    }
  });
  return leases;
}

export function writeLease(backend: Backend, lease: LeaseRecord): void {
  backend.put("lease", idBytes(lease.id), encodeMessage(LeaseRecordCodec, lease));
}

export function deleteLease(backend: Backend, id: bigint): void {
  backend.delete("lease", idBytes(id));
}
