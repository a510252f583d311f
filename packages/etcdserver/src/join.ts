/**
 * What a member finds out from others before it has data of its own: who is in the cluster it is to
 * join, and whether it may.
 */

import { EtcdError } from "@etcd-ts/base";
import {
  CLUSTER_VERSION_MIN,
  SERVER_ERRORS,
  SERVER_VERSION,
  compareVersions,
  parseVersion,
  versionOf,
} from "@etcd-ts/api";
import type { Version } from "@etcd-ts/api";

import { BootstrapError } from "./bootstrap-error.ts";
import { Cluster, parseInitialCluster } from "./membership/index.ts";
import type { Member } from "./membership/index.ts";
import type {
  MemberInfo,
  PeerQuestions,
  RemoteClusterInfo,
  ServerConfig,
  ServerPorts,
} from "./server-api.ts";
import { requestTimeoutMs } from "./server-api.ts";

/** For the members of a cluster that is to be joined. */
const JOIN_TIMEOUT_MS = 10_000;
/** For others of a new cluster, most of which do not run yet. */
const BOOTSTRAP_TIMEOUT_MS = 1000;

/** @throws {BootstrapError} if a cluster that runs knows this member already */
export async function refuseIfBootstrapped(
  cluster: Cluster,
  self: Member,
  ports: ServerPorts,
): Promise<void> {
  const urls = urlsOfOthers(cluster, self.id);
  if (ports.questions === undefined || urls.length === 0) return;
  let remote: RemoteClusterInfo;
  try {
    remote = await ports.questions.clusterOf(urls, {
      timeoutMs: BOOTSTRAP_TIMEOUT_MS,
      isQuiet: true,
    });
  } catch (error) {
    if (error instanceof EtcdError) return;
    throw error;
  }
  const known = remote.members.find(({ id }) => id === self.id);
  if (known !== undefined && known.clientURLs.length > 0) {
    throw new BootstrapError(`member ${self.id.toString(16)} has already been bootstrapped`);
  }
}

/**
 * Whoever allows fewer learners than there are would refuse changes that others allow.
 *
 * @throws {BootstrapError} in etcd's words
 */
export function refuseTooManyLearners(
  cluster: Cluster,
  { maxLearners }: Pick<ServerConfig, "maxLearners">,
): void {
  if (cluster.learners().length <= maxLearners) return;
  throw new BootstrapError(SERVER_ERRORS.tooManyLearners.message);
}

/**
 * The new cluster as its registry has it, if there is one to ask.
 *
 * @param alone - the cluster of this member alone
 * @throws {BootstrapError}
 */
export async function discoveredCluster(
  alone: Cluster,
  self: Member,
  config: ServerConfig,
  ports: ServerPorts,
): Promise<Cluster> {
  if (ports.discovery === undefined) return alone;
  const own = self.peerURLs.map((url) => `${self.name}=${url}`).join(",");
  let text: string;
  try {
    text = await ports.discovery(self.id, own);
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    throw new BootstrapError(`failed to join discovery cluster (${error.message})`, {
      cause: error,
    });
  }
  const members = parseInitialCluster(text);
  const urls = [...members.values()].flat();
  if (new Set(urls).size !== urls.length) {
    throw new BootstrapError(`discovery cluster ${text} has duplicate url`);
  }
  const cluster = Cluster.fromInitial(config.initialClusterToken, members, ports.logger);
  // Two that share a name are one member with the URLs of both, which neither of them is.
  if (cluster.memberByName(self.name)?.id !== self.id) {
    throw new BootstrapError(`discovery cluster ${text} has duplicate name ${self.name}`);
  }
  return cluster;
}

/**
 * The running cluster this member was added to, under the ids the cluster gave.
 *
 * @throws {BootstrapError} in etcd's words if nobody answers, or if it is another cluster
 */
export async function clusterToJoin(
  config: ServerConfig,
  ports: ServerPorts,
): Promise<{ readonly cluster: Cluster; readonly remotes: readonly MemberInfo[] }> {
  const { questions, logger } = ports;
  if (questions === undefined) {
    throw new BootstrapError("joining a cluster needs a peer transport");
  }
  const wanted = Cluster.fromInitial(config.initialClusterToken, config.initialCluster, logger);
  const urls = [...config.initialCluster.entries()]
    .filter(([name]) => name !== config.name)
    .flatMap(([, list]) => [...list].sort());
  let remote: RemoteClusterInfo;
  try {
    remote = await questions.clusterOf(urls, { timeoutMs: JOIN_TIMEOUT_MS, isQuiet: false });
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    throw new BootstrapError(`cannot fetch cluster info from peer urls: ${error.message}`);
  }
  const members = matchMembers(wanted.members(), remote);
  const cluster = Cluster.fromMembers(remote.clusterID, members, logger);
  const self = cluster.memberByName(config.name)!;
  if (!(await isCompatible(cluster, self.id, questions, config, ports))) {
    throw new BootstrapError("incompatible with current running cluster");
  }
  refuseTooManyLearners(cluster, config);
  return { cluster, remotes: remote.members };
}

