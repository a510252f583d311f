/** The cluster a restored member starts as, judged as a start judges it. */

import { NULL_LOGGER } from "@etcd-ts/base";
import { Cluster, parseInitialCluster, parseMemberURLs } from "@etcd-ts/etcdserver";
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
  const own = urls.get(name);
  if (own === undefined) {
    throw clusterError(
      `couldn't find local name ${JSON.stringify(name)} in the initial cluster configuration`,
    );
  }
  refuseUnadvertised(name, own, advertised);
  const all = [...urls.values()].flat();
  if (new Set(all).size !== all.length) {
    throw clusterError(`initial cluster ${describe(urls)} has duplicate url`);
  }
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

function refuseUnadvertised(
  name: string,
  own: readonly string[],
  advertised: readonly string[],
): void {
  const unadvertised = own.filter((url) => !advertised.includes(url));
  if (unadvertised.length > 0) {
    const listed = unadvertised.map((url) => `${name}=${url}`).join(",");
    throw clusterError(
      `--initial-cluster has ${listed} but missing from --initial-advertise-peer-urls=${advertised.join(",")}`,
    );
  }
  const unlisted = advertised.filter((url) => !own.includes(url));
  if (unlisted.length > 0) {
    const listed = advertised.map((url) => `${name}=${url}`).join(",");
    throw clusterError(
      `--initial-advertise-peer-urls has ${unlisted.join(",")} but missing from --initial-cluster=${listed}`,
    );
  }
}

function describe(urls: ReadonlyMap<string, readonly string[]>): string {
  const parts = [...urls].flatMap(([name, list]) => list.map((url) => `${name}=${url}`));
  return parts.sort().join(",");
}

function clusterError(message: string): DataDirectoryError {
  return new DataDirectoryError("CLUSTER", message);
}
