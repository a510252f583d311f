/**
 * The Election service: whoever created the oldest key under `<name>/` leads, and its value is
 * what it proclaims.
 */

import {
  Election,
  EventType,
  generatedHeader,
  generatedKeyValue,
  rpcErrorFrom,
  SERVER_ERRORS,
} from "@etcd-ts/api";
import type {
  CampaignRequest,
  CampaignResponse,
  KeyValue,
  LeaderKey,
  LeaderRequest,
  LeaderResponse,
  ProclaimRequest,
  ResignRequest,
  ResponseHeader,
} from "@etcd-ts/api";
import { EMPTY_BYTES, equalBytes } from "@etcd-ts/base";
import type { StreamCall } from "@etcd-ts/rpc";

import type { ServiceParts } from "./parts.ts";
import {
  answerWith,
  CLEANUP_CONTEXT,
  createdAt,
  ignoreStatus,
  oldestUnder,
  prefixOf,
  prefixRange,
  putOp,
  rangeOf,
  rangeRequest,
  Session,
  sessionKey,
} from "./session.ts";
import type { EventFeed } from "./session.ts";

type ObserveCall = StreamCall<LeaderRequest, LeaderResponse>;

/** A leadership: the key that stands for it and when it was created. */
interface Leadership {
  readonly key: Uint8Array;
  readonly createRevision: number;
}

export function registerElection(parts: ServiceParts): void {
  const { table } = parts;
  table.unary(Election.Campaign, (request, call) => {
    answerWith(parts, call, (session) => campaign(session, request));
  });
  table.unary(Election.Proclaim, (request, call) => {
    answerWith(parts, call, async (session) => {
      const header = await proclaimAs(session, request);
      return {
        $typeName: "v3electionpb.ProclaimResponse" as const,
        header: generatedHeader(header),
      };
    });
  });
  table.unary(Election.Leader, (request, call) => {
    answerWith(parts, call, async (session) => {
      const { kvs, header } = await session.range(oldestUnder(prefixOf(request.name)));
      if (kvs[0] === undefined) throw SERVER_ERRORS.electionNoLeader;
      return leaderResponse(header!, kvs[0]);
    });
  });
  table.stream(Election.Observe, (call) => {
    call.onMessage((request) => startObserving(parts, call, request.name));
  });
  table.unary(Election.Resign, (request, call) => {
    answerWith(parts, call, async (session) => {
      const header = await resignAs(session, request);
      return { $typeName: "v3electionpb.ResignResponse" as const, header: generatedHeader(header) };
    });
  });
}

async function campaign(session: Session, request: CampaignRequest): Promise<CampaignResponse> {
  const lease = await session.leaseOrNew(request.lease);
  const prefix = prefixOf(request.name);
  const key = sessionKey(prefix, lease);
  const queued = await session.txn(
    createdAt(key, 0),
    [putOp(key, request.value, lease)],
    [{ kind: "range", range: rangeRequest({ key }) }],
  );
  const before = queued.succeeded ? undefined : rangeOf(queued, 0)[0]!;
  const leadership = { key, createRevision: before?.createRevision ?? queued.header!.revision };
  if (before !== undefined && !equalBytes(before.value, request.value)) {
    try {
      await proclaim(session, leadership, request.value, lease);
    } catch (error) {
      await giveUp(session, leadership);
      throw error;
    }
  }
  try {
    await session.waitForOlder(prefix, leadership.createRevision - 1);
  } catch (error) {
    // A candidate whose caller has gone must not win; one that failed may be asked again.
    if (session.life.hasEnded) await giveUp(session, leadership);
    throw error;
  }
  return {
    $typeName: "v3electionpb.CampaignResponse",
    header: generatedHeader(queued.header!),
    leader: {
      $typeName: "v3electionpb.LeaderKey",
      name: request.name,
      key,
      rev: BigInt(leadership.createRevision),
      lease,
    },
  };
}

async function proclaimAs(session: Session, request: ProclaimRequest): Promise<ResponseHeader> {
  const leader = requireLeaderKey(request.leader);
  const lease = await session.leaseOrNew(leader.lease);
  return proclaim(session, leadershipOf(leader), request.value, lease);
}

