/** The questions a member puts to others, over the connections of its peer transport. */

import type { Logger } from "@etcd-ts/base";
import type { PeerQuestions } from "@etcd-ts/etcdserver";
import {
  getClusterFromRemotePeers,
  getDowngradeEnabled,
  getHashKV,
  getLeaseTimeToLive,
  getVersion,
  promoteMember,
  renewLease,
} from "./rafthttp/index.ts";
import type { PeerHttpClient } from "./rafthttp/index.ts";

/** @param client - the transport's, or one of the caller's */
export function peerQuestions(client: PeerHttpClient, logger: Logger): PeerQuestions {
  return {
    clusterOf: (urls, { timeoutMs, isQuiet }) =>
      getClusterFromRemotePeers(client, urls, {
        timeoutMs,
        logger: isQuiet ? undefined : logger,
      }),
    versionAt: (memberID, urls, timeoutMs) =>
      getVersion(client, urls, { timeoutMs, logger, memberID }),
    downgradeEnabledAt: (memberID, urls, timeoutMs) =>
      getDowngradeEnabled(client, urls, { timeoutMs, logger, memberID }),
    renewLease: (url, id, timeoutMs) => renewLease(client, url, id, { timeoutMs }),
    leaseTimeToLive: (url, request, timeoutMs) =>
      getLeaseTimeToLive(client, url, request, { timeoutMs }),
    promoteMember: (url, request, timeoutMs) => promoteMember(client, url, request, { timeoutMs }),
    hashKV: (url, request, timeoutMs) => getHashKV(client, url, request, { timeoutMs }),
  };
}
