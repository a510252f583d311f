/** The cluster a restored member starts as, judged as a start judges it. */

import { NULL_LOGGER } from "@etcd-ts/base";
import {
  Cluster,
  parseInitialCluster,
  parseMemberURLs,
  refusalOfDuplicates,
  refusalOfName,
  refusalOfURLs,
} from "@etcd-ts/etcdserver";
import type { Member } from "@etcd-ts/etcdserver";
import { DataDirectoryError } from "./errors.ts";

export interface NewClusterOptions {
  readonly name: string;
  /** `name=url,name=url` */
  readonly initialCluster: string;
  readonly initialClusterToken: string;
  readonly advertisePeerURLs: readonly string[];
}

export interface NewCluster {
  readonly memberID: bigint;
  readonly clusterID: bigint;
  /** By ascending id. */
  readonly members: readonly Member[];
  /** The tree of the `.snap` file. */
  readonly v2Store: Uint8Array;
}

/** @throws {MembershipError | DataDirectoryError} with etcd's texts */
export function newCluster(options: NewClusterOptions): NewCluster {
  const { name, initialCluster, initialClusterToken } = options;
  const advertised = parseMemberURLs(options.advertisePeerURLs);
  const urls = parseInitialCluster(initialCluster);
  const refusal =
    refusalOfName(name, urls) ??
    refusalOfURLs(name, urls.get(name) ?? [], advertised) ??
    refusalOfDuplicates(urls);
  if (refusal !== undefined) throw new DataDirectoryError("CLUSTER", refusal);
  const cluster = Cluster.fromInitial(initialClusterToken, urls, NULL_LOGGER);
  const members = cluster.members();
  for (const member of members) cluster.addMember(member, false);
  return {
    memberID: cluster.memberByName(name)!.id,
    clusterID: cluster.clusterID,
    members,
    v2Store: cluster.encodeV2Store(),
  };
}