async function proclaim(
  session: Session,
  { key, createRevision }: Leadership,
  value: Uint8Array,
  lease: bigint,
): Promise<ResponseHeader> {
  const response = await session.txn(
    createdAt(key, createRevision),
    [putOp(key, value, lease)],
    [],
  );
  if (!response.succeeded) throw SERVER_ERRORS.electionNotLeader;
  return response.header!;
}

async function resignAs(session: Session, request: ResignRequest): Promise<ResponseHeader> {
  const leader = requireLeaderKey(request.leader);
  // etcd opens a session here too, so a resignation without a lease leaves one behind.
  await session.leaseOrNew(leader.lease);
  return resign(session, leadershipOf(leader));
}

async function resign(
  session: Session,
  { key, createRevision }: Leadership,
  context?: typeof CLEANUP_CONTEXT,
): Promise<ResponseHeader> {
  const removal = {
    kind: "deleteRange",
    deleteRange: { key, rangeEnd: EMPTY_BYTES, prevKV: false },
  } as const;
  const response = await session.txn(createdAt(key, createRevision), [removal], [], context);
  return response.header!;
}

async function giveUp(session: Session, leadership: Leadership): Promise<void> {
  await resign(session, leadership, CLEANUP_CONTEXT).catch(ignoreStatus);
}

function requireLeaderKey(leader: LeaderKey | undefined): LeaderKey {
  if (leader === undefined) throw SERVER_ERRORS.leaderKeyMissing;
  return leader;
}

function leadershipOf({ key, rev }: LeaderKey): Leadership {
  const max = BigInt(Number.MAX_SAFE_INTEGER);
  const clamped = rev > max ? max : rev < -max ? -max : rev;
  return { key, createRevision: Number(clamped) };
}

function startObserving(parts: ServiceParts, call: ObserveCall, name: Uint8Array): void {
  const session = new Session(parts, call);
  observe(session, call, prefixOf(name)).then(
    () => undefined,
    (error: unknown) => {
      session.close();
      const status = rpcErrorFrom(error);
      // etcd ends an observation it cannot go on with as if there were no more to see.
      if (session.life.hasEnded) call.fail(status);
      else call.end();
    },
  );
}

/** Sends the leader, and each value it proclaims; when it goes, whoever is next. */
async function observe(session: Session, call: ObserveCall, prefix: Uint8Array): Promise<never> {
  const send = async (header: ResponseHeader, kv: KeyValue): Promise<void> => {
    if (!call.send(leaderResponse(header, kv))) await session.life.untilDrained(call);
  };
  for (;;) {
    const { header, kv } = await nextLeader(session, prefix);
    await send(header, kv);
    const feed = await session.feed(kv.key, EMPTY_BYTES, header.revision + 1);
    try {
      await observeOne(feed, (revision, changed) => send({ ...header, revision }, changed));
    } finally {
      feed.close();
    }
  }
}

/** Tells each value until the key is deleted. */
async function observeOne(
  feed: EventFeed,
  tell: (revision: number, kv: KeyValue) => Promise<void>,
): Promise<void> {
  for (;;) {
    const { events, revision } = await feed.next();
    for (const { type, kv } of events) {
      if (type === EventType.DELETE) return;
      await tell(revision, kv!);
    }
  }
}

/** The leader there is, or the first to become one. */
async function nextLeader(
  session: Session,
  prefix: Uint8Array,
): Promise<{ header: ResponseHeader; kv: KeyValue }> {
  const { kvs, header } = await session.range(oldestUnder(prefix));
  session.life.throwIfEnded();
  if (kvs[0] !== undefined) return { header: header!, kv: kvs[0] };
  const { key, rangeEnd } = prefixRange(prefix);
  const feed = await session.feed(key, rangeEnd, header!.revision);
  try {
    for (;;) {
      const { events } = await feed.next();
      const put = events.find(({ type }) => type === EventType.PUT)?.kv;
      // The batch may hold more revisions: the header says when this one came.
      if (put !== undefined) {
        return { header: { ...header!, revision: put.modRevision }, kv: put };
      }
    }
  } finally {
    feed.close();
  }
}

function leaderResponse(header: ResponseHeader, kv: KeyValue): LeaderResponse {
  return {
    $typeName: "v3electionpb.LeaderResponse",
    header: generatedHeader(header),
    kv: generatedKeyValue(kv),
  };
}
