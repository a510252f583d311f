/**
 * The headers by which peers know each other, and the check every raft request passes first.
 *
 * Rules (as etcd 3.6): a missing version reads as 2.0.0; the other side's server must be at least
 * our minimum cluster version, its minimum cluster version at most our server's; then the cluster
 * must be ours. Only major and minor count.
 */

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import {
  CLUSTER_VERSION_MIN,
  compareVersions,
  parseVersion,
  SERVER_VERSION,
  versionOf,
} from "@etcd-ts/api";
import type { Version } from "@etcd-ts/api";
import { hexFromID } from "@etcd-ts/base";
import type { Logger } from "@etcd-ts/base";

/** Who this member is among its peers. */
export interface PeerIdentity {
  readonly memberID: bigint;
  readonly clusterID: bigint;
  /** As advertised; receivers that do not know us yet answer there. */
  readonly peerURLs: readonly string[];
}

export const INCOMPATIBLE_VERSION_TEXT = "incompatible version";
export const CLUSTER_ID_MISMATCH_TEXT = "cluster ID mismatch";
const ID_MAX = 0xffff_ffff_ffff_ffffn;
const OLDEST_VERSION = "2.0.0";

/** Of every raft request. */
export function identityHeaders(identity: PeerIdentity): OutgoingHttpHeaders {
  return {
    "X-Server-From": hexFromID(identity.memberID),
    "X-Server-Version": SERVER_VERSION,
    "X-Min-Cluster-Version": CLUSTER_VERSION_MIN,
    "X-Etcd-Cluster-ID": hexFromID(identity.clusterID),
    "X-PeerURLs": identity.peerURLs.join(","),
  };
}

/** A single value of a header; empty if it is missing. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  return typeof value === "string" ? value : (value?.[0] ?? "");
}

/** An id in hex; undefined if it is none. */
export function parseID(text: string): bigint | undefined {
  if (!/^[0-9a-fA-F]{1,64}$/.test(text)) return undefined;
  const id = BigInt(`0x${text}`);
  return id <= ID_MAX ? id : undefined;
}

/** The server version a peer tells; undefined if it is none. */
export function serverVersionOf(headers: IncomingHttpHeaders): Version | undefined {
  const version = parseVersion(headerOf(headers, "x-server-version") || OLDEST_VERSION);
  return version === undefined ? undefined : releaseOf(version);
}

function releaseOf({ major, minor }: Version): Version {
  return versionOf(major, minor);
}

/** Why a raft request is refused (with 412); undefined if it is not. */
export function refusalOf(
  headers: IncomingHttpHeaders,
  identity: PeerIdentity,
  logger: Logger,
): string | undefined {
  const remote = {
    from: headerOf(headers, "x-server-from"),
    server: headerOf(headers, "x-server-version") || OLDEST_VERSION,
    minimum: headerOf(headers, "x-min-cluster-version") || OLDEST_VERSION,
  };
  const fields = {
    "local-member-id": hexFromID(identity.memberID),
    "local-member-cluster-id": hexFromID(identity.clusterID),
    "local-member-server-version": SERVER_VERSION,
    "local-member-server-minimum-cluster-version": CLUSTER_VERSION_MIN,
    "remote-peer-server-name": remote.from,
    "remote-peer-server-version": remote.server,
    "remote-peer-server-minimum-cluster-version": remote.minimum,
  };
  const problem = versionProblem(remote);
  if (problem !== undefined) {
    logger.warn("failed version compatibility check", { ...fields, error: problem });
    return INCOMPATIBLE_VERSION_TEXT;
  }
  const clusterID = headerOf(headers, "x-etcd-cluster-id");
  if (clusterID === hexFromID(identity.clusterID)) return undefined;
  logger.warn("request cluster ID mismatch", { ...fields, "remote-peer-cluster-id": clusterID });
  return CLUSTER_ID_MISMATCH_TEXT;
}

function versionProblem(remote: {
  readonly from: string;
  readonly server: string;
  readonly minimum: string;
}): string | undefined {
  const server = parseVersion(remote.server);
  const minimum = parseVersion(remote.minimum);
  if (server === undefined || minimum === undefined) return "remote version is malformed";
  const suffix = `remote[${remote.from}]=${remote.server}, local=${SERVER_VERSION}`;
  if (compareVersions(releaseOf(server), parseVersion(CLUSTER_VERSION_MIN)!) < 0) {
    return `remote version is too low: ${suffix}`;
  }
  if (compareVersions(releaseOf(minimum), releaseOf(parseVersion(SERVER_VERSION)!)) > 0) {
    return `local version is too low: ${suffix}`;
  }
  return undefined;
}
