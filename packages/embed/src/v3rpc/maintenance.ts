/** The Maintenance service: what an operator asks of one member. */

import { Maintenance, rpcErrorFrom } from "@etcd-ts/api";
import type { StatusResult } from "@etcd-ts/etcdserver";
import type { HealthService } from "@etcd-ts/rpc";

import { answer, contextOf, headerAt, headerNow } from "./headers.ts";
import type { ServiceParts } from "./parts.ts";
import { sendSnapshot } from "./snapshot.ts";

export function registerMaintenance(parts: ServiceParts, health: HealthService): void {
  const { table, server } = parts;
  table.unary(Maintenance.Alarm, (request, call) => {
    server.alarm(
      request,
      contextOf(call),
      answer(call, (alarms) => ({
        header: server.responseHeader(server.store.currentRevision),
        alarms,
      })),
    );
  });
  registerStatus(parts);
  registerHashes(parts);
  registerDefragment(parts, health);
  table.stream(Maintenance.Snapshot, (call) => call.onMessage(() => sendSnapshot(parts, call)));
  table.unary(Maintenance.MoveLeader, (request, call) => {
    const respond = answer(call, () => ({
      $typeName: "etcdserverpb.MoveLeaderResponse" as const,
    }));
    server.moveLeader(request.targetID, contextOf(call), respond);
  });
  table.unary(Maintenance.Downgrade, ({ action, version }, call) => {
    server.downgrade(
      { action, version },
      contextOf(call),
      answer(call, (result) => ({
        $typeName: "etcdserverpb.DowngradeResponse" as const,
        header: headerNow(server),
        version: result.version,
      })),
    );
  });
}

function registerStatus({ table, server }: ServiceParts): void {
  table.unary(Maintenance.Status, (_request, call) => {
    const respond = answer(call, (status: StatusResult) => ({
      $typeName: "etcdserverpb.StatusResponse" as const,
      header: headerNow(server),
      version: status.version,
      dbSize: BigInt(status.dbSizeBytes),
      leader: status.leaderID,
      raftIndex: BigInt(status.raftIndex),
      raftTerm: BigInt(status.raftTerm),
      raftAppliedIndex: BigInt(status.raftAppliedIndex),
      errors: [...status.errors],
      dbSizeInUse: BigInt(status.dbSizeInUseBytes),
      isLearner: status.isLearner,
      storageVersion: status.storageVersion,
      dbSizeQuota: BigInt(status.dbSizeQuotaBytes),
      downgradeInfo: {
        $typeName: "etcdserverpb.DowngradeInfo" as const,
        enabled: status.downgrade.enabled,
        targetVersion: status.downgrade.targetVersion,
      },
    }));
    server.status(contextOf(call), respond);
  });
}

function registerHashes({ table, server }: ServiceParts): void {
  table.unary(Maintenance.Hash, (_request, call) => {
    const revision = server.store.currentRevision;
    server.hash(
      contextOf(call),
      answer(call, (hash) => ({
        $typeName: "etcdserverpb.HashResponse" as const,
        header: headerAt(server, revision),
        hash,
      })),
    );
  });
  table.unary(Maintenance.HashKV, (request, call) => {
    server.hashKV(
      clampedRevision(request.revision),
      contextOf(call),
      answer(call, (result) => ({
        $typeName: "etcdserverpb.HashKVResponse" as const,
        header: headerAt(server, result.currentRevision),
        hash: result.hash,
        compactRevision: BigInt(result.compactRevision),
        hashRevision: BigInt(result.hashRevision),
      })),
    );
  });
}

/** While it runs the member may call itself not serving, if its operator wants it so. */
function registerDefragment(parts: ServiceParts, health: HealthService): void {
  const { table, server, logger, config } = parts;
  let running = 0;
  const setServing = (serving: boolean, reason?: string): void => {
    if (!config.featureGates.StopGRPCServiceOnDefrag || serving === health.isServing) return;
    health.setServing(serving);
    logger.log(serving ? "info" : "warn", "grpc service status changed", {
      service: "",
      status: serving ? "SERVING" : "NOT_SERVING",
      ...(reason === undefined ? {} : { reason }),
    });
  };
  table.unary(Maintenance.Defragment, (_request, call) => {
    let hasBegun = false;
    const begin = (): void => {
      hasBegun = true;
      logger.info("starting defragment");
      running++;
      setServing(false, "defrag is active");
    };
    server.defragment(contextOf(call), begin, (error) => {
      if (hasBegun) running--;
      if (running === 0) setServing(true);
      if (error === undefined) {
        logger.info("finished defragment");
        call.respond({ $typeName: "etcdserverpb.DefragmentResponse" });
      } else {
        logger.warn("failed to defragment", { error: error.message });
        call.fail(rpcErrorFrom(error));
      }
    });
  });
}

/** A revision of a stranger, kept in order against real ones. */
function clampedRevision(revision: bigint): number {
  const max = BigInt(Number.MAX_SAFE_INTEGER);
  if (revision > max) return Number.MAX_SAFE_INTEGER;
  return revision < -max ? -Number.MAX_SAFE_INTEGER : Number(revision);
}
