/**
 * The Lease service.
 *
 * A keepalive stream answers its requests one after another: while one is under way, and while the
 * caller does not read, no more are taken.
 */

import { Lease, RPC_ERRORS, rpcErrorFrom, SERVER_ERRORS } from "@etcd-ts/api";
import type { LeaseKeepAliveRequest, LeaseKeepAliveResponse, ResponseHeader } from "@etcd-ts/api";
import type { EtcdError } from "@etcd-ts/base";
import type { StreamCall } from "@etcd-ts/rpc";

import { answer, contextOf, headerNow } from "./headers.ts";
import type { ServiceParts } from "./parts.ts";
import { StreamFailures } from "./stream-failures.ts";

type KeepAliveCall = StreamCall<LeaseKeepAliveRequest, LeaseKeepAliveResponse>;

export function registerLease(parts: ServiceParts): void {
  const { table, server } = parts;
  const failures = new StreamFailures(parts.metrics, "lease-keepalive");
  table.unary(Lease.LeaseGrant, (request, call) => {
    server.leaseGrant(
      request,
      contextOf(call),
      answer(call, (response) => response),
    );
  });
  table.unary(Lease.LeaseRevoke, (request, call) => {
    server.leaseRevoke(
      request,
      contextOf(call),
      answer(call, (response) => response),
    );
  });
  table.stream(Lease.LeaseKeepAlive, (call) => keepAlive(parts, call, failures));
  table.unary(Lease.LeaseTimeToLive, (request, call) => {
    const respond = answer(
      call,
      (result: { ttlSeconds: number; grantedTTLSeconds: number; keys: readonly Uint8Array[] }) => ({
        $typeName: "etcdserverpb.LeaseTimeToLiveResponse" as const,
        header: headerNow(server),
        ID: request.ID,
        TTL: BigInt(result.ttlSeconds),
        grantedTTL: BigInt(result.grantedTTLSeconds),
        keys: [...result.keys],
      }),
    );
    server.leaseTimeToLive(request.ID, request.keys, contextOf(call), (error, result) => {
      if (error === SERVER_ERRORS.leaseNotFound) {
        respond(undefined, { ttlSeconds: -1, grantedTTLSeconds: 0, keys: [] });
      } else respond(error, result);
    });
  });
  table.unary(Lease.LeaseLeases, (_request, call) => {
    server.leaseLeases(
      contextOf(call),
      answer(call, (ids) => ({
        $typeName: "etcdserverpb.LeaseLeasesResponse" as const,
        header: headerNow(server),
        leases: ids.map((ID) => ({ $typeName: "etcdserverpb.LeaseStatus" as const, ID })),
      })),
    );
  });
}

function keepAlive(parts: ServiceParts, call: KeepAliveCall, failures: StreamFailures): void {
  const { server } = parts;
  const renewed = (
    id: bigint,
    header: ResponseHeader,
    error: EtcdError | undefined,
    ttl: number | undefined,
  ): void => {
    if (error !== undefined && error !== SERVER_ERRORS.leaseNotFound) {
      // Without a leader a renewal is cancelled; clients then look for another member.
      call.fail(
        error === SERVER_ERRORS.contextCanceled ? RPC_ERRORS.noLeader : rpcErrorFrom(error),
      );
      return;
    }
    if (call.send({ header, id, ttl: error === undefined ? (ttl ?? 0) : 0 })) call.resume();
  };
  failures.observe(call);
  call.onDrain(() => call.resume());
  call.onMessage(({ id }) => {
    call.pause();
    // Taken before the renewal: a revocation that comes between must not look older than it.
    const header = server.responseHeader(server.store.currentRevision);
    server.leaseRenew(id, contextOf(call), (error, ttl) => renewed(id, header, error, ttl));
  });
  call.onEnd(() => call.end());
}
