/**
 * The Lock service: whoever created the oldest key under `<name>/` holds the lock.
 *
 * The lock is advisory: its holder loses it with its lease, and may not know yet. A caller that
 * waited is told so if its own key did not outlive the wait.
 */

import { generatedHeader, Lock, SERVER_ERRORS } from "@etcd-ts/api";
import type { LockRequest, LockResponse, ResponseHeader } from "@etcd-ts/api";
import { EMPTY_BYTES } from "@etcd-ts/base";

import type { ServiceParts } from "./parts.ts";
import {
  answerWith,
  CLEANUP_CONTEXT,
  createdAt,
  ignoreStatus,
  oldestUnder,
  prefixOf,
  putOp,
  rangeOf,
  rangeRequest,
  sessionKey,
} from "./session.ts";
import type { Session } from "./session.ts";

export function registerLock(parts: ServiceParts): void {
  parts.table.unary(Lock.Lock, (request, call) => {
    answerWith(parts, call, async (session) => {
      const response = await lock(session, request);
      // A session made for this call is known to nobody else: its lock would only be in the way.
      if (session.life.hasEnded && request.lease === 0n) await giveUp(session, response.key);
      return response;
    });
  });
  parts.table.unary(Lock.Unlock, (request, call) => {
    answerWith(parts, call, async (session) => {
      const { header } = await session.delete(request.key);
      return { $typeName: "v3lockpb.UnlockResponse" as const, header: generatedHeader(header!) };
    });
  });
}

async function lock(session: Session, request: LockRequest): Promise<LockResponse> {
  const lease = await session.leaseOrNew(request.lease);
  const prefix = prefixOf(request.name);
  const key = sessionKey(prefix, lease);
  const owner = { kind: "range", range: oldestUnder(prefix) } as const;
  const own = { kind: "range", range: rangeRequest({ key }) } as const;
  const queued = await session.txn(
    createdAt(key, 0),
    [putOp(key, EMPTY_BYTES, lease), owner],
    [own, owner],
  );
  const createRevision = queued.succeeded
    ? queued.header!.revision
    : rangeOf(queued, 0)[0]!.createRevision;
  const [holder] = rangeOf(queued, 1);
  if (holder === undefined || holder.createRevision === createRevision) {
    return held(key, queued.header!);
  }
  try {
    await session.waitForOlder(prefix, createRevision - 1);
    const found = await session.get(key);
    if (found.kvs.length === 0) throw SERVER_ERRORS.sessionExpired;
    return held(key, found.header!);
  } catch (error) {
    if (error !== SERVER_ERRORS.sessionExpired) await giveUp(session, key);
    throw error;
  }
}

/** Lets the next in line have its turn; the caller has gone, so nobody is told if it fails. */
async function giveUp(session: Session, key: Uint8Array): Promise<void> {
  await session.delete(key, CLEANUP_CONTEXT).catch(ignoreStatus);
}

function held(key: Uint8Array, header: ResponseHeader): LockResponse {
  return { $typeName: "v3lockpb.LockResponse", header: generatedHeader(header), key };
}
