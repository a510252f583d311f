/** The rows that tables and the simple format share. */

import type { HashKVResponse, MemberListResponse, StatusResponse } from "@etcd-ts/api";
import { hexFromID } from "@etcd-ts/base";
import { humanBytes } from "@etcd-ts/cli";

import { headerOf } from "./printer.ts";
import type { EndpointHealth, OfEndpoint } from "./printer.ts";

export interface Rows {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export function memberRows(response: MemberListResponse): Rows {
  return {
    header: ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"],
    rows: response.members.map((member) => [
      hexFromID(member.ID),
      member.name === "" ? "unstarted" : "started",
      member.name,
      member.peerURLs.join(","),
      member.clientURLs.join(","),
      String(member.isLearner),
    ]),
  };
}

export function healthRows(list: readonly EndpointHealth[]): Rows {
  return {
    header: ["endpoint", "health", "took", "error"],
    rows: list.map(({ endpoint, isHealthy, took, error }) => [
      endpoint,
      String(isHealthy),
      took,
      error,
    ]),
  };
}

const STATUS_HEADER =
  "endpoint,ID,version,storage version,db size,in use,percentage not in use,quota,is leader,is learner,raft term,raft index,raft applied index,errors,downgrade target version,downgrade enabled";

export function statusRows(list: readonly OfEndpoint<StatusResponse>[]): Rows {
  return {
    header: STATUS_HEADER.split(","),
    rows: list.map(({ endpoint, response }) => {
      const memberID = headerOf(response.header)?.memberID ?? 0n;
      const { dbSize, dbSizeInUse } = response;
      const unused = dbSize === 0n ? 0n : 100n - (dbSizeInUse * 100n) / dbSize;
      return [
        endpoint,
        hexFromID(memberID),
        response.version,
        response.storageVersion,
        humanBytes(dbSize),
        humanBytes(dbSizeInUse),
        `${unused}%`,
        humanBytes(response.dbSizeQuota),
        String(response.leader === memberID),
        String(response.isLearner),
        String(response.raftTerm),
        String(response.raftIndex),
        String(response.raftAppliedIndex),
        response.errors.join(", "),
        response.downgradeInfo?.targetVersion ?? "",
        String(response.downgradeInfo?.enabled ?? false),
      ];
    }),
  };
}

export function hashRows(list: readonly OfEndpoint<HashKVResponse>[]): Rows {
  return {
    header: ["endpoint", "hash", "hash_revision"],
    rows: list.map(({ endpoint, response }) => [
      endpoint,
      String(response.hash),
      String(response.hashRevision),
    ]),
  };
}