/** Local names with the ids of the cluster. @throws {BootstrapError} */
function matchMembers(local: readonly Member[], remote: RemoteClusterInfo): Member[] {
  const refuse = (reason: string): BootstrapError =>
    new BootstrapError(`error validating peerURLs ${describeCluster(remote)}: ${reason}`);
  if (local.length !== remote.members.length) throw refuse("member count is unequal");
  return local.map((member) => {
    const urls = sortedURLs(member.peerURLs);
    const match = remote.members.find(({ peerURLs }) => sortedURLs(peerURLs) === urls);
    if (match !== undefined) return { ...member, id: match.id, isLearner: match.isLearner };
    const missing = remote.members.find(
      ({ peerURLs }) => !local.some((own) => sortedURLs(own.peerURLs) === sortedURLs(peerURLs)),
    )!;
    throw refuse(
      `PeerURLs: no match found for existing member (${missing.id.toString(16)}, [${missing.peerURLs.join(" ")}]), last resolver error (<nil>)`,
    );
  });
}

function sortedURLs(urls: readonly string[]): string {
  return [...urls].sort().join();
}

/** As Go prints it. */
function describeCluster({ clusterID, members }: RemoteClusterInfo): string {
  const texts = members.map(
    ({ id, name, peerURLs, clientURLs, isLearner }) =>
      `&{ID:${id.toString(16)} RaftAttributes:{PeerURLs:[${peerURLs.join(" ")}] IsLearner:${isLearner}} Attributes:{Name:${name} ClientURLs:[${clientURLs.join(" ")}]}}`,
  );
  return `{ClusterID:${clusterID.toString(16)} Members:[${texts.join(" ")}] RemovedMemberIDs:[]}`;
}

/** Whether every member that answers runs a cluster version this member can serve, and one does. */
async function isCompatible(
  cluster: Cluster,
  ownID: bigint,
  questions: PeerQuestions,
  config: ServerConfig,
  ports: ServerPorts,
): Promise<boolean> {
  const timeoutMs = requestTimeoutMs(config);
  const others = cluster.members().filter(({ id }) => id !== ownID);
  const own = parseVersion(SERVER_VERSION)!;
  const newest = versionOf(own.major, own.minor);
  let lowest: Version = parseVersion(CLUSTER_VERSION_MIN)!;
  let highest: Version = newest;
  if (await isDowngrading(others, questions, timeoutMs)) {
    lowest = versionOf(own.major, own.minor + 1);
    highest = lowest;
  }
  const versions = await Promise.all(
    others.map(({ id, peerURLs }) => questions.versionAt(id, peerURLs, timeoutMs)),
  );
  let isKnown = false;
  for (const [i, told] of versions.entries()) {
    if (told === undefined) continue;
    const version = parseVersion(told.cluster);
    const fields = {
      "remote-member-id": others[i]!.id.toString(16),
      "remote-member-cluster-version": told.cluster,
    };
    if (version === undefined) {
      ports.logger.warn("failed to parse cluster version of remote member", fields);
      return false;
    }
    if (compareVersions(version, lowest) < 0 || compareVersions(version, highest) > 0) {
      ports.logger.warn("cluster version of remote member is not compatible", fields);
      return false;
    }
    isKnown = true;
  }
  return isKnown;
}

async function isDowngrading(
  others: readonly Member[],
  questions: PeerQuestions,
  timeoutMs: number,
): Promise<boolean> {
  for (const { id, peerURLs } of others) {
    const answer = await questions.downgradeEnabledAt(id, peerURLs, timeoutMs);
    if (answer !== undefined) return answer;
  }
  return false;
}

function urlsOfOthers(cluster: Cluster, ownID: bigint): string[] {
  return cluster
    .members()
    .filter(({ id }) => id !== ownID)
    .flatMap(({ peerURLs }) => peerURLs);
}
